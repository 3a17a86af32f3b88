"""The thread that owns vLLM, on an engine that is played; and what is checked before vLLM starts."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sctir_kaggle.engines.vllm_loop import Call, EngineLoop, Request
from sctir_kaggle.engines.vllm_options import checkpoint_name, engine_arguments, quantization_of, version_of
from sctir_kaggle.types import EngineError
from tests.support.vllm_support import MODEL, run


class Played:
    """Has the calls of vLLM's `LLMEngine`; a request ends after `length` steps. `dies` is raised at a step, once set."""

    def __init__(self, length: int = 3) -> None:
        self.left: dict[str, int] = {}
        self.length, self.steps = length, 0
        self.dies: Exception | None = None
        self.discarded = False
        self.go = threading.Semaphore(0)

    def add_request(self, request_id: str, prompt: dict[str, list[int]], params: Any) -> None:
        if params == "refused":
            raise ValueError("no such parameter")
        self.left[request_id] = self.length

    def abort_request(self, ids: list[str]) -> None:
        for unique in ids:
            del self.left[unique]

    def has_unfinished_requests(self) -> bool:
        return bool(self.left)

    def step(self) -> list[Any]:
        self.steps += 1
        if self.dies is not None:
            raise self.dies
        for unique in self.left:
            self.left[unique] -= 1
        ended = [unique for unique, left in self.left.items() if not left]
        for unique in ended:
            del self.left[unique]
        return [SimpleNamespace(request_id=unique, finished=True) for unique in ended]

    def discard(self) -> None:
        self.discarded = True


def loop_on(*engines: Played) -> EngineLoop:
    """A loop that takes one of `engines` at each start, and cannot start where none is left."""
    stock = iter(engines)
    loop = EngineLoop(lambda: next(stock), lambda engine: engine.discard())
    loop.wait_until_started()
    return loop


async def send(loop: EngineLoop, params: object = None, *, name: str = "p/0/0") -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    loop.submit(Request(name, (1, 2), params, future))
    return await future


def test_the_same_request_id_may_run_twice_at_once() -> None:
    engine = Played()
    loop = loop_on(engine)

    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(send(loop), send(loop))

    first, second = run(both())
    assert first.request_id != second.request_id
    loop.close()


def test_a_request_that_vllm_refuses_fails_alone() -> None:
    loop = loop_on(Played())

    async def both() -> tuple[Any, Any]:
        return await asyncio.gather(
            send(loop, name="p/7/0"), send(loop, "refused", name="p/8/0"), return_exceptions=True
        )

    served, refused = run(both())
    assert served.finished
    assert isinstance(refused, EngineError)
    assert "p/8/0" in str(refused)
    assert "no such parameter" in str(refused)
    assert loop.restarts == 0
    loop.close()


def test_a_cancelled_request_is_aborted() -> None:
    engine = Played(length=10**9)
    loop = loop_on(engine)

    async def cancel_one() -> None:
        task = asyncio.ensure_future(send(loop))
        while not engine.left:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while engine.left:
            await asyncio.sleep(0.001)

    run(cancel_one())
    steps = engine.steps
    engine.length = 2
    assert run(send(loop)).finished
    assert engine.steps == steps + 2, "the engine was stepped while it had nothing to do"
    loop.close()


def test_a_death_fails_who_is_on_the_way_and_the_next_engine_serves() -> None:
    first, second = Played(), Played()
    loop = loop_on(first, second)
    first.dies = RuntimeError("out of memory")
    with pytest.raises(EngineError, match=r"p/3/1: .*RuntimeError: out of memory.*restarted"):
        run(send(loop, name="p/3/1"))
    assert run(send(loop)).finished
    assert first.discarded
    assert loop.restarts == 1
    loop.close()


def test_a_second_death_is_the_end_for_all_later_requests() -> None:
    engines = Played(), Played(), Played()
    loop = loop_on(*engines)
    for engine in engines[:2]:
        engine.dies = RuntimeError("illegal address")
        with pytest.raises(EngineError, match="illegal address"):
            run(send(loop))
    with pytest.raises(EngineError, match="illegal address"):
        run(send(loop))
    assert engines[2].steps == 0
    assert engines[1].discarded


def test_an_engine_that_cannot_be_restarted_is_the_end() -> None:
    engine = Played()
    loop = loop_on(engine)
    engine.dies = RuntimeError("gone")
    for words in ("gone", "did not start"):
        with pytest.raises(EngineError, match=words):
            run(send(loop))


def test_an_engine_that_loses_a_request_is_taken_for_dead() -> None:
    engine = Played()
    engine.step = lambda: engine.left.clear() or []  # type: ignore[func-returns-value, method-assign]
    with pytest.raises(EngineError, match="lost 1 request"):
        run(send(loop_on(engine, Played())))


def test_a_call_is_done_in_the_engines_thread_between_two_steps() -> None:
    engine = Played()
    loop = loop_on(engine)
    thread, given = loop.call(lambda own: (threading.current_thread().name, own))
    assert (thread, given) == ("vllm-engine", engine)
    with pytest.raises(KeyError, match="weights"):
        loop.call(lambda own: own.left["weights"])
    assert run(send(loop)).finished
    loop.close()


def test_what_was_cancelled_is_aborted_before_a_call() -> None:
    engine, entered, go = Played(length=10**9), threading.Event(), threading.Event()
    loop = loop_on(engine)

    def hold(own: Played) -> int:
        entered.set()
        go.wait(60)
        return len(own.left)

    async def scene() -> int:
        task = asyncio.create_task(send(loop))
        await asyncio.sleep(0)
        holding = asyncio.create_task(asyncio.to_thread(loop.call, hold))
        await asyncio.to_thread(entered.wait, 60)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        loop.submit(next_call)
        go.set()
        return await holding

    next_call = Call(lambda own: len(own.left), Future())
    assert run(scene()) == 1
    assert next_call.future.result(60) == 0
    loop.close()


def test_an_engine_that_is_not_to_be_built_again_ends_with_its_first_death() -> None:
    first, second = Played(), Played()
    stock = iter([first, second])
    loop = EngineLoop(lambda: next(stock), lambda engine: engine.discard(), most_restarts=0)
    loop.wait_until_started()
    first.dies = RuntimeError("out of memory")
    with pytest.raises(EngineError, match="vLLM died: RuntimeError: out of memory"):
        run(send(loop))
    with pytest.raises(EngineError, match="vLLM died: RuntimeError: out of memory"):
        loop.call(lambda own: own)
    assert next(stock) is second


def test_a_call_that_waits_when_the_engine_dies_raises() -> None:
    engine, entered, go = Played(), threading.Event(), threading.Event()

    def step() -> list[Any]:
        entered.set()
        go.wait(60)
        raise RuntimeError("out of memory")

    engine.step = step  # type: ignore[method-assign]
    loop = EngineLoop(lambda: engine, lambda engine: engine.discard(), most_restarts=0)
    loop.wait_until_started()
    waiting = Call(lambda own: own, Future())

    async def scene() -> None:
        dying = asyncio.create_task(send(loop))
        await asyncio.to_thread(entered.wait, 60)
        loop.submit(waiting)
        go.set()
        await asyncio.gather(dying, return_exceptions=True)

    run(scene())
    with pytest.raises(EngineError, match="vLLM died: RuntimeError: out of memory"):
        waiting.future.result(60)


def test_after_close_every_request_raises() -> None:
    engine = Played(length=10**9)
    loop = loop_on(engine)

    async def close_under_it() -> None:
        task = asyncio.ensure_future(send(loop))
        while not engine.left:
            await asyncio.sleep(0.001)
        await asyncio.to_thread(loop.close)
        await task

    for work in (close_under_it, lambda: send(loop)):
        with pytest.raises(EngineError, match="closed"):
            run(work())
    assert engine.discarded
    loop.close()


def test_an_engine_that_cannot_be_built_says_why() -> None:
    def build() -> None:
        raise ValueError("no memory\nfor the KV cache")

    loop = EngineLoop(build, lambda engine: None)
    with pytest.raises(EngineError, match="did not start: ValueError: no memory for the KV cache"):
        loop.wait_until_started()


def test_a_missing_vllm_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match="pip install"):
        engine_arguments(str(MODEL), slots=1, dtype=None, context_length=None, memory=0.9)


def test_a_folder_without_a_checkpoint_is_refused_before_vllm_starts(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", str(tmp_path)):
        with pytest.raises(EngineError, match=r"config\.json"):
            checkpoint_name(folder)
    assert checkpoint_name("AI-MO/NuminaMath-7B-TIR") == "AI-MO/NuminaMath-7B-TIR"
    assert checkpoint_name(MODEL) == str(MODEL)


def test_the_quantization_is_read_from_either_of_its_files(tmp_path: Path) -> None:
    stored = {"bits": 8, "group_size": 128}
    assert quantization_of(str(MODEL)) == {}
    (tmp_path / "quantize_config.json").write_text(json.dumps(stored))
    assert quantization_of(str(tmp_path)) == stored
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {**stored, "bits": 4}}))
    assert quantization_of(str(tmp_path))["bits"] == 4
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(EngineError, match="download the checkpoint again"):
        quantization_of(str(tmp_path))


@pytest.mark.parametrize(("text", "version"), [("0.19.1", (0, 19)), ("0.32.0+cpu", (0, 32)), ("dev", (0, 0))])
def test_a_version_is_read(text: str, version: tuple[int, int]) -> None:
    assert version_of(text) == version
