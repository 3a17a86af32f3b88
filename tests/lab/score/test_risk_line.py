"""What a run says at its end of the risks that its stop took."""

from __future__ import annotations

from sctir_kaggle import Problem, SolveResult, Vote
from sctir_kaggle.display import risk_line
from sctir_kaggle.types import StopReason


def ended(stopped: StopReason, risk: float | None = None) -> SolveResult:
    return SolveResult(Problem("p", "Add."), 1, Vote(((1, 9.0),)), (), stopped, risk=risk)


def test_a_counted_stop_says_how_often_it_struck_and_bounds_its_risk_with_the_models_caveat() -> None:
    line = risk_line([ended("k", 0.2), ended("k", 0.1), ended("exact"), ended("all")])
    assert line.startswith("k stopped 2 of 4 problems; under beta's model")
    assert "at most 20 %" in line
    assert "at most 0.3 of them are expected to" in line
    assert "not where quick candidates vote otherwise" in line


def test_where_votes_are_weighted_it_says_how_to_find_out() -> None:
    line = risk_line([ended("margin"), ended("exact")])
    assert line.startswith("margin stopped 1 of 2 problems; its risk is known for plain votes only")
    assert "what-if" in line


def test_each_stop_has_a_line_of_its_own_and_none_has_none() -> None:
    both = risk_line([ended("beta", 0.01), ended("k", 0.2)]).splitlines()
    assert [line.split()[0] for line in both] == ["beta", "k"]
    assert risk_line([ended("exact"), ended("deadline"), ended("uncontested", 0.01)]) == ""
