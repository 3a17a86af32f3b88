"""A competition with another version of the evaluation package: the newest known rules apply, or an error says what to add."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.verdict import InvalidSubmission, rules_of
from sctir_kaggle.types import UserError


@pytest.fixture(autouse=True)
def fresh() -> None:
    rules_of.cache_clear()


def test_a_later_version_does_what_the_newest_known_one_does_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fourth = replace(PROFILES["aimo3"], name="aimo4", evaluation="0.10.1")
    with caplog.at_level(logging.WARNING, logger="sctir_kaggle"):
        assert fourth.prediction_seconds == PROFILES["aimo3"].prediction_seconds
        assert fourth.prediction_seconds
    assert caplog.messages == ["kaggle_evaluation 0.10.1 is not known: it is taken to do what 0.9.0 does"]


@pytest.mark.parametrize("version", ["0.2.0", "0.5.0", "next", ""])
def test_any_other_version_is_refused_with_the_file_that_it_belongs_in(version: str) -> None:
    with pytest.raises(UserError, match=r"only 0\.3\.0, 0\.9\.0: add a row to competition/verdict\.py"):
        rules_of(version)


def test_a_gateway_of_a_later_version_runs_to_its_submission(tmp_path: Path) -> None:
    pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')
    from tests.support.push_support import Competition, row

    competition = Competition(tmp_path)
    competition.run("0.10.1", row)
    assert competition.submission.exists()
    competition.fails("0.10.1", lambda *_: None, InvalidSubmission, "returned a NoneType")
