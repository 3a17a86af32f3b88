"""The page's own files and those of KaTeX, as text that goes into the page: style sheets with their fonts, scripts."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from sctir_kaggle.types import UserError

FOLDER = Path(__file__).parent
KATEX = FOLDER / "vendor" / "katex"

SCRIPTS = ("dom.js", "text.js", "charts.js", "candidates.js", "problem.js", "list.js", "page.js")
"""In the order in which they run; each adds functions for those that follow."""

_SOURCES = re.compile(r"src:url\(fonts/([\w-]+\.woff2)\) format\(\"woff2\"\)[^;}]*")


def template() -> str:
    """The page with gaps in double braces."""
    return _read(FOLDER / "page.html")


def style() -> str:
    """KaTeX's style sheet with the fonts inside that are here (a notebook's wheel has seven), then the page's."""
    fonts = _SOURCES.sub(lambda found: _font(found[1]), _read(KATEX / "katex.min.css"))
    return f"{fonts}\n{_read(FOLDER / 'page.css')}"


def script() -> str:
    """KaTeX, then the page's scripts, which share one strict scope."""
    own = "\n".join(_read(FOLDER / name) for name in SCRIPTS)
    return f'{_read(KATEX / "katex.min.js")}\n(() => {{\n"use strict";\n{own}\n}})();'


def _font(name: str) -> str:
    """The font itself; nothing where it is left out, and a face without a source is one that a browser passes over."""
    if not (KATEX / "fonts" / name).is_file():
        return ""
    data = base64.b64encode((KATEX / "fonts" / name).read_bytes()).decode()
    return f'src:url(data:font/woff2;base64,{data}) format("woff2")'


def _read(path: Path) -> str:
    """The text of a file that comes with the package."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing: install the whole package anew (pip install sctir-kaggle, or a checkout)"
        ) from None
