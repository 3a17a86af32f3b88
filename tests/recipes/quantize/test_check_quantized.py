"""The comparison of a quantized checkpoint with its original: its figures, its table, and the model card that holds it."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.recipes.quantize.calibration import Calibration
from sctir_kaggle.recipes.quantize.card import CARD, Checked, publish, table, write_card
from sctir_kaggle.recipes.quantize.check import CheckSettings, check, held_out_rows, plan_of
from sctir_kaggle.recipes.quantize.likeness import Likeness, Trace
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer
from sctir_kaggle.types import UserError
from tests.support.quantize_support import MODEL, PACKED, edit, settings_for


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    shutil.copytree(PACKED, folder)
    return folder


@pytest.fixture
def made(tmp_path: Path, packed: Path) -> QuantizeSettings:
    """Settings whose output is there, with a card."""
    settings = replace(settings_for(tmp_path), base_model="owner/original", license="apache-2.0")
    write_card(settings.output, settings, Calibration(((5, 6, 7), (5, 8)), rows=9, cut=1))
    return settings


@pytest.fixture
def checks(tmp_path: Path, made: QuantizeSettings) -> CheckSettings:
    return CheckSettings(
        model=MODEL, quantized=made.output, data=made.data, problems=str(HELD_OUT), runs=tmp_path / "runs", seeds=2
    )


def front_matter(card: str) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="settings are YAML: pip install 'sctir-kaggle[recipes]'")
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_the_card_says_how_it_was_made_and_under_which_terms(made: QuantizeSettings) -> None:
    card = (made.output / CARD).read_text()
    matter = front_matter(card)
    assert (matter["license"], matter["base_model"], matter["base_model_relation"]) == (
        "apache-2.0",
        "owner/original",
        "quantized",
    )
    assert "8-bit" in matter["tags"]
    for fact in ("| bits, group size | 8, 128 |", "2 of 9 training rows, shuffled with seed 42; 5 tokens", "0.01"):
        assert fact in card
    assert "those of owner/original and of the data that it was trained on hold" in card
    assert "0.29 is the last" in card
    assert "{" not in card


def test_the_card_names_no_folder_of_the_machine(made: QuantizeSettings, tmp_path: Path) -> None:
    card = (made.output / CARD).read_text()
    assert str(tmp_path) not in card
    assert str(MODEL) not in card


def test_a_card_without_a_name_on_the_hub_has_no_base_model(made: QuantizeSettings) -> None:
    write_card(made.output, replace(made, base_model=""), Calibration(((5,),), rows=1, cut=0))
    assert "base_model" not in front_matter((made.output / CARD).read_text())


def test_a_table_takes_the_place_of_the_one_before(made: QuantizeSettings) -> None:
    before = (made.output / CARD).read_text()
    publish(made.output, "| first |")
    publish(made.output, "| second |")
    card = (made.output / CARD).read_text()
    assert "| second |" in card
    assert "| first |" not in card
    assert "Not compared yet" in before
    assert "Not compared yet" not in card
    assert card.split("## How it was made")[1] == before.split("## How it was made")[1]


def test_a_checkpoint_without_a_card_is_refused_before_anything_is_measured(checks: CheckSettings) -> None:
    (checks.quantized / CARD).unlink()
    with pytest.raises(UserError, match="no place for the comparison"):
        check(checks)
    assert not checks.runs.exists()


def test_the_figures_of_the_table_have_their_errors() -> None:
    likeness = Likeness(
        (Trace(2, 2 * math.log(2), 2 * math.log(4), 0.5, 2), Trace(2, 2 * math.log(2), 2 * math.log(4), 0.1, 1))
    )
    original, quantized = Checked(2_000_000, (90.0, 94.0)), Checked(1_000_000, (88.0, 92.0))
    said = table(original, quantized, likeness, solved="amc")
    rows = said.splitlines()
    assert rows[2] == "| weights | 2.0 MB | 1.0 MB | -50 % |"
    assert rows[3] == "| KL divergence, nats a token | | | 0.15 ± 0.10 |"
    assert rows[4] == "| same top token, % | | | 75 ± 25 |"
    assert rows[5] == "| perplexity, and its ratio | 2.0000 | 4.0000 | 2 ± 0 |"
    assert rows[6] == "| right (%): amc | 92.0 ± 2.8 | 90.0 ± 2.8 | -2.0 |"
    assert len({row.count("|") for row in rows[:7]}) == 1
    assert "On 2 held-out traces, at the 4 tokens" in said
    assert "mean ± sd of 2 seeds" in said


def test_a_table_without_problems_claims_no_accuracy() -> None:
    likeness = Likeness((Trace(2, 1.0, 1.1, 0.5, 2),) * 2)
    said = table(Checked(2_000_000), Checked(1_000_000), likeness)
    assert "right" not in said
    assert "ccuracy" not in said


def test_a_small_difference_is_a_number_with_an_error_and_not_zero_percent() -> None:
    traces = tuple(Trace(100, 10.0, 10.0 + difference, 1e-4, 100) for difference in (-3e-5, 1e-5))
    said = table(Checked(2_000_000), Checked(1_000_000), Likeness(traces))
    assert "| perplexity, and its ratio | 1.1052 | 1.1052 | 0.99999990 ± 0.00000020 |" in said
    assert "0.000 %" not in said


def test_a_twin_with_other_tokens_is_refused(checks: CheckSettings) -> None:
    pytest.importorskip("transformers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    edit(checks.quantized / "tokenizer_config.json", lambda stored: stored.update(eos_token="<pad>"))
    assert load_transformers_tokenizer(checks.quantized).eos_token_id == 0
    with pytest.raises(UserError, match="another tokenizer"):
        held_out_rows(checks)


def test_both_checkpoints_solve_the_same_problems_under_the_same_seeds(checks: CheckSettings) -> None:
    plans = [plan_of(checks, folder, name) for folder, name in ((checks.model, "a"), (checks.quantized, "b"))]
    assert plans[0].tasks == plans[1].tasks
    assert len(plans[0].tasks) == 2 * 50
    assert {plan.folder.name for plan in plans} == {"a", "b"}


def test_a_run_of_other_weights_is_not_gone_on_with(checks: CheckSettings) -> None:
    kept = checks.runs / "quantized"
    kept.mkdir(parents=True)
    (kept / "journal.jsonl").touch()
    assert plan_of(checks, checks.quantized, "quantized").resume
    os.utime(kept / "journal.jsonl", (0, 0))
    with pytest.raises(UserError, match="older than the weights"):
        plan_of(checks, checks.quantized, "quantized")


@pytest.mark.parametrize(("field", "value"), [("samples", 0), ("seeds", 0), ("max_tokens", 3)])
def test_nothing_to_compare_is_refused(checks: CheckSettings, field: str, value: int) -> None:
    changed: dict[str, Any] = {field: value}
    with pytest.raises(UserError, match=f"{field} is {value}; it must be at least"):
        replace(checks, **changed)


def test_the_embedded_twins_card_has_the_figures_with_their_errors() -> None:
    card = (PACKED / CARD).read_text()
    assert all(
        f"| {name}" in card
        for name in ("KL divergence, nats a token", "same top token, %", "perplexity, and its ratio")
    )
    assert "-0.000 %" not in card
