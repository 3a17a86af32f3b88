"""The limit of a block beside the alarms that the block sets, and what the model is told at both."""

from __future__ import annotations

import re

import pytest

from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import CODE_SECONDS, Candidate

STOPPED = f"TimeoutError: the code ran for more than {CODE_SECONDS:g} seconds and was stopped"

GUARDED = """
import signal
def too_long(number, frame): raise TimeoutError('by the block')
def guarded(seconds, function):
    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return function()
    except TimeoutError as error:
        return str(error)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
def endless():
    while True: pass
"""


def test_an_alarm_of_the_block_fires_and_the_block_goes_on(run: Candidate) -> None:
    run(GUARDED)
    code = "print(guarded(0.05, endless), guarded(100, lambda: 3), guarded(0.05, endless))\n"
    code += "print(signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, signal.getitimer(signal.ITIMER_REAL))"
    assert run(code).output == "by the block 3 by the block\nTrue (0.0, 0.0)\n"


def test_an_alarm_that_repeats_does_so(run: Candidate) -> None:
    code = "import signal, time\nrung = []\nsignal.signal(signal.SIGALRM, lambda *_: rung.append(1))\n"
    code += "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\nwhile len(rung) < 3: time.sleep(0.001)\n"
    code += "signal.setitimer(signal.ITIMER_REAL, 0)[1]"
    assert run(code).output == "0.01\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        "signal.alarm(0)",
        "signal.alarm(1000)",
        "guarded(0.05, endless)",
        "signal.signal(signal.SIGALRM, signal.SIG_IGN)",
    ],
)
def test_the_limit_holds_after_alarms_of_the_block(run: Candidate, code: str) -> None:
    run(GUARDED)
    result = run.within(CODE_SECONDS, f"x = 1\n{code}\nendless()", soft=True)
    assert result.status is ExecutionStatus.TIMEOUT
    assert re.fullmatch(
        r'Traceback (.|\n)*line 3, in <module>\n    endless\(\)\n  File "<cell>", line \d+, in endless\n    .*\n'
        + re.escape(STOPPED),
        result.output,
    )
    assert run("x").output == "1\n"


@pytest.mark.slow
def test_what_is_raised_at_the_limit_has_the_name_that_models_know(run: Candidate) -> None:
    code = "try:\n    sum(1 for _ in iter(int, 1))\nexcept BaseException as error: print(type(error), repr(error))"
    result = run.within(CODE_SECONDS, code, soft=True)
    assert result.output == "<class 'TimeoutError'> TimeoutError('the code ran out of time')\n"


@pytest.mark.slow
def test_a_loop_that_prints_ends_with_each_line_once(run: Candidate) -> None:
    run("n = 0")
    # Less than the 8 MB after which it would be stopped.
    result = run.within(1.5, "while True:\n    print(n)\n    n += 1", soft=True)
    lines = result.output.partition("Traceback")[0].split()
    last = [int(line) for line in lines[-100:]]
    assert last == list(range(last[0], last[0] + 100))
