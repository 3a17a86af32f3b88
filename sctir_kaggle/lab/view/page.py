"""Write a run as one HTML file. It holds everything that it shows and may load nothing: its own policy forbids it.

Model output is never markup: all data is gzipped JSON in base64, unpacked by the page's script when a problem is opened and
inserted as text. The content security policy allows only the scripts written here (by their SHA-256), no style attributes,
no requests, and no string to become HTML (Trusted Types, in browsers that have them).
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sctir_kaggle.journal import read_faults, read_header
from sctir_kaggle.lab.clock import recorded_shares
from sctir_kaggle.lab.view.curves import curves
from sctir_kaggle.lab.view.problems import candidates, is_contested, problems
from sctir_kaggle.lab.view.tiles import ends, stops, tiles
from sctir_kaggle.types import SolveResult, UserError

TEXT_LIMIT = 100_000_000
"""Characters of packed texts on a page that a browser still opens. A problem that does not fit keeps its votes and says so."""

SHOWN_OF_HEADER = ("created", "version", "config", "engine", "machine", "seeds", "budget")

FOLDER = Path(__file__).parent
KATEX = FOLDER / "vendor" / "katex"

SCRIPTS = ("dom.js", "text.js", "charts.js", "candidates.js", "problem.js", "list.js", "page.js")
"""In the order in which they run; each adds functions for those that follow."""


def write_page(
    results: Sequence[SolveResult],
    headers: Sequence[Mapping[str, Any]],
    path: Path,
    *,
    title: str = "run",
    faults: Sequence[str] = (),
) -> None:
    """Write the page of `results`, in the order in which they were solved, to `path`; an existing file is replaced.

    `headers` are those of their journals. A problem may have several results, one per seed; a second one with the same seed
    is shown as another run's. `faults` are the lines of `journal.read_faults`. Raises `UserError` where the file cannot be
    written, or where this installation lacks the page's sources.
    """
    text = page(results, headers, title=title, faults=faults)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --output") from None


def write_view(journal: Path, results: Sequence[SolveResult]) -> Path:
    """Write the page of one run as `view.html` beside its journal, with every candidate of every problem; -> its path."""
    path = journal.with_name("view.html")
    write_page(results, [read_header(journal)], path, title="SC-TIR", faults=read_faults(journal))
    return path


def page(
    results: Sequence[SolveResult],
    headers: Sequence[Mapping[str, Any]],
    *,
    title: str = "run",
    faults: Sequence[str] = (),
) -> str:
    """The page of `write_page` as text."""
    style, script = style_sheet(), page_script()
    gaps = {
        "policy": _policy(style, script),
        "title": html.escape(title),
        "style": style,
        "index": _packed(_index(results, headers, title, faults)),
        "blocks": "\n".join(_blocks(results)),
        "script": script,
    }
    # Each gap is filled once, from left to right, so that a `{{` in what fills it is not taken for a gap.
    first, *parts = template().split("{{")
    filled = (gaps[name] + rest for name, _, rest in (part.partition("}}") for part in parts))
    return first + "".join(filled)


def _index(
    results: Sequence[SolveResult], headers: Sequence[Mapping[str, Any]], title: str, faults: Sequence[str]
) -> dict[str, Any]:
    """Everything that the page shows before a problem is opened."""
    return {
        "title": title,
        "runs": [{name: header.get(name) for name in SHOWN_OF_HEADER} for header in headers],
        "faults": list(faults),
        "tiles": tiles(results),
        "ends": ends(results),
        "stops": stops(results),
        "curves": curves(results, headers),
        "problems": problems(results, recorded_shares(results, headers)),
    }


def _blocks(results: Sequence[SolveResult]) -> list[str]:
    """A block of candidates for each result. Those that a reader looks for first are first to get room for their texts."""
    blocks = [""] * len(results)
    left = TEXT_LIMIT
    for number in sorted(range(len(results)), key=lambda number: _interest(results[number])):
        packed = _packed(candidates(results[number]))
        if len(packed) > left:
            packed = _packed(candidates(results[number], texts=False))
        left -= len(packed)
        blocks[number] = f'<script type="application/gzip" id="d{number}">{packed}</script>'
    return blocks


def _interest(result: SolveResult) -> int:
    """Sort key: 0 for a wrong or default answer, 1 for a contested vote, 2 for the rest."""
    return 0 if result.correct is False or result.fallback else 1 if is_contested(result) else 2


def _packed(value: object) -> str:
    """Gzipped JSON in base64, whose characters mean nothing to HTML. The same value gives the same text."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return base64.b64encode(gzip.compress(text, 6, mtime=0)).decode()


def _policy(style: str, script: str) -> str:
    """A content security policy: load nothing but the fonts in the style sheet, run nothing but this page's script."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(script)}'",
            f"style-src '{_digest(style)}'",
            "font-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def template() -> str:
    """The page with gaps in double braces."""
    return _read(FOLDER / "page.html")


def style_sheet() -> str:
    """KaTeX's style sheet with its fonts embedded, as far as they are installed (a notebook's wheel has seven), then ours."""
    sources = r"src:url\(fonts/([\w-]+\.woff2)\) format\(\"woff2\"\)[^;}]*"
    fonts = re.sub(sources, lambda found: _font(found[1]), _read(KATEX / "katex.min.css"))
    return f"{fonts}\n{_read(FOLDER / 'page.css')}"


def page_script() -> str:
    """KaTeX, then the page's scripts, which share one strict scope."""
    own = "\n".join(_read(FOLDER / name) for name in SCRIPTS)
    return f'{_read(KATEX / "katex.min.js")}\n(() => {{\n"use strict";\n{own}\n}})();'


def _font(name: str) -> str:
    """The font as a data URL; empty where it is not installed: a browser ignores a font face without a source."""
    if not (KATEX / "fonts" / name).is_file():
        return ""
    data = base64.b64encode((KATEX / "fonts" / name).read_bytes()).decode()
    return f'src:url(data:font/woff2;base64,{data}) format("woff2")'


def _read(path: Path) -> str:
    """Read a file of the package. Raises `UserError` where the installation lacks it."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: reinstall the whole package (pip install sctir-kaggle, or a checkout)"
        ) from None
