"""A validation set by the `datasets` library: from the Hub, from its cache, or from a copy in a folder.

Their columns are `id`, `problem`, `answer` (a float, an integer or text) and, in some, `solution`. An id is not unique (that
of AMC starts again each year), so a problem is named by the set and its row.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sctir_kaggle.replay.labels import Row, repaired
from sctir_kaggle.types import Problem, UserError


def read_hub(name: str, source: str | Path) -> list[Row]:
    """All rows of the set `name`; `source` is its name on the Hub, or a folder with a copy (`save_to_disk`'s too)."""
    rows = _load(source)
    missing = {"problem", "answer"} - set(rows.column_names)
    if missing:
        raise UserError(f"{source} has no column {', '.join(sorted(missing))}; it has {rows.column_names}")
    return [_row(f"{name}-{number:03}", source, row) for number, row in enumerate(rows)]


def _row(id_: str, source: str | Path, row: Mapping[str, Any]) -> Row:
    try:
        answer, flaw = repaired(row["problem"], row["answer"], row.get("solution") or "")
    except UserError as error:
        raise UserError(f"{source}, row {id_}: {error}") from None
    subject = row.get("subject") or row.get("type")
    return Row(Problem(id_, row["problem"], answer, subject=subject), flaw)


def _load(source: str | Path) -> Any:
    """The set's only split, `train`."""
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError(
            "the validation sets come from the Hub by the library datasets: pip install 'sctir-kaggle[hub]', or give a "
            "folder that holds them as CSVs with --data"
        ) from None
    try:
        if any(Path(source, name).exists() for name in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(str(source))
            return saved["train"] if isinstance(saved, dict) else saved
        return datasets.load_dataset(str(source), split="train")
    except (OSError, ValueError, KeyError) as error:  # ConnectionError and "not found" are OSErrors
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"cannot load {source}: {reason}; give a folder that holds the set with --data") from None
