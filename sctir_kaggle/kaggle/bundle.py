"""Build the library's wheel that a notebook carries: a part of the checkout, small enough, always the same bytes.

setuptools builds it from a copy of the files that belong in it, so that neither times, modes, the umask nor caches and models
in the tree change a byte. Its files are stored, not compressed each by itself: `packed` compresses them as a whole, to two
thirds of that. Not covered: another version of setuptools, which writes its name into the wheel.
"""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sctir_kaggle.types import UserError

CHECKOUT = Path(__file__).parents[2]

LIMIT = 680_000
"""Bytes of a `packed` wheel that a notebook can carry: base64 adds a third, and Kaggle takes less than 1 MB of notebook."""

CARRIED = (
    *("*.py", "py.typed", "answers/*.py", "dialects/*.py", "engines/*.py", "sandbox/*.py", "competition/*.py"),
    "problems/*.py",
    *("kaggle/*.py", "kaggle/checks/*.py", "kaggle/wheels/*.py", "kaggle/wheels/images/*.txt"),
    *("assets/problems.csv", "assets/README.md"),
    *("lab/*.py", "lab/view/*", "lab/view/vendor/katex/*"),
)
"""The carried files, relative to the package: the library, and the part of the lab that writes `view.html` beside the
submission. The shipped models, the recipes and the rest of the lab are left out."""

FONTS = ("Main-Regular", "Math-Italic", "AMS-Regular", *(f"Size{size}-Regular" for size in (1, 2, 3, 4)))
"""KaTeX's fonts for common formulas; for bold and rare symbols a browser falls back to its own."""

SETUPTOOLS = 77
"""The first major version that reads our pyproject.toml."""

EPOCH = "315532800"
"""The time of every file: 1980-01-01, the earliest that a zip can hold."""


def build_wheel(folder: Path, *, checkout: Path = CHECKOUT) -> Path:
    """Write the wheel of `checkout` into `folder` and return its path.

    Raises `UserError` if `checkout` is none (an installed package has no pyproject.toml), if the build fails, or if the
    wheel has more than `LIMIT` bytes.
    """
    if not (checkout / "pyproject.toml").is_file():
        raise UserError(f"{checkout} has no pyproject.toml: run this in a checkout, not from an installed package")
    with tempfile.TemporaryDirectory(prefix="sctir-bundle-") as temporary:
        tree = Path(temporary, "tree")
        _copy(checkout, tree)
        _build(tree, Path(temporary))
        [wheel] = Path(temporary).glob("*.whl")
        stored = _stored(wheel, tree)
        if (size := len(packed(stored))) > LIMIT:
            what = f"{wheel.name} has {size:,} bytes when it is packed, {LIMIT:,} at most"
            raise UserError(f"{what}: keep data out of sctir_kaggle/assets")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(stored, folder / wheel.name))


def packed(wheel: Path) -> bytes:
    """Return the wheel as the notebook's cell holds it, before base64: compressed with xz."""
    return lzma.compress(wheel.read_bytes(), preset=9 | lzma.PRESET_EXTREME)


def _stored(wheel: Path, folder: Path) -> Path:
    """Write a copy of the wheel into `folder`, in which the files are not compressed."""
    copy = folder / wheel.name
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            content = old.read(entry)
            entry.compress_type = zipfile.ZIP_STORED
            new.writestr(entry, content)
    return copy


def _copy(checkout: Path, tree: Path) -> None:
    """Copy what the build reads, with fixed modes: those of a checkout depend on the umask it was cloned under."""
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
    """Build offline if this Python's setuptools is new enough; otherwise pip downloads one."""
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
