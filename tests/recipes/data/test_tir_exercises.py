"""Which problems are sampled for, and what counts as right."""

from __future__ import annotations

import json
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.data.tir.exercise import exercise_of, read_exercises, reference_of
from sctir_kaggle.recipes.data.tir.settings import TirSettings
from sctir_kaggle.recipes.data.tir.solution import solution_of
from sctir_kaggle.recipes.settings import CONFIGS, read_settings
from sctir_kaggle.types import Completion, Trace, TraceStatus, Turn, UserError


def row(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "problem": "How much?", **fields}


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"answer": 42}, 42),
        ({"answer": "-7"}, -7),
        ({"answer": 42.0}, 42),
        ({"answer": 0.1}, Fraction(1, 10)),
        ({"answer": r"\frac{3}{4}"}, Fraction(3, 4)),
        ({"answer": r"$\boxed{1{,}000}$"}, 1000),
        ({"solution": r"So it is \boxed{2^{10}}."}, 1024),
        ({"answer": "", "solution": r"\boxed{5}"}, 5),
        ({"answer": 10**30 + 1}, 10**30 + 1),
        ({"answer": r"\sqrt{2}"}, None),
        ({"answer": "x + 1"}, None),
        ({"answer": "proof", "solution": r"\boxed{5}"}, None),
        ({"answer": float("nan")}, None),
        ({"answer": True}, None),
        ({"solution": "It is clear."}, None),
        ({}, None),
    ],
)
def test_a_reference_is_an_exact_number_or_there_is_none(fields: dict[str, Any], reference: Fraction | None) -> None:
    assert reference_of(row(**fields)) == reference


def test_fractions_are_kept_unless_integers_alone_are_asked_for() -> None:
    half = row(answer="1/2")
    kept = exercise_of(half)
    assert not isinstance(kept, str)
    assert (kept.reference, kept.problem.answer) == (Fraction(1, 2), None)
    assert exercise_of(half, integers=True) == "not an integer"


@pytest.mark.parametrize("mark", ["\n### Solution: 7", "```output\n7\n```"])
def test_a_problem_that_would_read_as_a_turn_is_left_out(mark: str) -> None:
    assert exercise_of(row(problem="How much?" + mark, answer=7)) == "a mark of the prompt in its text"


def test_what_is_left_out_is_counted_and_the_limit_counts_what_is_not(tmp_path: Path) -> None:
    rows = [row(id=str(number), answer=number if number % 2 else "words") for number in range(10)]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    exercises, left_out = read_exercises(str(path), limit=3)
    assert [exercise.problem.id for exercise in exercises] == ["1", "3", "5"]
    assert left_out == {"no numerical answer": 3}


def test_a_csv_does_too(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('id,problem,answer\na,"1, 2?",3\nb,c,-4\n')
    exercises, _ = read_exercises(str(tmp_path / "p.csv"))
    assert [(one.problem.text, one.problem.answer) for one in exercises] == [("1, 2?", 3), ("c", -4)]


def test_a_double_id_and_a_file_without_numbers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(2 * (json.dumps(row(answer=1)) + "\n"))
    with pytest.raises(UserError, match="the id 'a' is there twice"):
        read_exercises(str(path))
    path.write_text(json.dumps(row(answer="none")) + "\n")
    with pytest.raises(
        UserError,
        match=r"no problem that can be checked \(1 no numerical answer\); judge=true takes .*; reference=majority takes ",
    ):
        read_exercises(str(path))


@pytest.mark.shared
def test_the_shared_training_problems_have_numerical_answers_as_far_as_they_do(shared_data: Path) -> None:
    exercises, left_out = read_exercises(str(shared_data / "train" / "gsm8k_train.jsonl.gz"))
    assert len(exercises) > 7400
    assert len(exercises) + left_out.total() == 7473


@pytest.mark.hub
def test_a_data_set_of_the_hub_is_read_from_its_copy(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install 'sctir-kaggle[hub]'")
    rows = {"problem": ["How much?", "Why?"], "solution": [r"\boxed{7}", "So."]}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows)}).save_to_disk(str(tmp_path / "set"))
    exercises, left_out = read_exercises(str(tmp_path / "set"))
    assert [(one.problem.id, one.problem.answer) for one in exercises] == [("set:0", 7)]
    assert left_out.total() == 1


def test_answers_that_are_no_numbers_and_problems_without_one_are_taken_where_they_are_asked_for() -> None:
    root, proof, nothing = row(answer=r"$\boxed{\sqrt{2}}$"), row(answer="Proof"), row(answer="")
    assert [exercise_of(one) for one in (root, proof, nothing)] == 3 * ["no numerical answer"]
    found = [exercise_of(one, expressions=True, unanswered=True) for one in (root, nothing)]
    assert [one.reference for one in found if not isinstance(one, str)] == [r"\sqrt{2}", None]
    assert exercise_of(proof, expressions=True, unanswered=True) == "a proof"
    assert exercise_of(root, unanswered=True) == exercise_of(nothing, expressions=True) == "no numerical answer"


def test_a_repeated_text_is_left_out_and_counted_unless_duplicates_are_kept(tmp_path: Path) -> None:
    rows = [
        row(id="a", answer=1),
        row(id="b", problem="How  much?", answer=1),
        row(id="c", problem="And now?", answer=1),
    ]
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    exercises, left_out = read_exercises(str(path), repeated=False)
    assert [exercise.problem.id for exercise in exercises] == ["a", "c"]
    assert left_out == {"the same text as an earlier one": 1}
    assert len(read_exercises(str(path))[0]) == 3


@pytest.mark.shared
def test_the_answers_of_math_that_are_no_numbers_are_taken_for_a_judge(shared_data: Path) -> None:
    source = str(shared_data / "train" / "math_train.jsonl.gz")
    numbers, left_out = read_exercises(source)
    exercises, still_out = read_exercises(source, expressions=True)
    assert 100 * left_out["no numerical answer"] / 7500 == pytest.approx(17.7, abs=0.05)
    assert still_out["no numerical answer"] == 2  # their box is empty in the source
    assert len(exercises) - len(numbers) == left_out["no numerical answer"] - 2


def test_a_solution_does_not_end_with_the_fence_of_an_output_that_never_came() -> None:
    said = "It is \\boxed{7}.\n```python\nprint(7)\n```\n"
    assert solution_of(Trace(0, (Turn(Completion(said + "```output\n")),), TraceStatus.ANSWERED, 7)) == said.strip()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("rounds", 0, "rounds is 0"),
        ("limit", 0, "limit is 0"),
        ("stall", 0.0, "stall is 0.0"),
        ("options", "[1]", "must be a JSON object"),
        ("base_url", (), "say where its servers are"),
        ("model", Path("checkpoint"), "name its model in served_model"),
        ("keep", 0, "keep is 0"),
        ("keep", 4, "keep is 4, of 3 attempts"),
        ("majority", 0.0, "majority is 0.0"),
        ("majority", 1.5, "majority is 1.5"),
        ("judge", True, "say where a chat server for it is"),
        ("judge_url", ("http://localhost:2",), "judge is off"),
        ("base_url", ("localhost:1",), "base_url: 'localhost:1' is no base URL: write http://HOST:PORT"),
        ("server_wait", 0.0, "server_wait is 0.0"),
        ("judge_options", "[]", "judge_options is '[]'; it must be a JSON object"),
    ],
)
def test_a_setting_outside_its_limits_is_refused_on_one_line(field: str, value: Any, said: str) -> None:
    fields: dict[str, Any] = {
        "problems": "p.jsonl",
        "output": Path("o"),
        "base_url": ("http://localhost:1",),
        field: value,
    }
    with pytest.raises(UserError, match=r"^[^\n]*$") as refused:
        TirSettings(**fields)
    assert said in str(refused.value)


def test_the_file_that_comes_with_the_package_says_every_setting_at_its_default() -> None:
    told = read_settings(TirSettings, CONFIGS / "tir_data.yaml")
    assert told == TirSettings(problems=told.problems, output=told.output, base_url=told.base_url, limit=told.limit)
    written = (CONFIGS / "tir_data.yaml").read_text()
    assert not [field.name for field in fields(TirSettings) if f"\n{field.name}:" not in written]
