"""The stage-1 twin's corpus: chains of thought that reach the reference without code, for the problems of its twin."""

from __future__ import annotations

import re
from random import Random

import pytest

from sctir_kaggle.answers import read_answer
from sctir_kaggle.recipes.synthetic.corpus import Example
from sctir_kaggle.recipes.synthetic.families import CHAINS, FAMILIES, Family
from sctir_kaggle.recipes.synthetic.families.chain import LONGEST, chain, euclid, factored, factors, terms
from sctir_kaggle.recipes.tiny.data import chains_of
from sctir_kaggle.recipes.tiny.problems import held_out, training_drafts, validation

EACH = pytest.mark.parametrize("item", [FAMILIES[name] for name in CHAINS], ids=CHAINS)

CODE = re.compile(r"```|\b(?:print|import|def|lambda|range|python|sympy)\b", re.IGNORECASE)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    return chains_of(training_drafts(0, [*held_out(0), *validation(0)], 40), 0)


def text(example: Example) -> str:
    return "".join(segment.text for segment in example.segments if segment.learned)


def test_every_family_has_a_solution_without_code() -> None:
    assert {name for name, item in FAMILIES.items() if item.direct} | CHAINS.keys() == FAMILIES.keys()


@EACH
def test_a_chain_leads_to_the_reference_before_the_box(item: Family) -> None:
    rng = Random(2)
    for _ in range(60):
        params = item.sample(rng)
        numbers = re.findall(r"-?\d+", CHAINS[item.name](**params))
        assert int(numbers[-1]) == item.answer(params)


def test_what_a_chain_says_is_equal_is_equal() -> None:
    """Every `1 + 2 * 3 = 7` of plain numbers."""
    rng, equation = Random(3), re.compile(r"(?<![\d^*/+-] )\b(\d+(?: [*/+-] \(?-?\d+\)?)+) = (-?\d+)")
    texts = [chain_text(FAMILIES[name], rng) for name in CHAINS for _ in range(40)]
    found = [match for text in texts for match in equation.findall(text)]
    assert len(found) >= 1000
    assert [f"{left} = {right}" for left, right in found if eval(left) != int(right)] == []


def chain_text(item: Family, rng: Random) -> str:
    return CHAINS[item.name](**item.sample(rng))


@EACH
def test_a_chain_is_a_few_lines(item: Family) -> None:
    rng = Random(4)
    assert max(len(chain_text(item, rng)) for _ in range(40)) <= 350


@pytest.mark.slow
def test_the_box_of_every_example_is_the_reference(examples: list[Example]) -> None:
    assert len(examples) >= 1000
    for example in examples:
        reading = read_answer(text(example), modulus=1000, lowest=0, highest=999)
        assert reading.answer == example.answer


def test_no_example_has_code_or_open_places(examples: list[Example]) -> None:
    for example in examples:
        assert not CODE.search(text(example).replace("No code is needed", ""))
        assert not re.search(r"<\w+>|\[[^\[\]]*\|", text(example))


def test_the_problems_are_those_of_the_twin_and_none_is_held_out(examples: list[Example]) -> None:
    held = [*held_out(0), *validation(0)]
    drafts = training_drafts(0, held, 40)
    assert [example.problem for example in examples] == [draft.problem for draft in drafts]
    assert not {posed.problem.text for posed in held} & {example.problem for example in examples}
    closed = {(posed.family, tuple(posed.params.items())) for posed in held}
    assert not closed & {(draft.family, draft.params) for draft in drafts}


def test_only_the_solution_is_learned(examples: list[Example]) -> None:
    assert {tuple(segment.learned for segment in example.segments) for example in examples} == {(False, True)}
    assert all(example.problem in example.segments[0].text for example in examples)


def test_the_corpus_is_determined_by_its_seed() -> None:
    drafts = training_drafts(1, [], 2)
    assert chains_of(drafts, 1) == chains_of(drafts, 1)
    assert chains_of(drafts, 1) != chains_of(drafts, 2)


def test_a_second_chain_of_a_family_is_refused() -> None:
    with pytest.raises(ValueError, match="'power_mod' has a chain already"):

        @chain(FAMILIES["power_mod"])
        def _(a: int) -> str:
            return str(a)


def test_the_helpers_do_their_arithmetic() -> None:
    assert factors(360) == [(2, 3), (3, 2), (5, 1)]
    assert factored(360) == "2^3 * 3^2 * 5"
    assert euclid(48, 18) == (["48 = 2 * 18 + 12", "18 = 1 * 12 + 6", "12 = 2 * 6 + 0"], 6)
    assert terms([1, 2, 3]) == "1, 2, 3"
    assert terms(range(LONGEST + 1)) == "0, 1, 2, 3, 4, ..."
