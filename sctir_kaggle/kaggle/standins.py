"""Stand-ins for what an image holds: wheels of the same names and versions, without modules and without requirements.

A resolver that is given them takes the image as it is: what is there meets what is required of it, and needs nothing more.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path


def write(folder: Path, versions: Mapping[str, str]) -> None:
    """A wheel for each, into `folder`."""
    for name, version in versions.items():
        _wheel(folder, name.replace("-", "_"), version)


def _wheel(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
