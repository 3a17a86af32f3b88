"""Check that a tokenizer survives a round trip, and that transformers reads its file correctly.

Versions 5.3 to 5.21 of transformers read a byte-level tokenizer.json whose config names a Llama class (DeepSeekMath,
NuminaMath, R1-Distill) without any white space. The library `tokenizers` reads the same file correctly.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib import metadata
from typing import Any

from sctir_kaggle.dialects.tokenizer_files import TokenizerFiles
from sctir_kaggle.types import EngineError, one_line

RIGHT = "4.57.6, 5.0.0, 5.22 or later"
"""Versions of transformers that read all files correctly, as far as they were tested."""

PROBE = (
    "def f(n):\n    if n > 1:\n\treturn n * f(n - 1)\n\n\n### Problem: What is $\\frac{1}{2}$ of 12345, and $\\boxed{x^{2}}$?"
    "\n```python\nprint('a  b',   2)  # twelve\n```\n数学问题：求和。Für α ≤ β gilt 🙂"
)
"""A round-trip text: code with indentation, blank lines, LaTeX, CJK, and characters that byte-level tokenizers split."""

log = logging.getLogger("sctir_kaggle")


def may_be_wrong() -> bool:
    """Whether the installed transformers is a version known to lose white space."""
    try:
        version = [int(part) for part in metadata.version("transformers").split(".")[:2]]
    except (metadata.PackageNotFoundError, ValueError):
        return False
    return [5, 3] <= version < [5, 22]


def read_tokenizer(files: TokenizerFiles, *, compare: bool = True) -> tuple[Any, str]:
    """Return the folder's `tokenizers.Tokenizer`, checked, and a notice of faults, which is logged as a warning.

    Raises `EngineError` if it cannot be read or loses text.
    """
    raw = from_file(files)
    if raw is None:
        return _converted(files), ""
    if lost := lost_by(raw):
        raise EngineError(f"{files.folder / 'tokenizer.json'} loses {lost}: code cannot be written with this tokenizer")
    notice = _compared(files, raw) if compare else ""
    if notice:
        _say(notice)
    return raw, notice


@cache
def _say(notice: str) -> None:
    """Log a notice once per process, however many engines load the same tokenizer."""
    log.warning("%s", notice)


def from_file(files: TokenizerFiles) -> Any:
    """Load tokenizer.json, without truncation and padding; None if there is none."""
    if files.vocabulary is None:
        return None
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise EngineError(f"{error.name} is not installed: pip install transformers") from error
    try:
        raw = Tokenizer.from_file(str(files.vocabulary))
    except Exception as error:  # the library raises it bare
        raise EngineError(
            f"{files.vocabulary} cannot be read ({one_line(error, first=True)}): copy it from the original"
        ) from None
    raw.no_truncation()
    raw.no_padding()
    _add_named(raw, files)
    return raw


def _add_named(raw: Any, files: TokenizerFiles) -> None:
    """Add the tokens that the other files name, as transformers and the servers that load with it do.

    Without them a file that lists its end token in the config alone has no control token to keep out of ordinary text.
    """
    from tokenizers import AddedToken

    known = {token.content for token in raw.get_added_tokens_decoder().values()}
    for token in files.named_tokens():
        there = raw.token_to_id(token.content)
        here = raw.get_vocab_size(with_added_tokens=True) if there is None else there
        if token.content not in known and (token.id == here or (token.id is None and there is not None)):
            raw.add_tokens([AddedToken(token.content, **{"normalized": False, **token.flags})])


def lost_by(raw: Any) -> str:
    """Return what a round trip of `PROBE` loses, in words; empty if nothing but characters without a token."""
    text = "".join(one for one in PROBE if one in " \n" or one in _round_trip(raw, f"a{one}a"))
    back = _round_trip(raw, text)
    if back == text:
        return ""
    if "".join(back.split()) == "".join(text.split()):
        return "white space"
    return f"characters of a text ({len(text)} in, {len(back)} out)"


def _round_trip(raw: Any, text: str) -> str:
    return str(raw.decode(raw.encode(text, add_special_tokens=False).ids, skip_special_tokens=False))


def _compared(files: TokenizerFiles, raw: Any) -> str:
    """A notice if transformers gives other ids to the probe or to an added token; empty if not, or if it is missing."""
    try:
        version = metadata.version("transformers")
    except metadata.PackageNotFoundError:
        return ""
    try:
        loaded = auto_tokenizer(files)
    except EngineError as error:
        return f"{error}; its tokenizer.json is read without transformers"
    if reads_alike(loaded, raw):
        return ""
    found = lost_by(loaded.backend_tokenizer) or "nothing, but gives other tokens"
    return (
        f"transformers {version} reads the tokenizer of {files.folder.name} wrongly (it loses {found}): its tokenizer.json is "
        f"used as it is. Right are {RIGHT}"
    )


def reads_alike(loaded: Any, raw: Any) -> bool:
    """Whether a transformers tokenizer gives the ids of `raw` to the probe and to every added token."""
    text = PROBE + "".join(token.content for token in raw.get_added_tokens_decoder().values())
    ids: list[int] = raw.encode(text, add_special_tokens=False).ids
    return bool(loaded.encode(text, add_special_tokens=False) == ids)


def auto_tokenizer(files: TokenizerFiles) -> Any:
    """Load the folder's tokenizer with transformers. Raises `EngineError` if it cannot."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise EngineError(f"{error.name} is not installed: pip install transformers") from error
    auto: Any = AutoTokenizer
    try:
        return auto.from_pretrained(str(files.folder), local_files_only=True)
    except Exception as error:  # any library may find any fault with a file
        where = f"{files.folder} has no usable tokenizer ({one_line(error, first=True)})"
        raise EngineError(f"{where}: pass a complete checkpoint") from error


def _converted(files: TokenizerFiles) -> Any:
    """The tokenizer of a checkpoint without tokenizer.json, as transformers converts it."""
    loaded = auto_tokenizer(files)
    if not getattr(loaded, "is_fast", False):
        raise EngineError(f"{files.folder} has no fast tokenizer ({type(loaded).__name__}): add its tokenizer.json")
    from tokenizers import Tokenizer

    raw = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
    raw.no_truncation()
    raw.no_padding()
    if lost := lost_by(raw):
        version = metadata.version("transformers")
        raise EngineError(
            f"transformers {version} reads the tokenizer of {files.folder.name} wrongly (it loses {lost}), and the folder has "
            f"no tokenizer.json: install transformers {RIGHT}"
        )
    return raw
