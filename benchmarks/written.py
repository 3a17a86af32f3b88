"""A run made up for the viewer: no model wrote it, but it has the shape, the length and the disorder of one that did.

Words are drawn at random, so that it compresses worse than real candidates, who repeat each other.
"""

from __future__ import annotations

from dataclasses import asdict
from random import Random
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.types import (
    Completion,
    ExecutionResult,
    ExecutionStatus,
    PartialTurn,
    Problem,
    SolveResult,
    StopReason,
    Trace,
    TraceStatus,
    Turn,
)
from sctir_kaggle.voting import Ballot, tally

VOCABULARY = """we first need the number of integer solutions to this equation so let us count pairs where both sides are equal
since each term is a multiple of three it follows that remainder must vanish consider the polynomial whose roots satisfy
given condition then by symmetry sum over all residues modulo prime gives zero which implies bound on largest value now
define sequence recursively check small cases using brute force search over range compute divisors greatest common
triangle sides perimeter angle bisector altitude median circumcircle inscribed circle tangent line intersection point
distance square area volume probability expected coin dice card hand permutation combination subset partition binomial
coefficient generating function product factor exponent logarithm base digit decimal expansion period cycle group order
element inverse matrix determinant eigenvalue vector plane complex real positive negative odd even parity invariant
therefore hence thus however because otherwise suppose assume contradiction induction hypothesis step answer final
result verify output shows matches expectation simplify substitute rearrange isolate variable quadratic formula
discriminant perfect cube root floor ceiling fraction numerator denominator rational irrational limit series converge"""

WORDS = VOCABULARY.split()

FORMULAS = (
    r"$x^2 + {a}x - {b} = 0$",
    r"\(\frac{{{a}}}{{{b}}} + \sqrt{{{c}}}\)",
    r"$$\sum_{{k=1}}^{{{a}}} k^{{{d}}} \equiv {b} \pmod{{{c}}}$$",
    r"\[ \binom{{{a}}}{{{d}}} = \frac{{{a}!}}{{{d}!\,({a}-{d})!}} \]",
    r"$a_{{n+1}} = {d} a_n + {b}$",
)

LINES = (
    "values = [k for k in range({a}, {c}) if k % {d} == {e} % {d}]",
    "total = sum(k ** {d} for k in range({a})) % {c}",
    "x = sp.symbols('x')  # {w}",
    "roots = sp.solve(x ** 2 + {a} * x - {b}, x)",
    "for i in range({a}, {b}):\n    if sp.gcd(i, {c}) == 1:\n        count += i % {d}  # {w}",
    "def {w}_{a}(n):\n    '''{w} {w2}'''\n    return n if n < {d} else {w}_{a}(n - 1) + {b}",
    "print(f'{w}: {{count}}', total, {e})",
)


def run(problems: int, candidates: int, turns: int, *, seeds: int = 1) -> tuple[dict[str, Any], list[SolveResult]]:
    """Header and results; the same numbers give the same run."""
    header = {"schema": 1, "created": "2026-01-01T12:00:00+00:00", "version": "0", "machine": "made up"}
    header |= {"config": asdict(SolverConfig(candidates=candidates, turns=turns)), "budget": 9 * 3600.0}
    header |= {"engine": {"engine": "made up", "model": "no model"}}
    header |= {"seeds": list(range(seeds))} if seeds > 1 else {}
    return header, [_result(number, seed, candidates, turns) for seed in range(seeds) for number in range(problems)]


def _result(number: int, seed: int, candidates: int, turns: int) -> SolveResult:
    random = Random(f"{number}/{seed}")
    reference = Random(number).randrange(1000)
    skill = Random(number).betavariate(1.2, 1.0)
    traces = [_trace(random, candidate, turns, reference, skill) for candidate in range(candidates)]
    random.shuffle(traces)
    traces.sort(key=lambda trace: trace.status is TraceStatus.CANCELLED)
    vote = tally(Ballot(trace.candidate, trace.answer) for trace in traces if trace.answer is not None)
    level, subject = f"Level {1 + number % 5}", ("Algebra", "Geometry", "Number Theory")[number % 3]
    problem = Problem(f"problem-{number:03}", _prose(Random(number), 3), reference, level, subject)
    winner = vote.winner
    stopped: StopReason = random.choice(("all", "exact", "exact", "deadline"))
    seconds = random.gammavariate(3, 130)
    answer = 0 if winner is None else winner
    return SolveResult(problem, answer, vote, tuple(traces), stopped, winner is None, seconds, seed=seed)


def _trace(random: Random, candidate: int, turns: int, reference: int, skill: float) -> Trace:
    statuses = (TraceStatus.ANSWERED, TraceStatus.PRUNED, TraceStatus.EXHAUSTED, TraceStatus.CANCELLED)
    [status] = random.choices(statuses, (80, 6, 6, 8))
    wrong = (reference * 7 + random.choice((1, 1, 1, 2, 2, random.randrange(900)))) % 1000
    answer = (reference if random.random() < skill else wrong) if status is TraceStatus.ANSWERED else None
    texts = tuple(_turn(random, answer if turn == turns - 1 else None, turn == turns - 1) for turn in range(turns))
    cut = PartialTurn(f"p/{candidate}/{turns}", "generating", None, 3.2) if status is TraceStatus.CANCELLED else None
    boxed = None if answer is None else str(answer)
    return Trace(candidate, texts, status, answer, boxed, seconds=random.uniform(20, 200), cut=cut)


def _turn(random: Random, answer: int | None, last: bool) -> Turn:
    text = _prose(random, random.randint(5, 9))
    if last:
        end = "" if answer is None else f"\n\nThe answer is $\\boxed{{{answer}}}$."
        return Turn(Completion(text + end, tokens=len(text) // 4), generate_seconds=random.uniform(4, 30))
    code = "\n".join(["import sympy as sp", "count = 0", *(_line(random) for _ in range(random.randint(5, 9)))])
    written = f"{text}\n\n```python\n{code}\n```\n```output\n"
    result = _execution(random)
    return Turn(
        Completion(written, tokens=len(written) // 4, stop_reason="```output\n"),
        code=code,
        execution=result,
        bridge=(f"{result.output.rstrip()}\n```",),
        generate_seconds=random.uniform(4, 30),
    )


def _execution(random: Random) -> ExecutionResult:
    if random.random() < 0.15:
        trace = f'Traceback (most recent call last):\n  File "<cell>", line {random.randint(1, 9)}, in <module>\n'
        return ExecutionResult(
            f"{trace}NameError: name '{random.choice(WORDS)}' is not defined", ExecutionStatus.ERROR, 0.1
        )
    return ExecutionResult(" ".join(str(random.randrange(10**6)) for _ in range(random.randint(1, 20))), seconds=0.05)


def _prose(random: Random, sentences: int) -> str:
    return " ".join(_sentence(random) for _ in range(sentences))


def _sentence(random: Random) -> str:
    words = random.choices(WORDS, k=random.randint(8, 20))
    words.insert(random.randrange(len(words)), _filled(random, random.choice(FORMULAS)))
    return " ".join(words).capitalize() + "."


def _line(random: Random) -> str:
    return _filled(random, random.choice(LINES))


def _filled(random: Random, pattern: str) -> str:
    numbers = {name: random.randrange(2, 500) for name in "abce"}
    return pattern.format(**numbers, d=random.randint(2, 9), w=random.choice(WORDS), w2=random.choice(WORDS))
