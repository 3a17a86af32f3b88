"""The user ids of children: out of everyone's way, and within what a user namespace has."""

from __future__ import annotations

import os
import sys

import pytest

from sctir_kaggle.sandbox import confinement
from sctir_kaggle.sandbox.confinement import FIRST_USER, USERS
from sctir_kaggle.sandbox.namespaces import id_ranges, succeeds_in_a_fork

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="user namespaces are Linux's")
ALL_IDS = [(0, (1 << 32) - 1)]


def chosen(ranges: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    monkeypatch.setattr(confinement, "id_ranges", lambda: ranges)
    return confinement._free_ids()


def test_this_process_has_its_own_id() -> None:
    assert any(first <= os.getuid() < first + count for first, count in id_ranges())


def test_with_all_ids_they_are_far_above_those_of_people_and_services(monkeypatch: pytest.MonkeyPatch) -> None:
    first, count = chosen(ALL_IDS, monkeypatch)
    assert first >= FIRST_USER
    assert first + count < 1 << 32
    assert count == USERS


@pytest.mark.parametrize("ranges", [[(0, 65_536)], [(0, 1), (1, 65_536)], [(0, 1000), (100_000, 20_000)]])
def test_in_a_container_they_are_among_those_that_it_has(
    ranges: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(200):
        first, count = chosen(ranges, monkeypatch)
        assert any(low <= first and first + count <= low + size for low, size in ranges)
        assert first >= 1000
        assert count >= 1000


def test_with_a_single_id_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PermissionError, match="the user namespace has 1 ids only"):
        chosen([(1000, 1)], monkeypatch)


def test_what_is_tried_in_a_fork_changes_nothing_here() -> None:
    folder = os.getcwd()
    assert succeeds_in_a_fork(lambda: os.chdir("/"))
    assert not succeeds_in_a_fork(lambda: os.chdir("/no such folder"))
    assert os.getcwd() == folder
