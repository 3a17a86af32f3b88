"""The line that a transfer draws: files, bytes, rate, time left."""

from __future__ import annotations

import pytest

from sctir_kaggle.kaggle.transfer import Progress, size_text


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (17_000_000, "17.0 MB"),
        (5_234_000_000, "5.2 GB"),
        (3e12, "3,000.0 GB"),
    ],
)
def test_a_size_is_written_in_the_unit_that_fits(size: float, text: str) -> None:
    assert size_text(size) == text


def test_the_time_left_is_that_of_the_bytes_left_at_the_rate_so_far() -> None:
    clock = Clock()
    with Progress("fetching", 2, 4_000_000, clock=clock) as progress:
        progress.begin(1_000_000)
        assert progress.line() == "fetching | file 1 of 2 | 0 B of 4.0 MB"
        clock.now = 10
        progress.add(1_000_000)
        progress.begin(3_000_000)
        assert progress.line() == "fetching | file 2 of 2 | 1.0 MB of 4.0 MB | 100.0 kB/s | left 0:30"


def test_bytes_of_an_earlier_try_count_as_there_and_not_in_the_rate() -> None:
    clock = Clock()
    with Progress("fetching", 1, 4_000_000, clock=clock) as progress:
        progress.begin(4_000_000)
        progress.add(2_000_000, moved=False)
        clock.now = 10
        progress.add(1_000_000)
        assert progress.line() == "fetching | file 1 of 1 | 3.0 MB of 4.0 MB | 100.0 kB/s | left 0:10"


def test_where_the_output_is_no_terminal_a_line_comes_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Progress("sending", 1, 100, clock=clock) as progress:
        progress.begin(100)
        for second in range(1, 21):
            clock.now = second
            progress.add(5)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "sending | file 1 of 1 | 50 B of 100 B | 5 B/s | left 0:10",
        "sending | file 1 of 1 | 100 B of 100 B | 5 B/s | left 0:00",
    ]
