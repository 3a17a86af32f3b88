"""What the benchmark of the reader counts: votes that agree with a recorded score, answers of written solutions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks.reader import Agreement, agreement, solutions
from sctir_kaggle.types import UserError


def written(path: Path, *rows: dict[str, object]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def outputs(reference: str, *texts: tuple[str, bool]) -> dict[str, object]:
    return {"gt": reference, "completions": [{"text": text, "score": score} for text, score in texts]}


def test_an_output_agrees_where_the_vote_is_as_right_as_the_record_says(tmp_path: Path) -> None:
    rows = [
        outputs("42", ("\\boxed{42}", True), ("\\boxed{41}", False), ("\\boxed{41}", True), ("I gave up.", False)),
        outputs("\\frac{1}{2}", ("\\boxed{42}", True)),
    ]
    assert agreement(written(tmp_path / "rows.gz", *rows)) == Agreement(agree=3, right=1, outputs=4)


def test_only_integer_answers_of_solutions_are_asked_for(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"solution": "So #1:\n#### 42", "answer": "42"},
        {"solution": "\\boxed{x}", "answer": "x"},
    ]
    assert solutions(written(tmp_path / "rows.gz", *rows)) == (1, 1)


def test_without_the_file_the_reason_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not part of the project"):
        agreement(tmp_path / "none.gz")


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "agree", "right", "of"),
    [("rho_tir_math_gsm8k", 3306, 2164, 3316), ("mathcoder_math", 859, 859, 865), ("tora_gsm8k", -1, 2164, 2638)],
)
def test_the_agreement_with_recorded_outputs_does_not_fall(
    name: str, agree: int, right: int, of: int, shared_data: Path
) -> None:
    found = agreement(shared_data / "traces" / f"{name}.jsonl.gz")
    assert found.outputs == of
    assert found.agree >= agree
    assert found.right >= right


@pytest.mark.slow
@pytest.mark.shared
def test_the_answers_of_written_solutions_are_read(shared_data: Path) -> None:
    """Five solutions of MATH have two boxes, and the set's answer is the last."""
    assert solutions(shared_data / "train" / "gsm8k_train.jsonl.gz") == (7473, 7473)
    assert solutions(shared_data / "train" / "math_train.jsonl.gz") == (5021, 5026)
