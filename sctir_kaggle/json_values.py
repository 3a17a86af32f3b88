"""Decode JSON values into dataclasses, each value checked against the annotation of its field.

Covered: dataclasses, tuples, `Literal`, `Enum`, unions with None, `Fraction` (written "1/2"), int, float, str, bool. A file
that was edited by hand, or that another version wrote, gives one sentence with the place of the value instead of a
traceback somewhere later. Not covered: types within a dict, unions of two dataclasses.

>>> decode(tuple[int, ...], [1, "2"])
Traceback (most recent call last):
    ...
sctir_kaggle.json_values.Mismatch: [1] is '2', not an integer
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

Decoder = Callable[[Any], Any]

Before = tuple[tuple[type, Decoder], ...]

UNKNOWN_FIELD = "is a field that this version does not know"

_SHOWN = 40
"""Characters of a wrong value that a message shows."""


class Mismatch(ValueError):
    """A value that does not fit its field. `unknown`: a field or a choice that does not exist, as a newer version writes."""

    def __init__(self, problem: str, *, path: str = "", unknown: bool = False) -> None:
        self.problem, self.path, self.unknown = problem, path, unknown
        super().__init__(f"{path.lstrip('.')} {problem}".strip())

    def below(self, step: str) -> Mismatch:
        """The same mismatch, seen from the value that holds this one."""
        return Mismatch(self.problem, path=step + self.path, unknown=self.unknown)


def decode(kind: type[T], value: Any, *, before: Before = ()) -> T:
    """Decode `value` as `kind`. `before` holds pairs of a dataclass and a function that its values pass through first.

    Raises `Mismatch`, which names the path of the first value that does not fit.
    """
    made: T = _decoder(kind, before)(value)  # type: ignore[arg-type]  # every type is hashable
    return made


@cache
def _decoder(kind: Any, before: Before) -> Decoder:
    """The decoder of an annotation; built once, since a journal holds millions of values."""
    if dataclasses.is_dataclass(kind):
        build, prepare = _dataclass(kind, before), dict[Any, Decoder](before).get(kind)
        return build if prepare is None else lambda value: build(prepare(value))
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return lambda value: _one_of(args, value)
    if origin in (Union, types.UnionType):
        return _union([_decoder(arg, before) for arg in args if arg is not type(None)], optional=type(None) in args)
    if origin is tuple:
        each = [_decoder(arg, before) for arg in args if arg is not Ellipsis]
        return _sequence(each[0]) if args[-1] is Ellipsis else _fixed(each)
    if isinstance(kind, type) and issubclass(kind, Enum):
        choices = {member.value: member for member in kind}
        return lambda value: choices[_one_of(tuple(choices), value)]
    return _SCALARS[kind]


def _dataclass(kind: Any, before: Before) -> Decoder:
    hints = get_type_hints(kind)
    decoders = {field.name: _decoder(hints[field.name], before) for field in dataclasses.fields(kind)}
    needed = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]

    as_it_is = {name: _taken_as_it_is(hints[name]) for name in decoders}

    def build(value: Any) -> Any:
        made = {}
        for name, each in _object(value).items():
            if name not in decoders:
                raise Mismatch(UNKNOWN_FIELD, path=f".{name}", unknown=True)
            if type(each) in as_it_is[name]:  # most values, without a call: a journal of a gigabyte has 20 million
                made[name] = each
                continue
            try:
                made[name] = decoders[name](each)
            except Mismatch as error:
                raise error.below(f".{name}") from None
        for name in needed:
            if name not in made:
                raise Mismatch("is missing", path=f".{name}")
        return kind(**made)

    return build


def _taken_as_it_is(kind: Any) -> frozenset[type]:
    """The JSON types whose every value fits an annotation unchanged. Not float: NaN is one."""
    members = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    return frozenset(member for member in members if member in (int, str, bool, type(None)))


def _sequence(each: Decoder) -> Decoder:
    def build(value: Any) -> tuple[Any, ...]:
        made = []
        for place, item in enumerate(_listed(value)):
            try:
                made.append(each(item))
            except Mismatch as error:
                raise error.below(f"[{place}]") from None
        return tuple(made)

    return build


def _fixed(each: Sequence[Decoder]) -> Decoder:
    def build(value: Any) -> tuple[Any, ...]:
        if len(_listed(value)) != len(each):
            raise Mismatch(f"has {len(value)} values, not {len(each)}")
        made = []
        for place, (decoder, item) in enumerate(zip(each, value, strict=True)):
            try:
                made.append(decoder(item))
            except Mismatch as error:
                raise error.below(f"[{place}]") from None
        return tuple(made)

    return build


def _union(decoders: Sequence[Decoder], *, optional: bool) -> Decoder:
    """The first member that takes the value: `int | Fraction` reads 3 and "1/2"."""

    def build(value: Any) -> Any:
        if optional and value is None:
            return None
        errors = []
        for decoder in decoders:
            try:
                return decoder(value)
            except Mismatch as error:
                errors.append(error)
        # A text was meant for the member that reads texts, which stands last; anything else for the first.
        raise errors[-1 if isinstance(value, str) else 0]

    return build


def _listed(value: Any) -> Sequence[Any]:
    if isinstance(value, (list, tuple)):
        return value
    raise Mismatch(f"is {shown(value)}, not a list")


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if isinstance(value, (str, int)) and value in choices:
        return value
    raise Mismatch(f"is {shown(value)}, which this version does not know", unknown=isinstance(value, str))


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Mismatch(f"is {shown(value)}, not an integer")


def _number(value: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value  # an integer stays one, so that a line that is read and written again is the same
    raise Mismatch(f"is {shown(value)}, not a number")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise Mismatch(f"is {shown(value)}, not a text")


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise Mismatch(f"is {shown(value)}, not true or false")


def _object(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    raise Mismatch(f"is {shown(value)}, not an object")


def _fraction(value: Any) -> Fraction:
    try:
        if isinstance(value, str):
            return Fraction(value)
    except (ValueError, ZeroDivisionError):
        pass
    raise Mismatch(f"is {shown(value)}, not a fraction such as '1/2'")


_SCALARS: Mapping[Any, Decoder] = {
    int: _integer,
    float: _number,
    str: _text,
    bool: _flag,
    Fraction: _fraction,
    dict: _object,
}


def shown(value: Any) -> str:
    """A wrong value as a message shows it, cut if long: a journal's texts have pages.

    >>> shown(None), shown([1, 2]), shown("42")
    ('null', 'a list', "'42'")
    """
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    text = {"None": "null", "True": "true", "False": "false"}.get(repr(value), repr(value))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
