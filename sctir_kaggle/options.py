"""The settings of a run on the command line: an option for each, the `RunConfig` read from them, and their list."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from sctir_kaggle import kinds
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines.registry import ENGINES, check, checkpoint_of, entry_of
from sctir_kaggle.header import without_secrets
from sctir_kaggle.journal import JOURNAL
from sctir_kaggle.kinds import shown
from sctir_kaggle.presets import PRESETS, preset_of
from sctir_kaggle.settings import (
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

SHORT = {"candidates": ("-n",), "turns": ("-m",), "stop_delta": ("--delta",)}

METAVARS: Mapping[kinds.Base, str] = {
    "int": "N",
    "float": "X",
    "time": "TIME",
    "text": "TEXT",
    "list": "TEXT",
    "table": "NAME=VALUE",
}

NAMES = {"engine": ENGINES, "preset": PRESETS, "competition": PROFILES}
"""Settings whose choices are the rows of a table."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: with an option for each setting, its usage would fill a page."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}{self._suggestion(message)}; see {self.prog} --help", file=sys.stderr)
        raise SystemExit(2)

    def unknown(self, arguments: list[str]) -> NoReturn:
        """Refuse the arguments that `parse_known_args` left over."""
        self.error(f"unrecognized arguments: {' '.join(arguments)}")

    def _suggestion(self, message: str) -> str:
        """The option most like the first one that is unknown; empty for any other error."""
        _, found, arguments = message.partition("unrecognized arguments: ")
        options = [word.partition("=")[0] for word in arguments.split() if word.startswith("--")]
        return kinds.nearest(options[0], self._option_string_actions).removesuffix("?") if found and options else ""


def add_settings(parser: argparse.ArgumentParser, words: str = "", *, without: Collection[str] = ()) -> None:
    """Add an option for each setting but those in `without`, and options for the other sources: `--config`, `--set`.

    `words` are the command's positional arguments, for its usage line. An option that is not typed leaves no attribute, so
    that weaker sources show through.
    """
    parser.usage = f"%(prog)s {words}{' ' if words else ''}[OPTIONS]"
    add = parser.add_argument_group("where settings come from").add_argument
    add("--config", type=Path, action="append", default=[], metavar="FILE", help="settings in TOML: candidates = 8")
    add("--set", action="append", default=[], dest="pairs", metavar="NAME=VALUE", help="any setting by its name")
    add("--answers", default=argparse.SUPPRESS, metavar="{aimo1,aimo3,any}", help=_ANSWERS)
    groups = {name: parser.add_argument_group(title) for name, title in _TITLES.items()}
    for setting in all_settings().values():
        if setting.name not in without:
            _add(groups[setting.group], setting)


_ANSWERS = "0..999 mod 1000, 0..99999, any integer; stands for modulus, lowest and highest"

_TITLES = {
    "": "the run",
    "solver": "how a problem is solved",
    "engine": "the engine",
    "sandbox": "the sandbox",
    "clock": "the clock",
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


def parse_settings(args: argparse.Namespace, *, command: Mapping[str, Any] | None = None) -> RunConfig:
    """Resolve the settings from all their sources: files, environment, `--set` and options, the later the stronger.

    `command` holds the command's own defaults. Raises `UserError` on an unknown name or a value outside its limits.
    """
    names = {*all_settings(), "answers"}
    typed = {name: _text(value) for name, value in vars(args).items() if name in names}
    options = Layer("command line", typed, lambda name: f"--{name.replace('_', '-')}")
    files = [*environment_file(), *map(toml_layer, args.config)]
    return resolve([*files, environment_layer(), set_layer(args.pairs), options], command=command)


def check_settings(run: RunConfig) -> RunConfig:
    """The run with its checkpoint found. Raises `UserError` where there is none, or where settings are for another engine.

    Apart from `parse_settings`, so that `sctir settings` can list settings that do not go together yet.
    """
    model = run.engine.model
    if model is not None and entry_of(run.engine.engine).model in ("weights", "tokenizer"):
        run = run.with_model(checkpoint_of(model))
    check(run.engine)
    return run


def folder_of(args: argparse.Namespace, run: RunConfig) -> Path:
    """The folder of the run, by default a new one below runs/.

    Raises `UserError` where a journal is there already (with `--resume`, where none is): before minutes are spent on
    loading the model.
    """
    if run.output is None and args.resume:
        raise UserError("--resume goes on with a run that is kept somewhere: say where with --output DIR")
    folder = Path(run.output or Path("runs") / f"{args.name}-{datetime.now():%Y%m%d-%H%M%S}")
    journal, submission = folder / JOURNAL, folder / run.profile.submission_file
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; --output wants a folder, new or old")
    if submission.is_dir():
        raise UserError(f"{submission} is a folder; choose another --output")
    if journal.exists() and not args.resume:
        raise UserError(f"{journal} exists; add --resume to go on with that run, or choose another --output")
    if args.resume and not journal.exists():
        raise UserError(f"there is no run to resume in {folder}: {journal} does not exist")
    return folder


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that are no settings: how many problems, and whether an earlier run goes on."""
    add = parser.add_argument
    add("--limit", type=positive, metavar="K", help="the first K problems only")
    add("--resume", action="store_true", help="go on with the run in --output")


def seconds(text: str) -> float:
    """An argparse type: `9h`, `30m`, `90` in seconds."""
    try:
        value = kinds.seconds(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 9h, 30m or 90") from None
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
