"""A copy of a tokenizer whose added tokens are renamed, so that only text marked as control text becomes one of them.

A new name is six characters of a private-use plane: four drawn at random for this process and two for the token's number,
which no problem or output contains. All else is as in the original: normalizer, pre-tokenizer, merges, stripping of
neighbouring spaces. Unmarked text therefore gets the ids that the original would give if it had no added tokens.

Added tokens that are ordinary words or runs of white space (StarCoder's and Gemma's indentation) keep their names: such a
model writes text with them, and they control nothing.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping
from typing import Any

from sctir_kaggle.types import TokenIds

_PLANE, _SIZE = 0xF0000, 0xFFFE
_NONCE = "".join(chr(_PLANE + random.SystemRandom().randrange(_SIZE)) for _ in range(4))


class Renamed:
    """The renamed copy of `tokenizer`, a `tokenizers.Tokenizer`. Immutable, hence thread-safe."""

    def __init__(self, tokenizer: Any) -> None:
        added: Mapping[int, Any] = tokenizer.get_added_tokens_decoder()
        control = [token.content for token in added.values() if not _ordinary(token)]
        self.names = {content: _name(number) for number, content in enumerate(control)}
        self._twin = _twin(tokenizer, self.names)
        self._true = _true_ids(added, self.names, self._twin)
        self._patterns = [
            _pattern(token for token in added.values() if token.normalized is kind) for kind in (False, True)
        ]

    def mark(self, text: str) -> str:
        """Rename every added token in `text`, so that `encode` gives that token."""
        for pattern in self._patterns:  # as the library: tokens that are not normalized are found first
            text = pattern.sub(lambda found: self.names.get(found[0], found[0]), text)
        return text

    def encode(self, marked: str) -> TokenIds:
        """Return the original's ids for marked text, without BOS."""
        ids = self._twin.encode(marked, add_special_tokens=False).ids
        return tuple(self._true.get(token, token) for token in ids)


def _name(number: int) -> str:
    return _NONCE + chr(_PLANE + number // _SIZE) + chr(_PLANE + number % _SIZE)


def _ordinary(token: Any) -> bool:
    """Whether the token is plain words or white space. Brackets or bars (`<tool_call>`, `[INST]`) make it a control token,
    whatever its `special` flag says."""
    return not token.special and all(one.isalnum() or one.isspace() or one == "▁" for one in token.content)


def _pattern(tokens: Any) -> re.Pattern[str]:
    """A pattern that matches the longest of them, as the library does."""
    longest = sorted(tokens, key=lambda token: -len(token.content))
    words = [rf"(?<!\w){re.escape(t.content)}(?!\w)" if t.single_word else re.escape(t.content) for t in longest]
    return re.compile("|".join(words) or r"(?!)")


def _true_ids(added: Mapping[int, Any], names: Mapping[str, str], twin: Any) -> dict[int, int]:
    """Map the ids of the copy to the original's, where they differ."""
    ids = {twin.token_to_id(names.get(token.content, token.content)): true for true, token in added.items()}
    return {here: true for here, true in ids.items() if here != true}


def _twin(tokenizer: Any, names: Mapping[str, str]) -> Any:
    """The copy: over the same vocabulary if no merges lead to an added token, else over a renamed one (slower to make)."""
    from tokenizers import AddedToken, Tokenizer

    if any(_can_write(tokenizer.model, content) for content in names):
        twin = Tokenizer.from_str(_renamed_json(tokenizer, names))
    else:
        twin = Tokenizer(tokenizer.model)
        for part in ("normalizer", "pre_tokenizer"):
            if getattr(tokenizer, part) is not None:
                setattr(twin, part, getattr(tokenizer, part))
    flags = ("single_word", "lstrip", "rstrip", "normalized")
    tokens = tokenizer.get_added_tokens_decoder().values()
    twin.add_tokens(
        [
            AddedToken(names.get(one.content, one.content), **{flag: getattr(one, flag) for flag in flags})
            for one in tokens
        ]
    )
    return twin


def _can_write(model: Any, content: str) -> bool:
    """Whether the model builds `content` from plain characters: as a Unigram piece, a whole word or by merges."""
    if model.token_to_id(content) is None:
        return False
    try:
        return any(token.value == content for token in model.tokenize(content))
    except Exception:  # raised for a character without a token
        return False


def _renamed_json(tokenizer: Any, names: Mapping[str, str]) -> str:
    """The tokenizer as JSON, without added tokens and with their new names in its vocabulary."""
    stored = json.loads(tokenizer.to_str())
    model = stored["model"]
    vocabulary, unknown = model["vocab"], model.get("unk_token")
    if isinstance(vocabulary, dict):
        model["vocab"] = {names.get(piece, piece): number for piece, number in vocabulary.items()}
        model["unk_token"] = names.get(unknown, unknown)
    else:  # Unigram
        model["vocab"] = [[names.get(piece, piece), score] for piece, score in vocabulary]
    if merges := model.get("merges"):
        pairs = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in merges]
        model["merges"] = [pair for pair in pairs if not {"".join(pair), *pair} & names.keys()]
    return json.dumps({**stored, "added_tokens": [], "post_processor": None, "truncation": None, "padding": None})
