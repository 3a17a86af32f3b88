"""A model with a KV cache of a fixed number of slots: each holds one sequence, and keeps it after its request has ended.

Slots `0 .. running-1` are the batch, without gaps, so that a step reads the cache in place. Idle slots follow and keep what
they held last, so that a later prompt can start from it. Memory: slots x length x layers x 2 x kv_heads x head_dim numbers,
where `length` is that of the longest sequence so far and grows towards the context length. A 7B model in float16 takes
0.5 MB per token: on a GPU choose `slots` x `context_length` to fit into what the weights leave.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import Cache

from sctir_kaggle.types import EngineError, SamplingParams

Ints = npt.NDArray[np.int64]


_GROWTH = 256  # tokens by which the cache grows: each growth copies all of it
_PREFILL_TOKENS = 8192  # padded tokens in one prefill, which bounds the memory of its activations
_FEED = 16  # a prompt with at most so many tokens to store feeds them one per step; a longer one gets a prefill
_SPARE = 8  # tokens at a slot's end that a continuation may drop: the last ones are re-encoded after a stop string


class Slots:
    """The model and the contents of its slots.

    The keys and values of `tokens[slot, :length[slot]]` are stored; those of the tokens up to `known[slot]` will be.
    """

    def __init__(self, model: Any, *, slots: int, context_length: int) -> None:
        self._model = model
        self._device, self._dtype = model.device, model.dtype
        self._layers: Any = [_Layer(slots) for _ in range(model.config.get_text_config().num_hidden_layers)]
        self._cache = Cache(layers=self._layers)
        known = inspect.signature(model.forward).parameters
        self._options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in known else {}
        self._options["cache" if "cache" in known else "past_key_values"] = self._cache  # renamed in transformers 5.24
        self._clock = 0
        self._unstored: list[int] = []  # running slots whose prompts wait for `prefill`
        self.size = slots
        self.tokens: Ints = np.zeros((slots, context_length), dtype=np.int64)
        self.known, self.length, self._used = (np.zeros(slots, dtype=np.int64) for _ in range(3))

    def open(self, slot: int, tokens: Sequence[int]) -> int:
        """Put the prompt `tokens` into `slot`, the first idle one, with the longest stored prefix; return its length."""
        prompt: Ints = np.array(tokens, dtype=np.int64)
        shared = self._shared(prompt)
        if shared.max() > np.minimum(shared, self.length).max() + _FEED:  # a waiting prompt shares more
            self.prefill()
        stored = np.minimum(shared, self.length)
        source = int(stored.argmax())
        length = int(stored[source])
        self._take(slot, source, length)
        self.tokens[slot, : len(prompt)] = prompt
        self.length[slot], self.known[slot] = length, len(prompt)
        if len(prompt) - 1 - length > _FEED:
            self._unstored.append(slot)
        return length

    def _shared(self, prompt: Ints) -> Ints:
        """The leading tokens that each slot shares with `prompt`, [slots]. The last token never counts: it must run."""
        same = self.tokens[:, : len(prompt)] == prompt
        same[:, -1] = False
        agree: Ints = same.argmin(axis=1)
        return np.minimum(agree, self.known)

    def _take(self, slot: int, source: int, length: int) -> None:
        """Make `slot` hold the first `length` tokens of `source`, by evicting the least recently used idle slot.

        Where `source` is idle and holds hardly more than that (its candidate continues), `source` itself is reused.
        """
        busy = source < slot or self.length[source] > length + _SPARE
        taken = slot + int(self._used[slot:].argmin()) if busy else source
        self.swap(slot, taken)
        self._move([slot], [{slot: taken, taken: slot}.get(source, source)], length)

    def close(self, slot: int) -> None:
        """Make `slot` idle and the most recently used; tokens not stored yet never will be."""
        self._clock += 1
        self._used[slot] = self._clock
        self.known[slot] = self.length[slot]

    def swap(self, one: int, other: int) -> None:
        """Exchange two slots with their contents."""
        if one == other:
            return
        for column in (self.tokens, self.length, self.known, self._used):
            column[[one, other]] = column[[other, one]]
        self._move([one, other], [other, one], int(self.length[[one, other]].max()))

    @torch.inference_mode()
    def _move(self, target: list[int], source: list[int], length: int) -> None:
        if length and target != source:
            index = torch.tensor([target, source], device=self._device)
            for layer in self._layers:
                layer.move(index[0], index[1], length)

    @torch.inference_mode()
    def prefill(self) -> None:
        """Store the new prompts, without their last tokens, in padded forwards of prompts of similar length."""
        missing = {slot: int(self.known[slot] - self.length[slot]) - 1 for slot in self._unstored}
        self._unstored, group = [], list[int]()
        for slot in sorted(missing, key=missing.__getitem__):
            wide = missing[slot] * (len(group) + 1)
            if group and (missing[slot] > 2 * missing[group[0]] or wide > _PREFILL_TOKENS):
                self._append(group)
                group = []
            group.append(slot)
        if group:
            self._append(group)

    def _append(self, group: list[int]) -> None:
        slots: Ints = np.array(group, dtype=np.int64)
        start, count = self.length[slots], (self.known - self.length)[slots] - 1
        row, column = np.nonzero(np.arange(count.max()) < count[:, None])
        position = start[:, None] + np.minimum(np.arange(count.max()), count[:, None] - 1)
        self._forward(torch.from_numpy(slots), self.tokens[slots[:, None], position], position, slots[row], row, column)
        self.length[slots] += count

    @torch.inference_mode()
    def step(self, tokens: Sequence[int], params: Sequence[SamplingParams], uniform: Sequence[float]) -> list[int]:
        """Append `tokens[i]` to slot i and sample the next token of each row."""
        logits = self._decode(tokens)
        seen = [self.tokens[row, :length] for row, length in enumerate(self.length[: len(tokens)].tolist())]
        return sample(logits, params, uniform, seen)

    def _decode(self, tokens: Sequence[int]) -> Tensor:
        """The logits after `tokens`, [rows, vocabulary]."""
        row = np.arange(len(tokens))
        position = self.length[: len(tokens), None].copy()
        ids: Ints = np.array(tokens, dtype=np.int64)
        logits = self._forward(slice(len(tokens)), ids[:, None], position, row, row, np.zeros_like(row))
        self.tokens[row, position[:, 0]] = ids
        self.length[row] += 1
        np.maximum(self.known, self.length, out=self.known)
        return logits[:, -1]

    def _forward(self, rows: slice | Tensor, ids: Ints, position: Ints, slot: Ints, row: Ints, column: Ints) -> Tensor:
        """Run a forward over `ids` at `position`, [rows, new]; what `row` and `column` do not list is padding."""
        length = int(position.max()) + 1
        flat = torch.from_numpy(np.stack([slot, position[row, column], row, column])).to(self._device)
        plan = _Plan(rows if isinstance(rows, slice) else rows.to(self._device), length, ids.shape[1], *flat.unbind())
        for layer in self._layers:
            layer.plan = plan
        places = torch.from_numpy(position).to(self._device)
        output = self._model(
            input_ids=torch.from_numpy(ids).to(self._device),
            position_ids=places,
            attention_mask=self._mask(places, length),
            use_cache=True,
            **self._options,
        )
        logits: Tensor = output.logits
        return logits

    def _mask(self, position: Tensor, length: int) -> Tensor:
        """The causal mask, [rows, 1, new, length]: 0 at and before a token's position, -inf after it."""
        hidden = torch.arange(length, device=self._device) > position[:, None, :, None]
        return torch.zeros(hidden.shape, dtype=self._dtype, device=self._device).masked_fill_(hidden, -torch.inf)


@dataclass(slots=True)
class _Plan:
    """The cache positions that one forward writes and reads, the same in all layers.

    New token t is written to (slot[t], position[t]) and stands at (row[t], column[t]) of the padded batch.
    """

    rows: slice | Tensor  # the slots in the batch
    length: int  # tokens to read
    new: int  # columns of the batch: the most tokens that a row writes
    slot: Tensor  # [new tokens]
    position: Tensor  # [new tokens]
    row: Tensor  # [new tokens]
    column: Tensor  # [new tokens]


class _Layer:
    """Keys and values of one layer, [slots, kv_heads, capacity, head_dim] each, allocated at the first write.

    It has the methods that transformers calls on a layer of its `Cache`.
    """

    is_sliding = False
    is_compileable = False

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.plan: _Plan | None = None
        self.store: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the batch's new keys and values, [rows, kv_heads, new, head_dim]; return all that it attends to."""
        plan = self.plan
        assert plan is not None, "a forward without a plan"
        if not self.store or self.store[0].shape[2] < plan.length:
            self._grow((keys, values), plan.length)
        for store, new in zip(self.store, (keys, values), strict=True):
            store[plan.slot, :, plan.position] = new[:, :, 0] if new.shape[2] == 1 else new[plan.row, :, plan.column]
        return self.store[0][plan.rows, :, : plan.length], self.store[1][plan.rows, :, : plan.length]

    def get_seq_length(self) -> int:
        """The tokens before the new ones: transformers below 5.5 counts positions from there, ignoring `position_ids`."""
        return self.plan.length - self.plan.new if self.plan else 0

    def _grow(self, like: tuple[Tensor, Tensor], length: int) -> None:
        """Make room for `length` tokens, of zeros: masked values are still multiplied (by 0), so they must be finite."""
        capacity = -(-length // _GROWTH) * _GROWTH
        old, self.store = self.store, [new.new_zeros(self.slots, new.shape[1], capacity, new.shape[3]) for new in like]
        for index, before in enumerate(old):
            self.store[index][:, :, : before.shape[2]] = before

    def move(self, target: Tensor, source: Tensor, length: int) -> None:
        """Copy the first `length` tokens of the slots `source` to the slots `target`, all at once."""
        for store in self.store:
            store[target, :, :length] = store[source, :, :length]


def sample(
    logits: Tensor, params: Sequence[SamplingParams], uniform: Sequence[float], seen: Sequence[Ints]
) -> list[int]:
    """Sample one token per row of `logits`, [rows, vocabulary].

    `uniform` are the rows' random numbers, in [0, 1), so that a row's token does not depend on the other rows. `seen`
    are the tokens of each row's prompt and completion so far. Raises `EngineError` where a logit is NaN.
    """
    if bool(logits.isnan().any()):
        raise EngineError(f"the logits are not numbers in {logits.dtype}: load the model with dtype 'float32'")
    logits = _penalized(logits.float(), params, seen)
    chosen = logits.argmax(dim=-1)
    if any(row.temperature for row in params):
        temperature = _column(logits, [row.temperature for row in params])
        scaled = logits / torch.where(temperature > 0, temperature, 1)  # 0 means greedy: those rows keep the argmax
        probabilities = _truncated(torch.softmax(scaled, dim=-1), params)
        drawn = _invert(probabilities, logits.new_tensor(uniform, dtype=torch.float64)[:, None])
        chosen = torch.where(temperature[:, 0] > 0, drawn, chosen)
    return [int(token) for token in chosen.tolist()]


def _penalized(logits: Tensor, params: Sequence[SamplingParams], seen: Sequence[Ints]) -> Tensor:
    """Apply the repetition penalty: logits of seen tokens are divided by it where positive, multiplied where negative."""
    if all(row.repetition_penalty == 1 for row in params):
        return logits
    logits = logits.clone()
    for row, (own, tokens) in enumerate(zip(params, seen, strict=True)):
        if own.repetition_penalty != 1:
            known = torch.from_numpy(np.unique(tokens)).to(logits.device)
            score = logits[row, known]
            logits[row, known] = torch.where(score > 0, score / own.repetition_penalty, score * own.repetition_penalty)
    return logits


def _truncated(probabilities: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """`probabilities` with zeros for the tokens that each row's `min_p`, `top_k` and `top_p` leave out."""
    if any(row.min_p > 0 for row in params):
        floor = _column(probabilities, [row.min_p for row in params]) * probabilities.amax(dim=-1, keepdim=True)
        probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
    if any(row.top_k > 0 or row.top_p < 1 for row in params):
        size = probabilities.shape[1]
        kept = [min(row.top_k, size) if row.top_k > 0 else size for row in params]
        probabilities = _nucleus(
            probabilities, _column(probabilities, kept), _column(probabilities, [row.top_p for row in params])
        )
    return probabilities


def _nucleus(probabilities: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Keep the `top_k` likeliest tokens, and of these the fewest whose mass reaches `top_p` of theirs; at least one."""
    ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
    outside = torch.arange(probabilities.shape[1], device=probabilities.device) >= top_k
    ranked = ranked.masked_fill(outside, 0.0)
    mass = ranked.cumsum(dim=-1)
    outside |= (mass - ranked >= top_p * mass[:, -1:]) & (top_p < 1)
    outside[:, 0] = False
    return probabilities.masked_fill(torch.zeros_like(outside).scatter_(1, order, outside), 0.0)


def _invert(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative probability exceeds `uniform` of the total, [rows]; never one of probability 0.

    In float64: over a vocabulary of 100,000, rounding in float32 would shift the small probabilities at the end.
    """
    cumulative = probabilities.double().cumsum(dim=-1)
    return (
        torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        .squeeze(1)
        .clamp_(max=probabilities.shape[1] - 1)
    )


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
