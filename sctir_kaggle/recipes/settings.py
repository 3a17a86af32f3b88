"""Read a recipe's settings, a frozen dataclass, from a YAML file and `--set field=value`.

Covered: fields of bool, int, float, str, Path, Literal, None, and tuples of these (lists in YAML). Not covered: nesting.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from sctir_kaggle.kinds import nearest
from sctir_kaggle.recipes.disk_full import is_disk_full
from sctir_kaggle.types import EngineError, ExecutorError, UserError, one_line

Settings = TypeVar("Settings")

CONFIGS = Path(__file__).parent / "configs"
"""Config files that ship with the package; a bare name that is no file in the working folder is looked up here."""


def read_settings(cls: type[Settings], path: Path | None, changes: Iterable[str] = ()) -> Settings:
    """Read settings from a YAML file (None: the defaults) and apply `field=value` changes; the last one of a field wins.

    Raises `UserError` for a missing file, an unknown field (with the nearest known one), a wrong type or a missing field.
    """
    given = {} if path is None else _read_yaml(_found(path))
    source = {name: f"{path}, {name}" for name in given}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise UserError(f"--set {change}: no value; write --set FIELD=VALUE")
        given[name.strip()] = _parse_yaml(text, f"--set {change}")
        source[name.strip()] = f"--set {change}"
    return cls(**_checked(cls, given, source))


def settings_of_command(
    cls: type[Settings], description: str | None, arguments: Sequence[str] | None = None
) -> Settings:
    """Parse a recipe's command line, `[--config FILE] [--set field=value ...]`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"YAML; those of {CONFIGS} by name")
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="FIELD=VALUE", help="change a setting")
    args = parser.parse_args(arguments)
    return read_settings(cls, args.config, args.set)


def run_recipe(main: Callable[[], None]) -> None:
    """Run a recipe's `main`; a user-fixable error becomes one line on standard error and exit status 2."""
    try:
        main()
    except (UserError, EngineError, ExecutorError) as error:
        sys.exit(_failed(str(error)))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("sctir_kaggle"):
            raise
        sys.exit(_failed(f"{error.name} is not installed: pip install 'sctir-kaggle[recipes]'"))
    except Exception as error:
        if not is_disk_full(error):
            raise
        why = error.strerror if isinstance(error, OSError) else None
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        said = why or one_line(error)
        sys.exit(_failed(f"the disk is full: {said}{where}; free some and start the same command again"))


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


def _found(path: Path) -> Path:
    shipped = CONFIGS / path.name
    return path if path.exists() or path.parent != Path() or not shipped.exists() else shipped


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        known = ", ".join(sorted(file.name for file in CONFIGS.glob("*.yaml")))
        raise UserError(f"cannot read {path}: {error.strerror}; the package has {known}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8; convert it") from None
    read = _parse_yaml(text, str(path))
    if not isinstance(read, dict):
        raise UserError(f"{path} holds {_shown(read)}; fields with values are needed")
    return {str(name): value for name, value in read.items()}


def _parse_yaml(text: str, source: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise UserError("settings are read by PyYAML: pip install 'sctir-kaggle[recipes]'") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not YAML: {one_line(error)}") from None


def _checked(cls: type[Any], given: Mapping[str, Any], source: Mapping[str, str]) -> dict[str, Any]:
    known = {field.name: field for field in fields(cls) if field.init}
    for name in given:
        if name not in known:
            hint = nearest(name, known) or f"; known: {', '.join(known)}"
            raise UserError(f"{source[name]}: no such field{hint}")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"the field {name} has no value; put it into the file, or --set {name}=VALUE")
    kinds = get_type_hints(cls)
    return {name: _value(value, kinds[name], source[name]) for name, value in given.items()}


def _value(value: Any, kind: Any, source: str) -> Any:
    """Convert `value` to `kind`. An integer counts as a float, and so does `2e-5`, which YAML reads as text."""
    for one in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        try:
            return _as(value, one)
        except (TypeError, ValueError):
            continue
    raise UserError(f"{source}: {_shown(value)} is not {_name(kind)}")


def _as(value: Any, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        if not isinstance(value, str | list | tuple):
            raise TypeError
        inner = get_args(kind)[0]
        return tuple(_as(item, inner) for item in ([value] if isinstance(value, str) else value))
    if get_origin(kind) is Literal:
        return _one_of(value, get_args(kind))
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        return float(value)
    if kind is Path and isinstance(value, str):
        return Path(value).expanduser()
    if type(value) is kind:
        return value
    raise TypeError


def _one_of(value: Any, known: Sequence[Any]) -> Any:
    if value not in known:
        raise ValueError
    return value


def _name(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_name, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a list of {_name(get_args(kind)[0])}"
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    return "null" if kind is NoneType else str(kind.__name__)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{str(value)!r}"[:80]


def keep_settings(output: Path, name: str, values: Mapping[str, object]) -> None:
    """Write `values` but for `output` to the file `name` there. Raises `UserError` where it holds others."""
    file, said = output / name, json.loads(json.dumps(dict(values), default=str))
    del said["output"]
    if file.exists() and (kept := json.loads(file.read_text(encoding="utf-8"))) != said:
        other = ", ".join(f"{field}={kept.get(field)}" for field in said if kept.get(field) != said[field])
        raise UserError(f"{output} is of a run with {other}: give it the same settings, or another output")
    write_json(file, said)


def write_json(file: Path, content: object) -> None:
    """Write `content` as JSON, atomically."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    part.replace(file)
