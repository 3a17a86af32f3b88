"""The attention backend that vLLM is given: ours on old GPUs, the user's where there is one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.engines.vllm_attention import VARIABLE, Attention, attention_arguments, choose_attention
from sctir_kaggle.engines.vllm_options import is_latent
from sctir_kaggle.engines.vllm_probe import VLLMProbe
from sctir_kaggle.problems import ASSETS
from tests.support.vllm_support import needs_vllm

T4, A100 = (7, 5), (8, 0)
NEW, OLD = {"model", "attention_backend"}, {"model"}


def test_below_compute_capability_8_a_back_end_that_needs_no_nvcc_is_chosen() -> None:
    assert choose_attention({}, T4, {}) == Attention("TRITON_ATTN", "compute capability")
    assert choose_attention({}, (7, 0), {}) == Attention("TRITON_ATTN", "compute capability")


@pytest.mark.parametrize("capability", [A100, (9, 0), None])
def test_on_newer_gpus_and_on_a_cpu_vllm_chooses(capability: tuple[int, int] | None) -> None:
    assert choose_attention({}, capability, {}) is None


@pytest.mark.parametrize(
    "options", [{"attention_backend": "FLASHINFER"}, {"attention_config": {"backend": "FLASHINFER"}}]
)
def test_the_users_engine_option_wins_over_all(options: dict[str, Any]) -> None:
    chosen = choose_attention(options, T4, {VARIABLE: "FLEX_ATTENTION"})
    assert chosen == Attention("FLASHINFER", "engine options")
    assert attention_arguments(chosen, NEW, ()) == {}


def test_the_users_environment_wins_over_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "FLASHINFER")
    assert choose_attention({}, T4) == Attention("FLASHINFER", "environment")


@pytest.mark.parametrize(
    ("known", "variables", "given"),
    [
        (OLD, {VARIABLE}, {}),  # up to 0.12, which reads it
        (NEW, {VARIABLE}, {}),  # 0.13 and 0.14 read it, and refuse both
        (NEW, set(), {"attention_backend": "FLASHINFER"}),  # later ones do not read it: it would be lost
    ],
)
def test_a_back_end_in_the_environment_reaches_every_vllm(
    known: set[str], variables: set[str], given: dict[str, str]
) -> None:
    assert attention_arguments(Attention("FLASHINFER", "environment"), known, variables) == given


def test_ours_is_an_argument_or_the_variable_of_a_vllm_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "to be put back")
    monkeypatch.delenv(VARIABLE)
    ours = Attention("TRITON_ATTN", "compute capability")
    assert attention_arguments(ours, NEW, ()) == {"attention_backend": "TRITON_ATTN"}
    assert VARIABLE not in os.environ
    assert attention_arguments(ours, OLD, {VARIABLE}) == {}
    assert os.environ[VARIABLE] == "TRITON_ATTN"


def test_a_model_with_latent_attention_is_left_to_vllm(tmp_path: Path) -> None:
    """It has back ends of its own, and TRITON_ATTN is none of them."""
    assert not is_latent(str(ASSETS / "model"))
    assert not is_latent("owner/at-the-hub")
    (tmp_path / "config.json").write_text(json.dumps({"kv_lora_rank": 512}))
    assert is_latent(str(tmp_path))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with heads of 128, as the 7B has them: FlashInfer has no kernels for the embedded model's 32."""
    config = json.loads((ASSETS / "model" / "config.json").read_text(encoding="utf-8"))
    made = tmp_path_factory.mktemp("heads")
    (made / "config.json").write_text(
        json.dumps({**config, "hidden_size": 512, "num_attention_heads": 4, "head_dim": 128})
    )
    return made


def on_a_t4(folder: Path, options: dict[str, Any], environment: dict[str, str] | None = None) -> VLLMProbe:
    """Probe the installed vLLM on a platform that reports compute capability 7.5."""
    command = [sys.executable, "-m", "tests.support.t4_platform", str(folder), "1", json.dumps(options)]
    kept = {name: value for name, value in os.environ.items() if name != VARIABLE}
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=800, env={**kept, **(environment or {})}, check=True
    )
    return VLLMProbe(**json.loads(ran.stdout.splitlines()[-1].removeprefix("sctir: ")))


@needs_vllm
def test_vllms_own_selector_takes_our_back_end_on_a_t4(folder: Path) -> None:
    said = on_a_t4(folder, {})
    assert (said.device, said.dtype) == ("Tesla T4", "float16"), said
    assert (said.attention, said.attention_from) == ("TRITON_ATTN", "compute capability"), said
    if said.version == "0.19.1" and find_spec("flashinfer"):
        assert said.attention_else == "FLASHINFER", "this is what our choice is for"


@needs_vllm
def test_vllms_own_selector_is_given_the_users_back_end_on_a_t4(folder: Path) -> None:
    said = on_a_t4(folder, {}, {VARIABLE: "FLEX_ATTENTION"})
    assert said.attention_from == "environment", said
    # A CPU build lacks what some versions import for this back end: it then says so of the one that it was asked for.
    assert "FLEX_ATTENTION" in (said.attention or said.refused["attention"]), said
