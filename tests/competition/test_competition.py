"""The AIMO-1 API: what the mock allows and refuses, and the adapter that must never lose a submission."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle import Problem, UserError
from sctir_kaggle.competition import aimo1
from sctir_kaggle.competition.aimo1_mock import Aimo1, Environment
from sctir_kaggle.competition.fields import text_of

PROBLEMS = [Problem("007", "P", 7), Problem("424e18", "Q", 8), Problem("c", "R", 9)]


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    return tmp_path / "submission.csv"


@pytest.fixture
def env(submission: Path) -> Environment:
    return Aimo1(PROBLEMS, submission=submission, seed=None).make_env()


def answered(frame: pd.DataFrame, answer: int) -> pd.DataFrame:
    changed: pd.DataFrame = frame.assign(answer=answer)
    return changed


def test_the_environment_is_made_once(submission: Path) -> None:
    module = Aimo1(PROBLEMS, submission=submission)
    module.make_env()
    with pytest.raises(RuntimeError, match="make_env"):
        module.make_env()


def test_the_problems_are_passed_once(env: Environment) -> None:
    env.iter_test()
    with pytest.raises(RuntimeError, match="iter_test"):
        env.iter_test()


def test_a_pair_is_two_frames_of_one_row_without_the_reference(env: Environment) -> None:
    pairs = env.iter_test()
    test, sample = next(pairs) or pytest.fail("no pair")
    assert list(test.columns) == ["id", "problem"]
    assert (test["id"].iloc[0], test["problem"].iloc[0]) == ("007", "P")
    assert (list(sample.columns), sample["id"].iloc[0]) == (["id", "answer"], "007")
    env.predict(answered(sample, 1))
    test, _ = next(pairs) or pytest.fail("no pair")
    assert list(test.index) == [1]


def test_without_a_prediction_there_is_none_in_place_of_the_next(env: Environment, capsys: Any) -> None:
    pairs = env.iter_test()
    _, sample = next(pairs) or pytest.fail("no pair")
    assert next(pairs) is None
    assert next(pairs) is None
    assert "You must call `predict()` successfully" in capsys.readouterr().out
    env.predict(answered(sample, 1))
    assert next(pairs) is not None


def test_a_second_prediction_and_one_before_the_first_problem_are_refused(env: Environment) -> None:
    with pytest.raises(RuntimeError, match="no open problem"):
        env.predict(pd.DataFrame({"id": ["007"], "answer": [1]}))
    _, sample = next(env.iter_test()) or pytest.fail("no pair")
    env.predict(answered(sample, 1))
    with pytest.raises(RuntimeError, match="no open problem"):
        env.predict(answered(sample, 2))


@pytest.mark.parametrize("wrong", [{"id": "007", "answer": 1}, 42, None])
def test_only_a_frame_is_a_prediction(env: Environment, wrong: Any) -> None:
    next(env.iter_test())
    with pytest.raises(TypeError, match="takes a DataFrame"):
        env.predict(wrong)


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"id": ["c"], "answer": [1]}),
        pd.DataFrame({"id": ["007", "007"], "answer": [1, 2]}),
        pd.DataFrame({"id": ["007"], "result": [1]}),
        pd.DataFrame({"id": ["007"], "answer": [1.5]}),
    ],
)
def test_a_wrong_frame_is_refused_and_the_problem_stays_open(env: Environment, frame: pd.DataFrame) -> None:
    pairs = env.iter_test()
    next(pairs)
    with pytest.raises(ValueError, match="007"):
        env.predict(frame)
    assert next(pairs) is None


def test_the_submission_is_written_only_when_the_loop_has_ended(env: Environment, submission: Path) -> None:
    for pair in env.iter_test():
        assert not submission.exists()
        assert pair is not None
        env.predict(answered(pair[1], 5))
    assert submission.read_text() == "id,answer\n007,5\n424e18,5\nc,5\n"


def test_the_order_is_random_and_repeats_with_its_seed(submission: Path) -> None:
    def order(seed: int) -> list[str]:
        seen: list[str] = []
        many = [Problem(str(number), "P") for number in range(20)]

        def answer(id_: object, _: object) -> int:
            seen.append(text_of(id_, "id"))
            return 1

        aimo1.serve(Aimo1(many, submission=submission, seed=seed).make_env(), answer)
        return seen

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(map(str, range(20)))


def test_the_adapter_answers_every_problem(env: Environment, submission: Path) -> None:
    assert aimo1.serve(env, lambda _, text: len(text_of(text, "problem")) + 1) == 3
    assert list(pd.read_csv(submission)["answer"]) == [2, 2, 2]


def test_an_answer_that_the_api_did_not_take_is_given_again(submission: Path) -> None:
    class Deaf(Environment):
        heard = 0

        def predict(self, sample_submission: pd.DataFrame) -> None:
            self.heard += 1
            if self.heard % 3 == 0:
                super().predict(sample_submission)

    env = Deaf(PROBLEMS, submission)
    assert aimo1.serve(env, lambda *_: 4) == 3
    assert (env.heard, list(pd.read_csv(submission)["answer"])) == (9, [4, 4, 4])


def test_an_api_that_takes_no_answer_ends_the_loop(submission: Path) -> None:
    class Deaf(Environment):
        def predict(self, sample_submission: pd.DataFrame) -> None: ...

    with pytest.raises(RuntimeError, match="wants a prediction"):
        aimo1.serve(Deaf(PROBLEMS, submission), lambda *_: 4)


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`aimo` may be imported, and is forgotten again."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "aimo", raising=False)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("aimo", None)


@pytest.mark.usefixtures("importable")
def test_the_real_module_is_taken_from_the_competitions_folder(tmp_path: Path) -> None:
    (tmp_path / "aimo.py").write_text("def make_env():\n    return 'the real one'\n")
    with aimo1.real_environment(tmp_path) as env:
        made: object = env
    assert made == "the real one"


@pytest.mark.usefixtures("importable")
def test_a_module_that_is_not_there_is_named_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"cannot import aimo from {tmp_path}: No module named 'aimo'"):
        aimo1.real_environment(tmp_path, [tmp_path]).__enter__()
    with pytest.raises(UserError, match=r"cannot import aimo from the path: .*attach the competition"):
        aimo1.real_environment(None, [tmp_path]).__enter__()


@pytest.mark.parametrize(
    ("files", "compiled"),
    [
        (["aimo/__init__.py"], None),
        (["aimo/c.cpython-27-x86_64-linux-gnu.so"], "c.cpython-27-x86_64-linux-gnu.so"),
        (["aimo.cpython-27-x86_64-linux-gnu.so"], "aimo.cpython-27-x86_64-linux-gnu.so"),
        (["aimo/c.cpython-27-x86_64-linux-gnu.so", f"aimo/c{EXTENSION_SUFFIXES[0]}"], None),
        (["aimo/c.abi3.so", "aimo/c.so", "other.cpython-27-x86_64-linux-gnu.so"], None),
    ],
)
def test_a_module_is_for_another_python_if_no_extension_of_it_is_for_this_one(
    tmp_path: Path, files: list[str], compiled: str | None
) -> None:
    (tmp_path / "aimo").mkdir()
    for name in files:
        (tmp_path / name).touch()
    assert aimo1.foreign(tmp_path) == compiled
