"""What only a notebook or a person would read as Python runs, or is answered with one line; valid Python is left alone."""

from __future__ import annotations

import ast

import pytest

from sctir_kaggle.sandbox.source import NO_MAGICS, NO_PACKAGES, NO_SHELL, NOT_PYTHON, hint, parsed
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import Candidate

REPAIRED = [
    ("```python\nprint(42)\n```", "42\n"),
    ("```\nprint(42)", "42\n"),
    ("print(42)\n```", "42\n"),
    ("```py\nprint(4, end='')\n```\nNow the rest:\n```py\nprint(2)\n```", "42\n"),
    (">>> x = 40\n>>> for i in range(2):\n...     x += 1\n...\n>>> x\n42", "42\n"),
    ("In [1]: x = 40\n\nIn [2]: def f():\n   ...:     return x + 2\n   ...: \n\nIn [3]: f()\nOut[3]: 42", "42\n"),
    ("    x = 41\n    print(x + 1)", "42\n"),
    ("\tx = 41\n\tif x:\n\t\tprint(x + 1)", "42\n"),
    ("  x = 41\nprint(x + 1)", "42\n"),
    ("x = 41\n    y = 1\n    print(x + y)", "42\n"),
    ("# First:\n    x = 41\n    print(x + 1)", "42\n"),
    ("%matplotlib inline\nimport math\n%load_ext autoreload\nprint(42)", "42\n"),
    ("%%time\nprint(42)", "42\n"),
    ("%time x = 42\nx", "42\n"),
    ("%timeit -n 10 -r3 print(42)", "42\n"),
    ("!pip install -q sympy numpy\nprint(42)", "42\n"),
    ("if True:\n    %pip install 'sympy>=1.0'\n    print(42)", "42\n"),
    ("print(“42”)", "42\n"),
    ("print(‘42’)", "42\n"),
    ("print（40 ＋ 2）", "42\n"),
    ("x = 50 − 8\nif x ≥ 42 and x ≠ 43: print(x)", "42\n"),
    ("for x in (41,):\n\u00a0\u00a0\u00a0\u00a0x += 1\n\u00a0\u00a0\u00a0\u00a0print(x)\n", "42\n"),
    ("\ufeffprint(42)", "42\n"),
    ("pri\u200bnt(42)", "42\n"),
]

LEFT_OUT = [
    ("!pip install no_such_package==1.0\nprint(42)", NO_PACKAGES),
    ("pip install no_such_package\nprint(42)", NO_PACKAGES),
    ("!{sys.executable} -m pip install no_such_package\nprint(42)", NO_PACKAGES),
    ("!apt-get install -y gap\nprint(42)", NO_PACKAGES),
    ("!ls -la\nprint(42)", NO_SHELL.format("!ls -la")),
    ("%run other.py\nprint(42)", NO_MAGICS.format("%run other.py")),
    ("sum?\nprint(42)", NO_MAGICS.format("sum?")),
]

KEPT = [
    "x = (1\n%2)",
    'text = """\n!ls\n%time\n>>> 1\n```\n"""',
    "print('“a” – b ≤ c\u00a0d\u200b')",
    "x = 1 if True else 2",
    "def f():\n    '''\n    >>> f()\n    '''",
    "x: int = 1; y = ~x",
]

FAULTY = [
    "x = = 1",
    "def f(:\n    pass",
    "print 5",
    "for i in range(3)\n    print(i)",
    "1. Compute:\nx = 1",
    "x = (1",
    "a¿b",
]


@pytest.mark.parametrize(("code", "output"), REPAIRED)
def test_what_was_meant_as_python_runs(run: Candidate, code: str, output: str) -> None:
    with pytest.raises(SyntaxError):
        ast.parse(code)
    result = run(code)
    assert (result.output, result.status) == (output, ExecutionStatus.OK)


@pytest.mark.parametrize(("code", "note"), LEFT_OUT)
def test_what_cannot_be_done_is_said_in_one_line_and_the_rest_runs(run: Candidate, code: str, note: str) -> None:
    result = run(code)
    assert (result.output, result.status) == (f"{note}\n42\n", ExecutionStatus.OK)


@pytest.mark.parametrize("code", KEPT)
def test_valid_python_is_left_as_it_is(code: str) -> None:
    tree, source, notes = parsed(code, "<cell>")
    assert (source, notes) == (code, [])
    assert ast.dump(tree) == ast.dump(ast.parse(code))


@pytest.mark.parametrize("code", FAULTY)
def test_other_faults_are_those_of_the_code_as_it_was_written(code: str) -> None:
    with pytest.raises(SyntaxError) as written:
        ast.parse(code, "<cell>")
    with pytest.raises(SyntaxError) as found:
        parsed(code, "<cell>")
    assert str(found.value) == str(written.value)
    assert hint(found.value) == ""


@pytest.mark.parametrize("code", ["files = !ls", "%%bash\nls", "%%writefile a.py\nx = 1", "get_ipython().system('ls')"])
def test_what_cannot_run_without_ipython_ends_with_a_line_that_says_so(run: Candidate, code: str) -> None:
    result = run(code)
    assert result.status is ExecutionStatus.ERROR
    assert result.output.splitlines()[-1] == NOT_PYTHON


def test_a_repair_keeps_the_numbers_of_the_lines(run: Candidate) -> None:
    output = run("```python\n!ls\nx = 0\n1 / x\n```").output
    assert 'File "<cell>", line 4, in <module>\n    1 / x\n' in output


def test_a_block_of_which_a_part_stays_faulty_runs_not_at_all(run: Candidate) -> None:
    result = run("print('ran')\n!ls\ny = = 2")
    assert result.status is ExecutionStatus.ERROR
    assert "ran\n" not in result.output.replace("print('ran')", "")
    assert "!ls" in result.output
