"""The benchmark of merges: what each row merges, what its table says, and the whole way in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import merging
from benchmarks.merging import BASE, MERGES, SINGLE, Figures, Merging, settings_of_merge, table
from sctir_kaggle.recipes.tiny.problems import held_out, training_drafts, validation
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


@pytest.mark.parametrize("name", MERGES)
def test_a_row_says_what_is_merged(name: str, tmp_path: Path) -> None:
    asked, row = settings_of_merge(Merging(output=tmp_path), name), MERGES[name]
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
def test_the_whole_way_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one KTO and one merge of it, and few of the problems that the embedded model learned."""
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    pytest.importorskip("mergekit", reason="merging needs recipes/requirements-mergekit.txt")
    for name, few in (("POLICIES", {"kto"}), ("SINGLE", {"sft", "kto"}), ("MERGES", {"sft-kto-warp"})):
        monkeypatch.setattr(f"benchmarks.merging.{name}", {one: getattr(merging, name)[one] for one in sorted(few)})
    monkeypatch.setattr("benchmarks.merging.TRACES", 4)
    settings = merging.Merging(output=tmp_path / "made", **merging.QUICK)
    written = merging.make(settings, "--quick")
    rows = list(map(cells, written.splitlines()[2:5]))
    assert [row[:2] for row in rows] == [["KTO", "none"], ["SFT", "none"], ["SFT + KTO", "WARP"]]
    assert float(rows[1][3]) > 30
    assert all("±" in cell for row in (rows[0], rows[2]) for cell in (row[4], row[6]))
    drafts = training_drafts(0, [*held_out(0), *validation(0)], 4)
    problems = merging.problems_in(settings.at("problems.json"))
    assert not {draft.problem for draft in drafts} & {problem.text for problem in problems}
    before = settings.at("steps.json").stat().st_mtime_ns
    assert merging.make(settings, "--quick") == written
    assert settings.at("steps.json").stat().st_mtime_ns == before, "nothing is run a second time"
    with pytest.raises(UserError, match="of a run with candidates=2"):
        merging.make(merging.Merging(output=settings.output, **{**merging.QUICK, "candidates": 3}))
