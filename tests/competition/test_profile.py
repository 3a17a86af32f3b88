"""The table of competitions: found by either name, true to itself."""

from __future__ import annotations

import pytest

from sctir_kaggle.competition.profile import PROFILES, Profile, profile_of
from sctir_kaggle.types import UserError

ROWS = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)


@ROWS
def test_a_competition_is_found_by_its_name_and_by_its_slug(profile: Profile) -> None:
    assert profile_of(profile.name) is profile_of(profile.slug) is profile


def test_a_name_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match=r"'aimo9'.*aimo1 \(ai-mathematical-olympiad-prize\).*aimo2.*aimo3"):
        profile_of("aimo9")


@ROWS
def test_the_solver_votes_in_the_competitions_range_alone(profile: Profile) -> None:
    config = profile.config
    assert (config.lowest, config.highest, config.modulus) == (profile.lowest, profile.highest, profile.modulus)
    assert profile.in_range(config.default_answer)


@ROWS
def test_the_range_ends_where_it_says(profile: Profile) -> None:
    assert profile.in_range(profile.lowest)
    assert profile.in_range(profile.highest)
    assert not profile.in_range(profile.lowest - 1)
    assert not profile.in_range(profile.highest + 1)


@ROWS
def test_a_server_is_named_where_the_competition_calls_and_only_there(profile: Profile) -> None:
    assert (profile.server is not None) == (profile.api == "push")
    assert profile.server is None or profile.server.count(":") == 1


@ROWS
def test_a_modulus_reaches_the_whole_range(profile: Profile) -> None:
    assert profile.modulus is None or (profile.lowest, profile.highest) == (0, profile.modulus - 1)


def test_one_competitions_module_is_for_one_python_alone() -> None:
    assert {name: profile.python for name, profile in PROFILES.items()} == {
        "aimo1": (3, 10),
        "aimo2": None,
        "aimo3": None,
    }
