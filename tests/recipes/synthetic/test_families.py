"""The synthetic problems: each family's reference, phrasings and programs agree, and held-out problems stay held out."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from random import Random

import pytest

from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.recipes.synthetic.corpus import ENDINGS, Draft, draft, run
from sctir_kaggle.recipes.synthetic.families import FAMILIES, Family, Params, family, fill
from sctir_kaggle.recipes.synthetic.mistakes import MAKERS, make_mistake
from sctir_kaggle.recipes.tiny.problems import Posed, held_out, training_drafts, validation
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Problem

EACH = pytest.mark.parametrize("item", FAMILIES.values(), ids=FAMILIES.keys())


def draws(item: Family, count: int, *, seed: int = 1) -> list[Params]:
    rng = Random(seed)
    return [item.sample(rng) for _ in range(count)]


def printed(program: str | tuple[str, ...], params: Params) -> str:
    """The last line that the blocks print, run one after the other in one namespace."""
    out, names = io.StringIO(), dict[str, object]()
    with contextlib.redirect_stdout(out):
        for code in (program,) if isinstance(program, str) else program[::2]:
            exec(fill(code, params), names)
    return out.getvalue().splitlines()[-1]


def test_there_are_at_least_24_families() -> None:
    assert len(FAMILIES) >= 24


@EACH
def test_every_program_prints_the_reference_answer(item: Family) -> None:
    for params in draws(item, 4):
        assert {printed(program, params) for program in item.programs} <= {str(item.answer(params))}


@EACH
def test_a_solution_without_code_ends_with_the_reference_answer(item: Family) -> None:
    for params in draws(item, 20):
        for direct in item.direct:
            numbers = re.findall(r"-?\d+", direct(**params))
            assert int(numbers[-1]) == item.answer(params)


@EACH
def test_every_family_can_be_solved(item: Family) -> None:
    assert item.programs or item.direct


@EACH
def test_answers_are_in_range_and_vary(item: Family) -> None:
    answers = {item.answer(params) for params in draws(item, 40)}
    assert len(answers) >= 5
    assert all(0 <= answer <= 999 for answer in answers)


@EACH
def test_a_problem_has_many_phrasings_without_open_places(item: Family) -> None:
    rng = Random(3)
    [params] = draws(item, 1)
    texts = {item.text(params, rng) for _ in range(60)}
    assert len(texts) >= 4
    assert not any(re.search(r"<\w+>|\[[^\[\]]*\|", text) for text in texts)


@EACH
def test_every_parameter_is_in_every_phrasing(item: Family) -> None:
    for text in item.texts:
        assert set(re.findall(r"<(\w+)>", text)) == set(item.draw)


def test_some_programs_have_two_blocks_and_some_families_need_no_code() -> None:
    programs = [program for item in FAMILIES.values() for program in item.programs]
    assert sum(isinstance(program, tuple) for program in programs) >= 8
    assert sum(bool(item.direct) for item in FAMILIES.values()) >= 2


def test_drafts_are_determined_by_the_seed() -> None:
    first, second = (training_drafts(7, [], 3) for _ in range(2))
    assert first == second
    assert first != training_drafts(8, [], 3)


def test_every_kind_of_mistake_occurs() -> None:
    rng = Random(0)
    codes = [
        fill(program if isinstance(program, str) else program[0], item.sample(rng))
        for item in FAMILIES.values()
        for program in item.programs
    ]
    assert all(any(make(code, rng) for code in codes) for make in MAKERS)


@pytest.mark.slow
def test_a_program_that_breaks_really_fails_and_its_repair_solves_the_problem(sandbox: Sandbox) -> None:
    drafts = [item for item in training_drafts(5, [], 30) if any(step.fails for step in item.steps)][:40]
    examples = asyncio.run(run(drafts, sandbox))
    assert len(examples) >= 0.9 * len(drafts)
    assert all("Error" in "".join(part.text for part in example.segments if not part.learned) for example in examples)


def test_a_trace_learns_what_the_model_writes_and_ends_with_the_answer(sandbox: Sandbox) -> None:
    [item] = [item for item in training_drafts(0, [], 1) if item.family == "power_mod"]
    [example] = asyncio.run(run([item], sandbox))
    assert [part.learned for part in example.segments][:3] == [False, True, False]
    assert item.problem in example.segments[0].text
    assert f"\\boxed{{{item.answer}}}" in example.segments[-1].text


def test_a_trace_with_a_wrong_answer_is_dropped(sandbox: Sandbox) -> None:
    [item] = [item for item in training_drafts(0, [], 1) if item.family == "power_mod"]
    wrong = Draft(item.family, item.problem, (item.answer + 1) % 1000, item.steps, item.conclusion)
    assert asyncio.run(run([wrong], sandbox)) == []


def test_held_out_problems_are_never_trained_on() -> None:
    held = [*held_out(0), *validation(0)]
    drafts = training_drafts(0, held, 40)
    assert not {posed.problem.text for posed in held} & {item.problem for item in drafts}


@pytest.mark.slow
def test_parameters_of_a_held_problem_are_not_drawn_for_training() -> None:
    rng = Random(0)
    item = FAMILIES["trailing_zeros"]
    held = [Posed(item.name, {"n": n}, Problem("", "")) for n in item.draw["n"] if n != 500]
    texts = [made.problem for made in training_drafts(0, held, 3000) if made.family == item.name]
    assert texts
    assert all("500" in text for text in texts)
    assert draft(item, item.sample(rng), rng).family == item.name


def test_the_file_of_held_out_problems_is_what_the_recipe_makes() -> None:
    problems = read_problems(HELD_OUT)
    assert problems == [posed.problem for posed in held_out(0)]
    assert [problem.answer for problem in problems] == [
        FAMILIES[posed.family].answer(posed.params) for posed in held_out(0)
    ]
    assert len(problems) == len({problem.id for problem in problems}) == 50
    assert len({posed.family for posed in held_out(0)}) >= 24
    assert all(problem.answer in range(1, 1000) for problem in problems)


def test_the_forced_ending_is_one_of_the_endings() -> None:
    assert any(ending.startswith("\nThe answer is $\\boxed{") for ending in ENDINGS)


def test_a_bad_draw_or_a_double_name_is_refused() -> None:
    with pytest.raises(ValueError, match="not one of"):
        FAMILIES["divisor_sum"].answer({"n": 960})
    with pytest.raises(ValueError, match="rename"):

        @family(draw={"a": range(2)}, texts=("<a>?",))
        def power_mod(a: int) -> int:
            return a


def test_no_mistake_is_made_where_none_fits() -> None:
    assert make_mistake("x = 1", Random(0)) is None
