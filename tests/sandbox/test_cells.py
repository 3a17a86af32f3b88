"""A block runs as a cell of a notebook does."""

from __future__ import annotations

import re

import pytest

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.executor import VARIABLES_GONE
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import Candidate


def test_variables_live_from_turn_to_turn(run: Candidate) -> None:
    run("x = 41")
    result = run("print(x + 1)")
    assert (result.output, result.status) == ("42\n", ExecutionStatus.OK)
    assert 0 < result.seconds < 1


def test_candidates_do_not_share_variables(run: Candidate, other: Candidate) -> None:
    run("secret = 1\nimport math; math.pi = 3")
    assert other("secret").output.endswith("NameError: name 'secret' is not defined\n")
    assert other("math.pi").output == "3.141592653589793\n"


def test_a_stateless_sandbox_forgets_between_blocks() -> None:
    with Sandbox(workers=1, stateful=False) as sandbox:
        run = Candidate(sandbox, "problem/0")
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
def test_the_last_value_is_shown_where_nothing_was_printed(run: Candidate, code: str, output: str) -> None:
    result = run(code)
    assert (result.output, result.status) == (output, ExecutionStatus.OK)


def test_a_traceback_has_the_lines_of_the_block_and_none_of_the_driver(run: Candidate) -> None:
    result = run("def f(n):\n    return 1 / n\n\nprint('before')\nf(0)")
    assert result.status is ExecutionStatus.ERROR
    assert result.output == (
        "before\nTraceback (most recent call last):\n"
        '  File "<cell>", line 5, in <module>\n    f(0)\n'
        '  File "<cell>", line 2, in f\n    return 1 / n\n'
        "ZeroDivisionError: division by zero\n"
    )


def test_a_traceback_through_an_earlier_block_shows_that_blocks_lines(run: Candidate) -> None:
    run("def f(n):\n    return 1 / n")
    output = run("y = 0\nf(y)").output
    assert (
        '  File "<cell 2>", line 2, in <module>\n    f(y)\n  File "<cell>", line 2, in f\n    return 1 / n\n' in output
    )


def test_a_long_traceback_is_cut_in_the_middle_and_ends_with_the_exception(run: Candidate) -> None:
    output = run("def f(n):\n    return f(n + 1)\nf(0)").output
    assert 'File "<cell>", line 3, in <module>' in output
    assert len(output) < 1000
    assert output.splitlines()[-1].startswith("RecursionError: maximum recursion depth exceeded")


def test_a_huge_exception_message_keeps_head_and_tail(run: Candidate) -> None:
    output = run("raise ValueError('a' * 10**6 + 'z')").output
    assert "ValueError: aaa" in output
    assert output.endswith("z\n")
    assert len(output) < 5000


def test_paths_in_a_traceback_say_nothing_about_the_machine(run: Candidate) -> None:
    output = run("sp.Matrix([[1, 2]]).det()").output
    assert 'File "sympy/' in output
    assert "/lib/" not in output


def test_a_syntax_error_shows_the_line(run: Candidate) -> None:
    result = run("x = 1\ny = = 2")
    assert result.status is ExecutionStatus.ERROR
    assert result.output == '  File "<cell>", line 2\n    y = = 2\n        ^\nSyntaxError: invalid syntax\n'


@pytest.mark.parametrize("code", ["x = '\0'", "x = '\ud800'", "(" * 5000, "def f(:", "return 1", "if 1:\n  a\n b"])
def test_a_block_that_does_not_compile_is_an_error(run: Candidate, code: str) -> None:
    result = run(code)
    assert result.status in (ExecutionStatus.ERROR, ExecutionStatus.MEMORY)
    assert "Error" in result.output.splitlines()[-1]
    assert run("1").output.endswith("1\n")


@pytest.mark.parametrize("code", ["exit()", "quit()", "import sys; sys.exit()", "raise SystemExit(0)"])
def test_a_clean_exit_is_fine_and_keeps_the_variables(run: Candidate, code: str) -> None:
    run("x = 1")
    assert run(f"print('out')\n{code}\nprint('unreached')").output == "out\n"
    assert run("x").output == "1\n"


def test_an_exit_with_a_message_is_an_error(run: Candidate) -> None:
    result = run("exit('no solution')")
    assert result.status is ExecutionStatus.ERROR
    assert result.output.endswith("SystemExit: no solution\n")


def test_input_meets_the_end_of_the_file(run: Candidate) -> None:
    assert run("input()").output.endswith("EOFError: EOF when reading a line\n")


def test_what_threads_print_is_part_of_the_output(run: Candidate) -> None:
    code = (
        "import threading, time\ndef f():\n    time.sleep(0.1)\n    print('thread')\nthreading.Thread(target=f).start()"
    )
    assert run(code).output == "thread\n"


def test_a_closed_standard_output_is_whole_again_in_the_next_block(run: Candidate) -> None:
    assert run("import sys\nsys.stdout.close()\nprint(1)").status is ExecutionStatus.ERROR
    assert run("print(2)").output == "2\n"


@pytest.mark.parametrize(
    "code",
    [
        "from concurrent.futures import ThreadPoolExecutor\nlist(ThreadPoolExecutor(2).map(abs, [-1, -2]))",
        "import asyncio\nloop = asyncio.new_event_loop()\nloop.run_until_complete(asyncio.to_thread(lambda: [1, 2]))",
    ],
)
def test_a_block_does_not_wait_for_the_idle_threads_of_a_pool(run: Candidate, code: str) -> None:
    assert run(code).output == "[1, 2]\n"


def test_what_a_full_pipe_refused_is_printed_in_the_same_turn(run: Candidate) -> None:
    code = "import os\nos.set_blocking(1, False)\ntry:\n    print('x' * 10**6)\nexcept BlockingIOError:\n    pass"
    assert "x" in run(code).output
    assert run("2").output == "2\n"


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("import threading\nthreading.Thread(target=lambda: 1 / 0, name='t').start()", "Exception in thread t:\n"),
        ("class A:\n    def __del__(self): 1 / 0\na = A()\ndel a", "Exception ignored:\n"),
    ],
)
def test_an_uncaught_exception_shows_the_blocks_lines_only(run: Candidate, code: str, first: str) -> None:
    output = run(code).output
    assert output.startswith(first)
    assert output.endswith("ZeroDivisionError: division by zero\n")
    assert set(re.findall('File "(.*?)"', output)) == {"<cell>"}
