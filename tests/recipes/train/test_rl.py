"""RL for real, at tiny size: the solver's own tokens, the arithmetic of both methods, and what a whole run writes."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.recipes.settings import CONFIGS, read_settings, run_recipe
from sctir_kaggle.recipes.train import live_vllm
from sctir_kaggle.recipes.train import rl as module
from sctir_kaggle.recipes.train.rl import RL, keep, open_trainer, rl
from sctir_kaggle.recipes.train.trainer import last_checkpoint
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.types import Control, EngineError, UserError
from tests.support.rl_support import (
    GENERATIONS,
    ROWS,
    Step,
    advantages_of,
    reward_of,
    sampled,
    settings,
)

pytestmark = pytest.mark.recipes


@pytest.fixture(scope="module", autouse=True)
def stack() -> None:
    pytest.importorskip("trl", reason="RL needs the training stack: pip install 'sctir-kaggle[recipes]'")


@pytest.fixture(scope="module", params=["grpo", "rloo"])
def step(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Step]:
    with sampled(tmp_path_factory.mktemp(request.param), method=request.param) as made:
        yield made


@pytest.mark.slow
def test_the_trainer_gets_the_tokens_that_the_solver_sent_and_sampled(step: Step) -> None:
    """As the solver renders its trace: nothing was decoded and encoded again, and no row differs in one token."""
    step.check_tokens()


@pytest.mark.slow
def test_what_was_sampled_is_learned_and_outputs_are_only_read(step: Step) -> None:
    tokenizer, written = Tokenizer.load(EMBEDDED_MODEL), step.written()
    outputs = 0
    for at, one in enumerate(step.candidates):
        whole = [*one.sequence.prompt, *one.sequence.completion]
        expected = [0] * len(whole)
        for number, turn in enumerate(one.trace.turns):
            start = len(tokenizer.encode(render(NUMINA, one.problem, one.trace.turns[:number], prefix=turn.prefix)))
            for place, token in enumerate(one.sampled[number].ids, start):
                if place == len(whole) or whole[place] != token:  # its end is not sent again, or otherwise encoded
                    assert place >= start + len(one.sampled[number].ids) - 1
                    break
                expected[place] = 1
        length = len(one.sequence.completion)
        assert written[at].tolist() == [*expected[-length:], *[0] * (len(written[at]) - length)]
        read = tokenizer.decode([token for token, own in zip(whole, expected, strict=True) if not own])
        for turn in one.trace.turns:
            output = "".join(part for part in turn.bridge if not isinstance(part, Control))
            outputs += bool(output.strip())
            assert output in read
    assert outputs > ROWS / 2


@pytest.mark.slow
def test_the_log_probabilities_of_the_sampling_are_those_of_the_training(step: Step) -> None:
    """Also that the engine serves the weights in training: they are not those of the checkpoint any more."""
    assert step.greatest_difference() < 1e-3


@pytest.mark.slow
def test_advantage_and_gradient_are_those_of_the_papers(step: Step) -> None:
    expected = advantages_of([reward_of(one, step.trainer.args) for one in step.candidates], step.method)
    assert step.rows["advantages"].tolist() == pytest.approx(expected, abs=1e-3)
    step.check_gradient()


def by_others(trainer: Any, odds: Sequence[float]) -> None:
    """Have each candidate sampled by an engine that gives it its probability in training, divided by its number in `odds`."""
    sample = trainer.rollouts.sample

    def sampled_by_others(*arguments: Any, **options: Any) -> Any:
        found = sample(*arguments, **options)
        for at, (one, ratio) in enumerate(zip(found, odds, strict=True)):
            less = math.log(ratio) / sum(one.sequence.written)
            pairs = zip(one.sequence.log_probabilities, one.sequence.written, strict=True)
            logs = tuple(log - less * wrote for log, wrote in pairs)
            found[at] = replace(one, sequence=replace(one.sequence, log_probabilities=logs))
        return found

    trainer.rollouts.sample = sampled_by_others


@pytest.fixture
def played_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transformers in its place."""
    monkeypatch.setattr(live_vllm, "check_here", lambda: None)
    monkeypatch.setattr(module, "_on_vllm", lambda own, *_: module._on_transformers(own, Tokenizer.load(own.model)))


@pytest.mark.slow
@pytest.mark.usefixtures("played_vllm")
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_samples_of_another_model_are_an_error(method: str, tmp_path: Path) -> None:
    with open_trainer(settings(tmp_path, method=method, engine="vllm")) as trainer:
        by_others(trainer, [0.001] * ROWS)
        with pytest.raises(EngineError) as error:
            Step(trainer)
    assert str(error.value) == (
        "vLLM does not sample from the model in training, where each candidate of a step is at most 0.001 times as likely: "
        "set engine=transformers"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("played_vllm")
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_a_candidate_weighs_by_its_probability_in_training_over_that_in_vllm(method: str, tmp_path: Path) -> None:
    """One that vLLM thought half as likely weighs twice, one that it thought a quarter as likely, nothing."""
    import torch

    with open_trainer(settings(tmp_path, method=method, engine="vllm")) as trainer:
        by_others(trainer, [2.0, 4.0, 0.5, *[1.0] * (ROWS - 3)])
        step = Step(trainer)
        step.check_gradient(torch.tensor([2.0, 0.0, 0.5, *[1.0] * (ROWS - 3)]), tolerance=1e-3)
        logged = trainer._metrics["train"]
        assert logged["sampling/importance_sampling_ratio/min"] == [0.0]
        assert logged["sampling/importance_sampling_ratio/max"] == [pytest.approx(2.0, rel=1e-3)]
        assert logged["sampling/importance_sampling_ratio/mean"] == [pytest.approx((2.5 + ROWS - 3) / ROWS, rel=1e-3)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_cancelled_candidates_are_in_no_baseline_and_teach_nothing(method: str, tmp_path: Path) -> None:
    with open_trainer(settings(tmp_path, method=method)) as trainer:
        sample = trainer.rollouts.sample

        def first_is_cancelled(*arguments: Any, **options: Any) -> Any:
            found = sample(*arguments, **options)
            sequence = replace(found[0].sequence, written=(0,) * len(found[0].sequence.written))
            found[0] = replace(found[0], sequence=sequence, counts=False)
            return found

        trainer.rollouts.sample = first_is_cancelled
        step = Step(trainer)
        kept = [reward_of(one, trainer.args) for one in step.candidates[1:GENERATIONS]]
        baselines = [mean(kept) if method == "grpo" else (sum(kept) - own) / (len(kept) - 1) for own in kept]
        scale = stdev(kept) + 1e-4 if method == "grpo" else 1.0
        expected = [0.0, *((own - base) / scale for own, base in zip(kept, baselines, strict=True))]
        assert step.rows["advantages"][:GENERATIONS].tolist() == pytest.approx(expected, abs=1e-3)
        assert step.written()[0].sum() == 0
        assert trainer._metrics["train"]["candidates/left_out"] == [1.0]
        assert trainer._compute_loss(trainer.model, step.rows).isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_the_kl_term_is_of_written_tokens_against_the_model_at_the_start(method: str, tmp_path: Path) -> None:
    """GRPO: exp(d) - d - 1 of each token, d the reference's log-probability less the model's. RLOO: -d, in the reward."""
    import torch
    from transformers import AutoModelForCausalLM

    with open_trainer(settings(tmp_path, method=method, beta=0.05)) as trainer:
        step, auto = Step(trainer), AutoModelForCausalLM
        start: Any = auto.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
        with torch.no_grad():
            gap = (step.log_probabilities(start) - step.log_probabilities()) * step.written()
        assert gap.abs().max() > 0.01
        if method == "grpo":
            trainer._compute_loss(trainer.model, step.rows)
            expected = (gap.exp() - gap - 1).sum() / step.written().sum()
            assert trainer._metrics["train"]["kl"] == [pytest.approx(expected.item(), rel=0.02)]
        else:
            rewards = [reward_of(one, trainer.args) for one in step.candidates]
            penalized = [reward + 0.05 * float(one) for reward, one in zip(rewards, gap.sum(1), strict=True)]
            assert step.rows["advantages"].tolist() == pytest.approx(advantages_of(penalized, method), abs=1e-3)
            assert step.rows["advantages"].tolist() != pytest.approx(advantages_of(rewards, method), abs=1e-3)


@pytest.mark.slow
def test_a_step_without_a_candidate_that_ended_is_an_error(tmp_path: Path) -> None:
    with open_trainer(settings(tmp_path, seconds=1e-9)) as trainer, pytest.raises(EngineError) as error:
        Step(trainer)
    assert str(error.value) == "none of the 12 candidates of a step can be learned from: not ended after 1e-09 s"


@pytest.mark.slow
def test_a_run_learns_and_writes_a_model_that_loads(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = rl(settings(tmp_path, steps=2, learning_rate=1e-3, checkpointing=True))
    before: Any = AutoModelForCausalLM.from_pretrained(EMBEDDED_MODEL, dtype=torch.float32)
    after: Any = AutoModelForCausalLM.from_pretrained(made, dtype=torch.float32)
    assert AutoTokenizer.from_pretrained(made).get_vocab() == AutoTokenizer.from_pretrained(EMBEDDED_MODEL).get_vocab()
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert all(0 < line["reward"] <= 1.1 and line["candidates/turns"] > 1 for line in lines)


def refused(output: Path, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    """The one line of standard error with which a run ends, status 2."""

    def main() -> None:
        rl(settings(output, **changes))

    with pytest.raises(SystemExit) as ended:
        run_recipe(main)
    assert ended.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def test_groups_must_fill_a_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="batch x accumulate is 12 and generations 5; the first must be a multiple"):
        settings(tmp_path, generations=5)
    with pytest.raises(UserError, match="and that at least 2"):
        settings(tmp_path, generations=1)
    with pytest.raises(UserError, match="equal candidates teach nothing"):
        settings(tmp_path, temperature=0.0)
    with pytest.raises(UserError, match="right, wrong and code are all 0"):
        settings(tmp_path, right=0.0, wrong=0.0, code=0.0)
    with pytest.raises(UserError, match=r"vllm_memory is 90.0; it is a share of the GPU's memory"):
        settings(tmp_path, vllm_memory=90.0)
    with pytest.raises(UserError, match=r"ratio_max is 0.2; equal probabilities have the ratio 1"):
        settings(tmp_path, ratio_max=0.2)


@pytest.mark.slow
def test_vllm_as_the_engine_must_be_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if find_spec("vllm") is not None:
        pytest.skip("vLLM is installed")
    said = refused(tmp_path, capsys, engine="vllm")
    assert said.startswith("vLLM is not installed: pip install ")


@pytest.mark.parametrize("name", ["rl.yaml", "tiny_rl.yaml"])
def test_the_files_of_the_package_are_whole(name: str) -> None:
    assert read_settings(RL, CONFIGS / name).turns == 4


def test_an_unknown_field_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rl.yaml"
    file.write_text(f"model: m\nproblems: p.csv\noutput: {tmp_path}\ngeneration: 4\n")
    with pytest.raises(UserError, match=r"rl.yaml, generation: no such field; did you mean generations\?"):
        read_settings(RL, file)


@pytest.mark.slow
def test_a_folder_without_a_tokenizer_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_bytes((EMBEDDED_MODEL / "config.json").read_bytes())
    said = refused(tmp_path / "out", capsys, model=str(folder))
    assert said.startswith(f"cannot load {folder}: ")


@pytest.mark.slow
def test_too_few_problems_for_a_step_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = tmp_path / "problems.csv"
    problems.write_text("id,problem,answer\na,1 + 1?,2\nb,1 + 2?,3\nc,1/2?,1/2\n")
    said = refused(tmp_path / "out", capsys, problems=problems)
    assert "2 problems; 1 left out: no integer answer, and a step takes 3: give more" in said
    problems.write_text("id,problem,answer\nc,1/2?,1/2\n")
    assert "has an integer answer; the reward needs them" in refused(tmp_path / "out", capsys, problems=problems)


def state(folder: Path, step: int) -> None:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "trainer_state.json").write_text('{"global_step": 3}')


def test_another_recipes_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state(tmp_path, 3)
    said = refused(tmp_path, capsys)
    assert (
        said == f"{tmp_path / 'checkpoint-3'} is of another recipe: there is no rl.json beside it; take another output"
    )
    assert "go on with resume: true" in refused(tmp_path, capsys, resume=False)


@pytest.mark.slow
def test_a_run_goes_on_with_the_model_and_the_problems_that_it_was_begun_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    start = tmp_path / "start"
    shutil.copytree(EMBEDDED_MODEL, start)
    output = tmp_path / "out"
    keep(settings(output, model=str(start)), read_problems(HELD_OUT))
    state(output, 1)
    said = refused(output, capsys, model=str(start), generations=2, learning_rate=1e-3)
    assert said.startswith(f"{output} is of a run with ")
    assert "generations=4" in said
    assert "learning_rate=1e-06" in said
    problems = tmp_path / "problems.csv"
    problems.write_text(HELD_OUT.read_text(encoding="utf-8").replace(",161", ",162"), encoding="utf-8")
    assert "rows=" in refused(output, capsys, model=str(start), problems=problems)
    auto: Any = AutoModelForCausalLM
    other = auto.from_pretrained(start, dtype=torch.float32)
    with torch.no_grad():
        other.lm_head.weight.mul_(1.5)
    other.save_pretrained(start)
    assert re.search("a run with weights=[0-9a-f]+: give it the same", refused(output, capsys, model=str(start)))


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    chosen = {"steps": 3, "save_every": 1, "learning_rate": 1e-3, "schedule": "constant"}
    rl(settings(tmp_path / "whole", **chosen))
    killed = tmp_path / "killed"
    values = {"model": EMBEDDED_MODEL, "problems": HELD_OUT, "output": killed, "log": "none", "checkpointing": "false"}
    values |= {"batch": ROWS, "generations": GENERATIONS, "max_tokens": 256, "slots": ROWS, "wrong": -0.5, **chosen}
    module = ["-m", "sctir_kaggle.recipes.train.rl", "--set", *(f"{name}={value}" for name, value in values.items())]
    with subprocess.Popen([sys.executable, *module], start_new_session=True) as process:
        wait_for(lambda: last_checkpoint(killed) is not None or process.poll() is not None)
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "model").exists()
    rl(settings(killed, **chosen))
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "killed"))
    assert all((first[name] - second[name]).abs().max() < 1e-6 for name in first)
    lines = [(tmp_path / name / "steps.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    rewards = [[(line["step"], line["reward"]) for line in map(json.loads, one)] for one in lines]
    assert rewards[0] == rewards[1]
    assert [step for step, _ in rewards[0]] == [1, 2, 3]


def wait_for(happened: Callable[[], bool], seconds: float = 600.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert happened()
