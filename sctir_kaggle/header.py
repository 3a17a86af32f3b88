"""The header of a journal: what a run records about itself, and what is read back from the header of an earlier run."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sctir_kaggle import problems as problem_sets
from sctir_kaggle._version import __version__
from sctir_kaggle.dialects.dialect import Dialect, dialect_from
from sctir_kaggle.dialects.recognition import described
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.settings import RunConfig
from sctir_kaggle.types import Problem

ELSEWHERE = ("budget", "problems", "output")
"""Settings that are not repeated under `settings`: the header has a field for the first two, the third is its own path."""


def journal_header(
    run: RunConfig,
    problems: Sequence[Problem],
    *,
    dialect: Dialect | None = None,
    engine: Mapping[str, Any] | None,
    executor: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return the first line of a journal.

    `engine` and `executor` are their descriptions of themselves. These and `dialect` are None as long as none is loaded,
    as in a submission's journal that is opened only to note why loading failed.
    """
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "version": __version__,
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "config": asdict(run.solver),
        "budget": run.clock.budget if math.isfinite(run.clock.budget) else None,  # JSON has no infinity
        "settings": _settings(run),
        "given": None if run.given is None else dict(run.given),
        "prompt": None if dialect is None else dialect.fingerprint,
        "dialect": None if dialect is None else described(dialect),
        "problems": problem_sets.fingerprint(problems),
        "problem_count": len(problems),
        "engine": engine,
        "executor": executor,
    }


def _settings(run: RunConfig) -> dict[str, Any]:
    """All settings outside `run.solver`, which the header holds as `config`, without passwords and tokens."""
    solver = asdict(run.solver)
    values = {name: value for name, value in run.settings().items() if name not in solver and name not in ELSEWHERE}
    return {name: without_secrets(value) for name, value in values.items()}


def dialect_of(header: Mapping[str, Any], journal: Path | str) -> Dialect:
    """The dialect that a run was recorded in. Journals from before 0.1.0 name none: there was NuminaMath's alone."""
    return dialect_from(header["dialect"], source=str(journal)) if header.get("dialect") else NUMINA


def clamps_of(header: Mapping[str, Any]) -> dict[str, float]:
    """The keyword arguments `cap`, `draw`, `floor` and `high` of a recorded run's `Budget`, as far as they are recorded."""
    settings = header.get("settings") or {}
    names = ("cap", "draw", "floor", "high")
    return {name: float(settings[name]) for name in names if settings.get(name) is not None}


def without_secrets(value: Any) -> Any:
    """A setting's value as it may be shown: no user name in an address, no token among the engine's options.

    >>> without_secrets({"api_key": "abc", "url": "http://me:secret@host/v1"})
    {'api_key': '...', 'url': 'http://...@host/v1'}
    """
    if isinstance(value, Mapping):
        return {name: "..." if _SECRET.search(name) else without_secrets(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(each) for each in value]
    return _USER.sub("//...@", str(value)) if isinstance(value, (str, Path)) else value


_SECRET = re.compile(r"(^|_)(token|password|secret|(api_)?key)$", re.IGNORECASE)
_USER = re.compile(r"//[^/@]+@")
