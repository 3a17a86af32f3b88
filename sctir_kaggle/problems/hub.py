"""Data sets of the Hugging Face Hub by name, and copies of them in a folder, by the library `datasets`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from sctir_kaggle.problems.table import Table, table_of
from sctir_kaggle.types import UserError, one_line

_NAME = re.compile(
    r"(?:(?:https://huggingface\.co/|hf://)datasets/)?"
    r"(?P<id>[A-Za-z0-9][\w.-]*/[\w.-]+)(?:/(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?/?"
)

FILES = re.compile(r"\.(csv|tsv|txt|jsonl?|ndjson|parquet|pq|xlsx?|xlsm|ods|gz|bz2|xz|zip|zst)$", re.IGNORECASE)
"""The ends of the names of files."""

PREFERRED = ("test", "train")
"""The split that is read where none is named and there are several: the one to be scored on."""


class HubName(NamedTuple):
    """A data set by name: `org/name`, `org/name:split`, `org/name/config` or `org/name/config:split`."""

    id: str
    config: str | None = None
    split: str | None = None


def hub_name(text: str) -> HubName | None:
    """The name, or None for what is rather the path of a file that is not there.

    >>> hub_name("openai/gsm8k/main:test"), hub_name("data/mine.csv")
    (HubName(id='openai/gsm8k', config='main', split='test'), None)
    """
    match = _NAME.fullmatch(text)
    if match is None or FILES.search(text) or (match[0] == text and Path(text.partition("/")[0]).exists()):
        return None
    return HubName(match["id"], match["config"], match["split"])


def read_hub_table(name: str, source: HubName | Path) -> Table:
    """The rows of a data set on the Hub, or of a copy in a folder. Raises `UserError`."""
    where = HubName(str(source)) if isinstance(source, Path) else source
    found = load(where.id, config=where.config, split=where.split, otherwise=_OTHERWISE if where is source else "")
    rows, split = _one_split(name, found)
    return table_of(name, rows, notes=(f"split {split}",) if split else ())


_OTHERWISE = "there is no such file; a data set of the Hub is org/name:split or org/name/config:split"


def load(source: str | Path, *, config: str | None = None, split: str | None = None, otherwise: str) -> Any:
    """A split of a data set as `datasets` has it; all splits without `split`. `source` is an id or a folder.

    Raises `UserError`, which ends with `otherwise`, where it cannot be loaded.
    """
    otherwise = otherwise and f"; {otherwise}"
    try:
        import datasets  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except ImportError:
        raise UserError(
            f"{source} is read by the library datasets: pip install 'sctir-kaggle[hub]'{otherwise}"
        ) from None
    try:
        if any(Path(source, name).exists() for name in ("state.json", "dataset_dict.json")):
            saved = datasets.load_from_disk(str(source))
            return saved[split] if split and isinstance(saved, dict) else saved
        return datasets.load_dataset(str(source), config, split=split)
    except (OSError, ValueError, KeyError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        # ConnectionError and "not found" are OSErrors; a RuntimeError refuses a data set that comes as a script. Where a
        # configuration is missing, those that there are stand on the second line.
        reason = one_line(error, first="onfig name is missing" not in str(error), limit=300)
        raise UserError(f"cannot load {source}: {reason}{otherwise}") from None


def _one_split(name: str, found: Any) -> tuple[Any, str]:
    if not isinstance(found, dict):
        return found, ""
    if len(found) == 1:
        return next(iter(found.values())), ""
    split = next((split for split in PREFERRED if split in found), None)
    if split is None:
        raise UserError(f"{name} has the splits {', '.join(found)}; name one: {name}:{next(iter(found), 'split')}")
    return found[split], split
