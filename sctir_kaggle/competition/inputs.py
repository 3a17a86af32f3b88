"""Find what is attached to a Kaggle notebook: competition files, wheels, checkpoints, an interpreter.

Kaggle mounts inputs in two layouts, and both are searched: `/kaggle/input/<slug>/` and
`/kaggle/input/{competitions,datasets,models,notebooks}/...`. A search is bounded in depth and number, so that a dataset of
a million files costs no more than a small one. Not covered: files inside archives, a checkpoint more than `DEPTH` folders
below the source that holds it, or below its `BREADTH`-th subfolder.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sctir_kaggle.types import UserError

ROOTS = ("/kaggle/input",)
"""Where Kaggle mounts inputs."""

ROOTS_VARIABLE = "SCTIR_KAGGLE_INPUT"
"""The environment variable that names other roots, separated as in PATH, for runs on other machines."""

OWNED = {"competitions": 1, "datasets": 2, "models": 2, "notebooks": 2}
"""The folders of the newer layout, and how many levels below each an attached source lies (slug, or owner/slug)."""

DEPTH = 5
"""Levels of folders searched in a source: a model's files lie below framework/variation/version, a dataset may add more."""

BREADTH = 64
"""Subfolders of one folder that are searched."""

FOLDERS = 300
"""Folders of one source that are read."""

ENTRIES = 1000
"""Entries of one folder that are read."""

_SHOWN = 8  # names in a message

Roots = Sequence[str | Path]


class NotFound(UserError):
    """Nothing of the kind is attached. The message lists the places searched and what is in them."""


@dataclass(frozen=True, slots=True)
class _Folder:
    """A folder as it was read: its files by name, and its subfolders."""

    path: Path
    files: frozenset[str]
    folders: tuple[Path, ...]

    def holds(self, ending: str) -> bool:
        return any(name.endswith(ending) for name in self.files)


def input_roots(roots: Roots | None = None) -> tuple[Path, ...]:
    """`roots` if given, else those of the environment variable `SCTIR_KAGGLE_INPUT`, else Kaggle's."""
    named = [root for root in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if root]
    return tuple(map(Path, roots if roots is not None else named or ROOTS))


def find_competition(slug: str, roots: Roots | None = None) -> Path:
    """The folder of the competition's files. Raises `NotFound`."""
    searched = [place for root in input_roots(roots) for place in (root / "competitions" / slug, root / slug)]
    for place in searched:
        if place.is_dir():
            return place
    remedy = "add the competition to the notebook's inputs (competition_sources)"
    raise _not_found(f"no folder of the competition {slug}", searched, input_roots(roots), remedy)


def find_model(name: str | None = None, roots: Roots | None = None) -> Path:
    """The folder of the only attached checkpoint (config.json and *.safetensors), in its newest version.

    `name`, a part of the path, chooses among several. Raises `NotFound`, and `UserError` where several are left.
    """
    read = list(_read(input_roots(roots)))
    found = _named(name, [folder.path for folder in read if _is_checkpoint(folder)])
    if not found:
        broken = [folder.path for folder in read if _is_config(folder) and not folder.holds(".safetensors")]
        what = f"no checkpoint (config.json and *.safetensors){f' with {name} in its path' if name else ''}"
        if broken:
            what += f", but config.json without *.safetensors in {_list(map(str, broken))}"
        raise _not_found(what, (), input_roots(roots), "attach the model to the notebook (model_sources)")
    return _only("checkpoints", newest(found), "find_model")


def find_wheels(roots: Roots | None = None, *, name: str | None = None) -> Path:
    """The only attached folder of wheels, in its newest version. `name` and errors are as in `find_model`."""
    found = _named(name, wheel_folders(roots))
    if not found:
        what = f"no wheels (*.whl){f' with {name} in their path' if name else ''}"
        raise _not_found(what, (), input_roots(roots), "attach the data set that `sctir wheels` made (dataset_sources)")
    return _only("folders of wheels", newest(found), "find_wheels")


def wheel_folders(roots: Roots | None = None) -> list[Path]:
    """Every attached folder that holds wheels directly; a wheelhouse that was split over datasets has several."""
    return [folder.path for folder in _read(input_roots(roots)) if folder.holds(".whl")]


def find_python(version: str = "3.10", roots: Roots | None = None) -> Path:
    """The newest attached CPython of this version: a folder with bin/pythonX.Y, or an archive. Raises `NotFound`."""
    archive = re.compile(rf"c?python-?{re.escape(version).replace('.', '.?')}[^/]*\.(tar|tar\.gz|tgz|tar\.xz|txz)")
    folders: list[Path] = []
    archives: list[Path] = []
    for folder in _read(input_roots(roots)):
        if folder.path.name == "bin" and f"python{version}" in folder.files:
            folders.append(folder.path.parent)
        archives += [folder.path / name for name in sorted(folder.files) if archive.fullmatch(name)]
    if found := newest(folders) or archives:
        return found[0]
    remedy = "attach the data set that `sctir wheels --cpython` makes (dataset_sources)"
    raise _not_found(
        f"no CPython {version} (bin/python{version}, or cpython{version}.tar.gz)", (), input_roots(roots), remedy
    )


def newest(found: Iterable[Path]) -> list[Path]:
    """`found` without older versions: sibling folders whose names are numbers are versions of one thing.

    >>> [str(path) for path in newest([Path("/m/1"), Path("/m/10"), Path("/m/2"), Path("/n/a")])]
    ['/m/10', '/n/a']
    """
    kept: dict[tuple[Path, str], Path] = {}
    for path in found:
        key = (path.parent, "" if path.name.isdecimal() else path.name)
        if key not in kept or _version(path) > _version(kept[key]):
            kept[key] = path
    return list(kept.values())


def attached(root: Path) -> list[Path]:
    """The attached sources below one root, in both layouts, by name. A folder without subfolders counts as a source."""
    found: list[Path] = []
    for child in _folder(root).folders:
        level = [child]
        for _ in range(OWNED.get(child.name, 0)):
            level = [folder for parent in level for folder in _folder(parent).folders or (parent,)]
        found += level
    return found


def _read(roots: Iterable[Path]) -> Iterator[_Folder]:
    """Read every folder within the bounds: each root, then its sources, nearest folders first."""
    for root in roots:
        yield _folder(root)
        for source in attached(root):
            yield from islice(_below(source), FOLDERS)


def _below(source: Path) -> Iterator[_Folder]:
    """Read a source breadth first. Folders inside a checkpoint or a folder of wheels are skipped."""
    waiting = deque([(source, 0)])
    while waiting:
        path, depth = waiting.popleft()
        folder = _folder(path)
        yield folder
        if depth < DEPTH and not (_is_checkpoint(folder) or folder.holds(".whl")):
            waiting.extend((below, depth + 1) for below in folder.folders[:BREADTH])


def _folder(path: Path) -> _Folder:
    """Read a folder. Subfolders are sorted by name, versions newest first; an unreadable folder is empty."""
    files: list[str] = []
    folders: list[Path] = []
    try:
        with os.scandir(path) as entries:
            for entry in islice(entries, ENTRIES):
                if not entry.is_dir():
                    files.append(entry.name)
                elif not entry.name.startswith((".", "__")):
                    folders.append(path / entry.name)
    except OSError:
        pass
    return _Folder(path, frozenset(files), tuple(sorted(folders, key=_by_name)))


def _by_name(path: Path) -> tuple[int, str]:
    return -_version(path), path.name


def _version(path: Path) -> int:
    return int(path.name) if path.name.isdecimal() else -1


def _is_config(folder: _Folder) -> bool:
    return "config.json" in folder.files


def _is_checkpoint(folder: _Folder) -> bool:
    return _is_config(folder) and folder.holds(".safetensors")


def _named(name: str | None, found: Sequence[Path]) -> list[Path]:
    """The paths with `name` as whole components, else those that contain it anywhere; case does not matter."""
    if name is None:
        return list(found)
    wanted = str(name).strip("/").lower()
    whole = [path for path in found if f"/{wanted}/" in f"{path.as_posix()}/".lower()]
    return whole or [path for path in found if wanted in path.as_posix().lower()]


def _only(kinds: str, found: Sequence[Path], function: str) -> Path:
    if len(found) == 1:
        return found[0]
    raise UserError(
        f"{len(found)} {kinds} are attached: {_list(map(str, found))}: choose one by a part of its path, "
        f"{function}(name={_part(found)!r}), or detach the others"
    )


def _part(found: Sequence[Path]) -> str:
    """The part of the first path that tells it from the others."""
    common = os.path.commonpath(found)
    return re.sub(r"^/", "", str(found[0]).removeprefix(common)) or found[0].name


def _not_found(what: str, searched: Sequence[Path], roots: Sequence[Path], remedy: str) -> NotFound:
    places = f" (as {' or '.join(map(str, searched))})" if searched else ""
    seen = "; ".join(f"{root} holds {_seen(root)}" for root in roots)
    return NotFound(f"{what} was found{places}: {seen}: {remedy}, or set {ROOTS_VARIABLE} to where it is")


def _seen(root: Path) -> str:
    """A few names of what is attached below `root`, for a message."""
    if not root.is_dir():
        return "nothing, there is no such folder"
    sources = [str(source.relative_to(root)) for source in attached(root)]
    names = sources or sorted(_folder(root).files) or [str(path.name) + "/" for path in _folder(root).folders]
    return _list(names) if names else "nothing"


def _list(names: Iterable[str]) -> str:
    every = list(names)
    rest = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + rest
