"""Estimate the stages at 7B: tokens, hours, GPU memory and disk of each: `python -m sctir_kaggle.recipes.train.estimate`.

Formulas and their sources are in `costs` and `disk`. Assumed are the tokens of a row (what `sft` prints of your data is exact:
`--set cot_tokens=...`), the rows of KTO and RL, and the share of the GPUs' peak that is reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sctir_kaggle.recipes.settings import run_recipe, settings_of_command
from sctir_kaggle.recipes.train.costs import (
    BLOCK_BYTES,
    Cost,
    Machine,
    Stage,
    cost,
    implied_mfu,
    memory,
    quantization_hours,
    quantization_memory,
    quantized_bytes,
)
from sctir_kaggle.recipes.train.disk import Stored

GIB, GB = 2**30, 1e9


def disk(machine: Machine, stage: Stage) -> dict[str, float]:
    """Bytes that a stage writes, and `at most, while saving`: `keep` checkpoints and one that is being written, and blocks."""
    stored = Stored.of(machine.parameters, zero=True, half=True)
    blocks = BLOCK_BYTES * stage.rows * stage.length * stage.packed
    return {
        "packed rows": blocks,
        "a checkpoint": stored.checkpoint,
        "the model": stored.model,
        "at most, while saving": stored.peak(machine.keep) + blocks,
    }


def report(machine: Machine) -> str:
    """All tables, in Markdown."""
    return "\n\n".join(
        [
            f"{machine.parameters / 1e9:.2f}e9 parameters, {machine.gpus} GPUs, MFU {machine.mfu:.0%} (assumed)",
            _table_of_costs([cost(machine, stage) for stage in machine.stages]),
            _check(machine),
            _table("GiB on a GPU, ZeRO-3", machine, memory, GIB, total="sum"),
            _table(f"GB on disk, keep: {machine.keep}", machine, disk, GB),
            _quantization(machine),
        ]
    )


def _table_of_costs(costs: Sequence[Cost]) -> str:
    lines = [
        "| stage | rows | tokens a row (assumed) | tokens, all epochs | steps | operations | hours | hours of sampling |"
    ]
    return "\n".join([*lines, _rule(8), *map(_row, costs)])


def _row(item: Cost) -> str:
    stage = item.stage
    cells = [f"{stage.rows:,}", f"{stage.length:.0f}", f"{stage.tokens / 1e6:,.0f}e6", f"{item.steps:,.0f}"]
    cells += [f"{item.operations:.1e}", f"{item.hours:.1f}", f"{item.sampling:.1f}" if stage.sampled else ""]
    return f"| {stage.name} | {' | '.join(cells)} |"


def _check(machine: Machine) -> str:
    hours = sum(cost(machine, stage).hours for stage in machine.stages[:2])
    return (
        f"Published: {machine.published_hours:g} hours for stages 1 and 2. With these tokens that is an MFU of "
        f"{implied_mfu(machine):.0%}; at {machine.mfu:.0%} it is {machine.published_hours / hours:.1f} times the estimate."
    )


def _table(
    title: str,
    machine: Machine,
    column: Callable[[Machine, Stage], dict[str, float]],
    unit: float,
    *,
    total: str | None = None,
) -> str:
    columns = [column(machine, stage) for stage in machine.stages]
    lines = [f"| {title} | {' | '.join(stage.name for stage in machine.stages)} |", _rule(1 + len(columns))]
    lines += [_cells(name, (one[name] / unit for one in columns)) for name in columns[0]]
    if total:
        lines.append(_cells(total, (sum(one.values()) / unit for one in columns)))
    return "\n".join(lines)


def _cells(name: str, values: Iterable[float]) -> str:
    return f"| {name} | " + " | ".join(f"{value:,.1f}" if value else "" for value in values) + " |"


def _rule(columns: int) -> str:
    return "|" + "---|" * columns


def _quantization(machine: Machine) -> str:
    needed = quantization_memory(machine)
    (host, weights), *on_gpu = needed.items()
    lines = [f"| 8-bit GPTQ, {machine.samples} traces, one GPU | |", _rule(2)]
    lines += [f"| minutes on an A100, scaled from what is published | {60 * quantization_hours(machine):.0f} |"]
    lines += [f"| GiB in the host's memory: {host} | {weights / GIB:.1f} |"]
    lines += [f"| GiB on the GPU: {name} | {value / GIB:.1f} |" for name, value in on_gpu]
    lines += [f"| GiB on the GPU, sum | {sum(value for _, value in on_gpu) / GIB:.1f} |"]
    return "\n".join([*lines, f"| GB on disk | {quantized_bytes(machine) / GB:.1f} |"])


def main() -> None:
    """Run the command."""
    print(report(settings_of_command(Machine, __doc__)))


if __name__ == "__main__":
    run_recipe(main)
