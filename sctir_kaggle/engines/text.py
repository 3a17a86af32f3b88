"""Between text and token ids: prompts are encoded, completions decoded and cut after a stop string.

Covered: byte-level BPE (a character may be split over tokens) and SentencePiece-like tokenizers (a leading space is
lost where a text is decoded or encoded on its own, so both are done behind a preceding token or line break). Not
covered: tokenizers that change the text they encode (lower-casing, normalising); there token ids may come back empty.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sctir_kaggle.types import EngineError, Prompt, TokenIds

_ANCHORS = "\n", "|", "=", "a"  # texts to encode behind: one that the tokenizer does not join to what follows
_REPLACEMENT = "\ufffd"  # what a part of a character decodes to
_STEP_BACK = 8  # tokens that the last characters of a completion can be spread over


class Text:
    """A Hugging Face tokenizer, as the engine needs it. Thread-safe: the tokenizer itself is not."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.RLock()
        self._special = frozenset(tokenizer.all_special_ids)
        self._pieces = [self._piece(token) for token in range(len(tokenizer))]
        self._needs_anchor = any(map(self._starts_with_dummy, _ANCHORS))
        self.segment = lru_cache(maxsize=256)(self._segment)
        self.stop_tokens = lru_cache(maxsize=256)(self._stop_tokens)

    @classmethod
    def load(cls, model: str | Path) -> Text:
        """The tokenizer of a checkpoint, a folder or owner/name on the Hugging Face hub; the weights are not read."""
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise EngineError(f"{error.name} is not installed: pip install transformers") from error
        here = Path(model).expanduser()
        if not here.is_dir() and (isinstance(model, Path) or here.is_absolute() or str(model).count("/") != 1):
            raise EngineError(f"{model} is not a folder: pass the checkpoint's, which holds its tokenizer")
        try:
            return cls(
                AutoTokenizer.from_pretrained(str(here if here.is_dir() else model), local_files_only=here.is_dir())
            )
        except Exception as error:  # any library may find any fault with a file
            reason = (str(error).strip().splitlines() or [""])[0]
            raise EngineError(f"{model} has no usable tokenizer ({reason}): pass a complete checkpoint") from error

    def encode(self, prompt: Prompt) -> TokenIds:
        """The prompt's token ids: text is encoded, ids are passed through, special tokens come in front only."""
        ids: list[int] = []
        for index, segment in enumerate(prompt):
            ids += self.segment(segment, index == 0) if isinstance(segment, str) else segment
        if not ids:
            raise EngineError("the prompt is empty (0 tokens): pass at least one segment with text or token ids")
        return tuple(ids)

    def decode(self, ids: Sequence[int], *, before: int | None = None) -> str:
        """What `ids` read as when they follow the token `before`; special tokens read as nothing."""
        alone = self._decode(ids)
        if not self._needs_anchor or before is None:
            return alone
        head = self._decode([before])
        joined = self._decode([before, *ids])
        return joined[len(head) :] if joined.startswith(head) else alone

    def find_stop(self, ids: Sequence[int], stop: tuple[str, ...], *, before: int | None) -> str | None:
        """The stop string that the last token of `ids` completed. Only the tail that can hold it is decoded."""
        if not stop or ids[-1] not in self.stop_tokens(stop):
            return None
        window = max(len(string.encode()) for string in stop) + _STEP_BACK
        tail = self.decode(ids[-window:], before=before if len(ids) <= window else ids[-window - 1])
        return _first_stop(tail, stop)

    def finish(self, ids: Sequence[int], *, stop: str | None, before: int | None) -> tuple[str, TokenIds]:
        """The completion's text, cut after `stop`, and token ids that decode to exactly that text.

        The ids are empty in the rare case that no encoding of the text decodes to it.
        """
        kept = tuple(token for token in ids if token not in self._special)
        text = self.decode(kept, before=before)
        end = len(text) if stop is None else text.find(stop) + len(stop)
        if end == len(text) or (stop is not None and stop not in text):
            return text, kept
        return text[:end], self._encode_exactly(text[:end], kept, before=before)

    def _encode_exactly(self, text: str, ids: TokenIds, *, before: int | None) -> TokenIds:
        """`ids` as far as they begin `text`, and the rest encoded; all of it encoded where that does not fit."""
        for keep in (*range(len(ids) - 1, max(-1, len(ids) - _STEP_BACK), -1), 0):
            head = self.decode(ids[:keep], before=before)
            if text.startswith(head):
                candidate = ids[:keep] + tuple(self.segment(text[len(head) :], False))
                if self.decode(candidate, before=before) == text:
                    return candidate
        return ()

    def _segment(self, text: str, first: bool) -> TokenIds:
        if first or not self._needs_anchor:
            return self._encode(text, special=first)
        for anchor in _ANCHORS:
            head, joined = self._encode(anchor), self._encode(anchor + text)
            if joined[: len(head)] == head:
                return joined[len(head) :]
        return self._encode(text)

    def _encode(self, text: str, *, special: bool = False) -> TokenIds:
        with self._lock:
            return tuple(self._tokenizer.encode(text, add_special_tokens=special))

    def _decode(self, ids: Sequence[int]) -> str:
        with self._lock:
            text = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(text)

    def _piece(self, token: int) -> str:
        """Every character that `token` may add to a text; the leading space that decoding it alone may lose is back."""
        raw = self._tokenizer.convert_ids_to_tokens(token)
        return (" " if raw and raw.startswith("\u2581") else "") + self._decode([token])

    def _starts_with_dummy(self, text: str) -> bool:
        ids = self._encode(text)
        return bool(ids) and str(self._tokenizer.convert_ids_to_tokens(ids[0])).startswith("\u2581")

    def _stop_tokens(self, stop: tuple[str, ...]) -> frozenset[int]:
        """The tokens that can complete one of `stop`: they hold its last character, or a part of some character."""
        last = {string[-1] for string in stop if string} | {_REPLACEMENT}
        return frozenset(token for token, piece in enumerate(self._pieces) if not last.isdisjoint(piece))


def _first_stop(text: str, stop: tuple[str, ...]) -> str | None:
    """The string of `stop` that ends first in `text`."""
    ends = [(text.find(string) + len(string), string) for string in stop if string and string in text]
    return min(ends)[1] if ends else None
