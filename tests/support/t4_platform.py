"""Probe vLLM as if on a T4, on a machine without a GPU: `python -m tests.support.t4_platform FOLDER 1 OPTIONS`.

vLLM's own class for NVIDIA's GPUs becomes the platform, with a driver that reports compute capability 7.5; the compiled
modules that only a CUDA build has are replaced by empty ones. The probe needs Python code only: the engine arguments and the
selector. Arguments and output are those of `vllm_probe`. Run it in a process of its own: the platform is process-wide.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

EMPTY = ("vllm._C", "vllm._C_stable_libtorch", "vllm._moe_C")


def install() -> None:
    """From now on this process is on a T4, for vLLM."""
    for name in EMPTY:
        empty = ModuleType(name)
        empty.__spec__ = ModuleSpec(name, None)
        sys.modules[name] = empty
    importlib.import_module("vllm")
    platforms: Any = importlib.import_module("vllm.platforms")
    cuda: Any = importlib.import_module("vllm.platforms.cuda")
    capability = importlib.import_module("vllm.platforms.interface").DeviceCapability(7, 5)

    class T4(cuda.CudaPlatformBase):  # type: ignore[misc,name-defined,unused-ignore]
        device_name = "Tesla T4"

        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return capability

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return "Tesla T4"

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return 15 << 30

        @classmethod
        def device_count(cls) -> int:
            return 1

        @classmethod
        def is_fully_connected(cls, device_ids: list[int]) -> bool:
            return False

    platforms._current_platform = platforms.current_platform = T4()


if __name__ == "__main__":
    from sctir_kaggle.engines.vllm_probe import main, probe

    probe(
        Path(sys.argv[1]), seconds=500
    )  # vLLM keeps what it finds in the model's class, which this platform cannot import
    install()
    main(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))
