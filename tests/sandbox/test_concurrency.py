"""Many at once, from anywhere, and nothing left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, ExecutorError
from tests.sandbox.candidate import Candidate, eventually, running, until, zygote_pid
from tests.support.patience import PATIENCE


def test_48_candidates_at_once_all_get_their_own_answer(sandbox: Sandbox) -> None:
    async def candidate(number: int) -> list[str]:
        talk = Candidate(sandbox, f"many/{number}")
        await talk.turn(f"x = {number}")
        outputs = [(await talk.turn("x += 100\nprint(x)")).output for _ in range(3)]
        sandbox.release(talk.candidate_id)
        return outputs

    async def everyone() -> list[list[str]]:
        return await asyncio.gather(*(candidate(number) for number in range(48)))

    assert asyncio.run(everyone()) == [[f"{n + 100}\n", f"{n + 200}\n", f"{n + 300}\n"] for n in range(48)]


def test_two_event_loops_in_two_threads_share_a_sandbox(sandbox: Sandbox) -> None:
    def loop(number: int) -> str:
        talk = Candidate(sandbox, f"loops/{number}")
        outputs = [talk(f"print({number}, {turn})").output for turn in range(10)]
        sandbox.release(talk.candidate_id)
        return "".join(outputs)

    async def both() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(loop, number) for number in (1, 2)))

    assert asyncio.run(both()) == ["".join(f"{number} {turn}\n" for turn in range(10)) for number in (1, 2)]


def test_the_event_loop_stays_free(run: Candidate) -> None:
    """While a block prints, the loop goes round as often as the block waits for."""
    prints = "import os, time\nopen('began', 'w').close()\nwhile not os.path.exists('go'):\n"
    prints += "    print('x' * 1000)\n    time.sleep(0.001)\n'went'"

    async def go_round() -> ExecutionResult:
        await run.turn("1")
        task = asyncio.ensure_future(run.turn(prints))
        await until((run.folder() / "began").exists)
        for _ in range(50):
            await asyncio.sleep(0.001)
            assert not task.done()
        (run.folder() / "go").touch()
        return await task

    assert asyncio.run(go_round()).output.endswith("'went'\n")


@pytest.mark.slow
def test_closing_leaves_no_process_no_descriptor_and_no_folder() -> None:
    before = set(os.listdir("/proc/self/fd"))
    sandbox = Sandbox(workers=2)
    run = Candidate(sandbox, "problem/0")
    run("x = 1")
    child = run.process()
    folder = Path(run("import os\nprint(os.getcwd())").output.strip()).parent
    zygote = zygote_pid(sandbox)
    sandbox.close()
    assert not running(zygote)
    assert not running(child)
    assert not folder.exists()
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.mark.slow
def test_closing_during_a_block_ends_it() -> None:
    async def close_early() -> tuple[ExecutionResult, float]:
        async with Sandbox(workers=1, code_seconds=PATIENCE) as sandbox:
            candidate = Candidate(sandbox, "problem/0")
            await candidate.turn("1")
            task = asyncio.ensure_future(candidate.turn("open('began', 'w').close()\nwhile True: pass"))
            await until((candidate.folder() / "began").exists)
            started = time.monotonic()
        return await task, time.monotonic() - started

    result, seconds = asyncio.run(close_early())
    assert result.status is ExecutionStatus.CRASH
    assert seconds < PATIENCE / 2, "it ended with the limit of its block"


def test_closed_before_the_start_and_twice_it_refuses() -> None:
    sandbox = Sandbox()
    sandbox.close()
    sandbox.close()
    with pytest.raises(ExecutorError):
        Candidate(sandbox, "problem/0")("1")


def test_a_python_that_does_not_start_is_an_error_that_names_it() -> None:
    false = shutil.which("false")
    assert false
    with pytest.raises(ExecutorError, match=false), Sandbox(python=false):
        pytest.fail("it started")


@pytest.mark.slow
def test_a_host_with_many_open_files_shares_none_of_them(tmp_path: Path) -> None:
    descriptors = [os.open(tmp_path, os.O_RDONLY) for _ in range(300)]
    code = """
import os
def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
[number for number in range(9000) if is_open(number)]"""
    try:
        with Sandbox(workers=1) as sandbox:
            assert Candidate(sandbox, "problem/0")(code).output == "[0, 1, 2, 3]\n"
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@pytest.mark.slow
def test_300_candidates_can_be_alive_at_once() -> None:
    with Sandbox(workers=2, code_seconds=PATIENCE) as sandbox:
        talks = [Candidate(sandbox, f"many/{number}") for number in range(300)]
        for number, talk in enumerate(talks):
            talk(f"x = {number}")
        zygote = zygote_pid(sandbox)
        assert [talk("x").output for talk in talks[::50]] == [f"{number}\n" for number in range(0, 300, 50)]
        assert zygote_pid(sandbox) == zygote


@pytest.mark.slow
def test_more_workers_than_cores_do_not_keep_a_core_busy() -> None:
    with Sandbox(workers=64) as sandbox:
        stat = Path(f"/proc/{zygote_pid(sandbox)}/stat")

        def is_idle() -> bool:
            before = stat.read_text().split()[13:17]
            time.sleep(0.5)
            return stat.read_text().split()[13:17] == before

        assert eventually(is_idle)  # once the children are forked that are forked in advance


def test_a_python_that_is_not_there_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ExecutorError, match="cannot be started: No such file"):
        Sandbox(python="/nowhere/python").start()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_sandboxes_do_not_share_their_limits_on_threads() -> None:
    hog = "import threading, time\nfor _ in range(50): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()"
    with Sandbox(workers=1, code_seconds=PATIENCE) as one, Sandbox(workers=1, code_seconds=PATIENCE) as other:
        assert Candidate(one, "problem/0")(hog).status is ExecutionStatus.OK
        assert Candidate(other, "problem/0")(hog).status is ExecutionStatus.OK


@pytest.mark.slow
def test_a_killed_host_takes_everything_along(tmp_path: Path) -> None:
    script = f"""
import asyncio, os, tempfile, time
tempfile.tempdir = {str(tmp_path)!r}
from sctir_kaggle.sandbox import Sandbox
sandbox = Sandbox(workers=1)
asyncio.run(sandbox.execute("x = 1", request_id="p/0/0", deadline=time.monotonic() + 600))
fork = os.fork()
if fork == 0:  # it holds copies of the sockets and lives on
    time.sleep(600)
    os._exit(0)
print(sandbox._zygote.process.pid, fork, flush=True)
time.sleep(600)
"""
    host = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script], stdout=subprocess.PIPE, text=True)
    assert host.stdout
    zygote, fork = map(int, host.stdout.readline().split())
    try:
        assert list(tmp_path.iterdir())
        host.kill()
        host.wait()
        assert eventually(lambda: not list(tmp_path.iterdir()))
        assert eventually(lambda: not running(zygote) or "Z" in Path(f"/proc/{zygote}/stat").read_text())
    finally:
        os.kill(fork, signal.SIGKILL)
