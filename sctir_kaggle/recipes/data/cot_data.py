"""Make chain-of-thought rows from documents: `python -m sctir_kaggle.recipes.data.cot_data STEP --config cot_data.yaml`.

Steps, in order: extract (PDF or image -> text), segment (-> problem and solution), translate (-> English), realign (-> chain
of thought, boxed answer), uniform (-> rows). Each reads the output of the one before, skips what its own output has, and
writes failures beside it with the reason. Not covered: the right to use a document.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

from sctir_kaggle.engines.openai_chat import ChatEngine
from sctir_kaggle.recipes.data.cot import pages, pairs, rewriting
from sctir_kaggle.recipes.data.cot.asking import Model, Work, run
from sctir_kaggle.recipes.data.cot.pages import load_reader
from sctir_kaggle.recipes.data.cot.records import Answers, Output, Record, read_records, uniform
from sctir_kaggle.recipes.settings import CONFIGS, read_settings, run_recipe
from sctir_kaggle.types import UserError

FILES = {"extract": "pages", "segment": "pairs", "translate": "english", "realign": "chains", "uniform": "rows"}
"""Each step's output in `folder`; its input is the one before."""

PAIR = ("problem", "solution")


@dataclass(frozen=True, slots=True)
class Settings:
    """The fields of `cot_data.yaml`, for all steps. Raises `UserError` on a value outside its limits."""

    folder: Path
    """The folder of the steps' files."""
    documents: tuple[Path, ...] = ()
    """extract: PDFs, images, and folders of these."""
    input: Path | None = None
    """Read this file instead of the previous step's output."""
    output: Path | None = None
    """Write this file instead of the one that the next step reads."""
    dpi: int = 200
    """extract: resolution at which a page is rendered for OCR, in dots per inch."""
    segmenter: Literal["headings", "endpoint"] = "headings"
    """segment: by rules on headings, or by the model."""
    window: int = 4
    """segment: pages that the model is shown at a time."""
    base_url: tuple[str, ...] = ()
    """Chat servers, with or without /v1. The key is the environment's OPENAI_API_KEY."""
    model: str | None = None
    """The model's name there; null takes the only one."""
    temperature: float = 0.0
    """Sampling temperature. realign asks again at 0.7 at least."""
    max_tokens: int = 4096
    """New tokens a reply."""
    tries: int = 3
    """realign: requests for a record whose box is missing or contradicts the source."""
    at_once: int = 64
    """Records processed at a time."""
    failures: int = 20
    """Server failures in a row that end a step."""
    answers: Answers = "any"
    """uniform: rows whose boxed answer is a number, an integer, or any."""

    def __post_init__(self) -> None:
        for name in ("dpi", "window", "max_tokens", "tries", "at_once", "failures"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be at least 1")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=FILES)
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help=f"YAML; those of {CONFIGS} by name")
    parser.add_argument("--set", action="extend", nargs="+", default=[], metavar="FIELD=VALUE", help="change a setting")
    args = parser.parse_args(arguments)
    print(f"{args.step}: {run_step(args.step, read_settings(Settings, args.config, args.set))}")


def run_step(step: str, settings: Settings) -> str:
    """Run a step to its end; return a one-line summary of its output.

    Raises `UserError` for files that cannot be read, `EngineError` where the servers are gone; finished records are kept.
    """
    source, target = files_of(step, settings)
    with Output(target) as output:
        STEPS[step](settings, source, output)
    return output.summary()


def files_of(step: str, settings: Settings) -> tuple[Path, Path]:
    """The input and the output file of a step."""
    before = ["", *FILES.values()][list(FILES).index(step)]
    source = settings.input or settings.folder / f"{before}.jsonl"
    target = settings.output or settings.folder / f"{FILES[step]}.jsonl"
    if source.resolve() == target.resolve():
        raise UserError(f"{target} is read and cannot be written too; --set output=FILE")
    return source, target


def _extract(settings: Settings, _: Path, output: Output) -> None:
    pages.extract(pages.documents_in(settings.documents), output, load_reader, dpi=settings.dpi)


def _segment(settings: Settings, source: Path, output: Output) -> None:
    records = read_records(source, ["text"])
    if settings.segmenter == "headings":
        pairs.segment(records, output)
        return
    begun = {
        name.rpartition(":")[0] for name in output.done
    }  # and finished: a document's pairs are written in one piece
    groups = groupby(records, key=lambda page: str(page.get("document", page["id"])))
    documents = ({"id": name, "pages": list(pages)} for name, pages in groups if name not in begun)
    with _model(settings) as model:
        _run(settings, documents, rewriting.segment(model, output, window=settings.window), output)


def _translate(settings: Settings, source: Path, output: Output) -> None:
    with _model(settings) as model:
        _run(settings, read_records(source, PAIR), rewriting.translate(model), output)


def _realign(settings: Settings, source: Path, output: Output) -> None:
    with _model(settings) as model:
        _run(settings, read_records(source, PAIR), rewriting.realign(model, tries=settings.tries), output)


def _run(settings: Settings, records: Iterable[Record], work: Work, output: Output) -> None:
    asyncio.run(run(records, work, output, at_once=settings.at_once, failures=settings.failures))


def _uniform(settings: Settings, source: Path, output: Output) -> None:
    uniform(read_records(source, PAIR), output, answers=settings.answers)


class _Chat(ChatEngine):
    """A chat engine without a system instruction: these prompts state the task themselves."""

    instruction = ""


@contextmanager
def _model(settings: Settings) -> Iterator[Model]:
    if not settings.base_url:
        raise UserError("this step asks a model: --set base_url=http://HOST:PORT, a chat server, and model=NAME")
    engine = _Chat.open(settings.base_url, model=settings.model, slots=settings.at_once, patience=600.0)
    try:
        yield Model(engine, settings.temperature, settings.max_tokens)
    finally:
        engine.close()


STEPS: dict[str, Callable[[Settings, Path, Output], None]] = {
    "extract": _extract,
    "segment": _segment,
    "translate": _translate,
    "realign": _realign,
    "uniform": _uniform,
}

if __name__ == "__main__":
    run_recipe(main)
