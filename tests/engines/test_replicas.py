"""Several engines as one: on engines that are played, then two of vLLM's in processes of their own, on its CPU build."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sctir_kaggle import Problem, Solver, SolverConfig
from sctir_kaggle.engines import vllm_layout
from sctir_kaggle.engines.gpus import GPU
from sctir_kaggle.engines.replicas import ReplicatedEngine, start_all
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.engines.vllm_layout import load_vllm
from sctir_kaggle.engines.vllm_process import environment_of_child, tie
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Completion, EngineError, Prompt, PromptTooLong, SamplingParams, UserError
from tests.support.vllm_support import GREEDY, MODEL, ask, ask_all, inner, needs_vllm, prompts, run

PARAMS = SamplingParams(max_tokens=50)


class Played(Scripted):
    """Says its name and counts what it was asked. While `serving` is False it fails everything, as a dead engine does."""

    tokenizer = None

    def __init__(self, name: str = "one", *, delay: float = 0.0, restarts: int = 0) -> None:
        super().__init__(lambda prompt, candidate, turn: name, delay=delay)
        self.serving, self.context_length, self.restarts = True, 2048, restarts
        self.fails: Exception | None = None
        self.asked: list[str] = []
        self.closed = False

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        self.asked.append(request_id)
        if self.fails or not self.serving:
            raise self.fails or EngineError("it has died")
        return await super().generate(prompt, params, request_id=request_id)

    def describe(self) -> dict[str, str | int]:
        return {**super().describe(), "restarts": self.restarts}

    def close(self) -> None:
        self.closed = True


async def say(engine: ReplicatedEngine, request_id: str) -> str:
    return (await engine.generate(("x",), PARAMS, request_id=request_id)).text


def test_concurrent_candidates_are_shared_out_and_stay_where_they_are() -> None:
    first, second = Played(delay=0.01), Played(delay=0.01)
    engine = ReplicatedEngine([first, second])

    async def turn(number: int) -> None:
        await asyncio.gather(*(say(engine, f"p/{candidate}/{number}") for candidate in range(20)))

    async def turns() -> None:
        for number in range(3):
            await turn(number)

    run(turns())
    assert (len(first.asked), len(second.asked)) == (30, 30)
    homes = [{request.rpartition("/")[0] for request in replica.asked} for replica in (first, second)]
    assert homes[0].isdisjoint(homes[1])
    assert engine.running == (0, 0)


def test_a_request_that_one_fails_is_answered_by_another() -> None:
    first, second = Played("first"), Played("second")
    engine = ReplicatedEngine([first, second])
    first.fails = EngineError("vLLM died; it is being restarted")
    assert run(say(engine, "p/0/0")) == "second"
    assert first.asked == second.asked == ["p/0/0"]
    first.fails = None
    assert run(say(engine, "p/0/1")) == "second", "its prefix is there now"
    assert engine.running == (0, 0)


def test_a_replica_that_does_not_serve_gets_nothing_until_it_does() -> None:
    first, second = Played("first"), Played("second")
    engine = ReplicatedEngine([first, second])
    first.serving = False
    assert {run(say(engine, f"p/{candidate}/0")) for candidate in range(6)} == {"second"}
    assert first.asked == []
    first.serving = True
    assert run(say(engine, "q/0/0")) == "first"


def test_where_every_one_fails_the_last_error_is_raised() -> None:
    replicas = [Played(), Played(), Played()]
    engine = ReplicatedEngine(replicas)
    for number, replica in enumerate(replicas):
        replica.fails = EngineError(f"number {number} is out of memory")
    with pytest.raises(EngineError, match="number 2 is out of memory"):
        run(say(engine, "p/0/0"))
    assert [len(replica.asked) for replica in replicas] == [1, 1, 1]
    assert engine.running == (0, 0, 0)


def test_after_the_last_death_requests_fail_at_once() -> None:
    replicas = [Played(), Played()]
    engine = ReplicatedEngine(replicas)
    assert engine.serving
    for replica in replicas:
        replica.serving = False
    assert not engine.serving
    with pytest.raises(EngineError, match="it has died"):
        run(say(engine, "p/0/0"))


def test_a_prompt_that_is_too_long_for_one_is_too_long_for_all() -> None:
    first, second = Played(), Played()
    first.fails = PromptTooLong("p/0/0: 5000 tokens")
    with pytest.raises(PromptTooLong):
        run(say(ReplicatedEngine([first, second]), "p/0/0"))
    assert second.asked == []


def test_a_bug_is_no_reason_to_try_another() -> None:
    first, second = Played(), Played()
    first.fails = TypeError("a bug")
    with pytest.raises(TypeError):
        run(say(ReplicatedEngine([first, second]), "p/0/0"))
    assert second.asked == []


def test_a_cancelled_request_no_longer_counts() -> None:
    engine = ReplicatedEngine([Played(delay=60), Played(delay=60)])

    async def cancel() -> tuple[int, ...]:
        tasks = [asyncio.ensure_future(say(engine, f"p/{candidate}/0")) for candidate in range(7)]
        await asyncio.sleep(0.01)
        running = engine.running
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in ended)
        return running

    assert sorted(run(cancel())) == [3, 4]
    assert engine.running == (0, 0)


def test_it_says_what_one_is_and_how_many_there_are() -> None:
    engine = ReplicatedEngine([Played(restarts=1), Played(restarts=0)])
    assert engine.describe() == {"engine": "scripted", "replicas": 2, "restarts": 1}
    engine.replicas[1].context_length = 1000  # type: ignore[misc]
    assert engine.context_length == 1000


def test_close_closes_the_rest_where_one_cannot() -> None:
    class Stuck(Played):
        def close(self) -> None:
            raise RuntimeError("stuck")

    replicas = [Played(), Stuck(), Played()]
    with pytest.raises(RuntimeError, match="stuck"):
        ReplicatedEngine(replicas).close()
    assert [replica.closed for replica in replicas] == [True, False, True]


def test_replicas_start_at_once() -> None:
    together = threading.Barrier(3, timeout=120)

    def start() -> Played:
        together.wait()
        return Played()

    assert len(start_all([start] * 3).replicas) == 3


def test_one_that_does_not_start_closes_the_others() -> None:
    started = [Played(), Played()]

    def fail() -> Played:
        raise EngineError("no memory for the KV cache")

    with pytest.raises(EngineError, match="no memory"):
        start_all([lambda: started[0], fail, lambda: started[1]])
    assert [replica.closed for replica in started] == [True, True]


def test_the_solver_runs_on_replicas(sandbox: Sandbox) -> None:
    class Answers(Played):
        def __init__(self) -> None:
            super().__init__("\\boxed{7}", delay=0.001)

    replicas = [Answers(), Answers()]
    config = SolverConfig(candidates=12, stop="none")
    result = run(Solver(ReplicatedEngine(replicas), sandbox, config).solve(Problem("p", "What is 3 + 4?")))
    assert result.vote.ranking == ((7, 12.0),)
    assert [len(replica.asked) for replica in replicas] == [6, 6]


def test_a_child_keeps_the_environment_that_the_others_do_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCTIR_REPLICA", raising=False)
    children: dict[int, Any] = {}
    started, over = threading.Barrier(3, timeout=60), threading.Event()

    def start(number: int) -> None:
        with environment_of_child({"SCTIR_REPLICA": str(number)}):
            child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), name="EngineCore_DP0")
            child.start()
            children[number] = child
            started.wait()  # each block is still open while the next one starts: it has given its turn away
            over.wait(600)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(2)]
    try:
        for thread in threads:
            thread.start()
        started.wait()
        end = time.monotonic() + 120
        while not all("SCTIR_REPLICA" in environment_of(child.pid) for child in children.values()):
            # A process shows its parent's environment until it has become another program.
            assert time.monotonic() < end, "a process was started without the variable"
            time.sleep(0.01)
        seen = {number: environment_of(child.pid)["SCTIR_REPLICA"] for number, child in children.items()}
        assert seen == {0: "0", 1: "1"}
        end = time.monotonic() + 120
        while "SCTIR_REPLICA" in os.environ:
            assert time.monotonic() < end, "the variables stay although both processes have been started"
            time.sleep(0.01)
    finally:
        over.set()
        for child in children.values():
            child.kill()
            child.join()
        for thread in threads:
            thread.join()


def test_another_process_does_not_end_the_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCTIR_REPLICA", "before")
    with environment_of_child({"SCTIR_REPLICA": "inside"}):
        child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), name="some-pool")
        child.start()
        time.sleep(0.2)
        assert os.environ["SCTIR_REPLICA"] == "inside"
        child.kill()
        child.join()
    assert os.environ["SCTIR_REPLICA"] == "before"


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(pair.decode().split("=", 1) for pair in pairs if b"=" in pair)


def played_engine(pid_and_name: Any) -> Any:
    """As much of vLLM's engine as `tie` touches."""
    resources = SimpleNamespace(engine_manager=SimpleNamespace(processes=[pid_and_name]))
    return SimpleNamespace(engine_core=SimpleNamespace(resources=resources, outputs_queue=queue.Queue()))


def test_the_death_of_a_process_reaches_who_waits_for_its_output() -> None:
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), name="EngineCore")
    child.start()
    engine = played_engine(child)
    tie(engine)
    outputs = engine.engine_core.outputs_queue
    with pytest.raises(queue.Empty):
        outputs.get(timeout=0.2)
    child.kill()
    assert f"EngineCore {child.pid}" in str(outputs.get(timeout=120))
    child.join()


OWNER = """
import multiprocessing, sys, time
from tests.engines.test_replicas import played_engine
from sctir_kaggle.engines.vllm_process import tie
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,), name="EngineCore")
    child.start()
    tie(played_engine(child))
    print(child.pid, flush=True)
    time.sleep(600)
"""


def test_an_engine_ends_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    (tmp_path / "owner.py").write_text(OWNER)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    owner = subprocess.Popen([sys.executable, tmp_path / "owner.py"], stdout=subprocess.PIPE, env=environment)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    assert is_alive(child)
    owner.kill()
    owner.wait()
    owner.stdout.close()
    end = time.monotonic() + 120
    while is_alive(child):
        assert time.monotonic() < end, "the engine's process outlives its owner"
        time.sleep(0.05)


@pytest.mark.parametrize("size", [0, 3])
def test_a_tensor_parallel_size_that_there_are_no_gpus_for_is_refused(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_layout, "visible_gpus", lambda: [GPU(15 << 30, name="0"), GPU(15 << 30, name="1")])
    with pytest.raises(UserError, match=f"tensor_parallel_size is {size}: this machine has 2"):
        load_vllm(MODEL, options={"tensor_parallel_size": size})


@pytest.mark.parametrize("wrong", [{"layout": "pipeline"}, {"gpus": 0}, {"gpus": 3}])
def test_a_layout_that_there_is_not_is_refused(wrong: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_layout, "visible_gpus", lambda: [GPU(15 << 30, name="0"), GPU(15 << 30, name="1")])
    with pytest.raises(UserError, match=r"layout is|gpus is"):
        load_vllm(MODEL, **wrong)


def test_the_plan_decides_what_is_started(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    loads: list[dict[str, Any]] = []

    def load(model: Path, **choices: Any) -> Played:
        loads.append(choices)
        return Played()

    monkeypatch.setattr(vllm_layout, "VLLMEngine", SimpleNamespace(load=load))
    monkeypatch.setattr(vllm_layout, "visible_gpus", lambda: [GPU(15 << 30, name=str(n)) for n in range(2)])
    caplog.set_level("INFO", "sctir_kaggle")
    assert isinstance(load_vllm(MODEL, layout="replicas"), ReplicatedEngine)
    assert sorted(each["child"]["CUDA_VISIBLE_DEVICES"] for each in loads) == ["0", "1"]
    assert "2 replicas of 1 GPU: 0.0 GB" in caplog.text
    loads.clear()
    assert isinstance(load_vllm(MODEL, layout="tensor", options={"seed": 3}), Played)
    assert loads[0]["child"] == {"CUDA_VISIBLE_DEVICES": "0,1"}
    assert loads[0]["options"] == {"tensor_parallel_size": 2, "seed": 3}
    loads.clear()
    assert isinstance(load_vllm(MODEL, gpus=1), Played)
    assert "child" not in loads[0], "one GPU is served from this process"
    loads.clear()
    assert isinstance(load_vllm(MODEL, options={"tensor-parallel-size": 2}), Played)
    assert loads[0]["options"] == {"tensor_parallel_size": 2}
    loads.clear()
    chosen: dict[str, Any] = {"dtype": "float16", "context_length": 512, "memory": 0.5}
    load_vllm(MODEL, layout="replicas", **chosen, options={"max-num-batched-tokens": 4096})
    assert [each["options"] for each in loads] == [{"max_num_batched_tokens": 4096}] * 2
    assert all({name: each[name] for name in chosen} == chosen for each in loads)
    loads.clear()
    with pytest.raises(UserError, match="choose a layout"):
        load_vllm("owner/name")
    load_vllm("owner/name", layout="replicas")
    assert len(loads) == 2


def test_the_choice_reads_vllms_own_names_for_memory_context_and_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[dict[str, Any]] = []

    def choose(*_: Any, **sizes: Any) -> SimpleNamespace:
        chosen.append(sizes)
        return SimpleNamespace(replicas=1, tensor_parallel=1)

    monkeypatch.setattr(vllm_layout, "VLLMEngine", SimpleNamespace(load=lambda *_, **__: Played()))
    monkeypatch.setattr(vllm_layout, "visible_gpus", lambda: [GPU(15 << 30, name=str(n)) for n in range(2)])
    monkeypatch.setattr(vllm_layout, "choose_layout", choose)
    load_vllm(MODEL, slots=7, dtype="float32", context_length=512, memory=0.5)
    load_vllm(
        MODEL, options={"--max-model-len": 256, "gpu-memory-utilization": 0.4, "kv_cache_dtype": "fp8"}, memory=0.5
    )
    load_vllm(MODEL, options={"max_model_len": "auto"})
    read = [tuple(each[name] for name in ("context_length", "memory", "number_bytes")) for each in chosen]
    assert read == [(512, 0.5, 4), (256, 0.4, 1), (None, 0.9, 2)]
    assert (chosen[0]["candidates"], chosen[0]["layout"]) == (7, "auto")


@pytest.fixture(scope="module")
def pair() -> Iterator[ReplicatedEngine]:
    """Two replicas of the embedded model on the CPU, each in a process of its own."""
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    engine = load_vllm(MODEL, layout="replicas", gpus=2)
    assert isinstance(engine, ReplicatedEngine)
    yield engine
    engine.close()


def process_of(replica: Any) -> int:
    """The process of a replica's engine."""
    return int(inner(replica).engine_core.resources.engine_manager.processes[0].pid)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@needs_vllm
def test_two_replicas_in_processes_of_their_own_say_the_same(pair: ReplicatedEngine) -> None:
    requests = [(prompt, GREEDY) for prompt in prompts(10)]
    first, second = (ask_all(replica, requests) for replica in pair.replicas)
    assert [each.token_ids for each in first] == [each.token_ids for each in second]
    assert [each.text for each in ask_all(pair, requests)] == [each.text for each in first]
    processes = {process_of(replica) for replica in pair.replicas}
    assert len(processes - {os.getpid()}) == 2
    assert pair.describe()["replicas"] == 2


@needs_vllm
def test_the_solver_keeps_candidates_at_their_prefix(pair: ReplicatedEngine, sandbox: Sandbox) -> None:
    config = SolverConfig(candidates=16, stop="none")
    result = run(Solver(pair, sandbox, config).solve(read_problems(HELD_OUT)[0]))
    assert result.correct is True
    later = [turn.completion for trace in result.traces for turn in trace.turns[1:]]
    assert sum(each.cached_tokens for each in later) >= 0.7 * sum(each.prompt_tokens for each in later)
    assert pair.running == (0, 0)


@needs_vllm
def test_200_cancelled_requests_leave_no_blocks_behind_in_the_processes(pair: ReplicatedEngine) -> None:
    async def start_and_cancel() -> int:
        params = SamplingParams(temperature=1.0, max_tokens=1500)
        calls = [pair.generate(p, params, request_id=f"p/{n}/0") for n, p in enumerate(prompts(50) * 4)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while any(inner(replica).get_num_unfinished_requests() < 75 for replica in pair.replicas):
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(outcome, asyncio.CancelledError) for outcome in ended)

    assert run(start_and_cancel()) > 150
    assert pair.running == (0, 0)
    for replica in pair.replicas:
        ask(replica, prompts(1)[0], replace(GREEDY, max_tokens=1))  # when this is answered, the aborts have been seen
        assert inner(replica).get_num_unfinished_requests() == 0
        assert inner(replica).reset_prefix_cache() is True, "a request still holds blocks"


@needs_vllm
def test_running_requests_hold_blocks(pair: ReplicatedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the test above can fail. vLLM is asked in the engine's own thread: its sockets are for one thread."""
    replica, freed = pair.replicas[0], list[bool]()
    engine, step = inner(replica), inner(replica).step

    def step_and_ask() -> Any:
        """After a step: before the first one none of them holds a block yet."""
        outputs = step()
        if not freed and engine.get_num_unfinished_requests() >= 40:
            freed.append(bool(engine.engine_core.call_utility("reset_prefix_cache")))
        return outputs

    async def while_they_run() -> None:
        params = SamplingParams(temperature=1.5, max_tokens=1500)
        calls = [replica.generate(prompt, params, request_id=f"p/{n}/0") for n, prompt in enumerate(prompts(40))]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while not freed:
            await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    monkeypatch.setattr(engine, "step", step_and_ask)
    run(while_they_run())
    assert freed == [False]


@needs_vllm
def test_what_one_replica_refuses_is_refused(pair: ReplicatedEngine) -> None:
    with pytest.raises(PromptTooLong, match=str(pair.context_length)):
        ask(pair, ((5,) * pair.context_length,), GREEDY)
    with pytest.raises(EngineError, match="p/0/0"):
        ask(pair, prompts(1)[0], replace(GREEDY, temperature=-1))
    assert ask(pair, prompts(1)[0], GREEDY).text


@needs_vllm
def test_a_killed_replica_is_replaced_by_the_other_restarted_once_and_then_left_out(pair: ReplicatedEngine) -> None:
    expected = ask(pair, prompts(1)[0], GREEDY).text
    first, second = pair.replicas

    async def kill_under(problem: str) -> list[Completion]:
        calls = [pair.generate(prompts(1)[0], GREEDY, request_id=f"{problem}/{number}/0") for number in range(12)]
        tasks = [asyncio.ensure_future(call) for call in calls]
        while inner(first).get_num_unfinished_requests() < 6:  # those that have begun there, one in two
            await asyncio.sleep(0.001)
        os.kill(process_of(first), signal.SIGKILL)
        return await asyncio.gather(*tasks)

    assert {each.text for each in run(kill_under("new"))} == {expected}
    assert not first.serving
    assert ask(pair, prompts(1)[0], GREEDY).text == expected, "the other one serves meanwhile"
    assert ask(first, prompts(1)[0], GREEDY).text == expected, "it is restarted"
    assert pair.describe()["restarts"] == 1
    assert {each.text for each in run(kill_under("newer"))} == {expected}
    with pytest.raises(EngineError, match=r"its process has ended|EngineDeadError"):
        ask(first, prompts(1)[0], GREEDY)
    assert pair.serving
    assert {each.text for each in ask_all(pair, [(prompts(1)[0], GREEDY)] * 12)} == {expected}
    assert second.serving


@needs_vllm
def test_close_leaves_no_process(pair: ReplicatedEngine) -> None:
    left = process_of(pair.replicas[1])
    assert is_alive(left)
    pair.close()
    for _ in range(200):  # vLLM may have killed it a moment ago: a busy machine takes a while to clear it away
        if not is_alive(left):
            break
        time.sleep(0.05)
    assert not is_alive(left)
    assert not [child for child in multiprocessing.active_children() if child.name.startswith("EngineCore")]
    with pytest.raises(EngineError, match=r"closed|ended"):
        ask(pair, prompts(1)[0], GREEDY)
