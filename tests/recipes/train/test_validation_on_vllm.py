"""Validation by `vllm serve`, in vLLM's CPU build: each checkpoint's own weights are what is scored."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from sctir_kaggle.problems import HELD_OUT, ProblemsConfig, read_problems
from tests.support.fake_server import free_port
from tests.support.vllm_support import MODEL, needs_vllm

ROOT = Path(__file__).resolve().parents[3]
FLAGS = "--dtype float32 --enforce-eager --max-num-seqs 8 --max-model-len 1024"

LAUNCHED = {
    **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "8", "MASTER_ADDR": "127.0.0.1"},
    **{"MASTER_PORT": "29500", "TORCHELASTIC_USE_AGENT_STORE": "True", "ACCELERATE_USE_DEEPSPEED": "true"},
}
"""What `accelerate launch` sets for a process; a server that took it over would wait for a store that nobody opens."""


def random_weights(folder: Path) -> None:
    """Replace the weights of a checkpoint by random ones."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    old = load_file(folder / "model.safetensors")
    save_file(
        {name: torch.randn_like(tensor) / 8 for name, tensor in old.items()},
        folder / "model.safetensors",
        {"format": "pt"},
    )


@needs_vllm
def test_each_checkpoint_is_served_with_its_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("httpx", reason="the engine needs the extra `openai`: pip install 'sctir-kaggle[openai]'")
    from sctir_kaggle.recipes.train.sft import SFT
    from sctir_kaggle.recipes.train.validation import score_of

    for name, value in {**LAUNCHED, "PYTHONPATH": str(ROOT), "VLLM_CPU_KVCACHE_SPACE": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    for step in (2, 4):
        shutil.copytree(MODEL, tmp_path / f"checkpoint-{step}")
    random_weights(tmp_path / "checkpoint-4")
    port = free_port()
    settings = SFT(
        model=str(MODEL),
        data=("rows.jsonl",),
        output=tmp_path,
        validate=HELD_OUT,
        validate_candidates=4,
        validate_url=f"http://127.0.0.1:{port}",
        validate_command=(
            f"{shlex.quote(sys.executable)} -m tests.support.vllm_serve serve {{checkpoint}} --port {port} {FLAGS}"
        ),
    )
    problems = read_problems(HELD_OUT, limit=4, how=ProblemsConfig(integers_only=True))
    scores = [score_of(tmp_path / f"checkpoint-{step}", problems, settings) for step in (2, 4)]
    assert [said for _, said in scores] == [f"by http://127.0.0.1:{port}"] * 2
    assert [score.problems for score, _ in scores] == [4, 4]
    assert scores[0][0].single > 0.5  # the embedded model
    assert scores[1][0].single == 0
