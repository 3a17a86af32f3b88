"""What the tests of quantization share: two real checkpoints, and rows that look like training."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.quantize.settings import QuantizeSettings
from sctir_kaggle.recipes.rendering import Row as TokenRow
from sctir_kaggle.recipes.rendering import encode_row
from sctir_kaggle.recipes.rows import Row, write_rows
from sctir_kaggle.recipes.tiny.data import rows_of, run_drafts, unseen_drafts
from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer

MODEL = ASSETS / "model"
PACKED = ASSETS / "model-gptq"

SOLUTION = """\
We write a short program.

```python
print(sum(range(1, {last})))
```
```output
{answer}
```
The answer is $\\boxed{{{answer}}}$."""


def solved_row(number: int) -> Row:
    """A problem whose program is right, with what it prints."""
    last, problem = 20 + number, f"What is the sum of the positive integers below {20 + number}?"
    answer = sum(range(1, last))
    messages = [
        {"role": "user", "content": problem},
        {"role": "assistant", "content": SOLUTION.format(last=last, answer=answer)},
    ]
    return {"id": f"sum-{number}", "problem": problem, "answer": answer, "messages": messages}


def settings_for(folder: Path, *, rows: int = 9, samples: int = 6) -> QuantizeSettings:
    """The embedded model, with so many rows written to `folder`."""
    write_rows(folder / "rows.jsonl", map(solved_row, range(rows)))
    return QuantizeSettings(model=MODEL, output=folder / "made", data=(str(folder / "rows.jsonl"),), samples=samples)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file in place."""
    stored = json.loads(path.read_text())
    change(stored)
    path.write_text(json.dumps(stored))


def unseen_rows(count: int) -> list[TokenRow]:
    """As tokens, solutions of problems like the embedded model's, with parameters that it was not trained on."""
    tokenizer = load_transformers_tokenizer(MODEL)
    drafts = unseen_drafts(0)
    examples = asyncio.run(run_drafts(drafts[:: len(drafts) // count][:count]))
    return [encode_row(row, tokenizer) for row in rows_of(examples)]
