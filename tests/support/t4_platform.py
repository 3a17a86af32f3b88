"""vLLM asked, on a machine without a GPU, what it would do on a T4: `python -m tests.support.t4_platform FOLDER 1 OPTIONS`.

Its own class for NVIDIA's GPUs is made the platform, with a driver that says compute capability 7.5; the compiled modules
that only a CUDA build has are empty ones. Everything that is asked is Python: the engine arguments and the selector. It
takes and prints what `vllm_asked` does. Run it in a process of its own: the platform is the whole process's.
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
