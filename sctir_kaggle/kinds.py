"""The type of a setting, from its annotation: parse its value from text, check a value from a TOML file or a cell."""

from __future__ import annotations

import ast
import difflib
import json
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.types import UserError

UNITS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
}
"""Units of time by every spelling that is read."""

TIME_FORMS = "9h, 1h30m, 90m, 9:00:00 or 90 (seconds)"
"""How a time may be written, for error messages."""

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")

Base = Literal["bool", "int", "float", "time", "text", "list", "table"]

_WANTED: Mapping[Base, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "time": f"a time: {TIME_FORMS}",
    "text": "a text",
    "list": "a list of texts",
    "table": "NAME=VALUE pairs, or a JSON object",
}


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The values that a setting may have: those of `base`, or only `choices`, and `none` where it is `optional`."""

    base: Base
    choices: tuple[str, ...] = ()
    optional: bool = False

    @property
    def wanted(self) -> str:
        """The values in words, for an error message."""
        what = f"one of {', '.join(self.choices)}" if self.choices else _WANTED[self.base]
        return f"{what}, or none" if self.optional else what

    def read(self, name: str, text: str) -> Any:
        """Parse `text`, from a flag or an environment variable. Raises `UserError`, which calls the setting `name`."""
        if self.optional and text.strip().lower() == "none":
            return None
        try:
            return self.check(name, _READ[self.base](text))
        except ValueError as error:
            raise error if isinstance(error, UserError) else self._wrong(name, text) from None

    def check(self, name: str, value: Any) -> Any:
        """Return `value`, from a TOML file or a cell, in its canonical type. Raises `UserError` where it is another kind."""
        if value is None or (self.optional and value == "none"):
            if self.optional:
                return None
            raise self._wrong(name, value)
        if self.base == "time" and isinstance(value, str):
            return self.read(name, value)
        if self.base == "list" and isinstance(value, str):
            value = _words(value)
        if not _FITS[self.base](value):
            raise self._wrong(name, value)
        value = _MADE.get(self.base, lambda given: given)(value)
        if self.choices and value not in self.choices:
            raise self._wrong(name, value)
        return value

    def _wrong(self, name: str, value: object) -> UserError:
        """The error for a value that is not of this kind."""
        return UserError(f"{name} is {value!r}; it must be {self.wanted}{nearest(str(value), self.choices)}")


def kind_of(hint: Any, *, time: bool = False) -> Kind:
    """The kind that a resolved annotation describes. `time` marks seconds that may be written with a unit.

    >>> kind_of(int | None)
    Kind(base='int', choices=(), optional=True)
    """
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    inner = [part for part in parts if part is not type(None)]
    optional = len(inner) < len(parts)
    if str in inner:
        return Kind(base="text", optional=optional)
    [only] = inner
    if typing.get_origin(only) is Literal:
        return Kind(base="text", choices=typing.get_args(only), optional=optional)
    base = _BASES[typing.get_origin(only) or only]
    return Kind(base="time" if time else base, optional=optional)


def seconds(text: str) -> float:
    """Parse a time into seconds: a number with or without a unit, several with falling units, or a clock's H:MM:SS and M:SS.

    Raises ValueError on anything else, as on `9h30`, which leaves open what 30 is.

    >>> seconds("9h"), seconds("90"), seconds("1h30m"), seconds("9:00:00"), seconds("4:07")
    (32400.0, 90.0, 5400.0, 32400.0, 247.0)
    """
    written = text.strip().lower()
    if clock := _CLOCK.fullmatch(written):
        hours, minutes, rest = clock["hours"], clock["minutes"], float(clock["seconds"])
        if rest >= 60 or (hours is not None and int(minutes) >= 60):
            raise ValueError(text)
        return int(hours or 0) * 3600.0 + int(minutes) * 60 + rest
    sign, written = (-1.0, written[1:]) if written.startswith("-") else (1.0, written)
    parts = [(float(number), UNITS[unit]) for number, unit in _PART.findall(written) if unit in UNITS]
    factors = [factor for _, factor in parts]
    if not parts or not _PARTS.fullmatch(written) or factors != sorted(set(factors), reverse=True):
        return sign * float(written)
    return sign * sum(number * factor for number, factor in parts)


_CLOCK = re.compile(r"(?:(?P<hours>[0-9]+):)?(?P<minutes>[0-9]{1,4}):(?P<seconds>[0-9]{2}(?:\.[0-9]+)?)")
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-z]+)")
_PARTS = re.compile(rf"(?:{_PART.pattern}[\s,]*)+")


def docstrings(cls: type) -> dict[str, str]:
    """The docstring below each field of a dataclass, in one line; empty where there is no source file.

    Python keeps no docstrings of fields, so they are read from the source.
    """
    try:
        tree = ast.parse(Path(str(sys.modules[cls.__module__].__file__)).read_text(encoding="utf-8"))
    except OSError:
        return {}
    [body] = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    return {
        field.target.id: " ".join(str(below.value.value).split())
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(below)
    }


def shown(value: Any) -> str:
    """A setting's value as it is written on a command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, Mapping):
        return json.dumps(dict(value)) if value else "none"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value)) or "none"
    return "none" if value == "" else f"{value:g}" if isinstance(value, float) and abs(value) < 1e6 else str(value)


def nearest(name: str, choices: Iterable[str], *, cutoff: float = 0.6, shown: Callable[[str], object] = str) -> str:
    """The end of an error message that suggests the choice most like `name`; empty where none is like it.

    `cutoff` is the least similarity, from 0 to 1. `shown` turns the choice into what is to be typed.

    >>> nearest("candidate", ["candidates", "turns"])
    '; did you mean candidates?'
    """
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=cutoff)
    return f"; did you mean {shown(near[0])}?" if near else ""


def beside(path: Path | str) -> str:
    """The end of an error message that suggests the file or folder most like `path` in its folder; empty where none is.

    Only for a path that is not there.
    """
    here = Path(path).expanduser()
    try:
        if here.exists():
            return ""
        names = sorted(each.name for each in here.parent.iterdir())
    except (OSError, ValueError):  # no such folder, or a NUL character
        return ""
    return nearest(here.name, names, shown=here.parent.joinpath)


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file. Raises `UserError` where it cannot be read."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not TOML: {error}") from None
    except (OSError, UnicodeError) as error:
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}{beside(path)}") from None
    return values


def _is_text(node: ast.stmt) -> typing.TypeGuard[Any]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _bool(text: str) -> bool:
    if text.lower() not in YES + NO:
        raise ValueError(text)
    return text.lower() in YES


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _table(text: str) -> dict[str, Any]:
    if text.lstrip().startswith("{"):
        found = json.loads(text)
        return found if isinstance(found, dict) else {}
    pairs = [word.partition("=") for word in text.split()]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError(text)
    return {name: _json_or_text(value) for name, _, value in pairs}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_texts(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(each, str) for each in value)


_BASES: Mapping[Any, Base] = {bool: "bool", int: "int", float: "float", Sequence: "list", Mapping: "table"}

_READ: Mapping[Base, Any] = {
    "bool": _bool,
    "int": int,
    "float": float,
    "time": seconds,
    "text": str,
    "list": _words,
    "table": _table,
}

_FITS: Mapping[Base, Any] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: _is_number(value) and not math.isnan(value),
    "time": lambda value: _is_number(value) and not math.isnan(value),
    "text": lambda value: isinstance(value, (str, Path)),
    "list": _is_texts,
    "table": lambda value: isinstance(value, Mapping),
}

_MADE: Mapping[Base, Any] = {"float": float, "time": float, "list": tuple, "table": dict, "text": str}
