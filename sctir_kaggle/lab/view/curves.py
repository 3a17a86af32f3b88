"""maj@k and pass@k of a run with their 95 % bands, counted as `sctir score` counts them (see `lab.censoring`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sctir_kaggle.lab.censoring import uncensored_results
from sctir_kaggle.lab.statistics import Floats, share_bounds
from sctir_kaggle.lab.view.problems import Json, runs
from sctir_kaggle.types import SolveResult


def curves(results: Sequence[SolveResult], headers: Sequence[Mapping[str, Any]]) -> Json | None:
    """For `maj` and `pass` a triple for each k = 1..K: the mean over problems and seeds, and its 95 % interval.

    None where no problem has a reference, where a problem has no candidate that may be counted, or where there are several
    runs, which a common curve would blur.
    """
    graded = [result for result in results if result.problem.answer is not None]
    if not graded or max(runs(results)) > 1:
        return None
    counted = uncensored_results(graded, headers[0].get("config", {}) if headers else {})
    if not counted.size:
        return None
    problems = np.array([result.problem.id for result in graded])
    most = max(len(result.traces) for result in graded)
    shorter = "" if counted.size == most else f"; {counted.size} of {most} ended for every problem"
    return {
        "maj": _banded(counted.maj(), problems),
        "pass": _banded(counted.passed(), problems),
        "note": f"95 % intervals over problems{shorter}",
    }


def _banded(values: Floats, problems: np.typing.NDArray[np.str_]) -> list[list[float]]:
    """Mean and bounds of `values` (R, K) for each k: K triples."""
    low, high = share_bounds(values, problems)
    return np.stack([values.mean(axis=0), low, high], axis=1).round(4).tolist()  # type: ignore[no-any-return]
