"""Read pages by a program on this machine: MinerU, Marker, docling or olmOCR, started once for many pages.

They are programs and not imports since their libraries exclude each other's and ours (Marker 2.0 wants Pillow below 11, MinerU
4.0 at least 11): each belongs into an environment of its own. All of them fetch models from a hub when first used.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.recipes.data.cot.backends import Answer, Backend, Options, Recognized
from sctir_kaggle.recipes.data.cot.records import Rejected
from sctir_kaggle.types import EngineError, UserError

if TYPE_CHECKING:
    from PIL.Image import Image

Command = Callable[[Path, Path, "list[Path]"], "list[str]"]
"""The arguments, from the folder of the pages, the folder of the output, and the pages: PDFs of one page each."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A program's name, what to install for it, its arguments, and where in the output folder a page's Markdown is."""

    program: str
    package: str
    arguments: Command
    markdown: Callable[[Path, Path], Path]


def _marker(pages: Path, output: Path, _: list[Path]) -> list[str]:
    fixed = ["--output_format", "markdown", "--mode", "balanced", "--force_ocr", "--disable_image_extraction"]
    return [str(pages), "--output_dir", str(output), *fixed]


def _mineru(_: Path, output: Path, pages: list[Path]) -> list[str]:
    return ["parse", *map(str, pages), "-o", str(output), "--tier", "standard", "--ocr-mode", "ocr"]


def _docling(_: Path, output: Path, pages: list[Path]) -> list[str]:
    fixed = ["--to", "md", "--enrich-formula", "--image-export-mode", "placeholder"]
    return [*fixed, "--output", str(output), *map(str, pages)]


def _olmocr(_: Path, output: Path, pages: list[Path]) -> list[str]:
    return [str(output), "--markdown", "--pdfs", *map(str, pages)]


def _beside(output: Path, page: Path) -> Path:
    return output / f"{page.stem}.md"


def _in_folder(output: Path, page: Path) -> Path:
    return output / page.stem / f"{page.stem}.md"


def _whole_path(output: Path, page: Path) -> Path:
    return output / "markdown" / page.relative_to(page.anchor).with_suffix(".md")


PROGRAMS = {
    "mineru": Kind("mineru-kit", "mineru>=4", _mineru, _beside),
    "marker": Kind("marker", "marker-pdf>=2", _marker, _in_folder),
    "docling": Kind("docling", "docling", _docling, _beside),
    "olmocr": Kind("olmocr", "olmocr[gpu]", _olmocr, _whole_path),
}


@dataclass(frozen=True, slots=True)
class Program:
    """A back end that is a program. Gives no confidence."""

    kind: Kind
    path: str
    arguments: tuple[str, ...] = ()
    batch: int = 32

    @classmethod
    def opened(cls, options: Options, *, name: str) -> Program:
        """Find the program. Raises `UserError` where it is not there."""
        kind = PROGRAMS[name]
        path = shutil.which(options.program or kind.program)
        if path is None:
            raise UserError(
                f"{name} is not installed ({options.program or kind.program} is not there): pip install '{kind.package}' in an "
                "environment of its own, then --set formula_program=PATH"
            )
        return cls(kind, path, options.arguments)

    def read(self, pages: Sequence[Image]) -> list[Answer]:
        """The answers in order; all are `EngineError` where the program fails and has written none."""
        with tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder).resolve() / "pages", Path(folder).resolve() / "output"
            source.mkdir()
            output.mkdir()
            files = [source / f"{number}.pdf" for number in range(len(pages))]
            for page, file in zip(pages, files, strict=True):
                page.convert("RGB").save(file, resolution=page.info.get("dpi", (200, 200))[0])
            command = [self.path, *self.kind.arguments(source, output, files), *self.arguments]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
            read: list[Answer] = [self._page(self.kind.markdown(output, file)) for file in files]
        if done.returncode and not any(isinstance(one, Recognized) for one in read):
            said = " ".join((done.stderr or done.stdout).split())[-200:]
            return [
                EngineError(f"{self.kind.program} ended with status {done.returncode}: {said or 'it said nothing'}")
            ] * len(files)
        return read

    def _page(self, file: Path) -> Answer:
        try:
            return Recognized(file.read_text(encoding="utf-8").strip())
        except FileNotFoundError:
            return Rejected(f"{self.kind.program} wrote nothing for this page")


def _opener(name: str) -> Callable[[Options], Backend]:
    return partial(Program.opened, name=name)


KINDS = {name: _opener(name) for name in PROGRAMS}
