"""Candidates of the embedded model, for KTO."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.config import MATH
from sctir_kaggle.runtime import EMBEDDED_MODEL

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PROBLEMS, CANDIDATES = 10, 4


@pytest.fixture(scope="session")
def stack() -> None:
    pytest.importorskip("trl", reason="KTO needs the training stack: pip install 'sctir-kaggle[recipes]'")


@pytest.fixture(scope="session")
def run(stack: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model on its held-out problems: what `sctir replay problems.csv -n 4 --stop none` writes."""
    from sctir_kaggle.lab.replay.progress import Progress
    from sctir_kaggle.lab.replay.run import Plan, replay
    from sctir_kaggle.problems import HELD_OUT, read_problems
    from sctir_kaggle.settings import ClockConfig, RunConfig

    folder = tmp_path_factory.mktemp("on-policy")
    config = replace(MATH, candidates=CANDIDATES, stop="none")
    run = RunConfig(solver=config, clock=ClockConfig(budget=float("inf")))
    replay(Plan(run=run, folder=folder, problems=read_problems(HELD_OUT, limit=PROBLEMS), seeds=[0]), Progress())
    return folder


@pytest.fixture(scope="session")
def tokenizer(stack: None) -> PreTrainedTokenizerFast:
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(EMBEDDED_MODEL)
    made: PreTrainedTokenizerFast = loaded
    return made
