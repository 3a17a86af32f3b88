"""The competitions, one row each: everything in which one differs from the others is here.

Covered: what the interface of a competition promises. Not covered: prizes, dates, and the names of the CSV's columns, which
are the same in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sctir_kaggle.competition.verdict import Version, rules_of
from sctir_kaggle.config import AIMO1, AIMO3, SolverConfig
from sctir_kaggle.types import Answer, UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A competition as a notebook sees it."""

    name: str
    """The short name, for commands and the notebook's config."""

    slug: str
    """The last part of its address on Kaggle, which is also the name of its input folder."""

    api: Literal["pull", "push"]
    """Whether the notebook takes the problems (`aimo.make_env`) or is called with them (`kaggle_evaluation`)."""

    lowest: int
    """The smallest answer that can be right."""

    highest: int
    """The largest answer that can be right."""

    modulus: int | None
    """Answers are reported modulo this; None reports them as they are."""

    hours: float
    """Hours of wall clock for the whole run, from the start of the kernel."""

    problems: int
    """How many problems a rerun asks."""

    submission_file: str
    """The file that the competition's own interface writes to the working folder."""

    machine: str
    """Kaggle's identifier (`machine_shape`) of the strongest machine that this competition allows."""

    python: tuple[int, int] | None
    """The only CPython for which the competition's own module is compiled; None where any works."""

    server: str | None
    """`module:Class` of the competition's inference server; None where it has none."""

    evaluation: Version | None
    """The version of `kaggle_evaluation` that it runs; None where it has no such server."""

    config: SolverConfig
    """The solver's settings for this range of answers."""

    source_id: int | None = None
    """Kaggle's number of the competition's files, for notebooks that are imported by hand; None is not known."""

    @property
    def prediction_seconds(self) -> float | None:
        """Seconds that the gateway waits for an answer, the first one excepted; None is no limit."""
        return rules_of(self.evaluation).answer_seconds if self.evaluation else None

    def in_range(self, answer: Answer) -> bool:
        """Whether the competition accepts `answer`."""
        return self.lowest <= answer <= self.highest


_ROWS = (
    Profile(
        name="aimo1",
        slug="ai-mathematical-olympiad-prize",
        api="pull",
        lowest=0,
        highest=999,
        modulus=1000,
        hours=9.0,
        problems=50,
        submission_file="submission.csv",
        machine="NvidiaTeslaT4",  # two of them
        python=(3, 10),
        server=None,
        evaluation=None,
        config=AIMO1,
        source_id=73231,  # this and the others: from published exports of notebooks
    ),
    Profile(
        name="aimo2",
        slug="ai-mathematical-olympiad-progress-prize-2",
        api="push",
        lowest=0,
        highest=999,
        modulus=1000,
        hours=5.0,
        problems=50,
        submission_file="submission.parquet",
        machine="NvidiaL4",  # four of them
        python=None,
        server="kaggle_evaluation.aimo_2_inference_server:AIMO2InferenceServer",
        evaluation="0.3.0",
        config=AIMO1,
        source_id=86023,
    ),
    Profile(
        name="aimo3",
        slug="ai-mathematical-olympiad-progress-prize-3",
        api="push",
        lowest=0,
        highest=99_999,
        modulus=None,
        hours=5.0,
        problems=50,
        submission_file="submission.parquet",
        machine="NvidiaH100",
        python=None,
        server="kaggle_evaluation.aimo_3_inference_server:AIMO3InferenceServer",
        evaluation="0.9.0",
        config=AIMO3,
        source_id=118448,
    ),
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in _ROWS}
"""By short name. A further competition is one more row."""


def profile_of(name: str) -> Profile:
    """The competition with this short name or slug. Raises `UserError` with a list of the names."""
    for profile in _ROWS:
        if name in (profile.name, profile.slug):
            return profile
    known = ", ".join(f"{profile.name} ({profile.slug})" for profile in _ROWS)
    raise UserError(f"there is no competition {name!r}; take one of {known}")
