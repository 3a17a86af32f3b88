"""Make the embedded model from nothing by the recipes: `python -m sctir_kaggle.recipes.tiny [--set output=DIR ...]`.

Synthetic problems and random weights -> stage 1 (CoT) -> stage 2 (TIR) -> KTO, kept if it helps -> 8-bit GPTQ -> a table. Each
step is a command, printed before it runs; the same command resumes after a kill. The models end in `model-cot`, `model` and
`model-gptq`, in half precision as in the package's `assets`; their scores are in `table.md`.

Needs the extra `recipes` and requirements-gptqmodel.txt. Less than an hour on two cores; a GPU is used where there is one.
"""

from __future__ import annotations

import platform
import statistics
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from sctir_kaggle._version import __version__
from sctir_kaggle.journal import journal_of, stream_results
from sctir_kaggle.lab.score.report import report_of
from sctir_kaggle.lab.score.summary import Summary
from sctir_kaggle.lab.statistics import plus_minus
from sctir_kaggle.recipes.quantize.card import version_of
from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.tiny import commands
from sctir_kaggle.recipes.tiny.data import halve, make_data
from sctir_kaggle.recipes.tiny.problems import PROBLEMS
from sctir_kaggle.recipes.tiny.settings import Tiny, keep
from sctir_kaggle.recipes.tiny.steps import Steps
from sctir_kaggle.recipes.train.validation import by_family, score
from sctir_kaggle.types import UserError


def shares(run: Path) -> dict[str, float]:
    """The share of right candidates of each problem, over all seeds."""
    right: dict[str, list[bool]] = defaultdict(list)
    for result in stream_results(journal_of(run))[1]:
        right[result.problem.id] += [trace.answer == result.problem.answer for trace in result.traces]
    return {problem: statistics.fmean(votes) for problem, votes in right.items()}


def gain(before: dict[str, float], after: dict[str, float]) -> tuple[float, float]:
    """The mean of the paired differences of shares, and its standard error."""
    differences = [after[problem] - share for problem, share in before.items()]
    return statistics.fmean(differences), statistics.stdev(differences) / len(differences) ** 0.5


def helps(before: dict[str, float], after: dict[str, float]) -> tuple[bool, str]:
    """Whether the mean gain exceeds two standard errors; and a line with both."""
    mean, error = gain(before, after)
    line = (
        f"single candidates right {100 * mean:+.1f} ± {100 * error:.1f} points (standard error, {len(before)} problems)"
    )
    return mean > 2 * error, line


def table(runs: Mapping[str, Path], *, title: str, seeds: int) -> str:
    """A Markdown table; `runs` maps a row's name to the run's folder."""
    rows = [_row(name, summary) for name, run in runs.items() for summary in report_of([run]).summaries]
    head = f"| {title} | right (%), mean ± sd of {seeds} seeds | single candidates right (%) | seconds a problem |"
    return "\n".join([head, "|---|---|---|---|", *rows, "", made_with()])


def _row(name: str, summary: Summary) -> str:
    accuracy = summary.accuracy
    if accuracy is None or accuracy.one is None:
        return f"| {name} | | | |"
    spread = plus_minus(None if accuracy.sd is None else 100 * accuracy.sd)
    single, seconds = 100 * accuracy.one, summary.cost.seconds
    return f"| {name} | {100 * accuracy.mean:.1f}{spread} | {single:.1f} | {seconds:.2f} |"


def families(run: Path) -> str:
    """A Markdown table with a row for each family of the problems in `run`, the hardest first."""
    results = list(stream_results(journal_of(run))[1])
    each = len(results[0].traces)
    rows = {**by_family(results), "all": score(results)}.items()
    head = f"| family | single candidates right | majority of {each} |\n|---|---|---|\n"
    return head + "\n".join(f"| {name} | {found.single:.2f} | {found.majority:.2f} |" for name, found in rows)


def made_with() -> str:
    """The versions that the figures depend on."""
    libraries = ", ".join(f"{name} {version_of(name)}" for name in ("torch", "transformers", "trl", "gptqmodel"))
    return f"sctir_kaggle {__version__}, {libraries}, Python {platform.python_version()}."


NEEDED = ("trl", "gptqmodel", "optimum")


def main() -> None:
    """Run the command."""
    make(settings_of_command(Tiny, __doc__))


def make(tiny: Tiny) -> None:
    """Run the steps that are not done yet, then write the table. Raises `UserError` where one fails."""
    check()
    keep(tiny)
    steps = Steps(tiny.output)
    steps.do("problems and traces", lambda: print(make_data(tiny)))
    train(tiny, steps)
    steps.do("which model", partial(choose, tiny))
    if not tiny.at("model-gptq").exists():  # it is written whole or not at all, and never over another
        steps.run("8-bit GPTQ", commands.quantize(tiny))
    solve(tiny, steps)
    choice = tiny.at("choice.txt").read_text(encoding="utf-8")
    written = "\n\n".join([scores(tiny), choice, families(tiny.at("runs/check-stage2")), steps.table()]) + "\n"
    tiny.at("table.md").write_text(written, encoding="utf-8")
    print(f"\n{written}\n{tiny.output}: model-cot/, model/, model-gptq/, table.md")


def check() -> None:
    """Raise `UserError` where a library is missing, before an hour is spent."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(
            f"not installed: {', '.join(missing)}; pip install 'sctir-kaggle[recipes]', then pip install -r "
            "sctir_kaggle/recipes/requirements-gptqmodel.txt"
        )


def train(tiny: Tiny, steps: Steps) -> None:
    """Run both stages, then KTO on stage 2's candidates."""
    for number, start, rows in (
        (1, tiny.start or tiny.at("base"), "cot.jsonl.gz"),
        (2, tiny.at("stage1/model"), "tir.jsonl.gz"),
    ):
        steps.run(f"stage {number}", commands.stage(tiny, number, start, rows))
    steps.run("KTO: problems", commands.problem_list(tiny))
    four = ("--limit", str(tiny.on_policy), "-n", "4")
    steps.run("KTO: candidates", commands.solve(tiny, "kto.csv", "stage2/model", "on-policy", *four))
    steps.run("KTO", commands.kto(tiny))
    for name in ("stage2", "kto"):
        eight = (*commands.first(tiny), "-n", "8")
        validation = commands.solve(tiny, "validation.csv", f"{name}/model", f"runs/check-{name}", *eight)
        steps.run(f"{name}: validation", validation)


def choose(tiny: Tiny) -> None:
    """Choose KTO's model if its candidates are better than stage 2's on the validation problems, else stage 2's."""
    better, line = helps(*(shares(tiny.at(f"runs/check-{name}")) for name in ("stage2", "kto")))
    said = f"KTO on the validation problems: {line}. The model is {'that of KTO' if better else 'that of stage 2'}.\n"
    print(said)
    for name, output in (("stage1", "model-cot"), ("stage2", "model-tir"), ("kto", "model-kto")):
        halve(tiny.at(name) / "model", tiny.at(output))
    halve(tiny.at("kto/model" if better else "stage2/model"), tiny.at("model"))
    tiny.at("choice.txt").write_text(said, encoding="utf-8")  # last: by then the models are there


def solve(tiny: Tiny, steps: Steps) -> None:
    """Solve the held-out problems with every model, greedily and by vote; compare the quantized one with its original."""
    votes = ("-n", str(tiny.candidates), "--seeds", str(tiny.seeds))
    for run, model, options in (
        ("cot-greedy", "model-cot", ("--preset", "greedy-cot")),
        ("tir-greedy", "model-tir", ("--preset", "greedy-tir")),
        ("tir", "model-tir", votes),
        ("kto-greedy", "model-kto", ("--preset", "greedy-tir")),
        ("kto", "model-kto", votes),
    ):
        steps.run(
            f"held out: {run}",
            commands.solve(tiny, "problems.csv", model, f"runs/{run}", *commands.first(tiny), *options),
        )
    steps.run("quantized against its original", commands.check_quantized(tiny))


def scores(tiny: Tiny) -> str:
    """The table of the held-out problems."""
    rows = {
        "stage 1: CoT, greedy (one run)": "cot-greedy",
        "stage 2: TIR, greedy (one run)": "tir-greedy",
        "stage 2: SC-TIR": "tir",
        "KTO: TIR, greedy (one run)": "kto-greedy",
        "KTO: SC-TIR": "kto",
        "the one that was chosen, in 8-bit GPTQ: SC-TIR": "quantized",
    }
    title = f"{tiny.limit or PROBLEMS} held-out problems, N = {tiny.candidates}, 4 turns"
    return table({name: tiny.at("runs") / run for name, run in rows.items()}, title=title, seeds=tiny.seeds)


if __name__ == "__main__":
    run_recipe(main)
