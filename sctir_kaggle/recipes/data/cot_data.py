"""Make chain-of-thought rows from documents: `python -m sctir_kaggle.recipes.data.cot_data STEP --config cot_data.yaml`.

Steps, in order: extract (PDF or image -> text), segment (-> problem and solution), translate (-> English), realign (-> chain
of thought, boxed answer), uniform (-> rows). Each reads the output of the one before, skips what its own output has, and
writes failures beside it with the reason. `extract` refuses a page whose formulas it cannot read, and counts pages in
`pages.statistics.json`. Not covered: the right to use a document.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sctir_kaggle.engines.openai_chat import ChatEngine
from sctir_kaggle.recipes.data.cot import pairs, rewriting
from sctir_kaggle.recipes.data.cot.asking import Model, Work, run
from sctir_kaggle.recipes.data.cot.documents import documents_in
from sctir_kaggle.recipes.data.cot.formulas.backend import Backend
from sctir_kaggle.recipes.data.cot.formulas.mathpix import Mathpix
from sctir_kaggle.recipes.data.cot.formulas.programs import Program
from sctir_kaggle.recipes.data.cot.pages import Extraction, Rules
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
    check_layer: bool = True
    """extract: compare a text layer with the OCR of its page, and look there for formulas that are drawn."""
    ocr_confidence: float = 0.8
    """extract: the least confidence of a page's least certain line; below, the page is sent to `formulas` or refused."""
    formulas: Literal["mathpix", "mineru", "marker", "docling", "olmocr"] | None = None
    """extract: the back end that reads pages with formulas; null refuses them."""
    formula_confidence: float = 0.8
    """extract: the least confidence of its answer, where it gives one; below, the page is refused."""
    formula_pages: int | None = None
    """extract: most pages that a run sends to it; null sends all that need it."""
    formula_url: str | None = None
    """extract: the address of Mathpix's API, where it is another. Keys: MATHPIX_APP_ID, MATHPIX_APP_KEY in the environment."""
    formula_program: Path | None = None
    """extract: the program, where it is not on PATH."""
    formula_arguments: tuple[str, ...] = ()
    """extract: further arguments for the program."""
    formula_seconds: float = 3600.0
    """extract: a start of the program, for 32 pages at most, is ended after so long."""
    page_price: float = 0.0
    """extract: what a page that is sent costs, for the statistics."""
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
        for name in ("ocr_confidence", "formula_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        if self.formula_pages is not None and self.formula_pages < 0:
            raise UserError(f"formula_pages is {self.formula_pages}; it must be at least 0, or null")
        if not self.formula_seconds > 0:
            raise UserError(f"formula_seconds is {self.formula_seconds}; it must be above 0")
        if not self.page_price >= 0:
            raise UserError(f"page_price is {self.page_price}; it must be at least 0")


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

    Raises `UserError` for files that cannot be read or written, `EngineError` where the servers are gone; finished records
    are kept.
    """
    source, target = files_of(step, settings)
    try:
        with Output(target) as output:
            STEPS[step](settings, source, output)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"cannot write {target}: {error.strerror}; make room and start the step again, it goes on"
        ) from None
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
    names = ("dpi", "check_layer", "ocr_confidence", "formula_confidence", "formula_pages")
    rules = Rules(**{name: getattr(settings, name) for name in names})
    backend = _backend(settings)
    with ExitStack() as stack:
        kept = backend and stack.enter_context(Output(output.path.with_suffix(".answers.jsonl")))
        extraction = Extraction(output, rules, (*backend, kept) if backend and kept else None)
        try:
            extraction.run(documents_in(settings.documents))
        finally:
            counts = extraction.statistics
            cost = settings.page_price * counts.sent
            counts.write(output.path.with_suffix(".statistics.json"), cost=cost)
            output.notes.append(counts.line() + (f"; cost {cost:,.2f}" if cost else ""))


def _backend(settings: Settings) -> tuple[str, Backend] | None:
    name = settings.formulas
    if name is None:
        return None
    if name == "mathpix":
        return name, Mathpix.open(settings.formula_url)
    return name, Program.open(name, settings.formula_program, settings.formula_arguments, settings.formula_seconds)


def _segment(settings: Settings, source: Path, output: Output) -> None:
    records = read_records(source, ["text"])
    if settings.segmenter == "headings":
        pairs.segment(records, output)
        return
    begun = {
        name.rpartition(":")[0] for name in output.done
    }  # and finished: a document's pairs are written in one piece
    documents = ({"id": name, "pages": of} for name, of in pairs.by_document(records).items() if name not in begun)
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
