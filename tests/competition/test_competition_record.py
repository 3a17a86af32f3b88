"""What is kept of a competition's run when things come too late, or never."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from sctir_kaggle import UserError
from sctir_kaggle.competition.record import RunRecord
from sctir_kaggle.competition.submission import Submission
from sctir_kaggle.journal import Journal, read_faults, read_journal
from tests.support.competitions import run_of, scripted

BARE = {"engine": None}


def test_an_engine_that_is_loaded_after_the_end_begins_no_other_journal(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "journal.jsonl", BARE, start=Journal.create)
    record.fault("the engine is still loading", "a")
    record.close()
    record.open(tmp_path / "journal.jsonl", {"engine": {"name": "late"}})
    record.fault("too late")
    assert read_faults(record.path) == ["a: the engine is still loading"]
    assert read_journal(record.path)[0]["engine"] is None


def test_an_engine_that_is_loaded_in_time_begins_it_again_with_the_faults_so_far(tmp_path: Path) -> None:
    record = RunRecord(tmp_path / "journal.jsonl", BARE, start=Journal.create)
    record.fault("the engine is still loading", "a")
    record.open(tmp_path / "journal.jsonl", {"engine": {"name": "in time"}})
    record.close()
    assert read_faults(record.path) == ["a: the engine is still loading"]
    assert read_journal(record.path)[0]["engine"] == {"name": "in time"}


def test_a_competition_whose_module_is_not_there_leaves_the_reason_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCTIR_KAGGLE_INPUT", str(tmp_path / "input"))
    monkeypatch.delitem(sys.modules, "aimo", raising=False)
    submission = Submission("aimo1", run_of(), folder=tmp_path, rerun=True, started=time.monotonic(), load=scripted())
    with pytest.raises(UserError, match="attach the competition"):
        submission.run()
    assert "attach the competition" in " ".join(read_faults(submission.journal))
