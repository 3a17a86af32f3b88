"""The published algorithm that `benchmarks.loop` compares with: what it does to an answer, in each of its flaws."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import pytest

from benchmarks.numina_compat import FreshPythons, NuminaCompat, Sample, judge, last_line_printed, majority, read
from sctir_kaggle.dialects.rows import HEADER
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.types import Completion, Engine, EngineError, Problem, Prompt, PromptTooLong, SamplingParams

PROBLEM = Problem("p", "What is 6 times 7?", 42)
BARE = HEADER.format(problem=PROBLEM.text)
BLOCK = "```python\n{}\n```\n```output\n"
CODE = BLOCK.format("print(6 * 7)")
BOXED = "\nIt is $\\boxed{42}$."


@pytest.fixture(scope="module")
def pythons() -> Iterator[FreshPythons]:
    pythons = FreshPythons(workers=2)
    yield pythons
    pythons.close()


class Echo(FreshPythons):
    """In place of Python: every block prints its own code."""

    async def map(self, codes: Iterable[str]) -> list[str]:
        return [code.strip() for code in codes]


def solve(engine: Engine, *, width: int = 1, depth: int = 4, pythons: FreshPythons | None = None) -> int:
    compat = NuminaCompat(engine, pythons or Echo(workers=1), width=width, depth=depth)
    return asyncio.run(compat.solve(PROBLEM))


def test_code_is_run_and_the_answer_behind_its_output_is_the_vote(pythons: FreshPythons) -> None:
    engine = Scripted({0: [CODE, BOXED]})
    assert solve(engine, depth=2, pythons=pythons) == 42
    assert engine.prompts["p/0/1"] == BARE + CODE + "42\n```"


def test_a_candidate_that_has_answered_is_written_on_and_changes_its_answer() -> None:
    engine = Scripted({0: [CODE, BOXED, " No, \\boxed{2}.", ""]})
    assert solve(engine) == 2
    assert engine.prompts["p/0/2"].endswith(BOXED)


def test_an_answer_stands_while_its_candidate_is_written_on_and_starts_again() -> None:
    engine = Scripted({0: [CODE, BOXED, "-" * 200, ""]})
    assert solve(engine) == 42
    assert engine.prompts["p/0/3"] == BARE


def test_a_remark_behind_the_box_loses_the_answer_and_the_text() -> None:
    engine = Scripted({0: [CODE, BOXED + " We are done." * 10, "nothing", "nothing"]})
    assert solve(engine) == 0
    assert engine.prompts["p/0/2"] == BARE


def test_a_round_without_a_block_starts_again_from_the_bare_prompt() -> None:
    engine = Scripted({0: ["Let me think.", CODE, BOXED]})
    assert solve(engine, depth=3) == 42
    assert engine.prompts["p/0/1"] == BARE


@pytest.mark.parametrize("depth", [1, 2])
def test_an_answer_without_code_never_counts(depth: int) -> None:
    engine = Scripted({0: [BOXED] * depth})
    assert solve(engine, depth=depth) == 0


def test_an_answer_with_code_that_never_ran_drops_the_candidate() -> None:
    engine = Scripted({0: ["```python\nprint(1)\n```" + BOXED]})
    assert solve(engine) == 0
    assert list(engine.prompts) == ["p/0/0"]


def test_the_last_round_runs_no_code() -> None:
    class Counting(Echo):
        ran = 0

        async def map(self, codes: Iterable[str]) -> list[str]:
            outputs = await super().map(codes)
            self.ran += len(outputs)
            return outputs

    pythons = Counting(workers=1)
    assert solve(Scripted({0: [CODE] * 4}), pythons=pythons) == 0
    assert pythons.ran == 3


def test_a_block_knows_nothing_of_the_one_before(pythons: FreshPythons) -> None:
    engine = Scripted({0: [BLOCK.format("x = 42\nprint(x)"), BLOCK.format("print(x)"), BOXED]})
    solve(engine, depth=3, pythons=pythons)
    assert "NameError" in engine.prompts["p/0/2"]


def test_a_traceback_says_neither_file_nor_line(pythons: FreshPythons) -> None:
    [output] = asyncio.run(pythons.map(["print(1 / 0)"]))
    assert output.endswith("ZeroDivisionError: division by zero")
    assert "line" not in output
    assert ".py" not in output


def test_a_block_that_never_ends_is_stopped() -> None:
    pythons = FreshPythons(workers=1, seconds=0.2)
    assert asyncio.run(pythons.map(["while True:\n    print(1)"])) == ["timed out after 0.2 seconds"]
    pythons.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("6 * 7", "42"),
        ("print(6 * 7)", "42"),
        ("sp.Integer(42)", "42"),
        ("print(6)\nx = 7", "TypeError"),
        ("print(6)\nfor i in range(3):\n    i", "IndentationError"),
        ("'#42'.strip('#')", "SyntaxError"),
        ("max(\n    [6, 7]\n)", "SyntaxError"),
    ],
)
def test_the_last_line_is_printed_whether_or_not_it_can_be(pythons: FreshPythons, code: str, shown: str) -> None:
    [output] = asyncio.run(pythons.map([code]))
    assert shown in output.splitlines()[-1]


def test_a_comment_behind_the_last_line_goes() -> None:
    assert last_line_printed("x = 1\nx + 1  # two") == "x = 1\nprint(x + 1)"


def test_the_model_sees_the_head_of_an_output_only() -> None:
    engine = Scripted({0: [BLOCK.format("1" * 150 + "2" * 150), BOXED]})
    solve(engine, depth=2)
    assert engine.prompts["p/0/1"].endswith("```output\n" + "1" * 150 + "2" * 50 + "\n```")


@pytest.mark.parametrize(
    ("written", "vote"),
    [
        ("$\\boxed{42}$", 42),
        ("$\\boxed{1042}$", 42),
        ("the answer is 42.", 42),
        ("$\\boxed{1,042}$", 42),
        ("$\\boxed{2.5}$", 2),
        ("$\\boxed{0.333}$", 0),
        ("$\\boxed{-0.4}$", 0),
        ("$\\boxed{1}$ or $\\boxed{2}$", 2),
        ("$\\boxed{12345678901234567891}$", int(12345678901234567891.0) % 1000),
        *(
            (f"$\\boxed{{{text}}}$", None)
            for text in ("\\frac{10}{2}", "2^{10}", "10!", "x=42", "1\\,000", "\\dfrac{84}{2}")
        ),
    ],
)
def test_numbers_are_rounded_through_float_and_nothing_else_is_read(written: str, vote: int | None) -> None:
    assert read(written) == vote


def test_a_large_integer_changes_its_digits() -> None:
    assert read("\\boxed{12345678901234567891}") != 891


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("", "restart"),
        ("\\boxed{1}", "restart"),
        ("```python\n1", "restart"),
        ("```python\n1\n```", "restart"),
        (CODE, "run"),
        (CODE + "1\n```\\boxed{1}", "read"),
        (CODE + "1\n``` the answer is 1", "read"),
        ("```python\n1\n``` \\boxed{1}", "drop"),
        (CODE + "1\n```\\boxed{1}" + "." * 100, "restart"),
    ],
)
def test_a_text_is_judged_for_code_first(text: str, verdict: str) -> None:
    assert judge(text) == verdict


def test_a_tie_goes_to_the_first_and_no_vote_is_a_silent_zero() -> None:
    assert majority([Sample(0, "", 7), Sample(1, "", 5)]) == 7
    assert majority([Sample(0, "", 5), Sample(1, "", 7), Sample(2, "", 7)]) == 7
    assert majority([Sample(0, "")]) == 0
    assert majority([]) == 0


class Uneven:
    """Answers the sooner the lower the candidate's number; `log` is when requests came and went."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        self.log.append(("came", request_id))
        _, candidate, turn = request_id.split("/")
        await asyncio.sleep(0.01 * int(candidate))
        self.log.append(("went", request_id))
        return Completion(CODE if turn == "0" else BOXED)


def test_a_round_starts_when_the_slowest_has_ended() -> None:
    engine = Uneven()
    solve(engine, width=3, depth=2)
    rounds = [request_id[-1] for _, request_id in engine.log]
    assert rounds == ["0"] * 6 + ["1"] * 6


def test_every_round_sends_the_whole_text_as_text() -> None:
    sent: list[Prompt] = []

    class Keeping(Scripted):
        async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
            sent.append(prompt)
            return await super().generate(prompt, params, request_id=request_id)

    solve(Keeping({0: [CODE, CODE, BOXED]}), depth=3)
    assert all(len(prompt) == 1 and isinstance(prompt[0], str) for prompt in sent)
    assert len(str(sent[2][0])) > len(str(sent[1][0])) > len(str(sent[0][0]))


class Raising:
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        raise self._error


def test_one_failure_ends_the_problem() -> None:
    with pytest.raises(EngineError):
        solve(Raising(EngineError("gone")), width=2)


def test_a_prompt_beyond_the_context_is_an_empty_completion() -> None:
    assert solve(Raising(PromptTooLong("long")), width=2) == 0


def test_candidates_and_rounds_draw_different_seeds() -> None:
    engine = Scripted(lambda prompt, candidate, turn: CODE)
    solve(engine, width=3, depth=2)
    assert len({params.seed for params in engine.params.values()}) == 6
