"""Extract the text of the pages of PDFs and images, and refuse a page whose text would lose what its formulas say.

A text layer is used where it holds no formula and the rendered page shows the same letters; else OCR, where the page shows no
formula and the OCR is sure of every line. The rest goes to a back end that reads formulas, or is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.data.cot import glyph_formulas, image_formulas
from sctir_kaggle.recipes.data.cot.backends import Backend, Recognized, has_formula, lacks_power
from sctir_kaggle.recipes.data.cot.documents import Look, pages_of
from sctir_kaggle.recipes.data.cot.layer import disagreement, in_alphabet, readable
from sctir_kaggle.recipes.data.cot.ocr import Reader, load_reader
from sctir_kaggle.recipes.data.cot.records import Output, Record, Rejected
from sctir_kaggle.types import EngineError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Rules:
    """When a page is read how."""

    dpi: int = 200
    """Resolution at which a PDF's page is rendered, in dots per inch."""
    check_layer: bool = True
    """Compare each text layer with the OCR of its rendered page, and look for formulas that are drawn."""
    ocr_confidence: float = 0.8
    """The least confidence of a page's least certain line, 0 to 1."""
    formula_confidence: float = 0.8
    """The least confidence of the back end, where it gives one, 0 to 1."""
    formula_pages: int | None = None
    """Most pages to send to the back end; None sends all that need it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """A page that only a back end for formulas can read: why, and what of it must be in the back end's text."""

    image: Image
    reason: str
    formula: bool
    powers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Counts:
    """Pages of this run: `read` by what, `sent` to the back end, `refused` for what kind of reason."""

    read: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """All counts, on one line."""
        read = ", ".join(f"{count} by {name}" for name, count in self.read.items()) or "none"
        refused = ", ".join(f"{count} {name}" for name, count in self.refused.items()) or "none"
        return f"pages read: {read}; sent to a formula back end: {self.sent}; refused: {refused}"


NO_BACKEND = "and nothing to read them with: --set formulas=mathpix, or mineru, marker, docling, olmocr"


Load = Callable[[], Reader]


class Extraction:
    """Reads pages by `rules` into `output`. The OCR is loaded when a page first needs it."""

    def __init__(self, output: Output, load: Load = load_reader, rules: Rules | None = None) -> None:
        self.output, self.rules, self.counts = output, rules or Rules(), Counts()
        self.backend: Backend | None = None
        self.by = ""
        self._reader = cache(load)
        self._waiting: list[tuple[Record, Needs]] = []

    def use(self, backend: Backend, name: str) -> None:
        """Send the pages that need it to this back end, whose `name` they get as `by`."""
        self.backend, self.by = backend, name

    def run(self, documents: Mapping[str, Path]) -> Counts:
        """Write a record for each page that can be read; reject the others with the reason.

        A record's fields: `id` "name#page", `document`, `page` from 1, `pages` in the document, `text`, `by` ("text layer",
        "ocr" or the back end's name), `sure`, the mean confidence, None for a text layer. Raises `EngineError` where the back
        end fails; what was read stays.
        """
        for document, path in documents.items():
            try:
                for number, count, look in pages_of(path, self.rules.dpi):
                    page = {"id": f"{document}#{number}", "document": document, "page": number, "pages": count}
                    if page["id"] not in self.output.done:
                        self._take(page, look)
            except Rejected as error:
                self._refuse({"id": document}, str(error), "unreadable")
        self._flush()
        return self.counts

    def _take(self, page: Record, look: Look) -> None:
        try:
            found = self._read(look)
        except Rejected as error:
            self._refuse(page, str(error), "unreadable")
            return
        if isinstance(found, dict):
            self._add(page, found)
            return
        kind = "with formulas" if found.formula else "unsure"
        if self.backend is None:
            self._refuse(page, f"{found.reason}, {NO_BACKEND}", kind)
        elif self.rules.formula_pages is not None and self.counts.sent + len(self._waiting) >= self.rules.formula_pages:
            self._refuse(page, f"{found.reason}; formula_pages={self.rules.formula_pages} were sent already", kind)
        else:
            self._waiting.append((page, found))
            if len(self._waiting) >= self.backend.batch:
                self._flush()

    def _read(self, look: Look) -> Record | Needs:
        """The page's text with its source, or why it needs a back end."""
        text, glyphs, image = look()
        doubt = ""
        if readable(text):
            found = glyph_formulas.formulas_in(glyphs)
            if found.reasons:
                return Needs(image(), _formulas(found.reasons), True, tuple(found.powers))
            if not self.rules.check_layer:
                return {"text": text, "by": "text layer", "sure": None}
        picture = image()
        seen = self._reader()(picture)
        if readable(text):
            doubt = disagreement(text, seen.text) or ""
            if doubt and not in_alphabet(text):
                return Needs(picture, doubt, False)
        if drawn := image_formulas.formulas_in(picture, seen.pieces):
            return Needs(picture, _formulas(drawn), True)
        if readable(text) and not doubt:
            return {"text": text, "by": "text layer", "sure": None}
        if seen.weakest is not None and seen.weakest.sure < self.rules.ocr_confidence:
            unsure = f"the OCR's confidence is {seen.weakest.sure:.2f} at {seen.weakest.text[:60]!r}"
            return Needs(picture, f"{doubt}; {unsure}" if doubt else unsure, False)
        return {"text": seen.text, "by": "ocr", "sure": round(seen.sure, 4)}

    def _flush(self) -> None:
        """Send what waits to the back end."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self.backend is None:
            return
        self.counts.sent += len(waiting)
        ended: EngineError | None = None
        for (page, needs), answer in zip(
            waiting, self.backend.read([needs.image for _, needs in waiting]), strict=True
        ):
            if isinstance(answer, EngineError):
                ended = ended or answer
            elif (reason := self._fault(needs, answer)) is not None:
                self._refuse(page, f"{needs.reason}; {reason}", "by the back end")
            elif isinstance(answer, Recognized):
                self._add(page, {"text": answer.text, "by": self.by, "sure": answer.sure})
        if ended is not None:
            raise ended

    def _fault(self, needs: Needs, answer: Recognized | Rejected) -> str | None:
        """Why the back end's answer is not taken; None where it is."""
        if isinstance(answer, Rejected):
            return str(answer)
        if answer.sure is not None and answer.sure < self.rules.formula_confidence:
            return f"{self.by}'s confidence is {answer.sure:.2f}, less than formula_confidence"
        if needs.formula and not has_formula(answer.text):
            return f"{self.by}'s text has no formula"
        if lost := lacks_power(answer.text, needs.powers):
            return f"{self.by}'s text lacks {lost}"
        return None

    def _add(self, page: Record, found: Record) -> None:
        self.output.add({**page, **found})
        self.counts.read[found["by"]] += 1

    def _refuse(self, page: Record, reason: str, kind: str) -> None:
        self.output.reject(page, reason)
        self.counts.refused[kind] += 1


def _formulas(reasons: Sequence[str]) -> str:
    more = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return f"formulas ({', '.join(reasons[:2])}{more})"
