"""HTML for a notebook's outputs. Text of models, problems and programs is escaped: it is never markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

PRE = (
    "margin:0.3em 0;padding:0.5em 0.7em;background:#f6f6f6;color:#1a1a1a;border-radius:3px;white-space:pre-wrap;"
    "overflow-wrap:anywhere;font-size:90%;line-height:1.35;text-align:left"
)

SHORT = 30
"""A table cell of at most this many characters is not broken into lines."""

LONGEST = 6000
"""Characters of a text that are shown: of a longer one its beginning and its end."""


def text(written: str) -> str:
    """Return prose, in which the notebook typesets LaTeX between dollars; line breaks are kept, a long text is cut."""
    return f'<div style="white-space:pre-wrap;max-width:60em">{html.escape(cut(written), quote=False)}</div>'


def pre(written: str) -> str:
    """Return preformatted text, in full."""
    return f'<pre style="{PRE}">{html.escape(written, quote=False)}</pre>'


def python(code: str) -> str:
    """Return highlighted Python source, in full."""
    from pygments import highlight  # type: ignore[import-untyped,unused-ignore]
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped,unused-ignore]
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped,unused-ignore]

    coloured: str = highlight(code, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=True, style="default"))
    return f'<pre style="{PRE}">{coloured}</pre>'


def details(summary: str, *content: str, opened: bool = False) -> str:
    """Return content that is collapsed until its summary is clicked."""
    shown = " open" if opened else ""
    head = f'<summary style="cursor:pointer">{html.escape(summary, quote=False)}</summary>'
    return f'<details{shown} style="margin:0.3em 0">{head}{"".join(content)}</details>'


def heading(title: str) -> str:
    """Return a small heading."""
    return f'<div style="font-weight:bold;margin:0.8em 0 0.2em">{html.escape(title, quote=False)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """Return a table; the columns named in `right` are aligned to the right."""
    sides = ["right" if column in right else "left" for column in columns]
    head = "".join(_cell("th", column, side) for column, side in zip(columns, sides, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, side) for cell, side in zip(row, sides, strict=True))}</tr>" for row in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def cut(written: str, longest: int = LONGEST) -> str:
    """Return the text, without its middle if it is longer than `longest` characters."""
    if len(written) <= longest:
        return written
    left_out = len(written) - longest
    return f"{written[: longest // 2]}\n[... {left_out:,} characters ...]\n{written[-longest // 2 :]}"


def _cell(kind: str, content: str, side: str) -> str:
    wrapped = "white-space:nowrap" if len(content) <= SHORT else "overflow-wrap:anywhere"
    style = f"text-align:{side};padding:0.15em 0.7em;vertical-align:top;{wrapped}"
    return f'<{kind} style="{style}">{html.escape(content, quote=False)}</{kind}>'
