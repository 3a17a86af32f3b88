"""Read a checkpoint's tokenizer files besides the vocabulary: special tokens, end tokens, chat templates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.types import EngineError, one_line

WANTED = ("*token*.json", "tokenizer.model", "vocab.json", "merges.txt", "config.json", "generation_config.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates/*.jinja")

FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")
"""What an added token may say of how it is found in a text."""

NAMES = ("bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class NamedToken:
    """A token that the files beside the vocabulary name; `id` is None where they leave that to the vocabulary."""

    content: str
    id: int | None
    flags: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class TokenizerFiles:
    """The files of one folder.

    `special` maps names such as `bos_token` to texts, `templates` maps names to chat templates; `ends` are token ids.
    """

    folder: Path
    config: Mapping[str, Any]
    special: Mapping[str, str]
    templates: Mapping[str, str]
    ends: frozenset[int]

    @property
    def vocabulary(self) -> Path | None:
        """The file tokenizer.json, None if there is none."""
        file = self.folder / "tokenizer.json"
        return file if file.is_file() else None

    def named_tokens(self) -> list[NamedToken]:
        """Tokens that a library adds to those of the vocabulary file: the config's, by their ids, then the special ones."""
        found: dict[str, NamedToken] = {}
        stored = self.config.get("added_tokens_decoder")
        for place, token in stored.items() if isinstance(stored, dict) else ():
            if isinstance(token, dict) and isinstance(content := token.get("content"), str) and str(place).isdecimal():
                flags = {name: bool(token[name]) for name in FLAGS if name in token}
                found[content] = NamedToken(content, int(place), flags)
        for content, place in _json(self.folder / "added_tokens.json").items():
            if isinstance(place, int):
                found.setdefault(content, NamedToken(content, place, {}))
        for content in self.special.values():
            found.setdefault(content, NamedToken(content, None, {"special": True}))
        return sorted(found.values(), key=lambda token: (token.id is None, token.id or 0))

    @classmethod
    def read(cls, model: str | Path) -> TokenizerFiles:
        """Read those of a folder, or of owner/name on the Hugging Face Hub, which are downloaded. Raises `EngineError`."""
        folder = _folder(model)
        config = _json(folder / "tokenizer_config.json")
        return cls(folder, config, _special(folder, config), _templates(folder, config), _ends(folder))


def _folder(model: str | Path) -> Path:
    here = Path(model).expanduser()
    if here.is_dir():
        return here
    if isinstance(model, Path) or here.is_absolute() or str(model).count("/") != 1:
        raise EngineError(f"{model} is not a folder: pass the checkpoint's, which holds its tokenizer")
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(str(model), allow_patterns=[*WANTED, *TEMPLATES]))
    except ImportError as error:
        raise EngineError(f"{error.name} is not installed: pip install transformers") from error
    except Exception as error:  # the network, the Hub, a name that it does not have
        raise EngineError(
            f"{model} has no usable tokenizer ({one_line(error, first=True)}): pass a folder, or a name that the Hub has"
        ) from error


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        reason = one_line(error, first=True)
        raise EngineError(f"{file} is not whole JSON ({reason}): copy it from the original model") from None
    return found if isinstance(found, dict) else {}


def _special(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens by the names that chat templates use."""
    extra = config.get("extra_special_tokens")
    named = {**_json(folder / "special_tokens_map.json"), **(extra if isinstance(extra, dict) else {})}
    for name in NAMES:
        named[name] = config.get(name, named.get(name))
    texts = {name: token.get("content") if isinstance(token, dict) else token for name, token in named.items()}
    return {name: text for name, text in texts.items() if isinstance(text, str) and text}


def _templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """Chat templates by name; a separate file wins over the config."""
    found = _named(_json(folder / "chat_template.json").get("chat_template")) | _named(config.get("chat_template"))
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        found[file.stem] = file.read_text(encoding="utf-8")
    if (file := folder / "chat_template.jinja").is_file():
        found["default"] = file.read_text(encoding="utf-8")
    return found


def _named(stored: Any) -> dict[str, str]:
    """Templates by name, from one text, a list of named ones, or a table."""
    if isinstance(stored, str):
        return {"default": stored}
    if isinstance(stored, list):
        return {str(one["name"]): str(one["template"]) for one in stored}
    return {name: str(one) for name, one in stored.items()} if isinstance(stored, dict) else {}


def _ends(folder: Path) -> frozenset[int]:
    """The end tokens of generation_config.json, or of config.json if the former names none."""
    for name in ("generation_config.json", "config.json"):
        found = _json(folder / name).get("eos_token_id")
        if found is not None:
            return frozenset(found if isinstance(found, list) else [found])
    return frozenset()
