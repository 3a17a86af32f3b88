"""TIR data at a server that misbehaves: `python -m benchmarks.tir_data`; asserts that each problem is resolved exactly once.

A chat server on loopback refuses, breaks off or leaves unanswered a share of the requests; the
recipe is killed with SIGKILL on the way and started again. What it leaves is compared with the run of a server that behaves.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from sctir_kaggle.journal import JOURNAL, read_journal
from sctir_kaggle.recipes.data.tir.attempts import Attempt
from sctir_kaggle.recipes.data.tir.exercise import read_exercises
from sctir_kaggle.recipes.data.tir.outcomes import Choice, Outcome, Rules
from sctir_kaggle.recipes.data.tir_data import ROWS, STATISTICS
from sctir_kaggle.recipes.rows import read_rows

ROUNDS = 3


def main() -> None:
    """The command."""
    args = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        told = _run(folder, "behaves", args, unruly=0.0, kills=0)
        tried = _run(folder, "misbehaves", args, unruly=args.unruly, kills=args.kills)
        assert told["rows"] == tried["rows"], "the kept rows differ from those of a server that behaves"
    for title, found in (("a server that behaves", told), ("one that misbehaves", tried)):
        print(f"{title}: {found['line']}")
    print("each problem was resolved exactly once; the kept rows of both runs are equal")
    print(machine("tir_data", options=" ".join(sys.argv[1:])))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=1000)
    parser.add_argument("--unruly", type=float, default=0.2, help="the share of requests that go wrong")
    parser.add_argument("--kills", type=int, default=2)
    return parser.parse_args()


def _run(folder: Path, name: str, args: argparse.Namespace, *, unruly: float, kills: int) -> dict[str, Any]:
    """One run, with its server; -> its rows by id, and what to say of it."""
    from tests.support.unruly_server import UnrulyServer, write_problems

    problems, output = write_problems(folder / "problems.jsonl", args.problems), folder / name
    with UnrulyServer(unruly, delay=0.2) as server:
        settings = {"problems": str(problems), "output": str(output), "base_url": [server.url], "pause": 0.01}
        settings |= {"stall": 1.0, "tries": 20, "in_flight": args.in_flight}
        config = folder / f"{name}.yaml"
        config.write_text(json.dumps(settings))
        started = time.perf_counter()
        for kill in range(kills):
            _start(config, kill_at=(kill + 1) * args.problems // 2, journal=output / JOURNAL)
        _start(config)
        seconds = time.perf_counter() - started
        treated = dict(sorted(Counter(server.treated).items()))
    resolved = check_each_resolved_once(problems, output)
    rows = {row["id"]: row for row in read_rows(output / ROWS)}
    failed = sum(one["failed"] for one in json.loads((output / STATISTICS).read_text())["rounds"])
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    line = (
        f"{resolved['kept']} kept, {resolved['dropped']} dropped of {args.problems}, {resolved['attempts']} attempts, "
        f"{failed} failed, {kills} kills, {seconds:.0f} s; at most {server.most} requests at once, answered with {treated}; "
        f"the largest process had {memory:.0f} MiB"
    )
    return {"rows": rows, "line": line}


def _start(config: Path, *, kill_at: int | None = None, journal: Path | None = None) -> None:
    """Run the recipe to its end, or until its journal has so many lines."""
    command = [sys.executable, "-m", "sctir_kaggle.recipes.data.tir_data", "--config", str(config)]
    with tempfile.TemporaryFile("w+") as said:
        run = subprocess.Popen(command, stdout=said, stderr=said, text=True)
        while run.poll() is None and kill_at is not None and journal is not None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= kill_at:
                os.kill(run.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        if run.wait() != (0 if kill_at is None else -signal.SIGKILL):
            said.seek(0)
            sys.exit(f"the recipe ended with {run.returncode}: {said.read()[-2000:]}")


def check_each_resolved_once(problems: Path, output: Path, *, first_seed: int = 42) -> dict[str, int]:
    """Rounds in order, none twice (a journal that holds one twice is refused), none after a kept one, all where none was.

    Raises `AssertionError`, with the id, where that does not hold; -> how many were `kept` and `dropped` in how many
    `attempts`.
    """
    exercises, _ = read_exercises(str(problems))
    made: dict[str, dict[int, Attempt]] = {exercise.problem.id: {} for exercise in exercises}
    for result in read_journal(output / JOURNAL)[1]:
        made[result.problem.id][result.seed] = Attempt.of(result)
    choice = Choice(Rules(), ROUNDS)
    outcomes: dict[str, list[tuple[int, Outcome]]] = {}
    for exercise in exercises:
        name = exercise.problem.id
        found = choice.of(exercise, made[name]).outcomes
        outcomes[name] = [(seed - first_seed, found[seed]) for seed in made[name]]
    for name, attempts in outcomes.items():
        assert [number for number, _ in attempts] == list(range(len(attempts))), name
        assert Outcome.KEPT not in [outcome for _, outcome in attempts[:-1]], name
        assert len(attempts) == ROUNDS or (attempts and attempts[-1][1] is Outcome.KEPT), name
    kept = [name for name, attempts in outcomes.items() if attempts[-1][1] is Outcome.KEPT]
    assert sorted(kept) == sorted(row["id"] for row in read_rows(output / ROWS)), "rows"
    tried = sum(map(len, outcomes.values()))
    return {"kept": len(kept), "dropped": len(outcomes) - len(kept), "attempts": tried}


if __name__ == "__main__":
    main()
