"""Ask problems through a stand-in of a competition's API: the code path of a submission, for `sctir dry-run`."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.competition import aimo1, aimo1_mock
from sctir_kaggle.competition.fields import id_text, inferred_ids, text_of
from sctir_kaggle.competition.profile import Profile
from sctir_kaggle.competition.push_server import predict_of
from sctir_kaggle.competition.verdict import GatewayError
from sctir_kaggle.problems import write_submission
from sctir_kaggle.types import Answer, Problem, SolveResult, UserError

if TYPE_CHECKING:
    import polars as pl


Solve = Callable[[Problem], SolveResult]


def check_ready(profile: Profile) -> None:
    """Raises `UserError` where the stand-in of this API lacks a library, before a model is loaded."""
    if profile.api == "push":
        from sctir_kaggle.competition.stand_in import check_installed
        from sctir_kaggle.competition.verdict import rules_of

        check_installed()
        rules_of(_version(profile))


def serve(profile: Profile, problems: Sequence[Problem], solve: Solve, *, submission: Path, seed: int | None) -> None:
    """Ask every problem once, in an order that `seed` draws; write `submission` at the end. Raises what `solve` raises.

    `solve` is given the problem of the CSV, with its reference answer, and the text as the API sent it.
    """
    asked = _as_asked(problems, typed=profile.api == "push")

    def answer(id_: object, text: object) -> SolveResult:
        text = text_of(text, "problem")
        alike = asked[id_text(id_)]
        problem = next((problem for problem in alike if problem.text == text), alike[0])
        alike.remove(problem)
        return solve(replace(problem, text=text))

    if profile.api == "pull":
        env = aimo1_mock.Aimo1(problems, submission=submission, seed=seed).make_env()
        aimo1.serve(env, lambda id_, text: int(answer(id_, text).answer))
    else:
        _push(profile, problems, answer, submission, seed)


def write_answers(path: Path, answers: Mapping[str, Answer]) -> None:
    """Write the answers of a run that ended early: a CSV, or the Parquet file of the competitions whose files are that."""
    if path.suffix != ".parquet":
        write_submission(path, answers)
        return
    import polars as pl

    new = path.with_name(f"{path.name}.new")
    try:
        pl.DataFrame({"id": inferred_ids(list(answers)), "answer": list(answers.values())}).write_parquet(new)
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)


def _as_asked(problems: Sequence[Problem], *, typed: bool) -> Mapping[str | None, list[Problem]]:
    """The problems by the id that the API sends. Several may share one: a gateway infers types and reads 001 and 1 alike."""
    written = [problem.id for problem in problems]
    ids: Iterable[object] = inferred_ids(written) if typed else written
    asked: dict[str | None, list[Problem]] = {}
    for id_, problem in zip(ids, problems, strict=True):
        asked.setdefault(id_text(id_), []).append(problem)
    return asked


def _push(
    profile: Profile,
    problems: Sequence[Problem],
    answer: Callable[[object, object], SolveResult],
    submission: Path,
    seed: int | None,
) -> None:
    """Serve a gateway in another process. An error of `answer` is raised as it was, not as the gateway reports it."""
    from sctir_kaggle.competition.stand_in import InferenceServer

    raised: list[Exception] = []

    def watched(id_: object, text: object) -> SolveResult:
        try:
            return answer(id_, text)
        except Exception as error:
            raised.append(error)
            raise

    server = InferenceServer(predict_of(watched), version=_version(profile), submission=submission, seed=seed)
    with tempfile.TemporaryDirectory(prefix="sctir-problems-") as folder:
        try:
            server.run_local_gateway((_written(problems, Path(folder)),))
        except GatewayError as error:
            raise (raised[0] if raised else error) from None


def _written(problems: Sequence[Problem], folder: Path) -> Path:
    """Write the problems as a competition does, without answers; return the file."""
    path = folder / "test.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "problem"), *((problem.id, problem.text) for problem in problems)])
    return path


def _version(profile: Profile) -> str:
    if profile.evaluation is None:
        raise UserError(
            f"{profile.name} has no version of kaggle_evaluation: add it to its row in competition/profile.py"
        )
    return profile.evaluation


def score(submissions: Sequence[Path], references: Mapping[str, int]) -> float:
    """The score of AIMO-3: a point for each right answer, averaged over the `submission.parquet` files of its runs.

    A column that is not of integers scores 0 without an error, as on Kaggle: one text among the answers makes it one.
    Whether Kaggle accepts floats is not known. The ids of `references` are as in the CSV, and are compared as polars
    infers them. Raises `UserError` where a submission has other ids.
    """
    return sum(_right(path, references) for path in submissions) / len(submissions)


def _right(path: Path, references: Mapping[str, int]) -> int:
    import polars as pl

    frame: pl.DataFrame = pl.read_parquet(path)
    wanted = dict(zip(inferred_ids(list(references)), references.values(), strict=True))
    answers = dict(zip(frame["id"], frame["answer"], strict=True))
    if answers.keys() != wanted.keys() or frame.height != len(wanted):
        raise UserError(
            f"{path} has {frame.height} rows for {len(wanted)} different ids, or others: give the references of its run"
        )
    if not frame["answer"].dtype.is_integer():
        return 0
    return sum(answers[id_] == reference for id_, reference in wanted.items())
