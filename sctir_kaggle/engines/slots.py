"""The model with a fixed number of slots: each holds one sequence's keys and values, and outlives its request.

Slots `0 .. running-1` are the batch, without holes, so that a step reads the cache in place. Idle slots stand behind
them and keep what they last held, so that a later prompt can start from it. Memory: slots x length x layers x 2 x
kv_heads x head_dim numbers, where `length` is that of the longest sequence so far and grows towards the context. A 7B
model in float16 takes 0.5 MB a token: on a GPU choose `slots` x `context_length` to fit what the weights leave.
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


_GROWTH = 256  # tokens by which the cache grows
_PREFILL_TOKENS = 8192  # padded tokens in one prefill: a bound on its memory
_FEED = 16  # prompt tokens that run one a step with the batch; more are stored beforehand, in a forward of their own
_SPARE = 8  # tokens at the end of a slot that may be lost where its sequence goes on (a stop string is encoded again)


class Slots:
    """The model and what its slots hold.

    `tokens[slot, :length[slot]]` are those whose keys and values are stored; up to `known[slot]` they are about to be.
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
        self._unstored: list[int] = []  # running slots that `prefill` has to see to
        self.size = slots
        self.tokens: Ints = np.zeros((slots, context_length), dtype=np.int64)
        self.known, self.length, self._used = (np.zeros(slots, dtype=np.int64) for _ in range(3))

    def open(self, slot: int, tokens: Sequence[int]) -> int:
        """Give the prompt `tokens` the first idle slot with the longest stored prefix in it; how long that is."""
        prompt: Ints = np.array(tokens, dtype=np.int64)
        shared = self._shared(prompt)
        if shared.max() > np.minimum(shared, self.length).max() + _FEED:  # another newcomer is about to store it
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
        """How many leading tokens each slot knows of `prompt`, [slots]; its last token never counts, it has to run."""
        same = self.tokens[:, : len(prompt)] == prompt
        same[:, -1] = False
        agree: Ints = same.argmin(axis=1)
        return np.minimum(agree, self.known)

    def _take(self, slot: int, source: int, length: int) -> None:
        """Make `slot` hold the first `length` tokens of `source`, at the cost of the idle slot not used for longest.

        Where `source` is idle and has hardly more than that (a candidate comes back), it is itself the one taken.
        """
        busy = source < slot or self.length[source] > length + _SPARE
        taken = slot + int(self._used[slot:].argmin()) if busy else source
        self.swap(slot, taken)
        self._move([slot], [{slot: taken, taken: slot}.get(source, source)], length)

    def close(self, slot: int) -> None:
        """`slot` is idle from now on, and the latest to be used."""
        self._clock += 1
        self._used[slot] = self._clock
        self.known[slot] = self.length[slot]

    def swap(self, one: int, other: int) -> None:
        """Exchange two slots with all that they hold."""
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
        """Store newcomers' prompts but for the last token, in padded forwards of slots with about as much to store."""
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
        """Append `tokens[i]` to slot i and sample what follows, for each row."""
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
        """One forward over `ids` at `position`, [rows, new]; what `row` and `column` do not list is padding."""
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
        """0 where a token sees, -inf where it does not, [rows, 1, new, length]: each sees what is not behind it."""
        hidden = torch.arange(length, device=self._device) > position[:, None, :, None]
        return torch.zeros(hidden.shape, dtype=self._dtype, device=self._device).masked_fill_(hidden, -torch.inf)


@dataclass(slots=True)
class _Plan:
    """Where one forward writes and reads, the same for all layers: new token t goes to (slot[t], position[t])."""

    rows: slice | Tensor  # the slots in the batch
    length: int  # tokens to read
    new: int  # of which the longest row writes so many
    slot: Tensor  # [new tokens]
    position: Tensor  # [new tokens]
    row: Tensor  # [new tokens], where it stands in the padded batch
    column: Tensor  # [new tokens]


class _Layer:
    """Keys and values of one layer, [slots, kv_heads, capacity, head_dim] each, allocated at the first write."""

    is_sliding = False
    is_compileable = False

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.plan: _Plan | None = None
        self.store: list[Tensor] = []

    def update(self, keys: Tensor, values: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write the batch's new keys and values, [rows, kv_heads, new, head_dim]; give all that the batch reads."""
        plan = self.plan
        assert plan is not None, "a forward without a plan"
        if not self.store or self.store[0].shape[2] < plan.length:
            self._grow((keys, values), plan.length)
        for store, new in zip(self.store, (keys, values), strict=True):
            store[plan.slot, :, plan.position] = new[:, :, 0] if new.shape[2] == 1 else new[plan.row, :, plan.column]
        return self.store[0][plan.rows, :, : plan.length], self.store[1][plan.rows, :, : plan.length]

    def get_seq_length(self) -> int:
        """The tokens before the new ones: transformers below 5.5 counts positions from there, although it is given them."""
        return self.plan.length - self.plan.new if self.plan else 0

    def _grow(self, like: tuple[Tensor, Tensor], length: int) -> None:
        """Room for `length` tokens. Zeros, since what a mask hides still counts as 0 x value, which must be finite."""
        capacity = -(-length // _GROWTH) * _GROWTH
        old, self.store = self.store, [new.new_zeros(self.slots, new.shape[1], capacity, new.shape[3]) for new in like]
        for index, before in enumerate(old):
            self.store[index][:, :, : before.shape[2]] = before

    def move(self, target: Tensor, source: Tensor, length: int) -> None:
        """The first `length` tokens of the slots `source` to the slots `target`, all at once."""
        for store in self.store:
            store[target, :, :length] = store[source, :, :length]


def sample(
    logits: Tensor, params: Sequence[SamplingParams], uniform: Sequence[float], seen: Sequence[Ints]
) -> list[int]:
    """One token per row of `logits`, [rows, vocabulary].

    `uniform` are the rows' random numbers, in [0, 1); `seen` are the tokens of their prompts and completions so far.
    """
    if bool(logits.isnan().any()):
        raise EngineError(f"the logits are not numbers in {logits.dtype}: load the model with dtype 'float32'")
    logits = _penalized(logits.float(), params, seen)
    chosen = logits.argmax(dim=-1)
    if any(row.temperature for row in params):
        heat = _column(logits, [row.temperature for row in params])
        chances = _truncated(torch.softmax(logits / torch.where(heat > 0, heat, 1), dim=-1), params)
        drawn = _invert(chances, logits.new_tensor(uniform, dtype=torch.float64)[:, None])
        chosen = torch.where(heat[:, 0] > 0, drawn, chosen)
    return [int(token) for token in chosen.tolist()]


def _penalized(logits: Tensor, params: Sequence[SamplingParams], seen: Sequence[Ints]) -> Tensor:
    """Logits of tokens that were seen: divided by the row's `repetition_penalty`, multiplied where they are negative."""
    if all(row.repetition_penalty == 1 for row in params):
        return logits
    logits = logits.clone()
    for row, (own, tokens) in enumerate(zip(params, seen, strict=True)):
        if own.repetition_penalty != 1:
            known = torch.from_numpy(np.unique(tokens)).to(logits.device)
            score = logits[row, known]
            logits[row, known] = torch.where(score > 0, score / own.repetition_penalty, score * own.repetition_penalty)
    return logits


def _truncated(chances: Tensor, params: Sequence[SamplingParams]) -> Tensor:
    """`chances` without the tokens that `min_p`, `top_k` and `top_p` of each row leave out."""
    if any(row.min_p > 0 for row in params):
        floor = _column(chances, [row.min_p for row in params]) * chances.amax(dim=-1, keepdim=True)
        chances = chances.masked_fill(chances < floor, 0.0)
    if any(row.top_k > 0 or row.top_p < 1 for row in params):
        size = chances.shape[1]
        kept = [min(row.top_k, size) if row.top_k > 0 else size for row in params]
        chances = _nucleus(chances, _column(chances, kept), _column(chances, [row.top_p for row in params]))
    return chances


def _nucleus(chances: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """The likeliest `top_k`, and of these the likeliest that hold `top_p` of their mass; never none."""
    ranked, order = chances.sort(dim=-1, descending=True, stable=True)
    outside = torch.arange(chances.shape[1], device=chances.device) >= top_k
    ranked = ranked.masked_fill(outside, 0.0)
    mass = ranked.cumsum(dim=-1)
    outside |= (mass - ranked >= top_p * mass[:, -1:]) & (top_p < 1)
    outside[:, 0] = False
    return chances.masked_fill(torch.zeros_like(outside).scatter_(1, order, outside), 0.0)


def _invert(chances: Tensor, uniform: Tensor) -> Tensor:
    """The first token whose cumulative chance is beyond `uniform` of the whole, [rows]; never one without a chance."""
    heap = chances.double().cumsum(dim=-1)
    return torch.searchsorted(heap, uniform * heap[:, -1:], right=True).squeeze(1).clamp_(max=chances.shape[1] - 1)


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]
