"""The picture of a run: a row a problem, its time, what its candidates voted. Drawn by matplotlib itself."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from sctir_kaggle.lab.plots import VOTES, png, vote_shares, votes_and_times
from sctir_kaggle.types import Problem, SolveResult, StopReason, Trace, TraceStatus, Vote

pytest.importorskip("matplotlib", reason="pictures need the extra `plots`: pip install 'sctir-kaggle[plots]'")


def result(
    id_: str, *answers: int | None, cancelled: int = 0, stopped: StopReason = "all", reference: int | None = None
) -> SolveResult:
    """One problem with a candidate for each of `answers`; None is one that gave none."""
    status = {True: TraceStatus.EXHAUSTED, False: TraceStatus.ANSWERED}
    traces = [Trace(number, (), status[answer is None], answer) for number, answer in enumerate(answers)]
    traces += [Trace(len(answers) + number, (), TraceStatus.CANCELLED) for number in range(cancelled)]
    given = [answer for answer in answers if answer is not None]
    ranking = sorted({(answer, float(given.count(answer))) for answer in given}, key=lambda vote: -vote[1])
    return SolveResult(
        Problem(id_, "text", reference),
        ranking[0][0] if ranking else 0,
        Vote(tuple(ranking)),
        tuple(traces),
        stopped,
        fallback=not ranking,
        seconds=2.5,
    )


def bars(axes: Any) -> list[tuple[float, float]]:
    """Where each begins and how wide it is."""
    return [(round(bar.get_x(), 6), round(bar.get_width(), 6)) for bar in axes.patches]


def test_the_shares_say_what_became_of_every_candidate() -> None:
    shares = vote_shares(result("p", 7, 7, 7, 5, 5, 3, 1, None, cancelled=2))
    assert shares == pytest.approx({"leader": 0.3, "runner-up": 0.2, "others": 0.2, "no answer": 0.1, "cancelled": 0.2})


def test_a_problem_without_candidates_has_no_shares() -> None:
    assert set(vote_shares(result("p")).values()) == {0}


def test_a_row_shows_the_seconds_and_the_stacked_votes() -> None:
    times, votes = votes_and_times([result("p", 7, 7, 5, None)]).axes
    assert bars(times) == [(0, 2.5)]
    assert bars(votes) == [(0, 50), (50, 25), (75, 0), (75, 25), (100, 0)]


def test_a_reader_sees_the_id_the_votes_and_whether_the_answer_is_right() -> None:
    rows = [result("right", 7, 7, 5, reference=7), result("wrong", 7, 7, reference=5), result("none", None)]
    times, votes = votes_and_times(rows).axes
    assert [label.get_text() for label in times.get_yticklabels()] == ["right", "wrong", "none"]
    assert [text.get_text() for text in votes.texts] == ["7", "5", "7 ✓", "7", "7 ✗ 5", "0 (default)"]


def test_an_answer_is_written_into_its_bar_only_where_it_fits() -> None:
    votes = votes_and_times([result("p", *[7] * 99, 12345)]).axes[1]
    assert [text.get_text() for text in votes.texts] == ["7", "7"]


def test_a_deadline_and_an_error_have_colours_of_their_own() -> None:
    rows = [result("a", 1), result("b", 1, stopped="deadline"), result("c", stopped="error"), result("d", 1)]
    times = votes_and_times(rows).axes[0]
    assert times.get_legend_handles_labels()[1] == ["in time", "deadline", "error"]
    assert len({bar.get_facecolor() for bar in times.patches}) == 3


@pytest.mark.parametrize(("share", "lines"), [(3.0, 1), (3000.0, 0)])
def test_the_equal_share_is_a_line_where_it_leaves_room_for_the_bars(share: float, lines: int) -> None:
    times = votes_and_times([result("p", 1)], share=share).axes[0]
    assert len(times.lines) == lines
    assert times.get_xlabel() == f"seconds; an equal share is {share:.0f}"


@pytest.mark.slow
def test_fifty_rows_do_not_overlap_and_nothing_leaves_the_picture() -> None:
    figure = votes_and_times([result(f"problem-{number:010}", 10**30, 10**30, 99999) for number in range(50)])
    figure.canvas.draw()
    labels = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(below.y1 <= above.y0 for above, below in pairwise(labels))
    texts = [text.get_window_extent() for text in figure.axes[1].texts]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in labels + texts)


def test_the_picture_is_light_whatever_the_notebooks_theme_is() -> None:
    from matplotlib import style

    with style.context("dark_background"):
        figure = votes_and_times([result("p", 1)])
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert {text.get_color() for text in figure.axes[0].get_yticklabels()} == {"black"}


def test_a_run_without_problems_is_an_empty_picture() -> None:
    assert png(votes_and_times([]))[:8] == b"\x89PNG\r\n\x1a\n"


def test_greyscale_tells_neighbours_apart() -> None:
    def lightness(colour: str) -> float:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        return 0.299 * red + 0.587 * green + 0.114 * blue

    values = [lightness(colour) for colour in VOTES.values()]
    assert all(abs(left - right) >= 8 for left, right in pairwise(values)), values
