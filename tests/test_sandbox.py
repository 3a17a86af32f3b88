"""What the sandbox promises, one property a test. No block here creates processes: that needs a pid namespace."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.executor import NO_TIME_LEFT, VARIABLES_GONE
from sctir_kaggle.types import ExecutionResult, ExecutionStatus, ExecutorError

pytest.importorskip("numpy")
pytest.importorskip("sympy")

CODE_SECONDS = 1.0
TOO_LONG = "TimeoutError: the code ran for more than 1 seconds and was stopped"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=4, code_seconds=CODE_SECONDS, memory_mb=512) as sandbox:
        sandbox.start()
        yield sandbox


class Talk:
    """A candidate's turns, one after the other, each on an event loop of its own."""

    def __init__(self, sandbox: Sandbox, candidate_id: str) -> None:
        self.sandbox, self.candidate_id = sandbox, candidate_id
        self._turns = itertools.count()

    def __call__(self, code: str, *, seconds: float = 30.0) -> ExecutionResult:
        return asyncio.run(self.turn(code, seconds=seconds))

    async def turn(self, code: str, *, seconds: float = 30.0) -> ExecutionResult:
        request_id = f"{self.candidate_id}/{next(self._turns)}"
        return await self.sandbox.execute(code, request_id=request_id, deadline=time.monotonic() + seconds)


_numbers = itertools.count()


@pytest.fixture
def run(sandbox: Sandbox) -> Iterator[Talk]:
    talk = Talk(sandbox, f"problem/{next(_numbers)}")
    yield talk
    sandbox.release(talk.candidate_id)


@pytest.fixture
def other(sandbox: Sandbox) -> Iterator[Talk]:
    talk = Talk(sandbox, f"problem/{next(_numbers)}")
    yield talk
    sandbox.release(talk.candidate_id)


def eventually(condition: Callable[[], bool], *, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def zygote_pid(sandbox: Sandbox) -> int:
    assert sandbox._zygote
    return sandbox._zygote.process.pid


# -- notebook semantics ------------------------------------------------------------------------------------------------


def test_variables_live_from_turn_to_turn(run: Talk) -> None:
    run("x = 41")
    result = run("print(x + 1)")
    assert (result.output, result.status) == ("42\n", ExecutionStatus.OK)
    assert 0 < result.seconds < 1


def test_candidates_do_not_share_variables(run: Talk, other: Talk) -> None:
    run("secret = 1\nimport math; math.pi = 3")
    assert other("secret").output.endswith("NameError: name 'secret' is not defined\n")
    assert other("math.pi").output == "3.141592653589793\n"


def test_a_stateless_sandbox_forgets_between_blocks() -> None:
    with Sandbox(workers=1, stateful=False) as sandbox:
        run = Talk(sandbox, "problem/0")
        assert run("x = 1").status is ExecutionStatus.OK
        result = run("x")
        assert result.output.endswith("NameError: name 'x' is not defined\n")
        assert not result.output.startswith(VARIABLES_GONE)


@pytest.mark.parametrize(
    ("code", "output"),
    [
        ("1 + 1", "2\n"),
        ("x = 3\nx", "3\n"),
        ("'text'", "'text'\n"),
        ("None", ""),
        ("x = 5", ""),
        ("print(7)\n8", "7\n"),
        ("print('', end='')\n9", "9\n"),
        ("for i in range(2):\n    i", ""),
        ("if __name__ == '__main__':\n    print('main')", "main\n"),
        ("sp.sqrt(8)", "2*sqrt(2)\n"),
        ("math.floor(np.sqrt(10))", "3\n"),
        ("", ""),
        ("# nothing", ""),
        ("import sys\nprint('seen', file=sys.stderr)", "seen\n"),
        ("print(len(str(10**20_000)))", "20001\n"),
        ("x: list[int] = [1]\n__annotations__ if False else x", "[1]\n"),
    ],
)
def test_the_last_value_is_shown_where_nothing_was_printed(run: Talk, code: str, output: str) -> None:
    result = run(code)
    assert (result.output, result.status) == (output, ExecutionStatus.OK)


def test_a_traceback_has_the_lines_of_the_block_and_none_of_the_driver(run: Talk) -> None:
    result = run("def f(n):\n    return 1 / n\n\nprint('before')\nf(0)")
    assert result.status is ExecutionStatus.ERROR
    assert result.output == (
        "before\nTraceback (most recent call last):\n"
        '  File "<cell>", line 5, in <module>\n    f(0)\n'
        '  File "<cell>", line 2, in f\n    return 1 / n\n'
        "ZeroDivisionError: division by zero\n"
    )


def test_a_traceback_through_an_earlier_block_shows_that_blocks_lines(run: Talk) -> None:
    run("def f(n):\n    return 1 / n")
    output = run("y = 0\nf(y)").output
    assert (
        '  File "<cell 2>", line 2, in <module>\n    f(y)\n  File "<cell>", line 2, in f\n    return 1 / n\n' in output
    )


def test_a_long_traceback_is_cut_in_the_middle_and_ends_with_the_exception(run: Talk) -> None:
    output = run("def f(n):\n    return f(n + 1)\nf(0)").output
    assert 'File "<cell>", line 3, in <module>' in output
    assert len(output) < 1000
    assert output.splitlines()[-1].startswith("RecursionError: maximum recursion depth exceeded")


def test_a_huge_exception_message_keeps_head_and_tail(run: Talk) -> None:
    output = run("raise ValueError('a' * 10**6 + 'z')").output
    assert "ValueError: aaa" in output
    assert output.endswith("z\n")
    assert len(output) < 5000


def test_paths_in_a_traceback_say_nothing_about_the_machine(run: Talk) -> None:
    output = run("sp.Matrix([[1, 2]]).det()").output
    assert 'File "sympy/' in output
    assert "/lib/" not in output


def test_a_syntax_error_shows_the_line(run: Talk) -> None:
    result = run("x = 1\ny = = 2")
    assert result.status is ExecutionStatus.ERROR
    assert result.output == '  File "<cell>", line 2\n    y = = 2\n        ^\nSyntaxError: invalid syntax\n'


@pytest.mark.parametrize("code", ["x = '\0'", "x = '\ud800'", "(" * 5000, "def f(:", "return 1", "if 1:\n  a\n b"])
def test_a_block_that_does_not_compile_is_an_error(run: Talk, code: str) -> None:
    result = run(code)
    assert result.status in (ExecutionStatus.ERROR, ExecutionStatus.MEMORY)
    assert "Error" in result.output.splitlines()[-1]
    assert run("1").output.endswith("1\n")


@pytest.mark.parametrize("code", ["exit()", "quit()", "import sys; sys.exit()", "raise SystemExit(0)"])
def test_a_clean_exit_is_fine_and_keeps_the_variables(run: Talk, code: str) -> None:
    run("x = 1")
    assert run(f"print('out')\n{code}\nprint('unreached')").output == "out\n"
    assert run("x").output == "1\n"


def test_an_exit_with_a_message_is_an_error(run: Talk) -> None:
    result = run("exit('no solution')")
    assert result.status is ExecutionStatus.ERROR
    assert result.output.endswith("SystemExit: no solution\n")


def test_input_meets_the_end_of_the_file(run: Talk) -> None:
    assert run("input()").output.endswith("EOFError: EOF when reading a line\n")


def test_what_threads_print_is_part_of_the_output(run: Talk) -> None:
    code = (
        "import threading, time\ndef f():\n    time.sleep(0.1)\n    print('thread')\nthreading.Thread(target=f).start()"
    )
    assert run(code).output == "thread\n"


def test_a_closed_standard_output_is_whole_again_in_the_next_block(run: Talk) -> None:
    assert run("import sys\nsys.stdout.close()\nprint(1)").status is ExecutionStatus.ERROR
    assert run("print(2)").output == "2\n"


# -- limits ------------------------------------------------------------------------------------------------------------


def test_an_endless_loop_is_stopped_and_says_where_it_was(run: Talk) -> None:
    run("x = 1")
    result = run("print('before')\nn = 0\nwhile True:\n    n += 1")
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.output.startswith('before\nTraceback (most recent call last):\n  File "<cell 2>", line ')
    assert result.output.endswith("\n" + TOO_LONG)
    assert result.seconds < CODE_SECONDS + 1
    assert run("x").output == "1\n"


@pytest.mark.parametrize(
    "code",
    [
        "print('before')\nsum(range(10**12))",
        "print('before')\nwhile True:\n    try: sum(range(10**6))\n    except BaseException: pass",
        "import signal, time\nprint('before')\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile 1: time.sleep(9)",
        "import os, signal\nprint('before')\nos.kill(os.getpid(), signal.SIGSTOP)",
        "class A(Exception):\n    def __str__(self):\n        while True: pass\nprint('before')\nraise A",
    ],
)
def test_what_cannot_be_interrupted_is_killed(run: Talk, code: str) -> None:
    run("x = 1")
    result = run(code)
    assert (result.output, result.status) == ("before\n" + TOO_LONG, ExecutionStatus.TIMEOUT)
    assert result.seconds < CODE_SECONDS + 1
    assert run("print('x' in globals())").output == VARIABLES_GONE + "False\n"
    assert run("2").output == "2\n"


def test_the_deadline_ends_a_block_before_its_own_limit_does(run: Talk) -> None:
    started = time.monotonic()
    result = run("import time\ntime.sleep(9)", seconds=0.5)
    assert time.monotonic() - started < 1.0
    assert result.status is ExecutionStatus.TIMEOUT
    assert result.output.endswith(NO_TIME_LEFT)


def test_a_deadline_that_has_passed_runs_nothing(run: Talk) -> None:
    assert run("print(1)", seconds=-1) == ExecutionResult(NO_TIME_LEFT, ExecutionStatus.TIMEOUT)


def test_waiting_for_a_worker_counts_for_the_deadline_only() -> None:
    async def three(sandbox: Sandbox) -> list[ExecutionResult]:
        nap = "import time\ntime.sleep(0.4)\nprint('done')"
        talks = [Talk(sandbox, f"problem/{number}") for number in range(3)]
        return await asyncio.gather(*(talk.turn(nap, seconds=s) for talk, s in zip(talks, (9, 9, 0.3), strict=True)))

    with Sandbox(workers=1, code_seconds=0.6) as sandbox:
        sandbox.start()
        results = asyncio.run(three(sandbox))
    assert [result.output for result in results] == ["done\n", "done\n", NO_TIME_LEFT]


@pytest.mark.parametrize(
    "code", ["x = [0] * 10**9", "np.ones((40000, 40000))", "x = []\nwhile True: x.append(bytes(10**7))"]
)
def test_too_much_memory_is_refused_and_told(run: Talk, code: str) -> None:
    result = run("print('before')\n" + code)
    assert result.status is ExecutionStatus.MEMORY
    assert result.output.startswith("before\nTraceback")
    assert result.output.endswith("\nMemoryError: the code needed more than 512 MB and was stopped")
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_an_array_within_the_budget_works(run: Talk) -> None:
    assert run("len(np.zeros(300 * 2**17))").output == "39321600\n"


def test_long_output_keeps_head_and_tail(run: Talk) -> None:
    output = run("for i in range(20_000): print(i)").output
    assert output.startswith("0\n1\n2\n")
    assert output.endswith("19998\n19999\n")
    assert "bytes left out" in output
    assert len(output) < 33_000


def test_a_flood_of_output_is_stopped(run: Talk) -> None:
    result = run("while True: print('x' * 1000)")
    assert result.status is ExecutionStatus.OUTPUT_LIMIT
    assert result.output.endswith("\nError: the code printed more than 8 MB and was stopped")
    assert len(result.output) < 33_000


def test_output_is_made_harmless(run: Talk) -> None:
    code = r"import sys; sys.stdout.buffer.write(b'a\xff\x00b\x1b[31mc\x1b[0m\x07\n'); print('\ud800')"
    assert run(code).output == "a\ufffdbc\n\\ud800\n"


def test_printed_text_that_looks_like_a_reply_is_just_text(run: Talk) -> None:
    assert run(r"import os; os.write(1, b'\0\0\0\x03ok\n'); 1/0").status is ExecutionStatus.ERROR


# -- deaths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("import os; os._exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
def test_a_death_is_told_and_the_next_block_knows_that_its_variables_are_gone(run: Talk, code: str, cause: str) -> None:
    run("x = 1")
    result = run("print('before')\n" + code)
    assert result.output == f"before\nError: the code ended Python ({cause})"
    assert result.status is ExecutionStatus.CRASH
    assert run("y = 2").output == VARIABLES_GONE
    assert run("y").output == "2\n"


@pytest.mark.parametrize("code", ["import os; os.closerange(0, 100)", "import os; os.write(3, b'x' * 10**6)"])
def test_a_block_that_ruins_its_descriptors_is_an_ordinary_failure(run: Talk, code: str) -> None:
    result = run(code)
    assert result.status in (ExecutionStatus.CRASH, ExecutionStatus.TIMEOUT)
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_a_child_that_dies_between_two_blocks_is_noticed(run: Talk) -> None:
    run("import os, threading, time")
    run("threading.Thread(target=lambda: (time.sleep(0.1), os._exit(1)), daemon=True).start()")
    time.sleep(0.4)
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_a_dead_zygote_is_replaced(run: Talk, sandbox: Sandbox) -> None:
    run("x = 1")
    child = int(run("import os; os.getpid()").output)
    assert sandbox._zygote
    sandbox._zygote.process.kill()
    assert eventually(lambda: not running(child))
    assert run("1").output == VARIABLES_GONE + "1\n"


def test_release_ends_the_process(run: Talk, sandbox: Sandbox) -> None:
    child = int(run("import os; os.getpid()").output)
    assert running(child)
    sandbox.release(run.candidate_id)
    assert eventually(lambda: not running(child))
    assert run("1").output == "1\n"


def test_release_of_a_stranger_is_ignored(sandbox: Sandbox, run: Talk) -> None:
    run("a = 41")
    sandbox.release("nobody/0")
    assert run("a + 1").output == "42\n"


def test_a_candidate_cancelled_and_released_at_any_moment_starts_clean(sandbox: Sandbox) -> None:
    async def cut_short(number: int) -> None:
        task = asyncio.ensure_future(
            sandbox.execute("a = 1", request_id=f"cut/{number}/0", deadline=time.monotonic() + 20)
        )
        await asyncio.sleep(number * 0.0005)
        task.cancel()
        await asyncio.wait({task})
        sandbox.release(f"cut/{number}")

    async def main() -> list[str]:
        await asyncio.gather(*(cut_short(number) for number in range(40)))
        again = (Talk(sandbox, f"cut/{number}").turn("'a' in globals()") for number in range(40))
        return [result.output for result in await asyncio.gather(*again)]

    assert set(asyncio.run(main())) == {"False\n"}
    for number in range(40):
        sandbox.release(f"cut/{number}")


def test_cancelling_kills_the_code_at_once(run: Talk) -> None:
    child = int(run("import os; os.getpid()").output)

    async def cancel() -> float:
        task = asyncio.ensure_future(run.turn("while True: pass"))
        await asyncio.sleep(0.2)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert eventually(lambda: not running(child), seconds=0.5)
        return time.monotonic() - started

    assert asyncio.run(cancel()) < 0.5
    assert run("1").output == VARIABLES_GONE + "1\n"


# -- what a block sees and leaves -------------------------------------------------------------------------------------


def test_the_callers_environment_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_TOKEN", "hunter2")
    with Sandbox(workers=1) as sandbox:
        output = Talk(sandbox, "problem/0")("import os\nprint(dict(os.environ))").output
    assert "PYTHONHASHSEED" in output
    assert "hunter2" not in output


def test_only_four_descriptors_are_open(run: Talk) -> None:
    assert run("import os\nsorted(map(int, os.listdir('/proc/self/fd')))[:4]").output == "[0, 1, 2, 3]\n"
    assert run("len(os.listdir('/proc/self/fd'))").output == "5\n"  # the fifth is the listing's own


def test_a_child_cannot_gain_privileges_and_ends_with_its_parent(run: Talk) -> None:
    code = "import ctypes\nv, c = ctypes.c_int(), ctypes.CDLL(None)\nc.prctl(2, ctypes.byref(v))\n"
    assert run(code + "(c.prctl(39, 0, 0, 0, 0), v.value)").output == "(1, 9)\n"


def test_files_are_written_to_a_private_folder_that_goes_with_the_child(run: Talk, sandbox: Sandbox) -> None:
    folder = Path(run("import os\nopen('note', 'w').write('x')\nprint(os.getcwd())").output.strip())
    assert (folder / "note").read_text() == "x"
    sandbox.release(run.candidate_id)
    assert eventually(lambda: not folder.exists())


def test_randomness_repeats_for_a_turn_and_differs_between_candidates(sandbox: Sandbox) -> None:
    code = "import random\nprint(random.random(), np.random.rand(), sp.core.random.random())"

    def draw(candidate_id: str) -> str:
        output = Talk(sandbox, candidate_id)(code).output
        sandbox.release(candidate_id)
        return output

    assert draw("random/1") == draw("random/1")
    assert not set(draw("random/1").split()) & set(draw("random/2").split())


def test_string_hashes_repeat(run: Talk, other: Talk) -> None:
    assert run("print({'a', 'b', 'c', 'd', 'e'})").output == other("print({'a', 'b', 'c', 'd', 'e'})").output


def test_the_zygote_has_one_thread(run: Talk, sandbox: Sandbox) -> None:
    run("1")
    assert len(os.listdir(f"/proc/{zygote_pid(sandbox)}/task")) == 1


# -- many, anywhere, and nothing left ----------------------------------------------------------------------------------


def test_48_candidates_at_once_all_get_their_own_answer(sandbox: Sandbox) -> None:
    async def candidate(number: int) -> list[str]:
        talk = Talk(sandbox, f"many/{number}")
        await talk.turn(f"x = {number}")
        outputs = [(await talk.turn("x += 100\nprint(x)")).output for _ in range(3)]
        sandbox.release(talk.candidate_id)
        return outputs

    async def everyone() -> list[list[str]]:
        return await asyncio.gather(*(candidate(number) for number in range(48)))

    assert asyncio.run(everyone()) == [[f"{n + 100}\n", f"{n + 200}\n", f"{n + 300}\n"] for n in range(48)]


def test_two_event_loops_in_two_threads_share_a_sandbox(sandbox: Sandbox) -> None:
    def loop(number: int) -> str:
        talk = Talk(sandbox, f"loops/{number}")
        outputs = [talk(f"print({number}, {turn})").output for turn in range(10)]
        sandbox.release(talk.candidate_id)
        return "".join(outputs)

    async def both() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(loop, number) for number in (1, 2)))

    assert asyncio.run(both()) == ["".join(f"{number} {turn}\n" for turn in range(10)) for number in (1, 2)]


def test_the_event_loop_stays_free(run: Talk) -> None:
    async def longest_gap() -> float:
        task = asyncio.ensure_future(run.turn("while True: print('x' * 1000)"))
        longest, last = 0.0, time.monotonic()
        while not task.done():
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        return longest

    assert asyncio.run(longest_gap()) < 0.25


def test_closing_leaves_no_process_no_descriptor_and_no_folder() -> None:
    before = set(os.listdir("/proc/self/fd"))
    sandbox = Sandbox(workers=2)
    run = Talk(sandbox, "problem/0")
    child = int(run("import os; os.getpid()").output)
    folder = Path(run("print(os.getcwd())").output.strip()).parent
    zygote = zygote_pid(sandbox)
    sandbox.close()
    assert not running(zygote)
    assert not running(child)
    assert not folder.exists()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_closing_during_a_block_ends_it() -> None:
    async def close_early() -> ExecutionResult:
        async with Sandbox(workers=1) as sandbox:
            sandbox.start()
            task = asyncio.ensure_future(Talk(sandbox, "problem/0").turn("while True: pass"))
            await asyncio.sleep(0.2)
        return await task

    started = time.monotonic()
    assert asyncio.run(close_early()).status is ExecutionStatus.CRASH
    assert time.monotonic() - started < 4.5


def test_closed_before_the_start_and_twice_it_refuses() -> None:
    sandbox = Sandbox()
    sandbox.close()
    sandbox.close()
    with pytest.raises(ExecutorError):
        Talk(sandbox, "problem/0")("1")


def test_a_python_that_does_not_start_is_an_error_that_names_it() -> None:
    false = shutil.which("false")
    assert false
    with pytest.raises(ExecutorError, match=false), Sandbox(python=false):
        pytest.fail("it started")
