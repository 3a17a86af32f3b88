"""Attach what the notebook needs: install the engine's libraries from attached wheels, offline, and find the checkpoint.

Nothing is installed before it is certain that everything can be, and that nothing of the image is replaced that must stay:
what is built with its CUDA, and what this process has imported. Not covered: other distributions of the image that need the
version which is replaced.
"""

from __future__ import annotations

import importlib
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
from sctir_kaggle.kaggle.wheels.image import FREEZE, Image, here, is_protected
from sctir_kaggle.kaggle.wheels.requirements import PINS, Lock, find_lock, for_the_notebook, parsed
from sctir_kaggle.kaggle.wheels.wheelhouse import Plan, plan
from sctir_kaggle.types import UserError

T = TypeVar("T")

REMAKE = f"make them for this image, sctir wheels --image {FREEZE} (the notebook leaves that file in the editor)"
"""The remedy if wheels and image do not go together."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The result of `attach`."""

    model: str | Path | None
    installed: list[str]
    """Names of the modules that were missing and are installed now."""

    faults: list[str]
    """Errors that a rerun survives, a line each."""


def attach(
    engine: str, model: str | Path | None = None, *, rerun: bool | None = None, roots: Roots | None = None
) -> Attached:
    """Install what `engine` lacks and find the checkpoint, which is `model` if that is given.

    Raises `UserError` if either is not there. In a rerun it is recorded as a fault instead, because every problem must
    get its default answer rather than none. `rerun` None asks the environment.
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

    def checkpoint() -> str | Path | None:
        if entry_of(engine).model != "weights":
            return model
        return find_model(roots=roots) if model is None else checkpoint_of(model)

    nothing: list[str] = []
    installed = survived(lambda: install_missing(engine, roots), nothing)
    return Attached(survived(checkpoint, None), installed, faults)


def install_missing(engine: str, roots: Sequence[str | Path] | None = None) -> list[str]:
    """Install the modules that `engine` needs and this Python lacks; return their names.

    If none is missing, no wheels are needed. Raises `NotFound` if no wheels are attached, and `UserError` if they are for
    another Python, are incomplete, would replace what must stay, or if pip fails.
    """
    missing = [name for name in entry_of(engine).needs if find_spec(name) is None]
    if missing:
        _install(missing, wheel_folders(roots) or [find_wheels(roots)])  # `find_wheels` raises with what was searched
        importlib.invalidate_caches()
    return missing


def python_fault(lock: Lock | None, image: Image) -> str:
    """Return both Python versions if the wheels are for another one than the image's; otherwise an empty string."""
    if lock is None or lock.python == image.minor:
        return ""
    return (
        f"the wheels are for Python {lock.python}, and this is Python {image.minor}: "
        f"make them for it, sctir wheels --python {image.minor}, or pin the notebook to an image with {lock.python}"
    )


def plan_fault(found: Plan, lock: Lock | None, image: Image, loaded: Iterable[str] = ()) -> str:
    """Return why a plan must not be installed, and what to do; empty if it may. `loaded` are distributions in use."""

    def with_versions(names: Sequence[str]) -> str:
        return ", ".join(f"{name} {image.versions[name]}" for name in names)

    if found.lacking:
        return f"the wheels lack {', '.join(map(str, found.lacking))}: {REMAKE}"
    shipped = "torch" in (lock.ship if lock else ())
    if fixed := [name for name in found.replaced if is_protected(name) and not shipped]:
        return f"the wheels would replace {with_versions(fixed)} of this image, which is built with its CUDA: {REMAKE}"
    if used := sorted(set(found.replaced) & set(loaded)):
        return f"the wheels would replace {with_versions(used)}, which is imported already: restart the kernel"
    return ""


def roots_of(folders: Iterable[Path], needs: Iterable[str]) -> list[str]:
    """Return the names that a plan begins with: what the engine needs, and the requirements that lie with the wheels.

    They have no versions: any version that fits will do.
    """
    place = next((folder / PINS for folder in folders if (folder / PINS).is_file()), None)
    listed = for_the_notebook(place) if place else []
    return sorted({*needs, *(parsed(line, PINS).name for line in listed)})


def loaded_of(names: Iterable[str]) -> list[str]:
    """Return those of these distributions that have a module in this process."""
    return [name for name in names if any(module in sys.modules for module in _modules(name))]


def _install(names: Sequence[str], folders: Sequence[Path]) -> None:
    lock, image = find_lock(folders), here()
    places = ", ".join(map(str, folders))
    if fault := python_fault(lock, image):
        raise UserError(f"{places}: {fault}")
    found = plan(folders, roots_of(folders, names), image, lock)
    if fault := plan_fault(found, lock, image, loaded_of(found.replaced)):
        raise UserError(f"{', '.join(names)} cannot be installed from {places}: {fault}")
    _pip_install(found, lock, places)


def _pip_install(found: Plan, lock: Lock | None, places: str) -> None:
    """Install exactly these files, with the lock's hashes if there is one, so that pip has nothing left to choose."""
    hashes = {wheel.file: wheel.sha256 for wheel in lock.wheels} if lock else {}
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "requirements.txt")
        with listed.open("w", encoding="utf-8") as file:
            for name, path in found.install.items():
                known = f" --hash=sha256:{hashes[path.name]}" if path.name in hashes else ""
                file.write(f"{name} @ {path.resolve().as_uri()}{known}\n")
        quiet = ("-q", "--disable-pip-version-check", "--no-input", "--no-index", "--no-deps")
        strict = ("--require-hashes",) if lock else ()
        command = [sys.executable, "-m", "pip", "install", *quiet, *strict, "-r", str(listed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = done.stdout.splitlines()
        said = next((line for line in lines if line.startswith("ERROR")), f"status {done.returncode}")
        raise UserError(f"pip cannot install from {places}: {said}; make the wheels again with `sctir wheels`")


def _modules(name: str) -> set[str]:
    """The names under which the distribution is imported."""
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return set()
    said = (distribution.read_text("top_level.txt") or "").split()
    first = {path.parts[0].removesuffix(".py") for path in distribution.files or () if path.suffix in (".py", ".so")}
    return {module for module in {*said, *first} if module.isidentifier()}
