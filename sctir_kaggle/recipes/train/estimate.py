"""Estimate the two stages at 7B: tokens, operations, GPU memory, hours: `python -m sctir_kaggle.recipes.train.estimate`.

Arithmetic, not measurement. Assumed are the tokens of a row (what `sft` prints of your data is exact: `--set
cot_tokens=...`) and the share of the GPUs' peak that is reached; not covered are loading, packing, saving, validation.
"""

from __future__ import annotations

from dataclasses import dataclass

from sctir_kaggle.recipes.settings import run_recipe, settings_of_command

GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """GPUs of one node, the model's sizes and the data. Defaults: 8 x H100, DeepSeekMath-7B, NuminaMath's stages."""

    gpus: int = 8
    peak: float = 989e12
    """Operations a second of a GPU: H100 SXM, bfloat16 without sparsity (NVIDIA's data sheet)."""
    mfu: float = 0.4
    """The share of the peak spent on the model's own operations (PaLM, arXiv 2204.02311, appendix B), assumed."""
    published_hours: float = 10.0
    """Both stages (How NuminaMath Won the 1st AIMO Progress Prize)."""

    layers: int = 30
    width: int = 4096
    inner: int = 11_008
    vocabulary: int = 102_400
    batch: int = 4
    """Blocks a GPU and step."""

    cot_rows: int = 860_000
    cot_tokens: float = 450.0
    """Mean tokens of a row, assumed."""
    cot_block: int = 2048
    cot_epochs: int = 3
    tir_rows: int = 70_000
    tir_tokens: float = 700.0
    """Mean tokens of a row, assumed: code and outputs make it longer."""
    tir_block: int = 1024
    tir_epochs: int = 4

    @property
    def parameters(self) -> int:
        """A Llama without grouped queries, embeddings untied: 4 h^2 of attention and 3 h i of MLP a layer, and norms."""
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return self.layers * layer + 2 * self.vocabulary * self.width + self.width

    @property
    def stages(self) -> tuple[Stage, Stage]:
        """The two stages."""
        cot = Stage("1: CoT", self.cot_rows, self.cot_tokens, self.cot_block, self.cot_epochs)
        return cot, Stage("2: TIR", self.tir_rows, self.tir_tokens, self.tir_block, self.tir_epochs)


@dataclass(frozen=True, slots=True)
class Stage:
    """The data of a stage. `length` is a row's mean number of tokens."""

    name: str
    rows: int
    length: float
    block: int
    epochs: int

    @property
    def tokens(self) -> float:
        """Tokens of all epochs."""
        return self.rows * self.length * self.epochs


@dataclass(frozen=True, slots=True)
class Cost:
    """A stage's steps, floating-point operations and hours."""

    stage: Stage
    steps: float
    operations: float
    hours: float


def operations_a_token(machine: Machine, stage: Stage) -> float:
    """6 a parameter that multiplies (Kaplan et al., arXiv 2001.08361) and 12 layers x width x length of attention (PaLM).

    The embedding looks up and does not multiply. Attention is counted over a whole trace, since none sees another. The
    forward pass that checkpointing repeats is not counted: an MFU is of the model's own operations.
    """
    multiplying = machine.parameters - machine.vocabulary * machine.width
    return 6 * multiplying + 12 * machine.layers * machine.width * stage.length


def cost(machine: Machine, stage: Stage) -> Cost:
    """Steps, operations and hours of a stage, with full blocks."""
    operations = stage.tokens * operations_a_token(machine, stage)
    seconds = operations / (machine.gpus * machine.peak * machine.mfu)
    return Cost(stage, stage.tokens / (machine.gpus * machine.batch * stage.block), operations, seconds / 3600)


def memory(machine: Machine, stage: Stage) -> dict[str, float]:
    """Bytes on each GPU under ZeRO-3, by what they hold.

    Weights, gradients and optimizer states are sharded: 2 + 2 + 12 bytes a parameter (ZeRO, arXiv 1910.02054).
    Activations (Korthikanti et al., arXiv 2205.05198): the input of each layer in bfloat16, and, while a layer is
    computed again, 34 bytes a token and width for an MLP of 4 x width; flash attention keeps no scores. Gathered weights:
    DeepSpeed's `stage3_max_live_parameters`, 1e9. Logits: bfloat16, float32 and their gradient, unless the loss is
    computed in pieces, as TRL 1.16 does.
    """
    share, tokens = machine.parameters / machine.gpus, machine.batch * stage.block
    return {
        "weights, bfloat16": 2 * share,
        "gradients, bfloat16": 2 * share,
        "Adam: float32 weights, 2 moments": 12 * share,
        "gathered weights": 2 * 1e9,
        "activations kept": 2 * tokens * machine.width * machine.layers,
        "activations of a layer": 34 * tokens * machine.width,
        "logits in one piece": 10 * tokens * machine.vocabulary,
    }


def implied_mfu(machine: Machine) -> float:
    """The MFU at which both stages take the published hours."""
    return machine.mfu * sum(cost(machine, stage).hours for stage in machine.stages) / machine.published_hours


def report(machine: Machine) -> str:
    """Both tables, in Markdown."""
    costs = [cost(machine, stage) for stage in machine.stages]
    hours = sum(item.hours for item in costs)
    lines = [f"{machine.parameters / 1e9:.2f}e9 parameters, {machine.gpus} GPUs, MFU {machine.mfu:.0%} (assumed)", ""]
    lines += ["| stage | rows | tokens a row (assumed) | tokens, all epochs | steps | operations | hours |"]
    lines += ["|---|---|---|---|---|---|---|", *map(_row, costs)]
    lines += [f"| both | | | | {sum(item.steps for item in costs):,.0f} | | {hours:.1f} |", ""]
    names = memory(machine, machine.stages[0])
    lines += ["| GiB on a GPU, ZeRO-3 | stage 1 | stage 2 |", "|---|---|---|"]
    columns = [memory(machine, stage) for stage in machine.stages]
    lines += [f"| {name} | " + " | ".join(f"{column[name] / GIB:.1f}" for column in columns) + " |" for name in names]
    lines += ["| sum | " + " | ".join(f"{sum(column.values()) / GIB:.1f}" for column in columns) + " |", ""]
    return "\n".join([*lines, _check(machine, hours)])


def _row(item: Cost) -> str:
    stage = item.stage
    cells = f"{stage.rows:,}", f"{stage.length:.0f}", f"{stage.tokens / 1e6:,.0f}e6", f"{item.steps:,.0f}"
    return f"| {stage.name} | {' | '.join(cells)} | {item.operations:.1e} | {item.hours:.1f} |"


def _check(machine: Machine, hours: float) -> str:
    return (
        f"Published: {machine.published_hours:g} hours for both. With these tokens that is an MFU of "
        f"{implied_mfu(machine):.0%}; at {machine.mfu:.0%} it is {machine.published_hours / hours:.1f} times the estimate."
    )


def main() -> None:
    """Run the command."""
    print(report(settings_of_command(Machine, __doc__)))


if __name__ == "__main__":
    run_recipe(main)
