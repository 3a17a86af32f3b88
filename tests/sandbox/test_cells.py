"""A block runs as a cell of a notebook does."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import sctir_kaggle
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.sandbox.outcome import VARIABLES_GONE
from sctir_kaggle.types import ExecutionStatus, LastExpression
from tests.sandbox.candidate import CODE_SECONDS, Candidate
from tests.support.patience import PATIENCE


def test_variables_live_from_turn_to_turn(run: Candidate) -> None:
    run("x = 41")
    result = run("print(x + 1)")
    assert (result.output, result.status) == ("42\n", ExecutionStatus.OK)
    assert 0 < result.seconds < PATIENCE


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
        ("print(7)\n8", "7\n8\n"),
        ("print(7, end='')\n8", "7\n8\n"),
        ("print('', end='')\n9", "9\n"),
        ("print(7)\n8;", "7\n"),
        ("print(7)\n8  # ; not the end", "7\n8\n"),
        ("print(7)\n'é';\n", "7\n"),
        ("print(7)\n(8,\n9)", "7\n(8, 9)\n"),
        ("print(7)\n[].sort()", "7\n"),
        ("def f():\n    print('in')\n    return 42\nf()", "in\n42\n"),
        ("import sys\nsys.stdout.write('42')", "42\n2\n"),
        ("display(sp.sqrt(8), 'x')", "2*sqrt(2)\n'x'\n"),
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
def test_the_last_value_is_shown_on_a_line_of_its_own_as_in_a_notebook(run: Candidate, code: str, output: str) -> None:
    result = run(code)
    assert (result.output, result.status) == (output, ExecutionStatus.OK)


@pytest.mark.parametrize(
    ("rule", "outputs"), [("always", ("7\n8\n", "8\n")), ("if-silent", ("7\n", "8\n")), ("never", ("7\n", ""))]
)
def test_a_field_says_when_the_last_value_is_shown(rule: LastExpression, outputs: tuple[str, str]) -> None:
    with Sandbox(workers=1, last_expression=rule) as sandbox:
        run = Candidate(sandbox, "problem/0")
        assert (run("print(7)\n8").output, run("8").output) == outputs
        assert sandbox.describe()["last_expression"] == rule


AWAITED = """import asyncio
async def double(x):
    await asyncio.sleep(0)
    return 2 * x
task = asyncio.create_task(double(20))
x = await task
x + await double(1)"""


def test_await_outside_of_functions_runs_as_in_a_notebook(run: Candidate) -> None:
    assert run(AWAITED).output == "42\n"
    assert run("[await double(x) for x in range(3)]").output == "[0, 2, 4]\n"
    assert run("asyncio.run(double(4))").output == "8\n"
    failed = run("async def fail():\n    1 / 0\nawait fail()").output
    assert failed == (
        'Traceback (most recent call last):\n  File "<cell 4>", line 3, in <module>\n    await fail()\n'
        '  File "<cell 4>", line 2, in fail\n    1 / 0\nZeroDivisionError: division by zero\n'
    )


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


@pytest.mark.parametrize(
    "code",
    [
        "from sympy import no_such_name",
        "import traceback\ntry:\n    sp.Matrix([[1, 2]]).det()\nexcept ValueError:\n    traceback.print_exc()",
        "import traceback\ndef f():\n    traceback.print_stack()\nf()",
        "import logging\ndef f():\n    logging.warning('here', stack_info=True)\nf()",
        "import warnings, json\nwarnings.simplefilter('always')\nwarnings.warn_explicit('old', UserWarning, json.__file__, 1)",
        "import sys\nprint(sys.argv, sys.orig_argv)",
    ],
)
def test_nothing_that_a_block_is_told_names_the_machines_folders_or_the_driver(run: Candidate, code: str) -> None:
    output = run(code).output
    assert output
    for folder in (sys.prefix, sys.base_prefix, str(Path(sctir_kaggle.__file__).parent)):
        assert folder not in output
    assert "cell.py" not in output


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("while True:\n    pass", 1),
        ("n = 0\nwhile True:\n    n += 1\n    if n < 0:\n        break", 2),
        ("import itertools\nfor n in itertools.count():\n    if n % 2_000_000 == -1:\n        print(n)", 2),
    ],
)
def test_a_timeout_names_a_line_of_the_loop_where_the_instruction_has_none(
    run: Candidate, code: str, line: int
) -> None:
    found = re.search(
        r'File "<cell>", line (\d+), in <module>\n    (.*)\n', run.within(CODE_SECONDS, code, soft=True).output
    )
    assert found
    assert int(found[1]) >= line
    assert found[2] == code.split("\n")[int(found[1]) - 1].strip()


def test_a_memory_error_that_the_code_raised_is_its_own(run: Candidate) -> None:
    raised = run("raise MemoryError('custom')")
    assert raised.status is ExecutionStatus.ERROR
    assert raised.output.endswith("MemoryError: custom\n")
    met = run("np.zeros(10**14)")
    assert met.status is ExecutionStatus.MEMORY
    assert "Unable to allocate" in met.output
    assert met.output.endswith("MemoryError: the code needed more than 512 MB and was stopped")


@pytest.mark.parametrize(
    "code", ["builtins.len = lambda x: 3", "builtins.bytes = lambda *_: b''", "del builtins.print"]
)
def test_a_block_that_replaces_builtins_is_answered_truthfully(run: Candidate, code: str) -> None:
    result = run(f"import builtins\n{code}\n5")
    assert (result.output, result.status) == ("5\n", ExecutionStatus.OK)


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (r"print('  0%|  |\r 50%|# |\r100%|##|')", "100%|##|\n"),
        (r"import sys; sys.stderr.write('\rworking\r\x1b[Kdone\n'); None", "done\n"),
        (r"print('abc\b\bX')", "aXc\n"),
        (r"print('\x1b[1;31mred\x1b[0m \x1b]0;title\x07\x1b(Bend')", "red end\n"),
        (r"print('\ufeffa\u200bb\u202ec\u2066d\U000e0041\U000e007fe')", "abcde\n"),
        (r"print('\r\n1\r\n2')", "\n1\n2\n"),
        (r"print('\ud800')", "\\ud800\n"),
    ],
)
def test_an_output_is_what_a_terminal_would_show(run: Candidate, code: str, shown: str) -> None:
    assert run(code).output == shown


def test_a_syntax_error_shows_the_line(run: Candidate) -> None:
    result = run("x = 1\ny = = 2")
    assert result.status is ExecutionStatus.ERROR
    assert result.output == '  File "<cell>", line 2\n    y = = 2\n        ^\nSyntaxError: invalid syntax\n'
    assert "    return 5\n" in run("x = 1\nreturn 5").output


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
    output = run("input()").output
    assert output.endswith(
        "EOFError: EOF when reading a line\nNote: there is no input here: write the values into the code.\n"
    )


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


def test_a_program_that_cannot_be_started_is_told_by_os_system_too(run: Candidate) -> None:
    result = run("import os\nos.system('ls')")
    assert result.output == "Note: new processes and changes to the system are not allowed here.\n32512\n"


def test_a_name_that_cannot_be_looked_up_is_told_that_there_is_no_network(run: Candidate) -> None:
    result = run("import urllib.request\nurllib.request.urlopen('http://example.com')")
    assert result.output.endswith("Note: there is no network here.\n")


def test_folders_of_the_machine_are_left_out_of_a_giant_message(run: Candidate) -> None:
    result = run("import os\nraise ValueError((os.__file__ + ' ') * 10**5)")
    assert re.match(r"Traceback (.|\n)*\nValueError: os.py os.py .* \.\.\. .* os.py \n$", result.output), result.output[
        :300
    ]
