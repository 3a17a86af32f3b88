"""Each limit ends a block, and the output says which one it was."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.outcome import NO_TIME_LEFT, VARIABLES_GONE
from sctir_kaggle.types import ExecutionResult, ExecutionStatus
from tests.sandbox.candidate import CODE_SECONDS, Candidate, until
from tests.support.patience import PATIENCE

TOO_LONG = f"TimeoutError: the code ran for more than {CODE_SECONDS:g} seconds and was stopped"


def test_an_endless_loop_is_stopped_and_says_where_it_was(run: Candidate) -> None:
    run("x = 1")
    result = run.within(CODE_SECONDS, "print('before')\nn = 0\nwhile True:\n    n += 1", soft=True)
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.output.startswith('before\nTraceback (most recent call last):\n  File "<cell 2>", line ')
    assert result.output.endswith("\n" + TOO_LONG)
    assert result.seconds < PATIENCE
    assert run("x").output == "1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "print('before')\nsum(range(10**12))",
        "print('before')\nwhile True:\n    try: sum(range(10**6))\n    except BaseException: pass",
        "import _signal, time\nprint('before')\n_signal.signal(_signal.SIGALRM, 1)\nwhile 1: time.sleep(999)",
        "import os, signal\nprint('before')\nos.kill(os.getpid(), signal.SIGSTOP)",
        "class A(Exception):\n    def __str__(self):\n        while True: pass\nprint('before')\nraise A",
    ],
)
def test_what_cannot_be_interrupted_is_killed(run: Candidate, code: str) -> None:
    run("x = 1")
    result = run.within(CODE_SECONDS, code)
    assert (result.output, result.status) == ("before\n" + TOO_LONG, ExecutionStatus.TIMEOUT)
    assert result.seconds < PATIENCE
    assert run("print('x' in globals())").output == VARIABLES_GONE + "False\n"
    assert run("2").output == "2\n"


def test_the_deadline_ends_a_block_before_its_own_limit_does(run: Candidate) -> None:
    started = time.monotonic()
    result = run("import time\ntime.sleep(999)", seconds=0.5)
    assert time.monotonic() - started < PATIENCE
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.output.endswith(NO_TIME_LEFT)


def test_a_deadline_that_has_passed_runs_nothing(run: Candidate) -> None:
    assert run("print(1)", seconds=-1) == ExecutionResult(NO_TIME_LEFT, ExecutionStatus.TIMEOUT)


@pytest.mark.slow
def test_waiting_for_a_worker_counts_for_the_deadline_only() -> None:
    wait = (
        "import os, time\nopen('began', 'w').close()\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('done')"
    )

    async def three(sandbox: Sandbox) -> list[ExecutionResult]:
        first, second, third = (Candidate(sandbox, f"problem/{number}") for number in range(3))
        await first.turn("1")
        waited_for = asyncio.ensure_future(first.turn(wait))
        await until((first.folder() / "began").exists)
        sandbox.code_seconds = CODE_SECONDS  # of the blocks that begin from now on
        waiting = asyncio.ensure_future(second.turn("print('done')"))
        late = await third.turn("print('done')", seconds=0.3)
        await asyncio.sleep(CODE_SECONDS)
        (first.folder() / "go").touch()
        return [await waited_for, await waiting, late]

    with Sandbox(workers=1, code_seconds=PATIENCE) as sandbox:
        results = asyncio.run(three(sandbox))
    assert [result.output for result in results] == ["done\n", "done\n", NO_TIME_LEFT]


@pytest.mark.parametrize(
    "code", ["x = [0] * 10**9", "np.ones((40000, 40000))", "x = []\nwhile True: x.append(bytes(10**7))"]
)
def test_too_much_memory_is_refused_and_told(run: Candidate, code: str) -> None:
    result = run("print('before')\n" + code)
    assert result.status is ExecutionStatus.MEMORY
    assert result.output.startswith("before\nTraceback")
    assert result.output.endswith("\nMemoryError: the code needed more than 512 MB and was stopped")
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_an_array_within_the_budget_works(run: Candidate) -> None:
    assert run("len(np.zeros(300 * 2**17))").output == "39321600\n"


def test_long_output_keeps_head_and_tail(run: Candidate) -> None:
    output = run("for i in range(20_000): print(i)").output
    assert output.startswith("0\n1\n2\n")
    assert output.endswith("19998\n19999\n")
    assert "bytes left out" in output
    assert len(output) < 33_000


def test_a_flood_of_output_is_stopped(run: Candidate) -> None:
    result = run("while True: print('x' * 1000)")
    assert result.status is ExecutionStatus.OUTPUT_LIMIT
    assert result.output.endswith("\nError: the code printed more than 8 MB and was stopped")
    assert len(result.output) < 33_000


def test_output_is_made_harmless(run: Candidate) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\xff\x00b\x1b[31mc\x1b[0m\x07\n'); print('\ud800')"
    assert run(code).output == "a\ufffdbc\n\\ud800\n"


def test_printed_text_that_looks_like_a_reply_is_just_text(run: Candidate) -> None:
    assert run(r"import os; os.write(1, b'\0\0\0\x03ok\n'); 1/0").status is ExecutionStatus.ERROR


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            "import subprocess\nsubprocess.run(['ls'])",
            "Note: new processes and changes to the system are not allowed here.",
        ),
        ("import os\nos.fork()", "Note: new processes and changes to the system are not allowed here."),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:1')", "Note: there is no network here."),
        ("files = [open('/dev/null') for _ in range(300)]", "Note: at most 256 files can be open here."),
        (
            "import threading, time\nfor _ in range(300): threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
            "Note: no more threads can be started here.",
        ),
        (
            "open('/etc/passwd')",
            "Note: only Python's own files can be read, and only the working folder can be written here.",
        ),
        (
            "open('/tmp/x', 'w')",
            "Note: only Python's own files can be read, and only the working folder can be written here.",
        ),
    ],
)
def test_a_limit_that_raises_is_told_in_one_line(run: Candidate, code: str, told: str) -> None:
    result = run(code)
    assert result.status is ExecutionStatus.ERROR
    assert result.output.endswith(told + "\n")


def test_an_exception_that_is_hostile_gets_no_hint_and_does_no_harm(run: Candidate) -> None:
    code = "class E(PermissionError):\n    @property\n    def errno(self): raise SystemExit\nraise E(1, 'no')"
    result = run(code)
    assert result.status is ExecutionStatus.ERROR
    assert "Note:" not in result.output
    assert run("1").output == "1\n"


@pytest.mark.slow
def test_cpu_time_in_several_threads_is_limited_and_told(sandbox: Sandbox) -> None:
    code = """
import hashlib, threading
def burn():
    data = bytes(1 << 20)
    while True: hashlib.sha256(data)
threads = [threading.Thread(target=burn) for _ in range(2)]
for thread in threads: thread.start()
"""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("with one core, time is up before the CPU time is")
    with Sandbox(workers=1, code_seconds=3) as sandbox:
        result = Candidate(sandbox, "problem/0")(code)
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.output.endswith(
        ("of CPU time and was stopped", "the code ran for more than 3 seconds and was stopped")
    )
