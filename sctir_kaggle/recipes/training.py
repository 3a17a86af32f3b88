"""Trains a small Llama from scratch on traces, in plain PyTorch: padded batches, loss on what the model writes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from sctir_kaggle.recipes.corpus import Example, Segment

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Row = tuple[tuple[int, ...], tuple[bool, ...]]
"""Token ids, and for each whether the model learns to write it."""

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The model. Every width is a multiple of 128, so that it quantizes in groups of 128."""

    vocabulary: int = 1024
    layers: int = 4
    width: int = 128
    heads: int = 4
    inner: int = 512
    context: int = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How to train: AdamW, a short linear warm-up, then a cosine to a tenth of the learning rate."""

    epochs: int = 3
    batch_tokens: int = 4096
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    smoothing: float = 0.03
    """Label smoothing: without it, sampling at a temperature below 1 would hardly ever err, and a vote have no work."""
    bfloat16: bool = True
    """Matrix products in bfloat16 (autocast); weights, optimizer and the saved model's source stay float32."""

    def rate(self, step: int, steps: int) -> float:
        """The learning rate at a step."""
        warm = max(1, round(self.warmup * steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        cosine = (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
        return self.learning_rate * (0.1 + 0.9 * cosine)


def new_model(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with random weights, embeddings untied, on a GPU where there is one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    llama: Any = LlamaForCausalLM
    model: LlamaForCausalLM = llama(config).to("cuda" if torch.cuda.is_available() else "cpu")
    return model


def encode(example: Example, tokenizer: PreTrainedTokenizerFast) -> Row:
    """The tokens of a trace, as `encode_segments` says."""
    return encode_segments(example.segments, tokenizer)


def encode_segments(segments: Iterable[Segment], tokenizer: PreTrainedTokenizerFast) -> Row:
    """BOS (where the tokenizer has one), then each segment encoded by itself, as the solver sends it; EOS at the end."""
    ids = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    learned = [False] * len(ids)
    for segment in segments:
        tokens = tokenizer.encode(segment.text, add_special_tokens=False)
        ids += tokens
        learned += [segment.learned] * len(tokens)
    return (*ids, tokenizer.eos_token_id), (*learned, True)


def batches(rows: Sequence[Row], *, tokens: int, rng: Random) -> list[list[Row]]:
    """One epoch in random order, rows of similar lengths together, at most `tokens` padded tokens a batch."""
    order = sorted(rows, key=lambda row: len(row[0]) + 16 * rng.random())
    made: list[list[Row]] = [[]]
    for row in order:
        if len(row[0]) * (len(made[-1]) + 1) > tokens:
            made.append([])
        made[-1].append(row)
    rng.shuffle(made)
    return made


def train(
    model: LlamaForCausalLM,
    rows: Sequence[Row],
    schedule: Schedule,
    *,
    seed: int,
    say: Progress,
    save: Callable[[], None],
) -> None:
    """Train in place. `say` gets a line now and then, `save` is called after every epoch."""
    import torch

    rng, meter = Random(seed), _Meter(say)
    epochs = [batches(rows, tokens=schedule.batch_tokens, rng=rng) for _ in range(schedule.epochs)]
    steps = sum(map(len, epochs))
    optimizer = torch.optim.AdamW(_groups(model, schedule), betas=(0.9, 0.95), fused=True)
    model.train(True)
    for epoch in epochs:
        for batch in epoch:
            _set_rate(optimizer, schedule.rate(meter.step, steps))
            optimizer.zero_grad()
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=schedule.bfloat16):
                loss = batch_loss(model, batch, schedule.smoothing)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            meter.count(loss.item(), sum(len(ids) for ids, _ in batch), steps)
        save()
    model.train(False)


def batch_loss(model: LlamaForCausalLM, batch: Sequence[Row], smoothing: float) -> Tensor:
    """Mean cross-entropy of the tokens that the model is to write. Padding on the right is never looked at."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    device = model.device
    ids = pad_sequence([torch.tensor(row[0]) for row in batch], batch_first=True).to(device)
    learned = pad_sequence([torch.tensor(row[1]) for row in batch], batch_first=True).to(device)
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    logits = model.lm_head(hidden[learned[:, 1:]])
    return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][learned[:, 1:]], label_smoothing=smoothing)


def _groups(model: LlamaForCausalLM, schedule: Schedule) -> list[dict[str, object]]:
    """Weight decay for matrices, none for norms."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": schedule.weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


class _Meter:
    """Counts steps and tokens, and says how it goes every hundred steps."""

    def __init__(self, say: Progress) -> None:
        self.step = 0
        self._say = say
        self._tokens = 0
        self._losses: list[float] = []
        self._started = time.monotonic()

    def count(self, loss: float, tokens: int, steps: int) -> None:
        self.step += 1
        self._tokens += tokens
        self._losses.append(loss)
        if self.step % 100 == 0 or self.step == steps:
            mean, speed = sum(self._losses) / len(self._losses), self._tokens / (time.monotonic() - self._started)
            self._say(f"step {self.step}/{steps}: loss {mean:.4f}, {speed:.0f} tokens/s")
            self._losses.clear()
