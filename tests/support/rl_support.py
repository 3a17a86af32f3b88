"""A step of RL at tiny size: its settings, its samples as the trainer has them, and what the papers say of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import NUMINA
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.problems import HELD_OUT
from sctir_kaggle.recipes.train.rl import RL, open_trainer
from sctir_kaggle.runtime import EMBEDDED_MODEL

GROUPS, GENERATIONS = 3, 4
ROWS = GROUPS * GENERATIONS


def settings(output: Path, **changes: Any) -> RL:
    tiny = {"batch": ROWS, "generations": GENERATIONS, "steps": 1, "checkpointing": False, "log": ("none",)}
    solver = {"max_tokens": 256, "slots": ROWS, "wrong": -0.5}
    start = {"model": str(EMBEDDED_MODEL), "problems": HELD_OUT}
    return RL(output=output, **{**start, **tiny, **solver, **changes})


def change(model: Any, *, seed: int = 0) -> None:
    """Move every matrix of the weights by noise of 2 % of its standard deviation."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.02 * weights.std() * torch.randn_like(weights) if weights.dim() > 1 else 0)


class Step:
    """One sampling of a trainer whose weights are no longer those of its checkpoint, and TRL's rows of it."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        trainer.current_gradient_accumulation_steps = 1  # as within the training loop
        change(trainer.model)
        names = list(trainer.rollouts.problems)[:GROUPS]
        trainer.model.train()
        self.rows = trainer._generate_and_score_completions([{"prompt": n} for n in names for _ in range(GENERATIONS)])
        self.candidates = trainer.rollouts.last

    @property
    def method(self) -> str:
        return "rloo" if "written" in self.rows else "grpo"

    def written(self) -> Any:
        """1 for each token of `completion_ids` that is learned, [rows, tokens]."""
        rows = self.rows
        mask = rows["written"] if "written" in rows else rows["tool_mask"]
        return mask * rows["completion_mask"]

    def log_probabilities(self, model: Any = None) -> Any:
        """Of `completion_ids`, [rows, tokens], by a plain forward of each row alone, in float32."""
        import torch

        temperature, logs = self.trainer.args.temperature, torch.zeros(self.rows["completion_ids"].shape)
        for row, one in enumerate(self.candidates):
            ids = torch.tensor([*one.sequence.prompt, *one.sequence.completion])
            each = ((model or self.trainer.model)(input_ids=ids[None]).logits[0, :-1] / temperature).log_softmax(-1)
            own = each.gather(1, ids[1:, None])[len(one.sequence.prompt) - 1 :, 0]
            logs = logs.index_put((torch.tensor([row]), torch.arange(len(own))), own)
        return logs

    def check_tokens(self) -> None:
        """The trainer's rows are the tokens that the solver sent and sampled: no token differs."""
        encode = Tokenizer.load(EMBEDDED_MODEL).encode
        rows = self.rows
        for at, one in enumerate(self.candidates):
            *before, last = one.trace.turns
            prompt = encode(render(NUMINA, one.problem, before, prefix=last.prefix))
            whole = [*prompt, *one.sampled[-1].ids]
            trained = [
                *rows["prompt_ids"][at][rows["prompt_mask"][at] == 1].tolist(),
                *rows["completion_ids"][at][rows["completion_mask"][at] == 1].tolist(),
            ]
            assert trained == whole
            assert trained[: len(one.sequence.prompt)] == list(encode(render(NUMINA, one.problem)))
        assert sum(len(one.trace.turns) > 1 for one in self.candidates) > ROWS / 2

    def greatest_difference(self) -> float:
        """Of a written token's log-probability in the sampling from that in the training's forward and in a plain one."""
        import torch

        rows, written = self.rows, self.written()
        ids = torch.cat([rows["prompt_ids"], rows["completion_ids"]], dim=1)
        mask = torch.cat([rows["prompt_mask"], rows["completion_mask"]], dim=1)
        length = rows["completion_ids"].shape[1]
        with torch.no_grad():
            trained, _, _ = self.trainer._get_per_token_logps_and_entropies(self.trainer.model, ids, mask, length)
            alone = self.log_probabilities()
        found = 0.0
        for at, one in enumerate(self.candidates):
            own = written[at] == 1
            sampling = torch.tensor(one.sequence.log_probabilities)[own[: len(one.sequence.written)]]
            found = max(found, *((logs[at][own] - sampling).abs().max().item() for logs in (trained, alone)))
        return found

    def check_gradient(self, ratios: Any = 1.0, *, tolerance: float = 1e-4) -> None:
        """That of the plain policy gradient: a candidate's advantage, times its ratio, times its written tokens'
        log-probability; GRPO over all tokens of the batch, RLOO over all candidates. `tolerance` is of a matrix's greatest."""
        import torch

        trainer = self.trainer
        expected = advantages_of([reward_of(one, trainer.args) for one in self.candidates], self.method)
        assert min(expected) < 0 < max(expected)
        advantages = torch.tensor(expected) * ratios
        weights, written = list(trainer.model.parameters()), self.written()
        own = torch.autograd.grad(trainer._compute_loss(trainer.model, self.rows), weights)
        count = written.sum() if self.method == "grpo" else ROWS
        loss = -(advantages[:, None] * self.log_probabilities() * written).sum() / count
        for name, one, other in zip(
            dict(trainer.model.named_parameters()), own, torch.autograd.grad(loss, weights), strict=True
        ):
            assert torch.allclose(one, other, atol=tolerance * float(other.abs().max())), name


@contextmanager
def sampled(output: Path, **changes: Any) -> Iterator[Step]:
    with open_trainer(settings(output, **changes)) as trainer:
        yield Step(trainer)


def reward_of(candidate: Any, chosen: Any) -> float:
    """As the settings say."""
    [right, wrong, code] = chosen.reward_weights
    said = candidate.trace.answer
    answered = right if said == candidate.problem.answer else 0.0 if said is None else wrong
    return float(answered + code * candidate.ran_code)


def advantages_of(rewards: list[float], method: str) -> list[float]:
    """GRPO: (r - mean of the group) / (sd of the group + 1e-4). RLOO: r - mean of the others in the group."""
    found: list[float] = []
    for start in range(0, ROWS, GENERATIONS):
        group = rewards[start : start + GENERATIONS]
        for own in group:
            others = (sum(group) - own) / (GENERATIONS - 1)
            found.append((own - mean(group)) / (stdev(group) + 1e-4) if method == "grpo" else own - others)
    return found
