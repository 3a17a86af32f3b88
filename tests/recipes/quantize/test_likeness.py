"""KL divergence, top-1 agreement and the ratio of perplexities: closed forms, their errors, and two real models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

import pytest

from sctir_kaggle.recipes.quantize import compare as module
from sctir_kaggle.recipes.quantize.card import with_error
from sctir_kaggle.recipes.quantize.check import CheckSettings, held_out_rows
from sctir_kaggle.recipes.quantize.compare import PLACES, compare, divergences
from sctir_kaggle.recipes.quantize.likeness import Estimate, Likeness, Trace, mean_of
from sctir_kaggle.recipes.rendering import Row
from sctir_kaggle.types import UserError
from tests.support.quantize_support import MODEL, settings_for

torch: Any = pytest.importorskip("torch", reason="models are read by the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

P, Q = Path("p"), Path("q")


class Fixed:
    """A model that gives the same distribution in every context, of as many tokens as it has probabilities."""

    device = "cpu"

    def __init__(self, probabilities: Sequence[float]) -> None:
        self.logits = torch.tensor(probabilities).log()

    def __call__(self, ids: Any, use_cache: bool) -> Any:
        return SimpleNamespace(logits=self.logits.expand(1, ids.shape[1], -1))


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `compare` load these models."""

    def load(models: Mapping[Path, Sequence[float]]) -> None:
        monkeypatch.setattr(module, "load_model", lambda folder, device: Fixed(models[folder]))

    return load


def rows(*traces: Sequence[int]) -> list[Row]:
    """Each trace after one token that is only read."""
    return [((0, *trace), (False, *(True for _ in trace))) for trace in traces]


@pytest.fixture
def held_out(tmp_path: Path) -> list[Row]:
    made = settings_for(tmp_path)
    return held_out_rows(CheckSettings(model=MODEL, quantized=MODEL, data=made.data))


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        ((0.5, 0.5), (0.25, 0.75), 0.5 * math.log(4 / 3)),
        ((0.25, 0.75), (0.5, 0.5), 0.75 * math.log(3) - math.log(2)),
        ((1.0, 0.0), (0.5, 0.5), math.log(2)),
        ((0.5, 0.5), (1.0, 0.0), math.inf),
        ((0.2, 0.3, 0.5), (0.2, 0.3, 0.5), 0.0),
    ],
    ids=["p-from-q", "the-other-way", "ruled-out-by-p", "ruled-out-by-q", "the-same"],
)
def test_the_divergence_is_the_closed_form(p: Sequence[float], q: Sequence[float], expected: float) -> None:
    logs = [torch.tensor([values], dtype=torch.float64).log() for values in (p, q)]
    assert divergences(*logs).item() == pytest.approx(expected, abs=1e-15)


def test_a_logit_that_is_raised_has_the_divergence_of_its_closed_form() -> None:
    """q is p with d added to one logit of probability a: KL = ln(1 - a + a e^d) - a d."""
    raised = 0.01
    logits = torch.randn(7, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[:, 3] += raised
    a = logits.softmax(-1)[:, 3]
    expected = (1 - a + a * math.exp(raised)).log() - a * raised
    assert divergences(logits.log_softmax(-1), other.log_softmax(-1)).tolist() == pytest.approx(expected.tolist())


def test_what_is_not_a_number_stays_visible() -> None:
    broken = torch.tensor([[math.nan, 0.0]]).log_softmax(-1)
    assert math.isnan(divergences(torch.tensor([[0.5, 0.5]]).log(), broken).item())


def test_the_three_figures_of_two_fixed_distributions(fixed: Any) -> None:
    fixed({P: (0.5, 0.3, 0.2), Q: (0.25, 0.35, 0.4)})
    likeness = compare(P, Q, rows([0, 0, 1], [2]))
    divergence = 0.5 * math.log(2) + 0.3 * math.log(0.3 / 0.35) + 0.2 * math.log(0.5)
    assert likeness.tokens == 4
    assert likeness.divergence.value == pytest.approx(divergence, rel=1e-6)
    assert likeness.divergence.error == pytest.approx(0, abs=1e-9)
    assert likeness.agreement == Estimate(0, 0)
    before, after = (0.5 * 0.5 * 0.3 * 0.2) ** -0.25, (0.25 * 0.25 * 0.35 * 0.4) ** -0.25
    assert likeness.perplexities == pytest.approx((before, after), rel=1e-6)
    assert likeness.ratio.value == pytest.approx(after / before, rel=1e-6)
    first, second = (2 * math.log(2) + math.log(0.3 / 0.35)), math.log(0.5)
    logs = mean_of([(3, first), (1, second)])
    assert logs.error is not None
    assert likeness.ratio.error == pytest.approx(likeness.ratio.value * logs.error)


def test_errors_that_cancel_in_the_perplexity_show_in_the_divergence(fixed: Any) -> None:
    fixed({P: (0.5, 0.25, 0.25), Q: (0.5, 0.125, 0.375)})
    likeness = compare(P, Q, rows([0] * 5, [0] * 3))
    assert likeness.ratio.value == pytest.approx(1, abs=1e-7)
    assert likeness.agreement.value == 1
    assert likeness.divergence.value == pytest.approx(0.25 * math.log(4 / 3), rel=1e-6)


def test_a_trace_longer_than_a_part_is_counted_once(fixed: Any) -> None:
    fixed({P: (0.5, 0.5), Q: (0.25, 0.75)})
    likeness = compare(P, Q, rows([1] * (2 * PLACES + 3)))
    assert likeness.tokens == 2 * PLACES + 3
    assert likeness.divergence.value == pytest.approx(0.5 * math.log(4 / 3), rel=1e-6)
    assert likeness.divergence.error is None, "of one trace"


def test_models_of_different_vocabularies_are_refused(fixed: Any) -> None:
    fixed({P: (0.5, 0.5), Q: (0.2, 0.2, 0.6)})
    with pytest.raises(UserError, match="have 2 and 3 tokens"):
        compare(P, Q, rows([1]))


def test_rows_without_a_token_to_learn_are_refused(fixed: Any) -> None:
    fixed({P: (0.5, 0.5), Q: (0.5, 0.5)})
    with pytest.raises(UserError, match="no trace"):
        compare(P, Q, [((1, 1), (False, False)), ((1,), (True,))])


def test_traces_of_the_same_length_have_the_error_of_a_mean() -> None:
    means = [0.1, 0.4, 0.2, 0.7]
    found = mean_of([(5, 5 * mean) for mean in means])
    assert found.value == pytest.approx(fmean(means))
    assert found.error == pytest.approx(stdev(means) / len(means) ** 0.5)


def test_a_longer_trace_counts_more() -> None:
    assert mean_of([(1, 0.0), (3, 3.0)]) == Estimate(0.75, pytest.approx(0.375))  # type: ignore[arg-type]


def test_tokens_that_all_err_alike_in_a_trace_are_no_evidence_of_their_number() -> None:
    traces = tuple(Trace(tokens=100, original=0, quantized=0, divergence=0, same=same) for same in (100, 0, 100, 0))
    assert Likeness(traces).agreement == Estimate(0.5, pytest.approx(0.2887, rel=1e-3))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("estimate", "written"),
    [
        (Estimate(99.9842, 0.0113), "99.984 ± 0.011"),
        (Estimate(0.999999784, 4.1e-7), "0.99999978 ± 0.00000041"),
        (Estimate(2.31e-6, 1.9e-7), "(2.31 ± 0.19)e-06"),
        (Estimate(1e-7, 2e-5), "(0.0 ± 2.0)e-05"),
        (Estimate(123.4, 25.0), "123 ± 25"),
        (Estimate(100.0, 0.0), "100 ± 0"),
        (Estimate(math.nan, math.nan), "nan ± nan"),
        (Estimate(0.25, None), "0.25 (one trace: no error)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_is_written_to_the_place_of_its_error(estimate: Estimate, written: str) -> None:
    assert with_error(estimate) == written


def test_a_model_is_like_itself_and_its_perplexity_is_its_own_loss(held_out: list[Row]) -> None:
    from transformers import AutoModelForCausalLM

    likeness = compare(MODEL, MODEL, held_out[:1], device="cpu")
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(MODEL, dtype=torch.float32)
    ids, learned = torch.tensor([held_out[0][0]]), torch.tensor([held_out[0][1]])
    with torch.inference_mode():
        said = model(ids, labels=torch.where(learned, ids, -100))
    assert likeness.perplexities == pytest.approx([math.exp(said.loss)] * 2, rel=1e-5)
    assert likeness.tokens == sum(held_out[0][1])
    assert (likeness.divergence.value, likeness.agreement.value, likeness.ratio.value) == (0, 1, 1)


def test_a_model_without_knowledge_has_the_divergence_of_the_entropy(held_out: list[Row], tmp_path: Path) -> None:
    """Against the uniform distribution over V tokens: KL = ln V - H(p), and its perplexity is V."""
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(MODEL, dtype=torch.float32)
    entropy = []
    with torch.inference_mode():
        for ids, learned in held_out:
            logits = model(torch.tensor([ids[:-1]])).logits[0][torch.tensor(learned[1:])]
            entropy += torch.distributions.Categorical(logits=logits).entropy().tolist()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    model.save_pretrained(tmp_path / "uniform")
    likeness = compare(MODEL, tmp_path / "uniform", held_out, device="cpu")
    vocabulary = model.config.vocab_size
    assert likeness.perplexities[1] == pytest.approx(vocabulary)
    assert likeness.divergence.value == pytest.approx(math.log(vocabulary) - fmean(entropy), rel=1e-5)


def test_another_model_is_far_from_it_by_every_figure(held_out: list[Row]) -> None:
    likeness = compare(MODEL, MODEL.with_name("model-cot"), held_out, device="cpu")
    for found, far in (
        (likeness.divergence.value - 0.1, likeness.divergence.error),
        (0.9 - likeness.agreement.value, likeness.agreement.error),
        (likeness.ratio.value - 1, likeness.ratio.error),
    ):
        assert far is not None
        assert found > 2 * far > 0


def test_a_trace_that_is_only_read_adds_nothing(held_out: list[Row]) -> None:
    read = (held_out[0][0], tuple(False for _ in held_out[0][1]))
    assert compare(MODEL, MODEL, [read, held_out[1]], device="cpu").traces == (
        compare(MODEL, MODEL, [held_out[1]], device="cpu").traces
    )


def test_the_settings_of_a_check_without_problems_solve_nothing(tmp_path: Path) -> None:
    from sctir_kaggle.recipes.quantize.check import percent_right

    made = settings_for(tmp_path)
    checks = CheckSettings(model=MODEL, quantized=MODEL, data=made.data, runs=tmp_path / "runs")
    assert percent_right(replace(checks, problems=None), MODEL, "original") == ()
    assert not (tmp_path / "runs").exists()
