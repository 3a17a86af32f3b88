"""The settings of a run on the command line: an option for each, the `RunConfig` read from them, and their list."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, count
from pathlib import Path
from typing import Any

from sctir_kaggle import kinds
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines.registry import ENGINES, check, checkpoint_of, entry_of
from sctir_kaggle.header import without_secrets
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.kinds import shown
from sctir_kaggle.presets import PRESETS, preset_of
from sctir_kaggle.settings import (
    ANSWERS,
    Layer,
    RunConfig,
    Setting,
    all_settings,
    environment_file,
    environment_layer,
    resolve,
    set_layer,
    toml_layer,
)
from sctir_kaggle.types import UserError

FILES = (
    "CSV, JSON, JSONL, Parquet or XLSX with the problems and, if known, their answers; - is standard input, "
    "org/name:split a data set of the Hub"
)
"""The help of an argument that names problems."""

SHORT = {"candidates": ("-n",), "turns": ("-m",), "stop_delta": ("--delta",)}

METAVARS: Mapping[kinds.Base, str] = {
    "int": "N",
    "float": "X",
    "time": "TIME",
    "text": "TEXT",
    "list": "TEXT",
    "table": "NAME=VALUE",
}

PROBE_BYTES = 1 << 14
"""Written to see whether there is room; a problem's line takes more."""

NAMES = {"engine": ENGINES, "preset": PRESETS, "competition": PROFILES}
"""Settings whose choices are the rows of a table."""


def add_settings(parser: argparse.ArgumentParser, words: str = "", *, without: Collection[str] = ()) -> None:
    """Add an option for each setting but those in `without`, and options for the other sources: `--config`, `--set`.

    `words` are the command's positional arguments, for its usage line. An option that is not typed leaves no attribute, so
    that weaker sources show through.
    """
    parser.usage = f"%(prog)s {words}{' ' if words else ''}[OPTIONS]"
    add = parser.add_argument_group("where settings come from").add_argument
    add("--config", type=Path, action="append", default=[], metavar="FILE", help="settings in TOML: candidates = 8")
    add("--set", action="append", default=[], dest="pairs", metavar="NAME=VALUE", help="any setting by its name")
    add("--answers", default=argparse.SUPPRESS, metavar=f"{{{','.join(ANSWERS)}}}", help=_ANSWERS)
    groups = {name: parser.add_argument_group(title) for name, title in _TITLES.items()}
    for setting in all_settings().values():
        if setting.name not in without:
            _add(groups[setting.group], setting)


_ANSWERS = "0..999 mod 1000, 0..99999, any integer, any fraction; stands for modulus, lowest, highest, fractions"

_TITLES = {
    "": "the run",
    "solver": "how a problem is solved",
    "engine": "the engine",
    "sandbox": "the sandbox",
    "clock": "the clock",
    "reading": "how a file of problems is read",
}
"""The headings of `--help`, by the field of `RunConfig` whose settings stand below."""


def _add(group: Any, setting: Setting) -> None:
    names = (*SHORT.get(setting.name, ()), setting.flag)
    kept: dict[str, Any] = {"dest": setting.name, "default": argparse.SUPPRESS}
    described = setting.help.replace("%", "%%")
    if "default:" not in described:
        described += f" ({kinds.shown(setting.default)})"
    if setting.kind.base == "bool":
        group.add_argument(*names, action=argparse.BooleanOptionalAction, help=described, **kept)
        return
    choices = setting.kind.choices or tuple(NAMES.get(setting.name, ()))
    metavar = f"{{{','.join(choices)}}}" if choices else METAVARS[setting.kind.base]
    several = "+" if setting.kind.base in ("list", "table") else None
    group.add_argument(*names, nargs=several, metavar=metavar, help=described, **kept)


def layers_of(args: argparse.Namespace) -> list[Layer]:
    """What files, environment, `--set` and options say, the later the stronger."""
    names = {*all_settings(), "answers"}
    typed = {name: _text(value) for name, value in vars(args).items() if name in names}
    options = Layer("command line", typed, lambda name: f"--{name.replace('_', '-')}")
    files = [*environment_file(), *map(toml_layer, args.config)]
    return [*files, environment_layer(), set_layer(args.pairs), options]


def parse_settings(
    args: argparse.Namespace, *, command: Mapping[str, Any] | None = None, earlier: Sequence[Layer] = ()
) -> RunConfig:
    """Resolve the settings from all their sources: `earlier`, files, environment, `--set` and options.

    `command` holds the command's own defaults, `earlier` the settings of a run that goes on. Raises `UserError` on an
    unknown name or a value outside its limits.
    """
    return resolve([*earlier, *layers_of(args)], command=command)


def check_settings(run: RunConfig) -> RunConfig:
    """The run with its checkpoint found. Raises `UserError` where there is none, or where settings are for another engine.

    Apart from `parse_settings`, so that `sctir settings` can list settings that do not go together yet.
    """
    model = run.engine.model
    if model is not None and entry_of(run.engine.engine).model in ("weights", "tokenizer"):
        found = checkpoint_of(model)
        if entry_of(run.engine.engine).model == "weights" and isinstance(found, Path):
            _check_weights(found)
        run = run.with_model(found)
    check(run.engine)
    return run


def _check_weights(folder: Path) -> None:
    """Raise `UserError` where this cannot be a checkpoint, which its engine would find out only seconds later."""
    wanted = "pass the folder that holds config.json and *.safetensors"
    if not folder.is_dir():
        raise UserError(f"{folder} is a file: {wanted}")
    if not (folder / "config.json").is_file():
        nearby = [path.parent for path in sorted(folder.glob("*/config.json"))]
        raise UserError(f"{folder} holds no config.json{f', {nearby[0]} does' if nearby else ''}: {wanted}")


def folder_of(args: argparse.Namespace, layers: Sequence[Layer]) -> Path:
    """The folder of the run, by default a new one below runs/.

    Raises `UserError` where a journal is there already (with `--resume`, where none is).
    """
    named = [layer.values["output"] for layer in layers if layer.values.get("output")]
    if not named and args.resume:
        raise UserError("--resume goes on with a run that is kept somewhere: say where with --output DIR")
    folder = Path(named[-1]).expanduser() if named else _new_folder(args.name)
    journal = folder / JOURNAL
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --output wants a folder, new or old")
    if journal.exists() and not args.resume:
        raise UserError(f"{journal} exists; add --resume to go on with that run, or choose another --output")
    if args.resume and not journal.exists():
        raise UserError(f"there is no run to resume in {folder}: {journal} does not exist")
    return folder


def _new_folder(name: str) -> Path:
    first = Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    numbered = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in chain([first], numbered) if not folder.exists())


def check_folder(folder: Path, run: RunConfig) -> None:
    """Raise `UserError` where journal or submission cannot be written there, before minutes are spent on loading the model.

    Some bytes are written to a file without a name, since permissions say nothing of a full or read-only disk.
    """
    submission = folder / run.profile.submission_file
    if submission.is_dir():
        raise UserError(f"{submission} is a folder; choose another --output")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"cannot write {folder}: {there} is a file; choose another --output")
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --output") from None


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that are no settings: how many problems, and whether an earlier run goes on."""
    add = parser.add_argument
    add("--limit", type=positive, metavar="K", help="the first K problems only")
    add("--resume", action="store_true", help="go on with the run in --output")


def seconds(text: str) -> float:
    """An argparse type: `9h`, `1h30m`, `9:00:00`, `90` in seconds."""
    try:
        value = kinds.seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write {kinds.TIME_FORMS}") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be more than 0 seconds")
    return value


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _text(value: Any) -> Any:
    """Join several words into one text, which is read as one from an environment variable."""
    return " ".join(value) if isinstance(value, list) else str(value) if isinstance(value, Path) else value


def as_text(run: RunConfig) -> str:
    """List the settings, one per line, below the preset and its source."""
    rows = [(name, shown(without_secrets(run.value(name))), run.source(name)) for name in all_settings()]
    first, second, third = (max(len(row[place]) for row in rows) for place in range(3))
    second = min(second, 24)
    lines = (
        f"{name:{first}}  {value:{second}}  {source:{third}}  {all_settings()[name].help}".rstrip()
        for name, value, source in rows
    )
    return "\n".join([*_preset(run), *lines, *_dialect(run)])


def as_json(run: RunConfig) -> str:
    """List the preset with its source, and `name`, `value`, `source`, `help` of each setting."""
    rows = [
        {
            "name": name,
            "value": without_secrets(run.value(name)),
            "source": run.source(name),
            "help": all_settings()[name].help,
        }
        for name in all_settings()
    ]
    preset = preset_of(run.preset) if run.preset else None
    about = preset and {"name": preset.name, "source": preset.source, "note": preset.note}
    return json.dumps({"preset": about, "settings": rows}, indent=2)


def _preset(run: RunConfig) -> Iterator[str]:
    if run.preset:
        preset = preset_of(run.preset)
        yield f"preset {preset.name}: {preset.source}"
        if preset.note:
            yield f"  {preset.note}"
        yield ""


def _dialect(run: RunConfig) -> Iterator[str]:
    if run.dialect == "auto":
        yield ""
        yield "The dialect is recognised when the checkpoint is opened; its sampling then replaces these defaults."
