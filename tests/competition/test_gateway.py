"""The push API's stand-in: each row of the table of what AIMO-2 (0.3.0) and AIMO-3 (0.9.0) do, over real gRPC."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sctir_kaggle import UserError
from sctir_kaggle.competition import verdict
from sctir_kaggle.competition.dry_run import score
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.push_server import VARIABLE, evaluation_folder, real_server
from sctir_kaggle.competition.stand_in import InferenceServer
from sctir_kaggle.competition.verdict import Version
from tests.support.push_support import IDS, Competition, Predict, children, nothing_left, pl, row

PROJECT = Path(__file__).parents[2]
VERSIONS: list[Version] = ["0.3.0", "0.9.0"]

both = pytest.mark.parametrize("version", VERSIONS)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def competition(tmp_path: Path) -> Competition:
    return Competition(tmp_path)


@both
def test_the_file_has_id_and_answer_in_the_order_of_the_shuffled_calls(
    competition: Competition, version: Version
) -> None:
    competition.run(version, lambda id_, *_: row(id_, answer=len(competition.asked)), seed=1)
    frame = pl.read_parquet(competition.submission)
    assert (frame.columns, frame["answer"].to_list()) == (["id", "answer"], [1, 2, 3])
    assert frame["id"].to_list() == competition.asked
    assert sorted(competition.asked) == IDS != competition.asked


@both
def test_predict_gets_series_of_one_row_and_ids_stay_text(competition: Competition, version: Version) -> None:
    seen: list[tuple[Any, ...]] = []

    def predict(*arguments: Any) -> Any:
        seen.append(arguments)
        return row(*arguments)

    competition.run(version, predict, seed=None)
    assert all(isinstance(series, pl.Series) and len(series) == 1 for call in seen for series in call)
    assert [[series.to_list() for series in call] for call in seen][1] == [["424e18"], ["What is 1?"]]


@both
def test_the_csvs_answers_leak_to_predict_as_a_third_argument(competition: Competition, version: Version) -> None:
    seen: list[int] = []

    def predict(id_: Any, problem: Any, answer: Any) -> Any:
        seen.append(answer[0])
        return row(id_)

    competition.run(version, predict, with_answer=True, seed=None)
    assert seen == [0, 1, 2]


def test_predict_runs_in_a_worker_thread_and_the_gateway_in_another_process(competition: Competition) -> None:
    before, seen = set(children()), []

    def predict(id_: Any, *_: Any) -> Any:
        commands = [Path(f"/proc/{child}/cmdline").read_text().split("\0")[2] for child in set(children()) - before]
        seen.append((threading.current_thread() is threading.main_thread(), commands))
        return row(id_)

    competition.run("0.9.0", predict)
    assert seen == [(False, ["sctir_kaggle.competition.gateway"])] * 3


@both
def test_a_pandas_frame_will_do(competition: Competition, version: Version) -> None:
    competition.run(version, lambda id_, *_: pd.DataFrame(row(id_).to_dict(as_series=False)), seed=None)
    assert pl.read_parquet(competition.submission)["answer"].to_list() == [5, 5, 5]


def test_a_frame_without_id_is_rejected_by_aimo_2(competition: Competition) -> None:
    competition.fails("0.3.0", lambda *_: pl.DataFrame({"answer": 5}), verdict.InvalidSubmission, "columns")


def test_a_frame_without_id_is_filled_in_by_aimo_3(competition: Competition) -> None:
    competition.run("0.9.0", lambda *_: pl.DataFrame({"answer": 5}))
    assert pl.read_parquet(competition.submission)["id"].to_list() == competition.asked


def test_a_wrong_id_is_rejected_by_aimo_2(competition: Competition) -> None:
    competition.fails("0.3.0", lambda *_: row(["x"]), verdict.InvalidSubmission, "the id 'x'")


def test_a_wrong_id_is_overwritten_by_aimo_3(competition: Competition) -> None:
    competition.run("0.9.0", lambda *_: row(["x"]))
    assert pl.read_parquet(competition.submission)["id"].to_list() == competition.asked


@both
def test_two_rows_are_rejected_at_once(competition: Competition, version: Version) -> None:
    competition.fails(version, lambda *_: row(["a", "b"]), verdict.InvalidSubmission, "2 rows")
    assert len(competition.asked) == 1


@both
def test_none_is_rejected_at_once(competition: Competition, version: Version) -> None:
    competition.fails(version, lambda *_: None, verdict.InvalidSubmission, "NoneType")
    assert len(competition.asked) == 1


def numpy_integer() -> Any:
    return pytest.importorskip("numpy").int64(5)


@pytest.mark.slow
@pytest.mark.parametrize("bare", [lambda: 5, numpy_integer, lambda: "5"], ids=["int", "numpy int", "str"])
@pytest.mark.parametrize(("version", "calls"), [("0.3.0", 1), ("0.9.0", 3)])
def test_a_bare_answer_fails_at_once_in_aimo_2_and_only_after_all_problems_in_aimo_3(
    competition: Competition, version: Version, calls: int, bare: Callable[[], Any]
) -> None:
    competition.fails(version, lambda *_: bare(), verdict.GatewayFailed, "a polars DataFrame .* is wanted")
    assert len(competition.asked) == calls


@pytest.mark.slow
@both
def test_one_text_among_the_integers_is_worth_zero_in_silence(competition: Competition, version: Version) -> None:
    references = dict.fromkeys(IDS, 5)
    competition.run(version, row)
    assert score([competition.submission], references) == 3
    competition.run(version, lambda id_, *_: row(id_, answer="5" if id_[0] == "c" else 5))
    assert pl.read_parquet(competition.submission)["answer"].to_list() == ["5", "5", "5"]
    assert score([competition.submission], references) == 0


@pytest.mark.slow
@both
def test_one_float_among_the_integers_counts_for_nothing_either(competition: Competition, version: Version) -> None:
    competition.run(version, lambda id_, *_: row(id_, answer=5.0 if id_[0] == "c" else 5))
    assert score([competition.submission], dict.fromkeys(IDS, 5)) == 0


def raises(text: str) -> Predict:
    def predict(*_: Any) -> Any:
        raise ValueError(text)

    return predict


@pytest.mark.slow
@both
def test_an_exception_ends_the_run_with_its_text(competition: Competition, version: Version) -> None:
    competition.fails(version, raises("no weights"), verdict.PredictRaised, "no weights")
    assert len(competition.asked) == 1


@pytest.mark.slow
@both
def test_a_long_exception_text_hides_the_error(competition: Competition, version: Version) -> None:
    competition.fails(version, raises("x" * 7000), verdict.PredictRaised, "x{7000}")
    competition.fails(version, raises("x" * 8192), verdict.ErrorHidden, "^(?!.*xx).*metadata size exceeds")


@pytest.mark.slow
def test_a_text_that_is_not_ascii_takes_three_times_its_bytes_of_that_limit(competition: Competition) -> None:
    competition.fails("0.9.0", raises("é" * 1300), verdict.PredictRaised, "é{1300}")
    competition.fails("0.9.0", raises("é" * 1400), verdict.ErrorHidden, "^(?!.*é).*metadata size exceeds")


@pytest.mark.slow
@both
def test_predict_may_not_set_a_signal_handler(competition: Competition, version: Version) -> None:
    def predict(*_: Any) -> Any:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)

    competition.fails(version, predict, verdict.PredictRaised, "only works in main thread")


@pytest.mark.slow
@both
@pytest.mark.parametrize("bare", [False, True], ids=["in a frame", "bare"])
def test_an_integer_beyond_64_bits_fails_at_once(competition: Competition, version: Version, bare: bool) -> None:
    too_big = 10**30
    competition.fails(
        version, lambda *r: too_big if bare else row(*r[:1], answer=too_big), verdict.PredictRaised, "64|Int128"
    )
    assert len(competition.asked) == 1


@pytest.mark.slow
@both
def test_the_first_answer_has_no_deadline_and_the_later_ones_have(competition: Competition, version: Version) -> None:
    released = threading.Event()

    def predict(id_: Any, *_: Any) -> Any:
        released.wait(2.0 if len(competition.asked) == 1 else 30)
        return row(id_)

    try:
        competition.fails(version, predict, verdict.PredictTimedOut, r"within 1\.5 s", answer_seconds=1.5)
    finally:
        released.set()
    assert len(competition.asked) == 2


@pytest.mark.parametrize("kind", ["bound method", "partial", "callable object", "lambda", "other name"])
def test_aimo_3_takes_only_a_plain_function_named_predict(competition: Competition, kind: str) -> None:
    class Solver:
        def predict(self, *_: Any) -> Any: ...

        def __call__(self, *_: Any) -> Any: ...

    others: dict[str, Predict] = {
        "bound method": Solver().predict,
        "partial": functools.partial(row),
        "callable object": Solver(),
        "lambda": lambda *_: None,
        "other name": row,
    }
    with pytest.raises(TypeError, match="a plain function named predict"):
        InferenceServer(others[kind], version="0.9.0", submission=competition.submission)


def test_a_missing_library_is_named_with_the_command_that_mends_it() -> None:
    """In an interpreter that sees no installed packages."""
    call = "InferenceServer(print, version='0.3.0', submission=None)"
    program = (
        f"import sys; sys.path.insert(0, '.'); from sctir_kaggle.competition.stand_in import InferenceServer; {call}"
    )
    ended = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, cwd=PROJECT)
    assert "not installed: polars, grpc; pip install 'sctir-kaggle[competition]'" in ended.stderr


def test_aimo_2_takes_a_bound_method(competition: Competition) -> None:
    class Solver:
        def answer(self, id_: Any, *_: Any) -> Any:
            return row(id_)

    server = InferenceServer(Solver().answer, version="0.3.0", submission=competition.submission)
    server.run_local_gateway((competition.csv(),))
    assert pl.read_parquet(competition.submission).height == 3


def test_two_private_runs_are_shuffled_again_and_score_a_half_for_one_right_answer_of_two(
    competition: Competition,
) -> None:
    """007 is right both times, 424e18 the first time only, c never."""

    def predict(id_: Any, *_: Any) -> Any:
        right = {"007": True, "424e18": len(competition.asked) <= 3, "c": False}[id_[0]]
        return row(id_, answer=99_999 if right else 0)

    competition.run("0.9.0", predict, runs=2, seed=0)
    files = [competition.submission, competition.folder / "submission.2.parquet"]
    assert competition.asked[:3] != competition.asked[3:]
    assert [pl.read_parquet(file)["id"].to_list() for file in files] == [competition.asked[:3], competition.asked[3:]]
    assert score(files, dict.fromkeys(IDS, 99_999)) == 1.5


def test_if_the_second_private_run_fails_there_is_no_submission_of_either(competition: Competition) -> None:
    predict = lambda id_, *_: row(id_) if len(competition.asked) < 6 else None  # noqa: E731
    competition.fails("0.9.0", predict, verdict.InvalidSubmission, "NoneType", runs=2)


def test_a_csv_that_cannot_be_read_is_the_gateways_failure(competition: Competition) -> None:
    server = InferenceServer(row, version="0.3.0", submission=competition.submission)
    with pytest.raises(verdict.GatewayFailed, match=r"cannot read .*absent\.csv"):
        server.run_local_gateway((competition.folder / "absent.csv",))


@pytest.mark.slow
def test_no_socket_is_left_open(competition: Competition) -> None:
    def sockets() -> int:
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _exists(fd)]
        return sum(link.startswith("socket:") for link in links)

    competition.run("0.9.0", row)  # what gRPC opens once and keeps
    before = sockets()
    competition.run("0.9.0", row)
    assert sockets() <= before


def _exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


@dataclass(frozen=True)
class Profile:
    server: str


def test_of_several_folders_the_one_with_the_competitions_server_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (2, 3):
        server = tmp_path / str(number) / f"kaggle_evaluation/aimo_{number}_inference_server.py"
        server.parent.mkdir(parents=True)
        server.touch()
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(tmp_path / "2"), str(tmp_path / "3")]))
    for number in (2, 3):
        assert evaluation_folder(PROFILES[f"aimo{number}"]) == tmp_path / str(number)
    assert evaluation_folder(Profile("absent:Server")) == tmp_path / "2"
    monkeypatch.delenv(VARIABLE)
    assert evaluation_folder(PROFILES["aimo2"]) is None


def test_a_folder_without_the_competitions_package_is_named_with_the_variable(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"cannot import absent_module:Server.*{VARIABLE}"):
        real_server(Profile("absent_module:Server"), row, folder=tmp_path)
