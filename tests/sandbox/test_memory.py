"""The memory of all children together: what there is, who is counted, and who is ended where it is exceeded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import pytest

from sctir_kaggle.sandbox import Sandbox, memory
from sctir_kaggle.sandbox.memory import Share, SharedMemory
from sctir_kaggle.sandbox.outcome import VARIABLES_GONE
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.candidate import Candidate

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")

MIB = 1 << 20
TOTAL_MB = 700
TOLD = f"MemoryError: all programs together needed more than {TOTAL_MB} MB, and the code, the largest that ran, was stopped"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=2, code_seconds=60, memory_mb=512, total_memory_mb=TOTAL_MB) as sandbox:
        yield sandbox


def keep(mb: int) -> str:
    return f"kept = np.ones({mb} << 17)\nprint('kept')"


@pytest.mark.slow
def test_the_one_that_exceeds_the_total_is_ended_and_told_and_no_other(sandbox: Sandbox) -> None:
    small, first, second, third = (Candidate(sandbox, f"problem/{number}") for number in range(4))
    small("x = 7")
    assert [candidate(keep(250)).output for candidate in (first, second)] == ["kept\n"] * 2
    result = third(keep(250))
    assert (result.output.removeprefix("kept\n"), result.status) == (TOLD, ExecutionStatus.MEMORY)
    assert small("x").output == "7\n"
    assert [candidate("int(kept[0])").output for candidate in (first, second)] == ["1\n"] * 2
    assert third("'kept' in globals()").output == VARIABLES_GONE + "False\n"


@pytest.mark.slow
def test_what_was_released_counts_no_more(sandbox: Sandbox) -> None:
    for number in range(4):
        candidate = Candidate(sandbox, f"problem/{number}")
        assert candidate(keep(400)).output == "kept\n"
        sandbox.release(candidate.candidate_id)


@pytest.mark.slow
def test_memory_shared_without_a_file_counts(sandbox: Sandbox) -> None:
    code = "import mmap\nkept = mmap.mmap(-1, 300 << 20)\nfor at in range(0, len(kept), 4096): kept[at] = 1"
    results = [Candidate(sandbox, f"problem/{number}")(code) for number in range(3)]
    assert [result.status.value for result in results] == ["ok", "ok", "memory"]


def share(size_mb: int, *, running: bool, ended: list[int]) -> Share:
    """Of a process that is gone, so that its size is taken as it is."""
    return Share(pid=1 << 22, end=lambda: ended.append(size_mb), size=size_mb * MIB, exact=True, running=running)


@pytest.mark.parametrize(
    ("running", "waiting", "asking", "must_end", "ended"),
    [
        ([300], [300, 300], 0, False, []),  # in all 900 of 1000
        ([300], [400, 400], 0, True, []),  # the largest that runs, although others are larger
        ([200, 300], [300, 300], 0, False, []),  # the other one will be told by its own thread
        ([200, 300], [300, 300], 1, True, []),
        ([10], [300, 500, 400], 0, False, [500]),  # a small one is not to blame
    ],
)
def test_who_has_to_end(
    running: list[int],
    waiting: list[int],
    asking: int,
    must_end: bool,
    ended: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Share, "measure", lambda share: None)
    calls: list[int] = []
    total = SharedMemory(1000, each_mb=512)
    shares = [share(size, running=True, ended=calls) for size in running]
    for one in [*shares, *(share(size, running=False, ended=calls) for size in waiting)]:
        was = one.running
        total.begin(one)
        one.running = was
    assert (total.must_end(shares[asking]), calls) == (must_end, ended)


def test_nothing_is_measured_as_long_as_the_limits_of_each_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(share: Share) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr(Share, "measure", measure)
    total = SharedMemory(1000, each_mb=512)
    one = Share(pid=os.getpid(), end=lambda: None)
    total.begin(one)
    assert not total.must_end(one)


def test_the_memory_of_this_machine_is_known_and_a_part_is_left_to_the_host() -> None:
    machine = memory.machine_mb()
    assert 0 < machine <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE") // MIB
    assert machine // 2 <= memory.default_total_mb() < machine


@pytest.mark.parametrize(("machine", "total"), [(2048, 1024), (8192, 4096), (16384, 12288), (30720, 23040)])
def test_the_reserve_grows_with_the_machine(machine: int, total: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "machine_mb", lambda: machine)
    assert memory.default_total_mb() == total
