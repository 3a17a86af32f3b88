"""What of an image is never replaced unless it is shipped on purpose: one build with the image's CUDA and driver."""

from __future__ import annotations

import re

_BUILT_WITH_CUDA = re.compile(
    r"torch|torchvision|torchaudio|triton|cuda-(bindings|toolkit)"
    r"|nvidia-(cublas|cuda-\w+|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt|nccl|nvjitlink|nvshmem|nvtx)(-cu\d+)?"
)


def is_protected(name: str) -> bool:
    """Of a canonical name. numpy or transformers are not: another version of them works with the same driver."""
    return _BUILT_WITH_CUDA.fullmatch(name) is not None
