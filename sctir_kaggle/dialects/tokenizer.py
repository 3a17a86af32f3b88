"""Text to token ids and back: the one encoder and decoder of engines, training and quantization.

A checkpoint's own tokenizer.json decides, whatever class its config names and whatever transformers makes of it. Added
tokens (`<|im_end|>`, `</tool_call>`) are recognised in `Control` text only. Covered: byte-level BPE (a character may be split
over tokens) and SentencePiece-like tokenizers (text encoded or decoded on its own loses or gains a leading space, so both are
done after a preceding token). Not covered: tokenizers that lower-case or drop what they encode.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sctir_kaggle.dialects.control_tokens import Renamed
from sctir_kaggle.dialects.tokenizer_check import read_tokenizer
from sctir_kaggle.dialects.tokenizer_files import TokenizerFiles
from sctir_kaggle.types import Control, EngineError, Prompt, TokenIds, one_line

# Texts to encode after: the first that the tokenizer does not merge with what follows.
_ANCHORS = "\n", "|", "=", "a"
_REPLACEMENT = "\ufffd"  # a part of a character decodes to it
_SURROGATES = re.compile("[\ud800-\udfff]")  # lone ones are no character, and no tokenizer takes them
_STEP_BACK = 8  # tokens over which the last characters of a completion can be spread


class Tokenizer:
    """A checkpoint's tokenizer. Immutable after the load, hence thread-safe.

    `notice` says what was wrong at the load and what was done about it, or is empty; `added_tokens` maps content to id;
    `bos` begins every prompt (`()`: nothing does); `end_ids` are the tokens that end a sequence.
    """

    def __init__(self, raw: Any, files: TokenizerFiles, *, notice: str = "") -> None:
        self._raw, self.files, self.notice = raw, files, notice
        self._renamed = Renamed(raw)
        added = raw.get_added_tokens_decoder()
        self.added_tokens: Mapping[str, int] = MappingProxyType({one.content: place for place, one in added.items()})
        self._added = {place: token.content for place, token in added.items()}
        self._strips = frozenset(place for place, token in added.items() if token.rstrip)
        self._marked = lru_cache(maxsize=256)(self._renamed.encode)
        self._needs_anchor = any(map(self._starts_with_dummy, _ANCHORS))
        self.bos = self._find_bos()
        self.eos_token = files.special.get("eos_token")
        eos = () if self.eos_token is None else (self.id_of(self.eos_token),)
        self.end_ids = frozenset(one for one in eos if one is not None) | files.ends
        self.stop_tokens = lru_cache(maxsize=256)(self._stop_tokens)

    @classmethod
    def load(cls, model: str | Path, *, compare: bool = True) -> Tokenizer:
        """Load the tokenizer of a checkpoint, a folder or owner/name on the Hugging Face Hub; the weights are not read.

        With `compare`, transformers is imported to check that it reads the files alike; without, `notice` is empty. Raises
        `EngineError` if there is no tokenizer, or if it loses text in a round trip.
        """
        files = TokenizerFiles.read(model)
        raw, notice = read_tokenizer(files, compare=compare)
        return cls(raw, files, notice=notice)

    def __len__(self) -> int:
        """Return the number of tokens, with added ones."""
        return int(self._raw.get_vocab_size(with_added_tokens=True))

    def encode(self, prompt: Prompt) -> TokenIds:
        """Return the prompt's token ids: BOS if the tokenizer adds one, text encoded, ids passed through.

        Raises `EngineError` for an empty prompt.
        """
        ids: list[int] = []
        for part in self._parts(prompt):
            ids += self._behind(part, ids[-1] if ids else None) if isinstance(part, str) else part
        if not ids:
            raise EngineError("the prompt is empty (0 tokens): pass at least one segment with text or token ids")
        return tuple(ids) if tuple(ids[: len(self.bos)]) == self.bos else (*self.bos, *ids)

    def encode_text(self, text: str, *, before: int | None = None) -> TokenIds:
        """Encode `text` as it follows the token `before`, without BOS; added tokens are recognised if it is `Control`."""
        return self._behind(self._mark(text), before)

    def decode(self, ids: Sequence[int], *, before: int | None = None) -> str:
        """Decode `ids` as they follow the token `before`; special tokens are visible."""
        alone = self._decode(ids)
        if not self._needs_anchor or before is None:
            return alone
        head, joined = self._decode([before]), self._decode([before, *ids])
        return joined[len(head) :] if joined.startswith(head) else alone

    def find_stop(self, ids: Sequence[int], stop: tuple[str, ...], *, before: int | None) -> str | None:
        """Return the stop string that the last token of `ids` completed, or None.

        Only a tail that can hold it is decoded, and only after a token that can complete one: this runs at every step.
        """
        if not stop or not ids or ids[-1] not in self.stop_tokens(stop):
            return None
        window = max(len(string.encode()) for string in stop) + _STEP_BACK
        tail = self.decode(ids[-window:], before=before if len(ids) <= window else ids[-window - 1])
        return _first_stop(tail, stop)

    def finish(
        self, ids: Sequence[int], *, stop: str | None, before: int | None, ended: bool = False
    ) -> tuple[str, TokenIds]:
        """Return a completion's text and its ids, as sampled; both end after `stop`, if it is given.

        `ended`: the last of `ids` is the token that ended the completion, which is kept but is not in the text. The ids
        are empty in the rare case that no encoding of the shortened text decodes to it.
        """
        kept = tuple(ids)
        text = self.decode(kept[:-1] if ended else kept, before=before)
        end = text.find(stop) + len(stop) if stop is not None and stop in text else len(text)
        return (text, kept) if end == len(text) else (text[:end], self._encode_exactly(text[:end], kept, before=before))

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, added or of the vocabulary, by its content; None if there is none."""
        found: int | None = self._raw.token_to_id(token)
        return found

    @property
    def chat_template(self) -> str | None:
        """The chat template named `default`, else the first; None if there is none."""
        templates = self.files.templates
        return templates.get("default", next(iter(templates.values()), None))

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hex digits of a hash of everything that determines ids."""
        parts = self._raw.to_str(), self.bos, self.eos_token
        return hashlib.blake2b(repr(parts).encode(), digest_size=6).hexdigest()

    def render_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **arguments: Any,
    ) -> str:
        """Render the messages with the chat template. Raises `EngineError` if it refuses them, or if there is none."""
        template = self.files.templates.get("tool_use", self.chat_template) if tools else self.chat_template
        if template is None:
            raise EngineError(f"{self.files.folder} has no chat template: copy it from the original model")
        try:
            from transformers.utils.chat_template_utils import render_jinja_template
        except ImportError as error:
            raise EngineError(f"{error.name} is not installed: pip install transformers jinja2") from error
        render: Any = render_jinja_template
        values = {**self.files.special, **arguments, "add_generation_prompt": add_generation_prompt}
        chat, functions = [dict(one) for one in messages], [dict(tool) for tool in tools] if tools else None
        try:
            rendered, _ = render(conversations=[chat], tools=functions, chat_template=template, **values)
        except Exception as error:  # a template is a program: it may raise anything
            raise EngineError(
                f"the chat template of {self.files.folder.name} failed: {one_line(error, first=True)}"
            ) from error
        return str(rendered[0])

    def _parts(self, prompt: Prompt) -> Iterator[str | TokenIds]:
        """Join neighbouring texts, marked, since tokens may span them; pass ids through."""
        for is_text, segments in groupby(prompt, lambda segment: isinstance(segment, str)):
            if is_text:
                yield "".join(self._mark(segment) for segment in segments if isinstance(segment, str))
            else:
                yield tuple(token for segment in segments if not isinstance(segment, str) for token in segment)

    def _mark(self, text: str) -> str:
        marked = self._renamed.mark(text) if isinstance(text, Control) else text
        return _SURROGATES.sub(_REPLACEMENT, marked)

    def _behind(self, marked: str, before: int | None) -> TokenIds:
        """The ids of marked text as it follows `before`: encoded after an anchor, whose own ids are cut off again.

        The anchor is `before` itself if that is an added token, else a text that is not merged with what follows.
        """
        if not marked or before is None or not (self._needs_anchor or before in self._strips):
            return self._marked(marked)
        anchors = [self._mark(Control(self._added[before]))] if before in self._added else _ANCHORS
        for anchor in anchors:
            head, joined = self._marked(anchor), self._marked(anchor + marked)
            if joined[: len(head)] == head:
                return joined[len(head) :]
        return self._marked(marked)

    def _encode_exactly(self, text: str, ids: TokenIds, *, before: int | None) -> TokenIds:
        """Keep as many of `ids` as begin `text` and encode the rest; encode all of it if nothing else decodes to `text`."""
        for keep in (*range(len(ids) - 1, max(-1, len(ids) - _STEP_BACK), -1), 0):
            head = self.decode(ids[:keep], before=before)
            if text.startswith(head):
                whole = self._added.keys() & ids[keep:]  # added tokens must be read as such again
                rest = Control(text[len(head) :]) if whole else text[len(head) :]
                candidate = ids[:keep] + self.encode_text(rest, before=ids[keep - 1] if keep else before)
                if self.decode(candidate, before=before) == text:
                    return candidate
        return ()

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._raw.decode(list(ids), skip_special_tokens=False))

    def _find_bos(self) -> TokenIds:
        """The ids that the post-processor prepends; else the config's BOS, if `add_bos_token` is set but the post-processor,
        as transformers 5 writes it, lacks it."""
        bare, whole = (self._raw.encode("a", add_special_tokens=special).ids for special in (False, True))
        front: list[int] = next((whole[:at] for at in range(len(whole)) if whole[at : at + len(bare)] == bare), [])
        bos = self.files.special.get("bos_token")
        if not front and self.files.config.get("add_bos_token") is True and bos is not None:
            front = [one for one in (self.id_of(bos),) if one is not None]
        return tuple(front)

    @cached_property
    def _pieces(self) -> list[str]:
        """The text of every token, with the leading space that decoding it alone loses."""
        every = range(max(self._raw.get_vocab(with_added_tokens=True).values(), default=-1) + 1)
        texts = self._raw.decode_batch([[token] for token in every], skip_special_tokens=False)
        names = map(self._raw.id_to_token, every)
        return [(" " if (name or "").startswith("▁") else "") + text for name, text in zip(names, texts, strict=True)]

    def _starts_with_dummy(self, text: str) -> bool:
        ids = self._marked(text)
        return bool(ids) and str(self._raw.id_to_token(ids[0])).startswith("▁")

    def _stop_tokens(self, stop: tuple[str, ...]) -> frozenset[int]:
        """The tokens that can complete one of `stop`: those with its last character, or with a part of a character."""
        last = {string[-1] for string in stop if string} | {_REPLACEMENT}
        return frozenset(token for token, piece in enumerate(self._pieces) if not last.isdisjoint(piece))


def _first_stop(text: str, stop: tuple[str, ...]) -> str | None:
    """The string of `stop` that ends first in `text`, or None."""
    ends = [(text.find(string) + len(string), string) for string in stop if string and string in text]
    return min(ends)[1] if ends else None
