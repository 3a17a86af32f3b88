"""What the loop costs and what it saves, on one vLLM engine: `python -m benchmarks.loop --write README.md --figure loop.svg`.

Five ways in turn, same problems and seeds, interleaved round by round: (a) the published notebook's algorithm
(`numina_compat`), (b) ours with every candidate to its end, (c) ours with the exact stop, (d) the tokens of (b) in flat
batches without tools (`flat`), (e) ours as in (b) with every output at hand: what it takes longer than (d) is the loop's
cost and that of feeding outputs, and what (b) takes longer still is the code's, which runs on the same cores. The prefix
cache is emptied before each. Engine: vLLM in this process with the embedded 8-bit GPTQ checkpoint; without a GPU that takes
the tests' kernel, and figures are about the loop, not about 8-bit speed.

Columns: tokens that the engine sampled, aborted ones included; prefix hits, the share of the re-sent prompt tokens that the
engine had cached, and in brackets of those in full cache blocks; engine busy, the share of the wall clock inside vLLM's
steps; loop CPU, the CPU time of the event loop's thread over the wall clock, tokenising and a heartbeat included; lag, how
late that heartbeat comes. A last run has every block of code compute for a while, so that four sandbox workers are busy.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from benchmarks.executors import AtHand, Slowed
from benchmarks.flat import generate_flat
from benchmarks.loop_report import Run, figure, lag, table
from benchmarks.machine import machine
from benchmarks.meters import Listened, StepMeter, Took, timed
from benchmarks.numina_compat import FreshPythons, NuminaCompat
from benchmarks.runs import changed_by_the_stop, solve
from benchmarks.tables import publish
from sctir_kaggle import Problem, SolverConfig, SolveResult
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_options import ENVIRONMENT
from sctir_kaggle.journal import JOURNAL, Journal, read_journal
from sctir_kaggle.problems import ASSETS, HELD_OUT, read_problems
from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import Answer, Engine

CHECKPOINT = ASSETS / "model-gptq"
SANDBOX_WORKERS = 4
BUSY_SECONDS, BUSY_PROBLEMS = 0.1, 5


class Way(Protocol):
    """Solves the problems on an engine that is listened to; the answers, or None where there are none."""

    def __call__(self, engine: Engine, config: SolverConfig) -> Coroutine[Any, Any, list[Answer] | None]: ...


@dataclass
class Bench:
    """What all ways share. `results` and `sampled` are those of the last run without a stop, for what is compared with it."""

    engine: VLLMEngine
    meter: StepMeter
    sandbox: Sandbox
    pythons: FreshPythons
    problems: list[Problem]
    results: list[SolveResult]
    sampled: Counter[str]

    def way(self, name: str) -> Way:
        ways = {"a": self.published, "b": self.to_the_end, "c": self.stopped, "d": self.flat, "e": self.at_hand}
        return ways[name]

    async def published(self, engine: Engine, config: SolverConfig) -> list[Answer]:
        """(a)"""
        compat = NuminaCompat(
            engine,
            self.pythons,
            width=config.candidates,
            depth=config.turns,
            temperature=config.temperature,
            max_tokens=config.max_tokens,
            seed=config.seed,
        )
        return [await compat.solve(problem) for problem in self.problems]

    async def to_the_end(self, engine: Engine, config: SolverConfig) -> list[Answer]:
        """(b)"""
        self.results = await solve(engine, self.sandbox, replace(config, stop="none"), self.problems)
        return [result.answer for result in self.results]

    async def stopped(self, engine: Engine, config: SolverConfig) -> list[Answer]:
        """(c)"""
        exact = replace(config, stop="exact")
        return [result.answer for result in await solve(engine, self.sandbox, exact, self.problems)]

    async def flat(self, engine: Engine, config: SolverConfig) -> None:
        """(d), after (b) with the same seed"""
        by_candidate: Counter[str] = Counter()
        for request_id, count in self.sampled.items():
            by_candidate[request_id.rpartition("/")[0]] += count
        for problem in self.problems:
            candidates = (f"{problem.id}/{number}" for number in range(config.candidates))
            tokens = {candidate: by_candidate[candidate] for candidate in candidates}
            await generate_flat(self.engine, problem, config, tokens)

    async def at_hand(self, engine: Engine, config: SolverConfig) -> list[Answer]:
        """(e), after (b) with the same seed"""
        config = replace(config, stop="none")
        results = await solve(engine, AtHand(self.results), config, self.problems)
        return [result.answer for result in results]


def run(bench: Bench, name: str, config: SolverConfig) -> Run:
    """One way, once through the problems."""

    async def work() -> Run:
        steps = await bench.meter.restart()
        listened = Listened(bench.engine)
        answers, took = await timed(bench.way(name)(listened, config))
        if name == "b":
            bench.sampled = steps.tokens
        return Run(
            seconds=took.seconds,
            tokens=steps.tokens.total(),
            steps=steps.count,
            busy=steps.seconds / took.seconds,
            cpu=took.cpu / took.seconds,
            lags=took.lags,
            resent=listened.resent(),
            resent_blocks=listened.resent(block=bench.meter.block),
            right=None if answers is None else 100 * statistics.fmean(_right(bench.problems, answers)),
        )

    return asyncio.run(work())


def _right(problems: list[Problem], answers: list[Answer]) -> list[bool]:
    return [answer == problem.answer for problem, answer in zip(problems, answers, strict=True)]


def rounds_of(bench: Bench, ways: str, config: SolverConfig, rounds: int) -> tuple[dict[str, list[Run]], int]:
    """The ways' runs, in an order that rotates, and how many answers the exact stop would have changed in (b)."""
    runs: dict[str, list[Run]] = {name: [] for name in sorted(ways)}
    differing = 0
    for seed in range(rounds):
        groups = ["a", "bde", "c"]
        order = "".join(groups[seed % 3 :] + groups[: seed % 3])
        for name in filter(runs.__contains__, order):
            runs[name].append(run(bench, name, replace(config, seed=seed)))
            print(f"round {seed}, {name}: {runs[name][-1].line()}", flush=True)
        differing += changed_by_the_stop(through_a_journal(bench.results), replace(config, seed=seed))[0]
    return runs, differing


def through_a_journal(results: list[SolveResult]) -> list[SolveResult]:
    """The results as a journal keeps them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, JOURNAL)
        with Journal.create(path, {}) as journal:
            for result in results:
                journal.append(result)
        return read_journal(path)[1]


def busy_lag(bench: Bench, config: SolverConfig) -> str:
    """The event loop's lag while the sandbox's workers compute, in words."""
    slowed = Slowed(bench.sandbox, BUSY_SECONDS)

    async def work() -> Took:
        return (await timed(solve(bench.engine, slowed, replace(config, stop="none"), bench.problems[:BUSY_PROBLEMS])))[
            1
        ]

    took = asyncio.run(work())
    return (
        f"With every block computing for {BUSY_SECONDS:g} s first, {slowed.busy / took.seconds:.1f} of {SANDBOX_WORKERS} "
        f"sandbox workers busy on average: lag p50 / p99 {lag(took.lags)} ms, loop CPU {100 * took.cpu / took.seconds:.1f} %."
    )


def load(slots: int) -> VLLMEngine:
    """vLLM in this process. Where there is no GPU, its CPU build gets the tests' kernel for 8-bit GPTQ."""
    for name, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", **ENVIRONMENT}.items():
        os.environ.setdefault(name, value)
    from vllm.platforms import current_platform  # type: ignore[import-not-found,unused-ignore]

    if current_platform.is_cpu():
        from tests.support.vllm_cpu.gptq_kernel import register

        register()
    return VLLMEngine.load(CHECKPOINT, slots=slots)


def measure(args: argparse.Namespace, config: SolverConfig) -> tuple[str, dict[str, list[Run]]]:
    """The table with what belongs below it, and the runs."""
    problems = read_problems(HELD_OUT, limit=args.problems)
    with Sandbox(workers=SANDBOX_WORKERS) as sandbox:
        engine, pythons = load(config.candidates), FreshPythons()
        bench = Bench(engine, StepMeter(engine), sandbox, pythons, problems[:1], [], Counter())
        for name in sorted(args.ways):
            run(bench, name, replace(config, seed=-1))  # whatever is slow the first time
        bench.problems = problems
        runs, differing = rounds_of(bench, args.ways, config, args.rounds)
        busy = busy_lag(bench, config)
        device, vllm = engine.describe()["device"], engine.describe()["vllm"]
        pythons.close()
        engine.close()
    stop = f"Exact stop, replayed from (b)'s journals: {differing} of {args.rounds * len(problems)} answers differ."
    place = machine("loop", f"vLLM {vllm} on {device}", f"load {os.getloadavg()[0]:.1f}", options=_options(args))
    title = f"{len(problems)} problems, {config.candidates} candidates, {config.turns} turns"
    return "\n".join([table(title, runs), stop, busy, place]), runs


def _options(args: argparse.Namespace) -> str:
    return f"--problems {args.problems} --rounds {args.rounds}"


def main() -> None:
    """Print the table; `--write FILE` puts it between that file's markers, `--figure FILE` draws it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=50, metavar="K", help="the first K of the embedded 50")
    parser.add_argument("--rounds", type=int, default=3, metavar="R", help="each with a seed of its own")
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--ways", default="abcde", help="which of them; (d) and (e) need (b)")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="PNG, SVG, ...; needs matplotlib (the extra `plots`)"
    )
    args = parser.parse_args()
    text, runs = measure(args, SolverConfig(candidates=args.candidates, turns=args.turns))
    print(text)
    if args.write:
        publish(args.write, "loop", text)
    if args.figure:
        figure(runs, args.figure)


if __name__ == "__main__":
    main()
