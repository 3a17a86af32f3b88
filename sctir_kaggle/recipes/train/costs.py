"""What the stages of a model cost: tokens, operations, hours, and memory of a GPU, by formulas with their sources.

Arithmetic, not measurement. Marked as assumed is what no source gives. Not covered: loading, packing, saving, validation, the
execution of code, and communication between GPUs, all of which the share of the peak (`mfu`) has to stand for.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK_BYTES = 3 * 4
"""Of a token on disk, packed: three int32 columns (`packing.pack`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """GPUs of one node, the model's sizes and the data. Defaults: 8 x H100, DeepSeekMath-7B, NuminaMath's stages."""

    gpus: int = 8
    peak: float = 989e12
    """Operations a second of a GPU: H100 SXM, bfloat16 without sparsity (NVIDIA's data sheet)."""
    mfu: float = 0.4
    """The share of the peak spent on the model's own operations (PaLM, arXiv 2204.02311, appendix B), assumed."""
    bandwidth: float = 3.35e12
    """Bytes a second of a GPU's memory: H100 SXM (NVIDIA's data sheet)."""
    bandwidth_share: float = 0.5
    """What sampling reaches of it, assumed."""
    published_hours: float = 10.0
    """Both stages (How NuminaMath Won the 1st AIMO Progress Prize)."""

    layers: int = 30
    width: int = 4096
    inner: int = 11_008
    vocabulary: int = 102_400
    batch: int = 4
    """Blocks a GPU and step."""
    keep: int = 2
    """Checkpoints that are kept."""

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

    kto_rows: int = 40_000
    """Candidates, 4 a problem: 10,000 problems, assumed."""
    kto_tokens: float = 500.0
    """Mean tokens of a candidate with its problem, assumed."""
    kto_longest: int = 1024
    kto_batch: int = 8
    kto_epochs: int = 3

    kto_slots: int = 48
    """Candidates that a GPU samples at one time, for KTO by vLLM."""

    rl_rows: int = 64_000
    """Candidates, 8 a problem: 8,000 problems, assumed."""
    rl_tokens: float = 500.0
    """Mean tokens of a candidate with its problem, assumed."""
    rl_longest: int = 4096
    rl_batch: int = 8
    rl_accumulate: int = 8
    rl_slots: int = 16

    samples: int = 256
    """Traces that calibrate the quantization, each of `tir_block` tokens at most."""
    group: int = 128
    """Weights of a column that share a scale."""
    published_quantization: float = 10.0 / 60 / 7.1e9
    """Hours a parameter of GPTQ on one A100 (arXiv 2210.17323, table 2: 10.0 minutes for BLOOM-7.1B), with 128 x 2048
    tokens; 256 x 1024 are as many."""

    @property
    def layer(self) -> int:
        """Parameters of a layer of a Llama without grouped queries: 4 h^2 of attention, 3 h i of MLP, two norms."""
        return 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width

    @property
    def parameters(self) -> int:
        """Those of all layers, of embeddings and head, untied, and of the last norm."""
        return self.layers * self.layer + 2 * self.vocabulary * self.width + self.width

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The two stages, KTO, and RL."""
        cot = Stage("1: CoT", self.cot_rows, self.cot_tokens, self.cot_epochs, self.cot_block, self.batch)
        tir = Stage("2: TIR", self.tir_rows, self.tir_tokens, self.tir_epochs, self.tir_block, self.batch)
        kto = Stage(
            *("KTO", self.kto_rows, self.kto_tokens, self.kto_epochs, self.kto_longest, self.kto_batch),
            forward=3,
            reference=True,
            slots=self.kto_slots,
        )
        rl = Stage(
            *("RL", self.rl_rows, self.rl_tokens, 1, self.rl_longest, self.rl_batch),
            accumulate=self.rl_accumulate,
            slots=self.rl_slots,
            beside=True,
        )
        return cot, tir, kto, rl


@dataclass(frozen=True, slots=True)
class Stage:
    """The data of a stage, and what is done with a token of it. `length` is a row's mean number of tokens.

    A GPU has `batch` rows of up to `longest` tokens at a time, and `accumulate` times that a step: packed blocks in the first
    two stages, candidates in KTO and RL. `forward` counts the forward passes over a token beside the one that is learned
    from; `reference`, whether a second model is in memory. The model samples the rows of KTO and RL itself, once, with
    `slots` sequences on a GPU; RL `beside` the training.
    """

    name: str
    rows: int
    length: float
    epochs: int
    longest: int
    batch: int
    forward: int = 0
    reference: bool = False
    accumulate: int = 1
    slots: int = 0
    beside: bool = False

    @property
    def packed(self) -> bool:
        """Whether a row of a batch is a packed block, which is full."""
        return not self.slots

    @property
    def sampled(self) -> float:
        """Tokens that the model itself writes for the stage; those of the problems count too."""
        return self.rows * self.length if self.slots else 0.0

    @property
    def tokens(self) -> float:
        """Tokens of all epochs."""
        return self.rows * self.length * self.epochs


@dataclass(frozen=True, slots=True)
class Cost:
    """A stage's steps, floating-point operations, and hours of training and of sampling."""

    stage: Stage
    steps: float
    operations: float
    hours: float
    sampling: float


def operations_a_token(machine: Machine, length: float, passes: float = 3.0) -> float:
    """2 a pass and parameter that multiplies (Kaplan et al., arXiv 2001.08361), and 4 layers x width x length (PaLM).

    The second is the attention's, over a whole trace, since none sees another. A backward pass is two, so that a token that is
    learned from takes three. The embedding looks up and does not multiply. The forward pass that checkpointing repeats is
    not counted: an MFU is of the model's own operations.
    """
    multiplying = machine.parameters - machine.vocabulary * machine.width
    return passes * (2 * multiplying + 4 * machine.layers * machine.width * length)


def cost(machine: Machine, stage: Stage) -> Cost:
    """Steps, operations and hours of a stage, with full blocks.

    In KTO (`trl.KTOTrainer`, TRL 1.16) a row is a candidate and a mismatched one of the same mean length for the KL term: the
    policy learns from the first and runs over the second, the reference over both, which is three passes more than SFT's. In RL
    without a KL term it is only learned from.
    """
    operations = stage.tokens * operations_a_token(machine, stage.length, 3 + stage.forward)
    seconds = operations / (machine.gpus * machine.peak * machine.mfu)
    in_batch = machine.gpus * stage.batch * stage.accumulate
    steps = stage.tokens / (in_batch * stage.longest) if stage.packed else stage.rows * stage.epochs / in_batch
    sampling = stage.sampled / (machine.gpus * tokens_a_second(machine, stage)) if stage.slots else 0.0
    return Cost(stage, steps, operations, seconds / 3600, sampling / 3600)


def tokens_a_second(machine: Machine, stage: Stage) -> float:
    """Tokens that a GPU samples a second, with the stage's slots full of sequences of its mean length in bfloat16.

    For each token of all sequences it reads the weights once and their keys and values (2 x layers x width numbers a
    position, half of the positions on average), by which sampling is bound (Pope et al., arXiv 2211.05102). RL samples by
    transformers, whose kernels start one by one: there it is more of a bound than for vLLM.
    """
    cached = stage.slots * 2 * machine.layers * machine.width * stage.length / 2
    seconds = 2 * (machine.parameters + cached) / (machine.bandwidth * machine.bandwidth_share)
    return stage.slots / seconds


def memory(machine: Machine, stage: Stage) -> dict[str, float]:
    """Bytes on each GPU under ZeRO-3, by what they hold.

    Weights, gradients and optimizer states are sharded: 2 + 2 + 12 bytes a parameter (ZeRO, arXiv 1910.02054); so is the
    reference model. Activations (Korthikanti et al., arXiv 2205.05198): the input of each layer in bfloat16, and, while a
    layer is computed again, 34 bytes a token and width for an MLP of 4 x width; flash attention keeps no scores. Gathered
    weights: DeepSpeed's `stage3_max_live_parameters`, 1e9, and while RL samples, all; it has keys and values for the longest
    sequence in each slot then, but no activations, so that its sum is an upper bound. TRL 1.16 computes logits in tiles, which
    are not counted; with label smoothing they are there in one piece, see `logits_in_one_piece`.
    """
    share, tokens = machine.parameters / machine.gpus, stage.batch * stage.longest
    return {
        "weights, bfloat16": 2 * share,
        "gradients, bfloat16": 2 * share,
        "Adam: float32 weights, 2 moments": 12 * share,
        "reference model, bfloat16": 2 * share * stage.reference,
        "gathered weights": 2 * (machine.parameters if stage.beside else 1e9),
        "activations kept": 2 * tokens * machine.width * machine.layers,
        "activations of a layer": 34 * tokens * machine.width,
        "keys and values": 4 * stage.slots * machine.layers * machine.width * stage.longest * stage.beside,
    }


def logits_in_one_piece(machine: Machine, stage: Stage) -> float:
    """Bytes of a batch's logits, which `memory` does not count: 2 in bfloat16, 4 in float32, and 4 of their gradient."""
    return 10 * stage.batch * stage.longest * machine.vocabulary


def quantized_bytes(machine: Machine) -> int:
    """The files of an 8-bit GPTQ checkpoint in AutoGPTQ's layout, which GPTQModel and vLLM have too.

    A weight of a layer's seven matrices is a byte; a group of a column has a scale in float16 and a zero point of a byte; a
    row has the number of its group, an int32. Embeddings, head and norms stay at 2 bytes.
    """
    matrices = (
        4 * [(machine.width, machine.width)] + 2 * [(machine.width, machine.inner)] + [(machine.inner, machine.width)]
    )
    each = sum(rows * columns + -(-rows // machine.group) * columns * 3 + 4 * rows for rows, columns in matrices)
    others = machine.parameters - machine.layers * sum(rows * columns for rows, columns in matrices)
    return machine.layers * each + 2 * others


def quantization_memory(machine: Machine) -> dict[str, float]:
    """Bytes that GPTQ (arXiv 2210.17323) takes, one layer at a time: first the host's, then all of the GPU, by what they hold.

    The Hessian of a matrix is float32 and as wide as its input, and is there with its inverse; that of the MLP's last matrix
    is the largest. The calibration's states are the inputs and the outputs of a layer.
    """
    tokens = machine.samples * machine.tir_block
    return {
        "weights, float16": 2 * machine.parameters,
        "a layer, float16": 2 * machine.layer,
        "its largest matrix, float32": 4 * machine.width * machine.inner,
        "a Hessian and its inverse": 2 * 4 * machine.inner**2,
        "states of the calibration, float16": 2 * 2 * tokens * machine.width,
    }


def quantization_hours(machine: Machine) -> float:
    """Hours on one GPU, by the published figure."""
    return machine.published_quantization * machine.parameters


def implied_mfu(machine: Machine) -> float:
    """The MFU at which the first two stages take the published hours."""
    return machine.mfu * sum(cost(machine, stage).hours for stage in machine.stages[:2]) / machine.published_hours
