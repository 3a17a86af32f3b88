"""The benchmark of merges: what each row merges, what its table says, and the whole way in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.merging import (
    BASE,
    MERGES,
    QUICK,
    SINGLE,
    Figures,
    Merging,
    make,
    problems_in,
    settings_of_merge,
    table,
)
from sctir_kaggle.recipes.tiny.problems import TRACES, held_out, training_drafts, validation
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("name", MERGES)
def test_a_row_says_what_is_merged(name: str, tmp_path: Path) -> None:
    merging = Merging(output=tmp_path)
    asked, row = settings_of_merge(merging, name), MERGES[name]
    kind = {"dare_linear": "dare"}.get(asked.method, asked.method)
    assert kind == row.method.lower()
    assert row.how.startswith(", ".join(f"{weight:g}" for weight in asked.weights))
    assert (f"density {asked.density:g}" in row.how) == (asked.method in ("ties", "dare_linear"))
    assert (f"eta {asked.eta:g}" in row.how) == (asked.method == "warp")
    assert asked.dtype == "float32"
    assert str(EMBEDDED_MODEL) in (asked.models[0], asked.base)
    if row.pair == "SFT + base":
        assert asked.models[1] == str(BASE)


def test_both_of_the_original_s_pairs_are_merged_by_each_of_its_methods() -> None:
    tried = {(row.pair, row.method) for row in MERGES.values()}
    assert {(pair, method) for pair in ("SFT + KTO", "SFT + base") for method in ("linear", "TIES", "DARE")} <= tried
    assert {("SFT + KTO", "WARP"), ("KTO + KTO, anchored", "WARP")} <= tried


def test_differences_are_paired_by_problem() -> None:
    names = (*SINGLE, *MERGES)
    solved: dict[str, Figures] = {
        name: {"single": {"a": 0.5, "b": 0.25, "c": 0.0}, "vote": {"a": 1.0, "b": 0.0, "c": 0.0}} for name in names
    }
    solved["kto"] = {"single": {"a": 0.75, "b": 0.5, "c": 0.25}, "vote": {"a": 1.0, "b": 1.0, "c": 0.0}}
    head, _, *rows = table(solved, 5).splitlines()
    assert cells(head)[0].startswith("3 unseen problems")
    assert cells(head)[5] == "maj@5 (%)"
    found = dict(zip(names, map(cells, rows), strict=True))
    assert found["sft"] == ["SFT", "none", "", "25.0", "", "33.3", ""]
    assert found["kto"] == ["KTO", "none", "", "50.0", "+25.0 ± 0.0", "66.7", "+33.3 ± 33.3"]


@pytest.mark.parametrize("field", ["each", "candidates", "on_policy"])
def test_a_setting_outside_its_limits_is_named(field: str) -> None:
    with pytest.raises(UserError, match=f"{field} is 0; it must be at least 1"):
        Merging(**{field: 0})  # type: ignore[arg-type]


@pytest.mark.recipes
@pytest.mark.slow
def test_the_whole_way_in_small(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    pytest.importorskip("mergekit", reason="merging needs recipes/requirements-mergekit.txt")
    merging = Merging(output=tmp_path / "made", **QUICK)  # type: ignore[arg-type]
    written = make(merging, "--quick")
    assert len(written.splitlines()) == 2 + len(SINGLE) + len(MERGES) + 2
    drafts = training_drafts(0, [*held_out(0), *validation(0)], TRACES)
    assert not {draft.problem for draft in drafts} & {
        problem.text for problem in problems_in(merging.at("problems.json"))
    }
    before = merging.at("steps.json").stat().st_mtime_ns
    assert make(merging, "--quick") == written
    assert merging.at("steps.json").stat().st_mtime_ns == before, "nothing is run a second time"
    with pytest.raises(UserError, match="of a run with candidates=2"):
        make(Merging(output=merging.output, **{**QUICK, "candidates": 3}))  # type: ignore[arg-type]
