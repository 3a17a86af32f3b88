"""Go on with an earlier run: its settings from the journal's header, what must agree, and the command that does it."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sctir_kaggle.dialects.rows import DIALECTS
from sctir_kaggle.engines.registry import ENGINES, entry_of
from sctir_kaggle.header import without_secrets
from sctir_kaggle.journal import JOURNAL, read_header
from sctir_kaggle.jsonlines import lock
from sctir_kaggle.kinds import shown
from sctir_kaggle.options import SHORT
from sctir_kaggle.problems import ASSETS, fingerprint
from sctir_kaggle.settings import Layer, RunConfig, all_settings
from sctir_kaggle.types import Problem, UserError

SAMPLING = {name for dialect in DIALECTS.values() for name in dialect.sampling}
"""Settings that a dialect may fill once the checkpoint is opened; before that they cannot be compared."""

ELSEWHERE = "or choose another --output"
"""The end of every refusal to go on."""

_HIDDEN = "..."
"""What a journal holds in the place of a password."""


def header_of(folder: Path) -> Mapping[str, Any] | None:
    """The header of the run in `folder`; None where a kill came before it was written. Raises `UserError`."""
    journal = folder / JOURNAL
    try:
        return read_header(journal)
    except UserError:
        if journal.is_file() and journal.stat().st_size < 1 << 16 and b"\n" not in journal.read_bytes():
            return None
        raise


def earlier_settings(folder: Path) -> Layer:
    """The settings that were chosen for the run in `folder`, in whatever way: they need not be typed again."""
    header = header_of(folder) or {}
    config, settings, given = (header.get(name) for name in ("config", "settings", "given"))
    if not (isinstance(config, dict) and isinstance(settings, dict) and isinstance(given, dict)):
        return Layer("the run that goes on", {})
    values = {**settings, **config, **({"budget": header["budget"]} if header.get("budget") else {})}
    chosen = {name: values[name] for name in given if name in values and name in all_settings()}
    kept = {name: value for name, value in chosen.items() if _HIDDEN not in json.dumps(value)}
    return Layer("the run that goes on", kept, lambda name: f"{folder / JOURNAL}: {name}")


def check_resumable(folder: Path, run: RunConfig, problems: Sequence[Problem]) -> None:
    """Raise `UserError` where the run in `folder` cannot go on as `run`: seen before a model is loaded.

    What only the loaded model tells, its dialect and its facts, is compared by `Journal.resume`.
    """
    journal = folder / JOURNAL
    with _opened(journal) as file:
        lock(journal, file)
    header = header_of(folder)
    if header is None:
        return
    for name, old, new in _differences(header, run):
        raise UserError(f"cannot resume {journal}: its {name} is {old}, now {new}; {_typed(name, old)}, {ELSEWHERE}")
    if (was := header.get("problems")) != fingerprint(problems):
        count = header.get("problem_count")
        limit = isinstance(count, int) and count < len(problems) and fingerprint(problems[:count]) == was
        step = f"give --limit {count}" if limit else "give the same file and --limit"
        raise UserError(
            f"cannot resume {journal}: its problems are others (another CSV, or another --limit); {step}, {ELSEWHERE}"
        )


def check_command(folder: Path, command: str) -> None:
    """Raise `UserError` where the run in `folder` is a replay and `command` is not, or the other way round."""
    header = header_of(folder)
    if header is None or ("seeds" in header) == (command == "replay"):
        return
    theirs, again = ("replay", "replay SET") if "seeds" in header else ("solve or dry-run", "solve FILE")
    raise UserError(
        f"cannot resume {folder / JOURNAL}: it is a run of sctir {theirs}; to go on: sctir {again} --resume "
        f"--output {shlex.quote(str(folder))}, {ELSEWHERE}"
    )


def _typed(name: str, old: Any) -> str:
    """How a setting that is another now is given as it was; `name` is as in `_differences`."""
    group, _, field = name.partition(" ")
    setting = all_settings().get(field)
    if setting is None or (group == "engine" and field == "model"):
        return f"give the --{field} that it had"
    if isinstance(old, bool):
        return f"give {setting.flag if old else setting.flag.replace('--', '--no-', 1)}"
    return f"give {SHORT.get(field, (setting.flag,))[0]} {shown(old)}"


def _differences(header: Mapping[str, Any], run: RunConfig) -> Iterator[tuple[str, Any, Any]]:
    """Name, earlier and present value of what is known already and differs."""
    old, new = header.get("config"), asdict(run.solver)
    open_ = SAMPLING - set(run.given or ())
    for name, value in (old if isinstance(old, dict) else {}).items():
        if name in new and name not in open_ and value != new[name]:
            yield f"config {name}", value, new[name]
    facts, now = header.get("engine"), _known_facts(run)
    if isinstance(facts, dict) and facts.get("engine") in ENGINES:
        yield from ((f"engine {name}", facts[name], now[name]) for name in now if facts.get(name) != now[name])


def _known_facts(run: RunConfig) -> Mapping[str, str]:
    """What the engine will say of itself once it is loaded, as far as the settings tell."""
    entry = entry_of(run.engine.engine)
    if entry.model != "weights":
        return {"engine": entry.name}
    return {"engine": entry.name, "model": Path(run.engine.model or ASSETS / "model").name}


def _opened(journal: Path) -> Any:
    try:
        return journal.open("a", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {journal}: {error.strerror}") from None


def command_line(typed: Sequence[str], folder: Path | None) -> str:
    """The command that was typed, so that it can be typed again; with `folder` it goes on with the run there.

    `typed` begins with the command's name. Passwords are left out.

    >>> command_line(["solve", "my problems.csv", "-n", "4"], Path("runs/a"))
    "sctir solve --resume --output runs/a 'my problems.csv' -n 4"
    """
    command, *rest = typed
    added = []
    if folder is not None:
        # Before the others, since `--` may stand among them.
        added = [] if "--resume" in rest else ["--resume"]
        added += [] if any(word.partition("=")[0] == "--output" for word in rest) else ["--output", str(folder)]
    return shlex.join([*_program(), command, *added, *map(_shown, rest)])


def _program() -> list[str]:
    """How this command was called."""
    called = Path(sys.argv[0] if sys.argv else "")
    if called.name != "__main__.py" or called.parent.name != __package__:
        return ["sctir"]
    python = "python" if shutil.which("python") == sys.executable else sys.executable
    return [python, "-m", __package__]


def _shown(word: str) -> str:
    """The word without a password: `api_key=abc` and `http://me:abc@host` lose theirs."""
    name, equals, value = word.partition("=")
    shown = without_secrets({name: value})[name] if equals else without_secrets(word)
    return f"{name}={shown}" if equals else str(shown)
