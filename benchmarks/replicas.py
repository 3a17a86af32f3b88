"""One vLLM engine against two on the same cores: `python -m benchmarks.replicas --figure replicas.svg`.

On a CPU this shows that two replicas do the same work, how evenly they share it, and what the sharing costs: one engine
has all the threads, each replica half of them. It says nothing of GPUs, where a second replica brings a second GPU.

All engines are loaded at once, each in a process of its own, and the two ways take turns round by round, each going first
every other round, with the round's seed. An engine that has nothing to do sleeps. Columns: tokens sampled a second; hits,
the share of the re-sent prompt tokens (those of later turns) that were in the prefix cache; requests each replica was given.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from benchmarks.runs import score, solve_all, tokens
from benchmarks.spread import spread
from sctir_kaggle import Problem, SolverConfig, SolveResult
from sctir_kaggle.engines.replicas import ReplicatedEngine, start_all
from sctir_kaggle.engines.vllm import VLLMEngine
from sctir_kaggle.engines.vllm_layout import environments
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.sandbox import Sandbox

ONE, TWO = "one engine", "two replicas"


@dataclass(frozen=True)
class Round:
    """What one way took for all the problems."""

    seconds: float
    tokens: int
    hits: float
    right: float
    requests: tuple[int, ...]


def load(replicas: int, slots: int) -> ReplicatedEngine:
    """The embedded model in `replicas` processes that share the cores."""

    def start(environment: dict[str, str]) -> Callable[[], VLLMEngine]:
        return lambda: VLLMEngine.load(EMBEDDED_MODEL, slots=slots, child=environment)

    return start_all([start(environment) for environment in environments([None] * replicas, replicas, 1)])


def measure(engine: ReplicatedEngine, sandbox: Sandbox, config: SolverConfig, problems: list[Problem]) -> Round:
    """Solve every problem once."""
    before, started = engine.taken, time.monotonic()
    results = solve_all(engine, sandbox, config, problems)
    seconds = time.monotonic() - started
    given = tuple(now - then for now, then in zip(engine.taken, before, strict=True))
    return Round(seconds, tokens(results), hit_share(results), score(results), given)


def hit_share(results: Sequence[SolveResult]) -> float:
    """Percent of the prompt tokens of all turns but the first that the engine had cached."""
    later = [turn.completion for result in results for trace in result.traces for turn in trace.turns[1:]]
    return 100 * sum(each.cached_tokens for each in later) / sum(each.prompt_tokens for each in later)


def run(rounds: int, config: SolverConfig, problems: list[Problem]) -> dict[str, list[Round]]:
    """Both ways in turn; the first round of each is not counted."""
    done: dict[str, list[Round]] = {ONE: [], TWO: []}
    with ExitStack() as stack:
        sandbox = stack.enter_context(Sandbox())
        engines = {
            name: stack.enter_context(closing(load(count, config.candidates))) for name, count in ((ONE, 1), (TWO, 2))
        }
        for number in range(-1, rounds):
            for name in (ONE, TWO) if number % 2 else (TWO, ONE):
                took = measure(engines[name], sandbox, replace(config, seed=number + 1), problems)
                print(f"round {number}: {name}: {took}", flush=True)
                if number >= 0:
                    done[name].append(took)
    return done


def table(done: dict[str, list[Round]]) -> str:
    """The medians and ranges as Markdown, and the ratio round by round."""
    lines = [
        "| | seconds | tokens in all | tokens/s | re-sent tokens cached (%) | right (%) | requests a replica |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rounds in done.items():
        given = [sum(each) for each in zip(*(took.requests for took in rounds), strict=True)]
        cells = (
            spread([took.seconds for took in rounds], ".1f"),
            str(sum(took.tokens for took in rounds)),
            spread([took.tokens / took.seconds for took in rounds], ".0f"),
            spread([took.hits for took in rounds], ".1f"),
            spread([took.right for took in rounds], ".0f"),
            " + ".join(map(str, given)),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", f"{TWO} over {ONE}, round by round: {spread(ratios(done), '.2f')} times the seconds."]
    )


def ratios(done: dict[str, list[Round]]) -> list[float]:
    """Seconds of two over seconds of one, by round."""
    return [two.seconds / one.seconds for one, two in zip(done[ONE], done[TWO], strict=True)]


def draw(done: dict[str, list[Round]], file: Path, title: str) -> None:
    """Seconds of both ways, a line for each round."""
    import matplotlib  # type: ignore[import-not-found,unused-ignore]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # type: ignore[import-not-found,unused-ignore]

    figure, axes = pyplot.subplots(figsize=(5, 3.5))
    for one, two in zip(done[ONE], done[TWO], strict=True):
        axes.plot([0, 1], [one.seconds, two.seconds], "o-", color="tab:blue", alpha=0.7)
    axes.set_xticks([0, 1], [ONE, TWO])
    axes.set_xlim(-0.4, 1.4)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("seconds a round")
    axes.set_title(title, fontsize=9)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    """Print the rounds and the table; with `--figure FILE`, draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=10, help="the first so many of the embedded ones")
    parser.add_argument("--candidates", type=int, default=48)
    parser.add_argument("--figure", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.figure and find_spec("matplotlib") is None:
        parser.error("--figure draws with matplotlib: pip install matplotlib")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    config = SolverConfig(candidates=args.candidates, stop="none")
    problems = read_problems(HELD_OUT, limit=args.problems)
    done = run(args.rounds, config, problems)
    print(table(done))
    if args.figure:
        where = f"{len(problems)} problems, N = {args.candidates}, {len(os.sched_getaffinity(0))} CPU cores, no GPU"
        draw(done, args.figure, where)


if __name__ == "__main__":
    main()
