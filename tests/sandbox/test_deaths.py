"""A block that ends its Python, or the zygote, costs its own variables and nothing else."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.outcome import BROKEN, VARIABLES_GONE
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import CODE_SECONDS, Candidate, eventually, running, until
from tests.support.patience import PATIENCE


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
def test_a_death_is_told_and_the_next_block_knows_that_its_variables_are_gone(
    run: Candidate, code: str, cause: str
) -> None:
    run("x = 1")
    result = run("print('before')\n" + code)
    assert result.output == f"before\nError: the code ended Python ({cause})"
    assert result.status is ExecutionStatus.CRASH
    assert run("y = 2").output == VARIABLES_GONE
    assert run("y").output == "2\n"


@pytest.mark.parametrize(
    "code",
    [
        "os.write(3, b'x' * 10**6)",
        "os.write(3, struct.pack('!I', 5) + b'ok\\n42')",
        "os.write(3, struct.pack('!I', 21) + bytes(16) + b'ok\\n42')\nwhile True: pass",
        "os.write(3, b'{}')\n1/0",
    ],
)
def test_a_reply_that_the_block_makes_up_is_not_taken_for_one(run: Candidate, code: str) -> None:
    result = run("import os, struct\nprint('before')\n" + code + "\nNone")
    assert (result.output, result.status) == ("before\n" + BROKEN, ExecutionStatus.CRASH)
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_what_a_block_leaves_running_stands_still_between_the_turns(run: Candidate) -> None:
    run(
        "import threading, time\nn = 0\ndef count():\n    global n\n    while True:\n        n += 1\n        time.sleep(0.001)"
    )
    run("threading.Thread(target=count, daemon=True).start()")
    before = int(run("n").output)

    def state() -> list[str]:
        """Of the process, and its seconds of CPU time: proc(5)."""
        fields = Path(f"/proc/{run.process()}/stat").read_text().rpartition(")")[2].split()
        return [fields[0], *fields[11:13]]

    assert eventually(lambda: state()[0] == "T")
    stopped = state()
    time.sleep(0.5)
    assert state() == stopped
    assert int(run("n").output) >= before


@pytest.mark.parametrize("code", ["import os; os.closerange(0, 100)"])
def test_a_block_that_ruins_its_descriptors_is_an_ordinary_failure(run: Candidate, code: str) -> None:
    result = run.within(CODE_SECONDS, code)
    assert result.status in (ExecutionStatus.CRASH, ExecutionStatus.TIMEOUT)
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_a_child_that_dies_between_two_blocks_is_noticed(run: Candidate) -> None:
    run("x = 1")
    child = run.process()
    os.kill(child, signal.SIGKILL)
    assert eventually(lambda: not running(child))
    assert run("1").output == VARIABLES_GONE + "1\n"


@pytest.mark.slow
def test_a_dead_zygote_is_replaced(run: Candidate, sandbox: Sandbox) -> None:
    run("x = 1")
    run("x = 1")
    child = run.process()
    assert sandbox._zygote
    sandbox._zygote.process.kill()
    assert eventually(lambda: not running(child))
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_release_ends_the_process(run: Candidate, sandbox: Sandbox) -> None:
    run("x = 1")
    child = run.process()
    assert running(child)
    sandbox.release(run.candidate_id)
    assert eventually(lambda: not running(child))
    assert run("1").output == "1\n"


def test_release_of_a_stranger_is_ignored(sandbox: Sandbox, run: Candidate) -> None:
    run("a = 41")
    sandbox.release("nobody/0")
    assert run("a + 1").output == "42\n"


def test_a_candidate_cancelled_and_released_at_any_moment_starts_clean(sandbox: Sandbox) -> None:
    async def cut_short(number: int) -> None:
        task = asyncio.ensure_future(
            sandbox.execute("a = 1", request_id=f"cut/{number}/0", deadline=time.monotonic() + PATIENCE)
        )
        await asyncio.sleep(number * 0.0005)
        task.cancel()
        await asyncio.wait({task})
        sandbox.release(f"cut/{number}")

    async def main() -> list[str]:
        await asyncio.gather(*(cut_short(number) for number in range(40)))
        again = (Candidate(sandbox, f"cut/{number}").turn("'a' in globals()") for number in range(40))
        return [result.output for result in await asyncio.gather(*again)]

    assert set(asyncio.run(main())) == {"False\n"}
    for number in range(40):
        sandbox.release(f"cut/{number}")


def test_cancelling_kills_the_code_at_once(run: Candidate) -> None:
    run("x = 1")
    child = run.process()

    async def cancel() -> float:
        task = asyncio.ensure_future(run.turn("open('began', 'w').close()\nwhile True: pass"))
        await until((run.folder() / "began").exists)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert eventually(lambda: not running(child))
        return time.monotonic() - started

    assert asyncio.run(cancel()) < PATIENCE / 2, "it ended with the limit of its block"
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_a_block_cannot_take_back_the_stop_at_the_end_of_its_turn(run: Candidate) -> None:
    result = run("import os, signal\nos.kill(os.getpid(), signal.SIGCONT)")
    assert result.output.startswith("Traceback")
    assert "ProcessLookupError" in result.output


@pytest.mark.slow
def test_a_deep_folder_and_a_dead_zygote_together_do_no_harm(run: Candidate, sandbox: Sandbox) -> None:
    assert run("import os\nfor _ in range(990):\n    os.mkdir('d')\n    os.chdir('d')").output == ""
    assert sandbox._zygote
    child = run.process()
    sandbox._zygote.process.kill()
    assert eventually(lambda: not running(child))
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_what_a_block_forges_at_length_is_cut(run: Candidate) -> None:
    code = """
import os, struct
os.read(3, 4)
token = os.read(3, 16)
text = b'error\\n' + b'x' * 60000
os.write(3, struct.pack('!I', len(token + text)) + token + text)
"""
    assert len(run(code).output) < 10_000
