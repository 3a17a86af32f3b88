"""Slow disks, slow zygotes, few descriptors, odd hosts: what is slow for one candidate costs no other one anything."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox, executor, layers
from sctir_kaggle.sandbox.outcome import FOLDER_FULL, VARIABLES_GONE
from sctir_kaggle.types import ExecutionStatus, ExecutorError
from tests.sandbox.candidate import Candidate, eventually, running, zygote_pid
from tests.sandbox.setting import REPOSITORY
from tests.support.patience import PATIENCE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="/proc and pidfds are Linux's")]

FILL = """
import os, threading
def fill(thread):
    for number in range(10**9):
        os.mkdir(f'{thread}_{number}')
threads = [threading.Thread(target=fill, args=(thread,)) for thread in range(8)]
for thread in threads: thread.start()
"""


@contextlib.contextmanager
def hung_zygote(sandbox: Sandbox) -> Iterator[None]:
    """Stop whatever forks the sandbox's children; in the end it goes on."""
    outer = zygote_pid(sandbox)
    inner = [int(pid) for pid in Path(f"/proc/{outer}/task/{outer}/children").read_text().split()]
    forking = inner if any(layer.name == "namespaces" and layer.active for layer in sandbox.layers()) else [outer]
    for pid in forking:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in filter(running, forking):
            os.kill(pid, signal.SIGCONT)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def python(code: str, *, descriptors: int | None = None) -> str:
    """What a Python of its own prints that runs the code, and may open so many descriptors."""

    def lower() -> None:
        if descriptors:
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", HELPERS + code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=800,
        preexec_fn=lower,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


HELPERS = """
import asyncio, collections, os, resource, signal, sys, time
from sctir_kaggle.sandbox import Sandbox, child, executor
from sctir_kaggle.types import ExecutorError
child.CODE_SECONDS = child.KILL_SECONDS = executor.READY_SECONDS = executor.ANSWER_SECONDS = 120.0  # as in conftest.py
async def turn(sandbox, candidate, code="print(1)", seconds=600.0):
    try:
        result = await sandbox.execute(code, request_id=f"{candidate}/0", deadline=time.monotonic() + seconds)
    except ExecutorError as error:
        return f"ExecutorError: {error}"
    return result.output.strip()
def run(*arguments, **options):
    return asyncio.run(turn(*arguments, **options))
"""


def test_full_folders_of_several_cost_their_siblings_nothing() -> None:
    async def main(sandbox: Sandbox) -> None:
        siblings = [Candidate(sandbox, f"sibling/{number}") for number in range(6)]
        await asyncio.gather(*(sibling.turn(f"x = {number}") for number, sibling in enumerate(siblings)))
        zygote = zygote_pid(sandbox)
        attackers = [Candidate(sandbox, f"attacker/{number}") for number in range(4)]
        results = await asyncio.gather(*(attacker.turn(FILL) for attacker in attackers))
        assert {result.output for result in results} == {FOLDER_FULL}
        assert (await Candidate(sandbox, "fresh").turn("print(1)")).output == "1\n"
        outputs = [(await sibling.turn("x")).output for sibling in siblings]
        assert outputs == [f"{number}\n" for number in range(6)]
        assert zygote_pid(sandbox) == zygote

    with Sandbox(workers=4, code_seconds=PATIENCE) as sandbox:
        asyncio.run(main(sandbox))
        folder = sandbox._zygote._folder if sandbox._zygote else ""
    assert not Path(folder).exists()


def test_the_zygote_answers_while_a_large_folder_is_removed() -> None:
    with Sandbox(workers=1, code_seconds=PATIENCE) as sandbox:
        filled = Candidate(sandbox, "filled")
        filled("import os\nfor number in range(900): os.makedirs(f'{number}/x')")
        folder = Path(filled("import os\nprint(os.getcwd())").output.strip())
        sandbox.release("filled")
        for number in range(5):
            assert Candidate(sandbox, f"fresh/{number}")("print(1)").output == "1\n"
        assert eventually(lambda: not folder.exists())


def test_a_hung_zygote_costs_only_the_block_that_has_to_be_killed() -> None:
    with Sandbox(workers=2, code_seconds=PATIENCE) as sandbox:
        endless, other = Candidate(sandbox, "endless"), Candidate(sandbox, "other")
        endless("x = 1")
        other("y = 2")
        zygote = zygote_pid(sandbox)
        with hung_zygote(sandbox):
            result = endless.within(1.0, "sum(range(10**12))")
            assert result.status is ExecutionStatus.TIMEOUT
            assert other("y").output == "2\n"
            assert zygote_pid(sandbox) == zygote
        assert other("y").output == "2\n"
        assert endless("'x' in globals()").output == VARIABLES_GONE + "False\n"


def test_beside_a_zygote_that_stays_hung_another_one_starts_and_the_first_keeps_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executor, "ANSWER_SECONDS", 3.0)
    with Sandbox(workers=2) as sandbox:
        kept = Candidate(sandbox, "kept")
        kept("x = 1")
        first = zygote_pid(sandbox)
        with hung_zygote(sandbox):
            # More than were forked in advance: each waits for the zygote.
            for number in range(6):
                assert Candidate(sandbox, f"fresh/{number}")("print(1)").output == "1\n"
            assert zygote_pid(sandbox) != first
            assert kept("x").output == "1\n"
            sandbox.release("kept")
            others = itertools.count()

            def is_gone() -> bool:
                """After another child has started: it is then that a zygote without children is ended."""
                assert Candidate(sandbox, f"another/{next(others)}")("print(1)").output == "1\n"
                return not running(first)

            assert eventually(is_gone)


def test_a_late_answer_of_the_zygote_is_the_next_candidates_child() -> None:
    with Sandbox(workers=1) as sandbox:
        Candidate(sandbox, "first")("x = 1")
        zygote = zygote_pid(sandbox)
        with hung_zygote(sandbox):
            for number in range(4):  # those forked in advance, and one more that has to wait
                output = Candidate(sandbox, f"late/{number}")("print(1)", seconds=0.4).output
                assert output in ("1\n", LATE, "1\n" + LATE)
        for number in range(4):
            assert Candidate(sandbox, f"next/{number}")("print(1)").output == "1\n"
        assert zygote_pid(sandbox) == zygote


LATE = "TimeoutError: no time was left and the code was stopped"


def test_each_live_candidate_takes_three_descriptors_and_gives_them_back() -> None:
    with Sandbox(workers=1) as sandbox:
        Candidate(sandbox, "first")("x = 1")
        before = descriptors()
        for number in range(20):
            Candidate(sandbox, f"more/{number}")("x = 1")
        assert descriptors() - before == 60
        for number in range(20):
            sandbox.release(f"more/{number}")
        assert descriptors() == before


def test_300_candidates_live_within_1024_descriptors() -> None:
    code = """
async def main():
    async with Sandbox(workers=2) as sandbox:
        shown = await asyncio.gather(*(turn(sandbox, number) for number in range(300)))
        print(collections.Counter(shown), await turn(sandbox, 0))
asyncio.run(main())
"""
    assert python(code, descriptors=1024) == "Counter({'1': 300}) 1\n"


def test_candidates_beyond_the_descriptors_are_told_and_the_living_ones_go_on() -> None:
    code = """
async def main():
    async with Sandbox(workers=2) as sandbox:
        shown = await asyncio.gather(*(turn(sandbox, number, f"x = {number}\\nprint('ran')", 20.0) for number in range(40)))
        living = [number for number, line in enumerate(shown) if line == "ran"]
        waiting = [asyncio.create_task(turn(sandbox, f"more-{number}")) for number in range(4)]
        await asyncio.sleep(0.3)
        ok = [await turn(sandbox, number, "print(x)") == str(number) for number in living]
        print(len(living) > 5, all(ok), any(task.done() for task in waiting))
        print(*{line for line in shown if line != "ran"})
        for number in living[:4]:
            sandbox.release(str(number))
        print(await asyncio.gather(*waiting))
        open(os.devnull).close()
asyncio.run(main())
"""
    assert python(code, descriptors=80) == (
        "True True False\n"
        "ExecutorError: the sandbox is out of descriptors: ulimit -n is 80, and each live candidate takes 3; raise the"
        " limit or run fewer candidates at a time\n"
        "['1', '1', '1', '1']\n"
    )


def test_the_soft_limit_on_descriptors_is_raised_and_never_lowered() -> None:
    code = """
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
for soft in (256, hard):
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with Sandbox(workers=1) as sandbox:
        print(run(sandbox, "a"), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    assert python(code, descriptors=600) == "1 600\n1 600\n"


@pytest.mark.parametrize(
    "state",
    [
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGXCPU, signal.SIGALRM, signal.SIGINT, signal.SIGTERM)]",
        "os.umask(0o777)",
    ],
    ids=["all blocked", "SIGCHLD blocked", "SIGCHLD ignored", "others ignored", "umask"],
)
def test_the_signal_state_and_umask_of_the_host_do_not_reach_the_blocks(state: str) -> None:
    code = f"""
{state}
with Sandbox(workers=1, code_seconds=120.0) as sandbox:
    print(*(layer.name for layer in sandbox.layers() if layer.active is False))
    print(run(sandbox, "a", "import os; os.abort()"))
    sandbox.code_seconds = 1.0
    print(run(sandbox, "b", "while True: pass").splitlines()[-1])
    sandbox.code_seconds = 120.0
    print(run(sandbox, "c", "open('f', 'w').write('x')\\nprint(open('f').read())"))
    print(run(sandbox, "d", "import signal\\nprint(len(signal.pthread_sigmask(signal.SIG_BLOCK, [])))"))
"""
    missing = " ".join(layer.name for layer in layers() if layer.active is False)
    assert python(code) == (
        f"{missing}\n"
        "Error: the code ended Python (SIGABRT)\n"
        "TimeoutError: the code ran for more than 1 seconds and was stopped\nx\n0\n"
    )


def test_a_fork_of_the_host_can_neither_use_nor_end_its_sandbox() -> None:
    code = """
with Sandbox(workers=1) as sandbox:
    run(sandbox, "a", "x = 5")
    pid = os.fork()
    if pid == 0:
        print(run(sandbox, "b").replace(str(os.getppid()), "N"), flush=True)
        sandbox.release("a")
        sandbox.close()
        os._exit(0)
    os.waitpid(pid, 0)
    print(run(sandbox, "a", "print(x)"))
"""
    assert python(code) == "ExecutorError: this sandbox is that of process N: make one in each fork\n5\n"


def test_blocks_see_no_arguments_of_the_host() -> None:
    with Sandbox(workers=1) as sandbox:
        output = Candidate(sandbox, "problem/0")("import sys\nprint(sys.argv, sys.orig_argv)").output
    assert "sctir" not in output
    assert "{" not in output


def test_200_that_are_released_at_once_leave_nothing() -> None:
    with Sandbox(workers=2) as sandbox:

        async def everyone() -> None:
            talks = (Candidate(sandbox, f"many/{number}") for number in range(200))
            await asyncio.gather(*(talk.turn("x = 1") for talk in talks))

        asyncio.run(everyone())
        assert sandbox._zygote
        folder = Path(sandbox._zygote._folder)
        for number in range(200):
            sandbox.release(f"many/{number}")
        assert Candidate(sandbox, "fresh")("print(1)").output == "1\n"
        sandbox.release("fresh")
        assert eventually(lambda: len(list(folder.iterdir())) <= sandbox.workers + 1)


def test_a_block_that_ends_with_the_sandbox_is_an_error_wherever_it_waits() -> None:
    sandbox = Sandbox(workers=1)

    async def main() -> list[object]:
        await asyncio.get_running_loop().run_in_executor(None, sandbox.start)
        jobs = [
            asyncio.ensure_future(Candidate(sandbox, f"c/{number}").turn("while True: pass")) for number in range(6)
        ]
        jobs += [asyncio.ensure_future(sandbox.execute("1", request_id="c/0/9", deadline=time.monotonic() + 60))]
        await asyncio.sleep(0.5)
        await asyncio.get_running_loop().run_in_executor(None, sandbox.close)
        return [*await asyncio.gather(*jobs, return_exceptions=True)]

    results = asyncio.run(main())
    assert all(isinstance(result, ExecutorError) or result.status is not ExecutionStatus.OK for result in results)  # type: ignore[attr-defined]
    assert any(isinstance(result, ExecutorError) for result in results)
