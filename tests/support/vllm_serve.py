"""The command `vllm` of vLLM's CPU build, whose distribution has another name: `python -m tests.support.vllm_serve serve ...`.

The command looks up the version of a distribution named vllm, and ends where there is none.
"""

from __future__ import annotations

import importlib.metadata
import sys
from typing import Any


def main() -> None:
    import vllm
    from vllm.entrypoints.cli.main import main as command

    known: Any = importlib.metadata.version
    importlib.metadata.version = lambda name: f"{vllm.__version__}+cpu" if name == "vllm" else known(name)
    sys.argv[0] = "vllm"
    command()


if __name__ == "__main__":
    main()
