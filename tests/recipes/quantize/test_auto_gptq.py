"""auto-gptq, where it is installed: it imports, and has the names and arguments that the back end uses. No quantization.

Its environment is its own: `pip install -r sctir_kaggle/recipes/requirements-auto-gptq.txt`, then pytest and this file.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.recipes.quantize.backends import quantize_with
from sctir_kaggle.recipes.quantize.calibration import Calibration
from sctir_kaggle.types import UserError
from tests.support.quantize_support import settings_for

REASON = "auto-gptq is not installed: requirements-auto-gptq.txt, in an environment of its own"
auto_gptq: Any = pytest.importorskip("auto_gptq", reason=REASON, exc_type=ImportError)


def test_it_has_the_arguments_that_the_back_end_gives_it() -> None:
    def parameters(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    model = auto_gptq.modeling.BaseGPTQForCausalLM
    assert parameters(auto_gptq.BaseQuantizeConfig) >= {"bits", "group_size", "sym", "desc_act", "damp_percent"}
    assert parameters(auto_gptq.AutoGPTQForCausalLM.from_pretrained) >= {
        "pretrained_model_name_or_path",
        "quantize_config",
    }
    assert parameters(model.quantize) >= {"examples", "batch_size"}
    assert parameters(model.save_quantized) >= {"save_dir", "use_safetensors"}


def test_without_cuda_it_raises_where_its_page_says(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    settings = replace(settings_for(tmp_path), backend="auto-gptq")
    with pytest.raises(UserError, match=r"auto-gptq ended with OSError: .* requires CUDA available"):
        quantize_with(settings, Calibration(((1, 5, 6),), rows=1, cut=0))
