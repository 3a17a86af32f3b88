"""`Finding`, what a check reports, and `Machine`, what it looks at."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.engines.gpus import GPU
from sctir_kaggle.types import one_line

Level = Literal["ok", "warning", "fatal"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `remedy` says what to do, and is empty if all is well."""

    check: str
    level: Level
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.level:8}{self.check}: {self.detail}" + (f": {self.remedy}" if self.remedy else "")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine that is examined, and what will run there. Tests put in facts of their own."""

    profile: Profile | None = None
    model: Path | None = None
    """The checkpoint's folder."""

    engine: str = "vllm"
    dialect: str = "auto"
    """See `RunConfig.dialect`."""

    options: Mapping[str, Any] = field(default_factory=dict)
    """See `EngineConfig.engine_options`."""

    wheels: Sequence[Path] = ()
    """Folders of wheels: a wheelhouse may be split over several."""

    roots: Sequence[Path] = ()
    """Folders below which inputs are mounted."""

    folder: Path = Path()
    """Where the run will be kept."""

    gpus: Sequence[GPU] = ()
    started: float = field(default_factory=time.monotonic)
    """When the kernel began, in seconds of the monotonic clock."""

    python: tuple[int, int] = sys.version_info[:2]
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def on_kaggle(self) -> bool:
        """Whether this is a Kaggle kernel, or set up like one: there, what is missing cannot be added later."""
        return "KAGGLE_KERNEL_RUN_TYPE" in self.environment or self.rerun

    @property
    def rerun(self) -> bool:
        """Whether this is a competition rerun, the run that is scored."""
        return bool(self.environment.get("KAGGLE_IS_COMPETITION_RERUN"))

    @property
    def config(self) -> SolverConfig:
        """The competition's preset, else the defaults."""
        return self.profile.config if self.profile else SolverConfig()

    @property
    def missing(self) -> Level:
        """The level of a finding that an input is not attached."""
        return "fatal" if self.on_kaggle else "warning"


Check = Callable[[Machine], Iterable[Finding]]


def of_error(check: str, error: Exception, level: Level = "fatal") -> Finding:
    """Turn an error of this package into a finding: after its last colon a message says what to do."""
    what, _, remedy = one_line(error).rpartition(": ")
    return Finding(check, level, what, remedy) if what else Finding(check, level, remedy)


def installed(*distributions: str) -> str | None:
    """Return the version of the first of these distributions that is installed, without importing it."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def importable(module: str) -> bool:
    """Whether Python would find the module; it is not imported."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def size(count: float) -> str:
    """Format bytes in binary units, as memory is measured.

    >>> size(8_482_560_410), size(2_621_440)
    ('7.9 GiB', '2.5 MiB')
    """
    return f"{count / (1 << 30):,.1f} GiB" if count >= 0.1 * (1 << 30) else f"{count / (1 << 20):,.1f} MiB"
