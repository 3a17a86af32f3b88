"""The library's wheel, as a notebook carries it: a list of folders of the checkout, always the same bytes.

Of the viewer it has what its page needs, so that `view.html` is written where the run was.

setuptools builds it, from a copy that holds only what belongs in it. Covered: times, modes and order of the files, the
umask, caches and models that lie in the tree. Not covered: another version of setuptools, whose name is in the wheel.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sctir_kaggle.types import UserError

CHECKOUT = Path(__file__).parents[2]

LIMIT = 680_000
"""Bytes of a wheel that a notebook can carry: in base64 a third more, and Kaggle takes less than a megabyte of notebook."""

CARRIED = (
    *("*.py", "py.typed", "answers/*.py", "dialects/*.py", "engines/*.py", "sandbox/*.py", "competition/*.py"),
    *("kaggle/*.py", "kaggle/checks/*.py", "kaggle/wheels/*.py", "kaggle/wheels/images/*.txt"),
    *("assets/problems.csv", "assets/README.md"),
    *("lab/*.py", "lab/view/*", "lab/view/vendor/katex/*"),
)
"""What a notebook carries, from the package's folder: the library, and of the lab what writes `view.html` beside the
submission. The models that ship, the recipes and the rest of the lab stay at home."""

FONTS = ("Main-Regular", "Math-Italic", "AMS-Regular", *(f"Size{size}-Regular" for size in (1, 2, 3, 4)))
"""KaTeX's, for plain formulas; a browser draws bold and rare ones with its own."""

SETUPTOOLS = 77
"""The first major version that reads our pyproject.toml."""

EPOCH = "315532800"
"""1980-01-01, the first time that a zip can hold, for every file."""


def build_wheel(folder: Path, *, checkout: Path = CHECKOUT) -> Path:
    """The wheel of `checkout`, written into `folder`.

    Raises `UserError` where `checkout` is none (an installed package has no pyproject.toml), where the build fails, or
    where the wheel has more than `LIMIT` bytes.
    """
    if not (checkout / "pyproject.toml").is_file():
        raise UserError(f"{checkout} has no pyproject.toml: run this in a checkout, not from an installed package")
    with tempfile.TemporaryDirectory(prefix="sctir-bundle-") as temporary:
        tree = Path(temporary, "tree")
        _copy(checkout, tree)
        _build(tree, Path(temporary))
        [wheel] = Path(temporary).glob("*.whl")
        _check_size(wheel)
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, folder / wheel.name))


def _copy(checkout: Path, tree: Path) -> None:
    """What the build reads, with one mode for all: a checkout's modes depend on the umask of whoever made it."""
    package = checkout / "sctir_kaggle"
    fonts = (f"lab/view/vendor/katex/fonts/KaTeX_{face}.woff2" for face in FONTS)
    for path in (path for pattern in (*CARRIED, *fonts) for path in package.glob(pattern)):
        if path.is_file():
            place = tree / "sctir_kaggle" / path.relative_to(package)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(checkout / name, tree)
    for path in tree.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def _build(tree: Path, folder: Path) -> None:
    """Without the network where this Python's setuptools will do; else pip fetches one."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--disable-pip-version-check", "-w", str(folder)]
    offline = ["--no-build-isolation", "--no-index"] if _setuptools() >= SETUPTOOLS else []
    done = subprocess.run(
        [*command, *offline, str(tree)],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        umask=0o022,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no output"])[-1]
        raise UserError(f"the wheel cannot be built: {last}; pip install 'setuptools>={SETUPTOOLS}' pip, and try again")


def _setuptools() -> int:
    try:
        return int(version("setuptools").partition(".")[0])
    except PackageNotFoundError:
        return 0


def _check_size(wheel: Path) -> None:
    size = wheel.stat().st_size
    if size > LIMIT:
        raise UserError(f"{wheel.name} has {size:,} bytes, {LIMIT:,} at most: keep data out of sctir_kaggle/assets")
