"""Makes the embedded model's stage-1 twin: `python -m sctir_kaggle.recipes.embedded_cot --output DIR`.

The same problems, shape and tokenizer as the embedded model, but solutions in words and numbers instead of programs:
what NuminaMath's stage 1 was to its stage 2, only that here neither is trained on top of the other. -> `DIR/model-cot`.
Needs torch and transformers, and a quarter of an hour of CPU time.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from sctir_kaggle.problems import ASSETS
from sctir_kaggle.prompt import HEADER
from sctir_kaggle.recipes.chains import CHAINS
from sctir_kaggle.recipes.corpus import ENDINGS, Draft, Example, Segment
from sctir_kaggle.recipes.embedded_model import TRACES, evaluate, fit, held_out, say, training_drafts, validation
from sctir_kaggle.recipes.families import FAMILIES, phrase
from sctir_kaggle.recipes.training import Schedule, Shape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

EPOCHS = 4


def main() -> None:
    """The command."""
    args = _arguments()
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    problems, checks = held_out(args.seed), validation(args.seed)
    examples = chains_of(training_drafts(args.seed, [*problems, *checks], args.traces), args.seed)
    say(f"{len(examples)} chains of thought, {len(FAMILIES)} families")
    output, schedule = args.output / "model-cot", Schedule(epochs=args.epochs)
    fit(examples, load_tokenizer(args.tokenizer), Shape(), schedule, output, args.seed)
    say("trained")
    evaluate(output, problems, checks, seed=args.seed, turns=0)
    say("done")


def chains_of(drafts: Sequence[Draft], seed: int) -> list[Example]:
    """A chain of thought for the problem of each draft; its program is not looked at."""
    rng = Random(f"chains/{seed}")
    return [think(draft, rng) for draft in drafts]


def think(draft: Draft, rng: Random) -> Example:
    """The problem of `draft` with a solution without code."""
    params = dict(draft.params)
    chain = CHAINS.get(draft.family) or rng.choice(FAMILIES[draft.family].direct)
    text = chain(**params) + rng.choice(ENDINGS).replace("<answer>", str(draft.answer))
    segments = (Segment(HEADER.format(problem=draft.problem), False), Segment(phrase(text, {}, rng), True))
    return Example(draft.family, draft.problem, draft.answer, segments)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a checkpoint in `folder`."""
    from transformers import AutoTokenizer

    auto: Any = AutoTokenizer
    tokenizer: PreTrainedTokenizerFast = auto.from_pretrained(folder)
    return tokenizer


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the folder that gets model-cot/")
    parser.add_argument("--seed", type=int, default=0, help="of problems, chains and weights (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the training (default: 1)")
    parser.add_argument("--traces", type=int, default=TRACES, help=f"solutions a family (default: {TRACES})")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"passes over the chains (default: {EPOCHS})")
    parser.add_argument(
        "--tokenizer", type=Path, default=ASSETS / "model", help="its twin's folder (default: the embedded model)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
