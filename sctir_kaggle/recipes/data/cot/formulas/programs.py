"""Read pages by a program on this machine: MinerU, Marker, docling or olmOCR, started once for many pages.

They are programs and not imports since their libraries exclude each other's and ours (Marker 2.0 wants Pillow below 11, MinerU
4.0 at least 11): each belongs in an environment of its own. All fetch models from a hub when first used. Arguments and places
of the output are those of the released packages: mineru 4.0.12 (kit/commands/parse.py), marker-pdf 2.0.0 (scripts/convert.py,
config/parser.py), docling 2.143 (cli/main.py; its VLM pipeline, since the standard one enriches displayed formulas only),
olmocr 0.4.27 (pipeline.py, get_markdown_path).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.data.cot.formulas.backend import Answer, Recognized
from sctir_kaggle.recipes.data.cot.records import Rejected
from sctir_kaggle.types import EngineError, UserError

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Kind:
    """A program's name, what to install for it, its arguments, and where a page's Markdown is in the output folder.

    The arguments are made from the output folder and the pages, PDFs of one page each in a folder of their own.
    """

    program: str
    package: str
    arguments: Callable[[Path, Sequence[Path]], list[str]]
    markdown: Callable[[Path, Path], Path]


def _mineru(output: Path, pages: Sequence[Path]) -> list[str]:
    return ["parse", *map(str, pages), "-o", str(output), "--tier", "standard", "--ocr-mode", "ocr"]


def _marker(output: Path, pages: Sequence[Path]) -> list[str]:
    options = ["--output_format", "markdown", "--mode", "balanced", "--force_ocr", "--disable_image_extraction"]
    return [str(pages[0].parent), "--output_dir", str(output), *options]


def _docling(output: Path, pages: Sequence[Path]) -> list[str]:
    options = [
        "--to",
        "md",
        "--pipeline",
        "vlm",
        "--vlm-model",
        "granite_docling",
        "--image-export-mode",
        "placeholder",
    ]
    return [*options, "--output", str(output), *map(str, pages)]


def _olmocr(output: Path, pages: Sequence[Path]) -> list[str]:
    return [str(output), "--markdown", "--pdfs", *map(str, pages)]


PROGRAMS = {
    "mineru": Kind("mineru-kit", "mineru>=4", _mineru, lambda output, page: output / f"{page.stem}.md"),
    "marker": Kind("marker", "marker-pdf>=2", _marker, lambda output, page: output / page.stem / f"{page.stem}.md"),
    "docling": Kind("docling", "docling", _docling, lambda output, page: output / f"{page.stem}.md"),
    "olmocr": Kind(
        *("olmocr", "olmocr[gpu]", _olmocr),
        lambda output, page: output / "markdown" / page.relative_to(page.anchor).with_suffix(".md"),
    ),
}


WIDTH = 8.27
"""Of the PDFs' pages in inches: that of A4, whatever resolution an image says it has."""


@dataclass(frozen=True, slots=True)
class Program:
    """A back end that is a program; it gives no confidence. It is killed when it takes longer than `limit` seconds."""

    kind: Kind
    path: str
    arguments: tuple[str, ...] = ()
    limit: float = 3600.0
    batch: int = 32

    @classmethod
    def open(cls, name: str, program: Path | None, arguments: tuple[str, ...], limit: float) -> Program:
        """Find the program, on PATH where none is given. Raises `UserError` where it is not there."""
        kind = PROGRAMS[name]
        path = shutil.which(program or kind.program)
        if path is None:
            raise UserError(
                f"{name} is not installed ({program or kind.program} is no program here): pip install '{kind.package}' in an "
                "environment of its own, then --set formula_program=PATH"
            )
        return cls(kind, path, arguments, limit)

    def read(self, pages: Sequence[Image]) -> list[Answer]:
        """The answers in order; `EngineError` for what is left where the program failed twice and wrote nothing.

        Where it failed and left pages out, the first of them is blamed, and the program started again with the others.
        """
        answers: dict[int, Answer] = {}
        fruitless = 0
        while left := [number for number in range(len(pages)) if number not in answers]:
            written, failure = self._run({number: pages[number] for number in left})
            answers |= written
            missing = [number for number in left if number not in written]
            if failure is None:
                answers |= {number: Rejected(f"{self.kind.program} wrote nothing for this page") for number in missing}
                continue
            fruitless = 0 if written else fruitless + 1
            if fruitless == 2 or (fruitless and len(pages) == 1):
                answers |= {number: EngineError(failure) for number in missing}
            elif missing:
                answers[missing[0]] = Rejected(failure)
        return [answers[number] for number in range(len(pages))]

    def _run(self, pages: dict[int, Image]) -> tuple[dict[int, Answer], str | None]:
        """What the program wrote, by page, and how it failed, None where it did not."""
        with tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder).resolve() / "pages", Path(folder).resolve() / "output"
            source.mkdir()
            output.mkdir()
            files = {number: source / f"{number}.pdf" for number in pages}
            for number, page in pages.items():
                page.convert("RGB").save(files[number], resolution=page.width / WIDTH)
            failure = self._start([self.path, *self.kind.arguments(output, [*files.values()]), *self.arguments])
            found = {number: self.kind.markdown(output, file) for number, file in files.items()}
            read = {
                number: file.read_text("utf-8", "replace").strip() for number, file in found.items() if file.exists()
            }
            return {number: Recognized(text) for number, text in read.items()}, failure

    def _start(self, command: list[str]) -> str | None:
        """Run to the end; how it failed, None where it did not."""
        with tempfile.TemporaryFile() as said:
            options = {"stdin": subprocess.DEVNULL, "stdout": said, "stderr": subprocess.STDOUT}
            try:
                process = subprocess.Popen(command, start_new_session=True, **options)  # type: ignore[call-overload]
            except OSError as error:
                return f"{self.path} cannot be started: {error.strerror}"
            try:
                status = process.wait(self.limit)
            except subprocess.TimeoutExpired:
                return f"{self.kind.program} took longer than formula_seconds={self.limit:g} and was ended"
            finally:  # with the servers that it started, also where the user ends this step
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            said.seek(0)
            last = " ".join(said.read().decode("utf-8", "replace").split())[-200:]
            return f"{self.kind.program} ended with status {status}: {last or 'it said nothing'}" if status else None
