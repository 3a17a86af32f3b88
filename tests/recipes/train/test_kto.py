"""KTO for real, at tiny size: candidates of the embedded model, sampled with tools, its log-probabilities, its training."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sctir_kaggle.dialects.rows import OUTPUT_FENCE
from sctir_kaggle.recipes.train.kto import KTO, kto, make_trainer, rows_of, trainer_config
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

pytestmark = pytest.mark.recipes


def settings(run: Path, output: Path, **changes: Any) -> KTO:
    tiny = {"batch": 4, "steps": 2, "log_every": 1, "log": ("none",), "checkpointing": False}
    return KTO(model=str(EMBEDDED_MODEL), runs=(run,), output=output, **{**tiny, **changes})


def rewards(output: Path) -> list[dict[str, str]]:
    with (output / "rewards.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def log_probabilities(model: Any, row: dict[str, Any], prefix: str = "") -> tuple[float, float]:
    """Of one sequence by itself: the sum over the tokens that the model wrote, and over all behind the prompt."""
    import torch

    ids = torch.tensor([*row["prompt_ids"], *row[f"{prefix}completion_ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0, :-1]
    each = logits.log_softmax(-1).gather(1, ids[1:, None])[len(row["prompt_ids"]) - 1 :, 0]
    written = torch.tensor(row[f"{prefix}learned"], dtype=torch.bool)
    return each[written].sum().item(), each.sum().item()


@pytest.mark.slow
def test_the_log_probabilities_are_those_of_the_tokens_that_the_model_wrote(
    run: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    chosen = settings(run, tmp_path, batch=8)
    trainer: Any = make_trainer(chosen, trainer_config(chosen), tokenizer)
    rows = rows_of(chosen, tokenizer)[0][:8]
    reference = trainer.compute_ref_log_probs(trainer.ref_model, trainer.data_collator(rows))
    for prefix, sums in zip(("", "KL_"), reference, strict=True):
        alone = [log_probabilities(trainer.model, row, prefix) for row in rows]
        assert sums.tolist() == pytest.approx([written for written, _ in alone], abs=1e-3)
    with_outputs = [row for row in rows if OUTPUT_FENCE in tokenizer.decode(row["completion_ids"])]
    assert len(with_outputs) > 4
    for row in with_outputs:  # what TRL alone would count
        written, everything = log_probabilities(trainer.model, row)
        assert abs(written - everything) > 1e-2


def test_the_loss_is_of_the_same_log_probabilities(
    run: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    chosen = settings(run, tmp_path, batch=8)
    trainer: Any = make_trainer(chosen, trainer_config(chosen), tokenizer)
    rows = rows_of(chosen, tokenizer)[0][:8]
    trainer.compute_loss(trainer.model, trainer.data_collator(rows))
    [metrics] = [found for found in trainer._metrics.values() if found]
    for name, label in (("chosen", True), ("rejected", False)):
        of_kind = [log_probabilities(trainer.model, row)[0] for row in rows if row["label"] is label]
        assert metrics[f"logps/{name}"] == [pytest.approx(sum(of_kind) / len(of_kind), abs=1e-3)]
        assert metrics[f"rewards/{name}"] == [pytest.approx(0.0, abs=1e-3)]  # beside itself as the reference


def test_right_candidates_become_more_probable_than_wrong_ones(run: Path, tmp_path: Path) -> None:
    kto(settings(run, tmp_path, steps=12, learning_rate=3e-4, schedule="constant", log_every=4))
    points = rewards(tmp_path)
    margins = [float(point["margin"]) for point in points]
    assert margins[-1] > max(0.05, margins[0])  # the first is a mean of steps of which only one was without training
    assert float(points[-1]["chosen"]) > float(points[-1]["rejected"])
    assert (tmp_path / "rewards.png").read_bytes().startswith(b"\x89PNG")


def test_what_it_writes_loads_and_is_another_model(run: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = kto(settings(run, tmp_path, learning_rate=1e-3))
    before: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    after: Any = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    assert AutoTokenizer.from_pretrained(made).get_vocab() == AutoTokenizer.from_pretrained(EMBEDDED_MODEL).get_vocab()
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)


def test_a_run_that_was_cut_short_ends_with_the_weights_of_one_that_was_not(run: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    chosen = {"save_every": 2, "learning_rate": 1e-4, "schedule": "constant"}
    kto(settings(run, tmp_path / "whole", steps=4, **chosen))
    for steps in (2, 4):
        kto(settings(run, tmp_path / "cut", steps=steps, **chosen))
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "cut"))
    assert all((first[name] - second[name]).abs().max() < 1e-6 for name in first)
    points = [[row["step"] for row in rewards(tmp_path / name)] for name in ("whole", "cut")]
    assert points[0] == points[1]
    assert points[0]


def test_the_reference_may_be_computed_first(run: Path, tmp_path: Path) -> None:
    both = [settings(run, tmp_path / str(first), reference_first=first) for first in (False, True)]
    for one in both:
        kto(one)
    for row, other in zip(*(rewards(one.output) for one in both), strict=True):
        assert {name: float(cell) for name, cell in row.items()} == pytest.approx(
            {name: float(cell) for name, cell in other.items()}, abs=1e-3
        )


def test_the_weights_are_balanced_by_what_is_trained_on(
    run: Path, tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows, weights, summary = rows_of(settings(run, tmp_path), tokenizer)
    right = sum(row["label"] for row in rows)
    assert weights.desirable * right == pytest.approx(weights.undesirable * (len(rows) - right))
    lines = (run / "journal.jsonl").read_text().splitlines()[1:]
    answers = [
        (trace["answer"], line["problem"]["answer"]) for line in map(json.loads, lines) for trace in line["traces"]
    ]
    assert summary.startswith(f"{right} right and {len(rows) - right} wrong candidates, weights 1 and")
    assert right == sum(answer == reference for answer, reference in answers)


def test_an_earlier_run_is_not_mixed_with_a_new_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kto(settings(run, tmp_path, steps=1, save_every=1))
    assert " disk: needs " in capsys.readouterr().out
    with pytest.raises(UserError, match="checkpoint-1 is of an earlier run; go on with resume: true"):
        kto(settings(run, tmp_path, resume=False))
