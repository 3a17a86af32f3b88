"""Extract the text of the pages of PDFs and images, and refuse a page whose text would lose what its formulas say.

A text layer is used where it holds no formula and the rendered page shows the same letters and numbers; without a layer, OCR
is, where the page shows no formula and the OCR is sure of every line. The rest goes to a back end that reads formulas, or is
refused. Not covered: formulas in a document that neither glyphs nor ink betray, such as powers written as 10^3 or 10**3.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.data.cot.documents import Look, Page, pages_of
from sctir_kaggle.recipes.data.cot.formulas import glyphs, ink
from sctir_kaggle.recipes.data.cot.formulas.backend import Backend, Recognized, has_formula, lacks_power
from sctir_kaggle.recipes.data.cot.layer import disagreement, in_alphabet, is_chinese, lacks, readable, wrong_digits
from sctir_kaggle.recipes.data.cot.ocr import Reader, Seen, load_reader
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
    """A page that a back end must read: why, and what of it must be in the back end's text."""

    image: Image
    reason: str
    kind: str
    powers: tuple[tuple[str, str], ...] = ()


FORMULAS, MAP, UNSURE = "with formulas", "with a wrong glyph map", "with an OCR that is not sure"
"""Why a page needs a back end."""


@dataclass(slots=True)
class Statistics:
    """Pages: `read`, by what, in the whole output; of this run, those `sent` to the back end, and `refused`, by why."""

    read: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    refused: Counter[str] = field(default_factory=Counter)

    def line(self) -> str:
        """All counts, on one line."""
        read = ", ".join(f"{count} by {name}" for name, count in self.read.items()) or "none"
        refused = ", ".join(f"{count} {name}" for name, count in self.refused.items()) or "none"
        return f"pages read: {read}; sent to a formula back end: {self.sent}; refused: {refused}"

    def write(self, path: Path, **more: float) -> None:
        """Write them as JSON."""
        counts = {"read": self.read, "sent": self.sent, "refused": self.refused, **more}
        path.write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


NO_BACKEND = "and nothing to read them with: --set formulas=mathpix, or mineru, marker, docling, olmocr"


Load = Callable[[], Reader]


class Extraction:
    """Reads pages by `rules` into `output`. `load`, the OCR's, is called late.

    `backend` is a back end with its name, and the output for those of its answers that are not taken: what was paid for once
    is judged again in a later run, by its rules, and not sent again.
    """

    def __init__(
        self,
        output: Output,
        rules: Rules,
        backend: tuple[str, Backend, Output] | None = None,
        load: Load = load_reader,
    ) -> None:
        self.output, self.rules = output, rules
        self.by, self.backend, self._kept = "", None, None
        if backend:
            self.by, self.backend, self._kept = backend
        self.statistics = Statistics(Counter(str(record.get("by")) for record in output.records()))
        self._answers = {record["id"]: record for record in self._kept.records()} if self._kept else {}
        self._most = math.inf if rules.formula_pages is None else rules.formula_pages
        self._load = load
        self._waiting: list[tuple[Record, Needs]] = []

    def run(self, documents: Mapping[str, Path]) -> None:
        """Write a record for each page that can be read; reject the others with the reason.

        A record's fields: `id` "name#page", `document`, `page` from 1, `pages` in the document, `text`, `by` ("text layer",
        "ocr" or the back end's name), `sure`, the mean confidence, None for a text layer. Raises `EngineError` where the back
        end fails; what was read stays. A kill loses the pages that wait for the back end, `batch` at most.
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

    def _take(self, page: Record, look: Look) -> None:
        try:
            found = self._read(look)
        except Rejected as error:
            self._refuse(page, str(error), "unreadable")
            return
        if isinstance(found, dict):
            self._add(page, found)
        elif self.backend is None:
            self._refuse(page, f"{found.reason}, {NO_BACKEND}", found.kind)
        elif known := self._answers.get(self._key(page)):
            self._judge(page, found, Recognized(known["text"], known["sure"]))
        elif self.statistics.sent + len(self._waiting) >= self._most:
            self._refuse(page, f"{found.reason}; formula_pages={self._most} were sent already", found.kind)
        else:
            self._waiting.append((page, found))
            if len(self._waiting) >= self.backend.batch:
                self._flush()

    def _key(self, page: Record) -> str:
        return f"{page['id']} by {self.by} at {self.rules.dpi}"

    def _read(self, look: Look) -> Record | Needs:
        """The page's text with its source, or why it needs a back end."""
        page = look()
        if not readable(page.text):
            picture = page.image()
            return self._by_ocr(picture, self._load()(picture), "")
        if found := glyphs.formulas_in(page.glyphs):
            return self._with_formulas(page.text, found, page.image())
        if not self.rules.check_layer:
            return {"text": page.text, "by": "text layer", "sure": None}
        return self._checked(page, page.image())

    def _checked(self, page: Page, picture: Image) -> Record | Needs:
        """The page's text layer, if the rendered page says the same, and no formula is drawn on it."""
        seen = self._load()(picture)
        if doubt := disagreement(page.text, seen.text):
            if self.backend is None and in_alphabet(page.text):
                return self._by_ocr(picture, seen, f"{doubt}; ")
            return Needs(picture, doubt, MAP)
        if page.drawn and in_alphabet(page.text) and not is_chinese(page.text):
            part, pieces = ink.within(picture, seen.pieces, page.drawn)
            if drawn := ink.examine(part, pieces).formulas:
                return Needs(picture, _formulas(drawn), FORMULAS)
            if lacks(page.text, " ".join(piece.text for piece in pieces)):
                return self._by_ocr(picture, seen, "the page shows text that its layer lacks; ")
        return {"text": page.text, "by": "text layer", "sure": None}

    def _with_formulas(self, text: str, found: glyphs.Formulas, picture: Image) -> Needs:
        """The powers are to be in the back end's text, unless the layer's digits are not those of the rendered page."""
        powers = found.powers if self.backend else []
        if powers and self.rules.check_layer and wrong_digits(text, self._load()(picture).text):
            powers = []
        return Needs(picture, _formulas(found.reasons), FORMULAS, tuple(powers))

    def _by_ocr(self, picture: Image, seen: Seen, doubt: str) -> Record | Needs:
        """What the OCR has seen, if nothing speaks against it; `doubt` is why the page's text layer was not used."""
        if is_chinese(seen.text):
            return Needs(picture, f"{doubt}among the parts of Chinese characters a formula is not told", UNSURE)
        drawn = ink.examine(picture, seen.pieces)
        if drawn.unread is not None:
            return Needs(picture, f"{doubt}the OCR left out {drawn.unread}", UNSURE)
        if drawn.formulas:
            return Needs(picture, doubt + _formulas(drawn.formulas), FORMULAS)
        if seen.weakest is not None and seen.weakest.sure < self.rules.ocr_confidence:
            unsure = f"the OCR's confidence is {seen.weakest.sure:.2f} at {seen.weakest.text[:60]!r}"
            return Needs(picture, doubt + unsure, UNSURE)
        return {"text": seen.text, "by": "ocr", "sure": round(seen.sure, 4)}

    def _flush(self) -> None:
        """Send what waits to the back end."""
        waiting, self._waiting = self._waiting, []
        if not waiting or self.backend is None:
            return
        self.statistics.sent += len(waiting)
        ended: EngineError | None = None
        answers = self.backend.read([needs.image for _, needs in waiting])
        for (page, needs), answer in zip(waiting, answers, strict=True):
            if isinstance(answer, EngineError):
                ended = ended or answer
            else:
                self._judge(page, needs, answer)
        if ended is not None:
            raise ended

    def _judge(self, page: Record, needs: Needs, answer: Recognized | Rejected) -> None:
        """Take the back end's answer, or refuse the page."""
        if isinstance(answer, Rejected):
            self._refuse(page, f"{needs.reason}; {answer}", f"that {self.by} did not read")
        elif (fault := self._fault(needs, answer)) is not None:
            if self._kept is not None and self._key(page) not in self._kept.done:
                self._kept.add({"id": self._key(page), "text": answer.text, "sure": answer.sure})
            self._refuse(page, f"{needs.reason}; {fault}", f"whose answer of {self.by} was not taken")
        else:
            self._add(page, {"text": answer.text, "by": self.by, "sure": answer.sure})

    def _fault(self, needs: Needs, answer: Recognized) -> str | None:
        """Why the back end's answer is not taken; None where it is."""
        if answer.sure is not None and answer.sure < self.rules.formula_confidence:
            return f"{self.by}'s confidence is {answer.sure:.2f}, less than formula_confidence"
        if needs.kind == FORMULAS and not has_formula(answer.text):
            return f"{self.by}'s text has no formula"
        if lost := lacks_power(answer.text, needs.powers):
            return f"{self.by}'s text lacks {lost}"
        return None

    def _add(self, page: Record, found: Record) -> None:
        self.output.add({**page, **found})
        self.statistics.read[found["by"]] += 1

    def _refuse(self, page: Record, reason: str, kind: str) -> None:
        self.output.reject(page, reason)
        self.statistics.refused[kind] += 1


def _formulas(reasons: Sequence[str]) -> str:
    more = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
    return f"formulas ({', '.join(reasons[:2])}{more})"
