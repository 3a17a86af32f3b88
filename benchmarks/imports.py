"""How long `import sctir_kaggle` and `sctir --help` take: `python -m benchmarks.imports`.

Whole processes in turn, against a bare interpreter in the same run; the difference is the package's own cost.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import sctir_kaggle": ["-c", "import sctir_kaggle"],
    "sctir --help": ["-m", "sctir_kaggle", "--help"],
}

ROUNDS = 21


def seconds(arguments: list[str]) -> float:
    """Wall clock of one Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    """Print median and range of every command."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS):
        for name, arguments in COMMANDS.items():
            times[name].append(seconds(arguments))
    for name, taken in times.items():
        print(f"{name:22} median {statistics.median(taken):.3f} s  ({min(taken):.3f}-{max(taken):.3f}, n={ROUNDS})")


if __name__ == "__main__":
    main()
