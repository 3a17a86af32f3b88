"""A replay on a real Ray of this machine: shared out over workers, one of which is killed, into one journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Completion, EngineError, Prompt, SamplingParams, UserError
from sctir_kaggle.cli import main
from sctir_kaggle.journal import read_faults, read_journal
from sctir_kaggle.lab.replay import cluster
from sctir_kaggle.lab.replay.progress import Progress
from sctir_kaggle.lab.replay.results import Outcome
from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.settings import RunConfig
from tests.support.replay_support import PROBLEMS, SEEDS, Drawn, plan, run, told

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[Any]:
    """A cluster of this machine for all tests here: starting one takes seconds."""
    ray = pytest.importorskip("ray", reason="needs the extra `ray`: pip install 'sctir-kaggle[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )
    yield ray
    ray.shutdown()


class Marking(Drawn):
    """Leaves a file named after its process for every request, in a folder that the tests share with the workers."""

    def __init__(self, folder: Path, delay: float) -> None:
        super().__init__(delay)
        self._folder = folder

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        name = request_id.replace("/", "-").replace(":", "-")
        (self._folder / f"{os.getpid()}.{name}").touch()
        if (self._folder / "kills").exists() and request_id.startswith("0:p/4/"):
            os.kill(os.getpid(), signal.SIGKILL)
        return await super().generate(prompt, params, request_id=request_id)


class Loads:
    """A `Load` of a `Marking` engine, which a worker can be sent."""

    def __init__(self, folder: Path, *, delay: float = 0.02, refused: int = 0) -> None:
        folder.mkdir(exist_ok=True)
        self.folder, self.delay, self.refused = folder, delay, refused

    def __call__(self, run: RunConfig, slots: int) -> Marking:
        for number in range(self.refused):
            try:
                (self.folder / f"refused.{number}").touch(exist_ok=False)
            except FileExistsError:
                continue
            raise EngineError(f"no memory for {slots} slots")
        return Marking(self.folder, self.delay)

    def pids(self) -> Counter[int]:
        """How many requests each worker has had."""
        return Counter(int(path.name.split(".")[0]) for path in self.folder.iterdir() if path.name[0].isdigit())


def on_ray(folder: Path, loads: Any, workers: int | None = 2, **choices: Any) -> list[Outcome]:
    return cluster.replay_on_ray(plan(folder, **choices), Progress(), workers=workers, load=loads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], object]:
    """What a run on this machine alone leaves."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return told(read_journal(folder / "journal.jsonl")[1])


def test_two_workers_share_the_work_and_leave_what_one_machine_leaves(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    loads = Loads(tmp_path / "marks")
    outcomes = on_ray(tmp_path / "run", loads)
    header, results = read_journal(tmp_path / "run" / "journal.jsonl")
    assert header["workers"] == 2
    assert told(results) == whole
    assert len(outcomes) == 100
    assert len(loads.pids()) == 2
    assert min(loads.pids().values()) > 100, "of 400 requests"


def test_a_worker_that_is_killed_is_told_of_and_its_tasks_go_to_the_other(
    tmp_path: Path, whole: dict[tuple[str, int], object], caplog: pytest.LogCaptureFixture
) -> None:
    loads, killed = Loads(tmp_path / "marks", delay=0.05), []

    def kill_one_midway() -> None:
        while sum(loads.pids().values()) < 100 or len(loads.pids()) < 2:
            time.sleep(0.01)
        killed.append(min(loads.pids()))
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill_one_midway, daemon=True)
    killer.start()
    on_ray(tmp_path / "run", loads)
    killer.join(10)
    assert len(killed) == 1
    assert told(read_journal(tmp_path / "run" / "journal.jsonl")[1]) == whole
    assert read_faults(tmp_path / "run" / "journal.jsonl") == []
    lost = [record.getMessage() for record in caplog.records if "is lost" in record.getMessage()]
    assert len(lost) == 1
    assert "its tasks go to the others" in lost[0]
    assert loads.pids()[killed[0]] < sum(loads.pids().values()) / 2


def test_without_any_worker_left_the_run_ends_and_another_goes_on(
    tmp_path: Path, whole: dict[tuple[str, int], object]
) -> None:
    loads = Loads(tmp_path / "marks")
    (tmp_path / "marks" / "kills").touch()  # p/4 under seed 0 kills every worker that touches it
    with pytest.raises(EngineError, match=r"no worker is left for \d+ of 100 tasks; --resume goes on"):
        on_ray(tmp_path / "run", loads)
    assert len(loads.pids()) == 2
    (tmp_path / "marks" / "kills").unlink()
    run(tmp_path / "run", resume=True)  # on this machine alone: a run is not bound to where it began
    assert told(read_journal(tmp_path / "run" / "journal.jsonl")[1]) == whole


def test_a_worker_that_cannot_start_is_done_without_and_where_none_can_its_reason_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    on_ray(tmp_path / "run", Loads(tmp_path / "one", refused=1), problems=PROBLEMS[:2])
    assert "could not start, the others go on: no memory for 8 slots" in caplog.text
    with pytest.raises(EngineError, match=r"^no memory for 8 slots$"):
        on_ray(tmp_path / "none", Loads(tmp_path / "two", refused=2), problems=PROBLEMS[:2])
    assert not (tmp_path / "none").exists()


def test_more_workers_than_the_cluster_has_room_for_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="3 workers of Ray need 3 CPUs and the cluster has 2; give fewer"):
        on_ray(tmp_path / "run", Loads(tmp_path / "marks"), workers=3)


def test_the_command_runs_the_embedded_model_on_ray(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    local, shared = tmp_path / "local", tmp_path / "shared"
    options = ("replay", str(HELD_OUT), "--limit", "4", "-n", "4", "--stop", "none", "--seeds", "2", "--output")
    assert main([*options, str(local)]) == 0
    assert main([*options, str(shared), "--ray", "--workers", "2"]) == 0
    assert capsys.readouterr().out.count("% right (mean ± sd of 2 seeds)") == 2
    keys = []
    for folder in (local, shared):
        keys.append({(result.problem.id, result.seed) for result in read_journal(folder / "journal.jsonl")[1]})
    assert keys[0] == keys[1]
    assert len(keys[0]) == 8


def test_an_address_where_no_cluster_is_is_refused_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sctir_kaggle", "replay", str(HELD_OUT), "--ray", "127.0.0.1:9"]
    ended = subprocess.run(
        [*command, "--output", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )
    assert ended.returncode == 2
    assert "sctir: no Ray cluster at '127.0.0.1:9'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--ray needs Ray: pip install 'sctir-kaggle\[ray\]'"):
        cluster.replay_on_ray(replace(plan(tmp_path), seeds=SEEDS), Progress())
