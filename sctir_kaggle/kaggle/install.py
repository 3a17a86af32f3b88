"""The libraries that an engine imports, installed without a network from the wheels that are attached.

Nothing is installed before it is known that all can be, and that nothing of the image is replaced which must not be: what is
built with its CUDA, and what this process has loaded. Not covered: what else in the image needs a version that is replaced.
"""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from sctir_kaggle.competition.inputs import Roots, find_model, find_wheels, wheel_folders
from sctir_kaggle.competition.submission import in_rerun
from sctir_kaggle.engines.registry import checkpoint_of, entry_of
from sctir_kaggle.kaggle.wheels import lock as locks
from sctir_kaggle.kaggle.wheels.image import FREEZE, Image, here
from sctir_kaggle.kaggle.wheels.lock import Lock
from sctir_kaggle.kaggle.wheels.requirements import PINS, for_the_notebook, is_protected, parsed
from sctir_kaggle.kaggle.wheels.wheelhouse import Plan, plan
from sctir_kaggle.types import UserError

AGAIN = f"make them for this image, sctir wheels --image {FREEZE} (the notebook leaves that file in the editor)"
"""What to do where wheels and image do not go together."""


def install_missing(engine: str, roots: Sequence[str | Path] | None = None) -> list[str]:
    """The names of what was missing and is installed now; nothing is done, nor are wheels needed, where nothing was.

    Raises `NotFound` where no wheels are attached, `UserError` where they are for another Python, where they are not complete
    or would replace what must stay, and where pip fails.
    """
    missing = [name for name in entry_of(engine).needs if find_spec(name) is None]
    if missing:
        _install(missing, wheel_folders(roots) or [find_wheels(roots)])  # the latter says what was searched
        importlib.invalidate_caches()
    return missing


def fault_of(found: Plan, lock: Lock | None, image: Image, loaded: Iterable[str] = ()) -> str:
    """Why this may not be installed here, and what to do; empty where it may. `loaded` are distributions in use."""
    if found.lacking:
        return f"the wheels lack {', '.join(map(str, found.lacking))}: {AGAIN}"
    shipped = "torch" in (lock.ship if lock else ())
    if fixed := [name for name in found.replaced if is_protected(name) and not shipped]:
        return f"the wheels would replace {_with_versions(fixed, image)} of this image, which is built with its CUDA: {AGAIN}"
    if used := sorted(set(found.replaced) & set(loaded)):
        return f"the wheels would replace {_with_versions(used, image)}, which is imported already: restart the kernel"
    return ""


def python_fault(lock: Lock | None, image: Image) -> str:
    """Both Pythons, where the wheels are for another one than runs; empty where they are for this one."""
    if lock is None or lock.python == image.minor:
        return ""
    return (
        f"the wheels are for Python {lock.python}, and this is Python {image.minor}: "
        f"make them for it, sctir wheels --python {image.minor}, or pin the notebook to an image with {lock.python}"
    )


def roots_of(folders: Iterable[Path], needs: Iterable[str]) -> list[str]:
    """What the engine needs, and what lies with the wheels as their requirements: by name, any version that fits will do."""
    place = next((folder / PINS for folder in folders if (folder / PINS).is_file()), None)
    listed = for_the_notebook(place) if place else []
    return sorted({*needs, *(parsed(line, PINS).name for line in listed)})


def loaded_of(names: Iterable[str]) -> list[str]:
    """Those of these distributions that have a module in this process."""
    return [name for name in names if any(module in sys.modules for module in _modules(name))]


def _install(names: Sequence[str], folders: Sequence[Path]) -> None:
    lock, image = locks.find(folders), here()
    places = ", ".join(map(str, folders))
    if fault := python_fault(lock, image):
        raise UserError(f"{places}: {fault}")
    found = plan(folders, roots_of(folders, names), image, lock)
    if fault := fault_of(found, lock, image, loaded_of(found.replaced)):
        raise UserError(f"{', '.join(names)} cannot be installed from {places}: {fault}")
    _pip(found, lock, places)


def _pip(found: Plan, lock: Lock | None, places: str) -> None:
    """Exactly these files, with the lock's hashes where there is one: pip has nothing left to choose."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "requirements.txt")
        listed.write_text("".join(_lines(found, lock)), encoding="utf-8")
        quiet = ("-q", "--disable-pip-version-check", "--no-input", "--no-index", "--no-deps")
        hashes = ("--require-hashes",) if lock else ()
        command = [sys.executable, "-m", "pip", "install", *quiet, *hashes, "-r", str(listed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = done.stdout.splitlines()
        said = next((line for line in lines if line.startswith("ERROR")), f"status {done.returncode}")
        raise UserError(f"pip cannot install from {places}: {said}; make the wheels again with `sctir wheels`")


def _lines(found: Plan, lock: Lock | None) -> Iterable[str]:
    hashes = {wheel.file: wheel.sha256 for wheel in lock.wheels} if lock else {}
    for name, path in found.install.items():
        known = f" --hash=sha256:{hashes[path.name]}" if path.name in hashes else ""
        yield f"{name} @ {path.resolve().as_uri()}{known}\n"


def _modules(name: str) -> set[str]:
    """The names that the distribution is imported by."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return set()
    said = (distribution.read_text("top_level.txt") or "").split()
    first = {path.parts[0].removesuffix(".py") for path in distribution.files or () if path.suffix in (".py", ".so")}
    return {module for module in {*said, *first} if module.isidentifier()}


def _with_versions(names: Sequence[str], image: Image) -> str:
    return ", ".join(f"{name} {image.versions[name]}" for name in names)


T = TypeVar("T")

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True)
class Attached:
    """`installed` names libraries; `faults` says in a line each what a rerun had to go on without."""

    model: str | Path | None
    installed: list[str]
    faults: list[str]


def attach(
    engine: str, model: str | Path | None = None, *, rerun: bool | None = None, roots: Roots | None = None
) -> Attached:
    """Installs what `engine` lacks and finds the checkpoint, which is `model` where that is given.

    Raises `UserError` where either is not there; not so in a rerun, where every problem must get its default answer
    rather than none. Whether it is one the environment says, unless `rerun` does.
    """
    faults: list[str] = []

    def survived(act: Callable[[], T], instead: T) -> T:
        try:
            return act()
        except (UserError, OSError) as error:
            if not (in_rerun() if rerun is None else rerun):
                raise
            faults.append(str(error))
            return instead

    nothing: list[str] = []
    installed = survived(lambda: install_missing(engine, roots), nothing)
    return Attached(survived(lambda: _model(engine, model, roots), None), installed, faults)


def _model(engine: str, model: str | Path | None, roots: Roots | None) -> str | Path | None:
    """Only an engine that loads weights needs them here."""
    if entry_of(engine).model != "weights":
        return model
    return find_model(roots=roots) if model is None else checkpoint_of(model)
