"""NuminaMath's comparison: what its table says of runs, what the ways differ in, and that the stage-1 twin does its part."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.comparison import CANDIDATES, NAMES, STAGE_1, config_of, model_of
from benchmarks.comparison_report import Run, Way, figure, stop_line, table
from sctir_kaggle import Solver, SolverConfig, SolveResult
from sctir_kaggle.lab.statistics import format_mean_sd
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.sandbox import Sandbox

pytestmark = pytest.mark.slow

WAYS = [
    Way("greedy", "1", [Run(20.0, 20.0, 3.0)]),
    Way("vote", "2", [Run(90.0, 70.0, 10.0), Run(94.0, 72.0, 12.0), Run(98.0, 71.0, 90.0)]),
]


def test_a_row_has_means_sample_deviations_and_the_median_of_the_seconds() -> None:
    assert table("t", WAYS, 3).splitlines()[2:] == [
        "| greedy | 1 | 20.0 | 20.0 | 3 |",
        "| vote | 2 | 94.0 ± 4.0 | 71.0 ± 1.0 | 12 |",
    ]


def test_every_line_of_the_table_has_as_many_cells() -> None:
    assert len({line.count("|") for line in table("t", WAYS, 3).splitlines()}) == 1


def test_one_run_has_no_spread() -> None:
    assert format_mean_sd([50.0]) == "50.0"
    assert format_mean_sd([50.0, 50.0]) == "50.0 ± 0.0"


def test_the_exact_stop_is_counted_over_all_runs() -> None:
    line = stop_line([(1, 0.4), (0, 0.6)], problems=50)
    assert "1 of 100 answers differ" in line
    assert "50 % of the tokens" in line


def test_the_figure_is_small_and_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the figure needs the extra `plots`: pip install 'sctir-kaggle[plots]'")
    for name in ("a.svg", "b.svg", "c.png"):
        figure(WAYS, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    assert max(file.stat().st_size for file in tmp_path.iterdir()) < 100_000


def changed(way: str) -> dict[str, object]:
    plain = asdict(SolverConfig(candidates=CANDIDATES, stop="none", seed=3))
    return {name: value for name, value in asdict(config_of(way, 3)).items() if value != plain[name]}


def test_the_ways_differ_from_the_winning_run_in_these_only() -> None:
    assert changed("sc-tir") == {}
    assert changed("single-tir") == {"turns": 1}
    assert changed("cot-majority") == {"turns": 0}
    assert changed("greedy-cot") == {"turns": 0, "candidates": 1, "temperature": 0.0}


def test_chain_of_thought_is_asked_of_stage_1_and_tools_of_stage_2() -> None:
    assert {way: model_of(way) for way in NAMES} == {
        "greedy-cot": STAGE_1,
        "cot-majority": STAGE_1,
        "greedy-tir": EMBEDDED_MODEL,
        "single-tir": EMBEDDED_MODEL,
        "sc-tir": EMBEDDED_MODEL,
    }


def test_the_twin_has_the_shape_and_the_tokenizer_of_the_embedded_model() -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        first, second = (json.loads((model / name).read_text()) for model in (STAGE_1, EMBEDDED_MODEL))
        assert first | {"transformers_version": ""} == second | {"transformers_version": ""}


def test_the_twin_is_small_and_knows_no_folder_of_the_machine_that_made_it() -> None:
    assert sum(file.stat().st_size for file in STAGE_1.iterdir()) <= 3e6
    for file in STAGE_1.glob("*.json"):
        assert not {"name_or_path", "_name_or_path"} & json.loads(file.read_text()).keys()


@pytest.fixture(scope="module")
def results(sandbox: Sandbox) -> list[SolveResult]:
    pytest.importorskip("torch", reason="the twin needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    from sctir_kaggle.engines.transformers import TransformersEngine

    engine, problems = TransformersEngine.load(STAGE_1, slots=32), read_problems(HELD_OUT)

    async def solve() -> list[SolveResult]:
        solver = Solver(engine, sandbox, SolverConfig(candidates=4, stop="none"))
        return list(await asyncio.gather(*map(solver.solve, problems)))

    try:
        return asyncio.run(solve())
    finally:
        engine.close()


def test_the_twin_answers_without_code_even_where_it_may_run_some(results: list[SolveResult]) -> None:
    traces = [trace for result in results for trace in result.traces]
    assert not any(turn.code for trace in traces for turn in trace.turns)
    assert sum(trace.answer is not None for trace in traces) >= 0.9 * len(traces)


def test_the_twin_is_right_now_and_then_but_far_less_often_than_with_tools(results: list[SolveResult]) -> None:
    right = [trace.answer == result.problem.answer for result in results for trace in result.traces]
    assert 1 <= sum(right) <= len(right) / 2
