"""8-bit GPTQ and W8A16 on vLLM's CPU build, which has no kernel for them: the weights are dequantised once, at load.

It tests format and arithmetic, not speed or memory. Symmetric weights without activation order, in groups of any size.
w[o, i] = scale[i // group, o] * (q[i, o] - 128), four q in an int32, the lowest bits first. Products are made in float32:
few CPUs have half precision arithmetic, and torch's takes ten times as long on the others.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.kernels.linear import (  # type: ignore[import-not-found,unused-ignore]
    MPLinearKernel,
    MPLinearLayerConfig,
    register_linear_kernel,
)
from vllm.model_executor.layers.quantization.utils import (  # type: ignore[import-not-found,unused-ignore]
    marlin_utils,
)
from vllm.platforms.interface import PlatformEnum  # type: ignore[import-not-found,unused-ignore]
from vllm.scalar_type import scalar_types  # type: ignore[import-not-found,unused-ignore]

_types_on_cpu = marlin_utils._query_cpu_marlin_supported_quant_types
_registered: list[type] = []


class DequantisedLinear(MPLinearKernel):  # type: ignore[misc,unused-ignore]
    """Chosen where no kernel of vLLM's own takes the layer."""

    @classmethod
    def get_min_capability(cls) -> int:
        return -1

    @classmethod
    def can_implement(cls, c: MPLinearLayerConfig) -> tuple[bool, str | None]:
        fits = c.weight_type == scalar_types.uint8b128 and not c.zero_points
        return fits, None if fits else "for 8-bit symmetric weights only"

    def process_weights_after_loading(self, layer: torch.nn.Module) -> None:
        packed, scales, _ = self._get_weight_params(layer)
        # compressed-tensors packs [out, in / 4] and has scales [out, groups].
        across = getattr(packed, "packed_dim", 0) == 1
        laid_out = (packed.data.t(), scales.data.t()) if across else (packed.data, scales.data)
        weight = dequantise(*laid_out).float()
        layer.register_parameter("dequantised", torch.nn.Parameter(weight, requires_grad=False))

    def apply_weights(self, layer: Any, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        wide = torch.nn.functional.linear(x.float(), layer.dequantised, None if bias is None else bias.float())
        return wide.to(x.dtype)


def dequantise(packed: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """[in / 4, out] int32 and [groups, out] -> [out, in] in the scales' number format."""
    shifts = torch.arange(0, 32, 8, dtype=torch.int32).view(1, 4, 1)
    bytes_ = (packed.unsqueeze(1) >> shifts) & 0xFF
    q = bytes_.reshape(-1, packed.shape[1]) - 128
    group = q.shape[0] // scales.shape[0]
    return (q.to(scales.dtype) * scales.repeat_interleave(group, dim=0)).t().contiguous()


def _types(has_zp: bool | None = None, include_fp_type: bool = True) -> list[Any]:
    extra = [] if has_zp else [scalar_types.uint8b128]
    return [*_types_on_cpu(has_zp, include_fp_type), *extra]


def register() -> None:
    """Once a process, however often vLLM loads its plugins."""
    if not _registered:
        marlin_utils._query_cpu_marlin_supported_quant_types = _types
        register_linear_kernel(DequantisedLinear, PlatformEnum.CPU, "mp")
        _registered.append(DequantisedLinear)
