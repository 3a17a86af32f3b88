"""HTML for a notebook's outputs. Everything that a model, a problem or a program wrote is escaped; it is never markup."""

from __future__ import annotations

import ast
import html
import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import sctir_kaggle
from sctir_kaggle import answers, rollout, solver, voting
from sctir_kaggle.dialects import rendering, rows

PRE = (
    "margin:0.3em 0;padding:0.5em 0.7em;background:#f6f6f6;color:#1a1a1a;border-radius:3px;white-space:pre-wrap;"
    "overflow-wrap:anywhere;font-size:90%;line-height:1.35;text-align:left"
)

SHORT = 30
"""Characters of a table's cell that are not broken into lines."""

LONGEST = 6000
"""Characters of a text that are shown; of a longer one the beginning and the end."""


def text(written: str) -> str:
    """Prose, in which the notebook typesets LaTeX between dollars; line breaks are kept, a long one loses its middle."""
    return f'<div style="white-space:pre-wrap;max-width:60em">{html.escape(cut(written), quote=False)}</div>'


def pre(written: str) -> str:
    """Text as it is, in full."""
    return f'<pre style="{PRE}">{html.escape(written, quote=False)}</pre>'


def python(code: str) -> str:
    """Source with its colours, in full."""
    from pygments import highlight  # type: ignore[import-untyped,unused-ignore]
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped,unused-ignore]
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped,unused-ignore]

    coloured: str = highlight(code, PythonLexer(), HtmlFormatter(noclasses=True, nowrap=True, style="default"))
    return f'<pre style="{PRE}">{coloured}</pre>'


def details(summary: str, *content: str, opened: bool = False) -> str:
    """Collapsed until its summary is clicked."""
    shown = " open" if opened else ""
    head = f'<summary style="cursor:pointer">{html.escape(summary, quote=False)}</summary>'
    return f'<details{shown} style="margin:0.3em 0">{head}{"".join(content)}</details>'


def heading(title: str) -> str:
    """A small one."""
    return f'<div style="font-weight:bold;margin:0.8em 0 0.2em">{html.escape(title, quote=False)}</div>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> str:
    """A row each; the columns named in `right` are numbers."""
    sides = ["right" if column in right else "left" for column in columns]
    head = "".join(_cell("th", column, side) for column, side in zip(columns, sides, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, side) for cell, side in zip(row, sides, strict=True))}</tr>" for row in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def cut(written: str, longest: int = LONGEST) -> str:
    """`written` without its middle where it is longer."""
    if len(written) <= longest:
        return written
    left_out = len(written) - longest
    return f"{written[: longest // 2]}\n[... {left_out:,} characters ...]\n{written[-longest // 2 :]}"


def _cell(kind: str, content: str, side: str) -> str:
    wrapped = "white-space:nowrap" if len(content) <= SHORT else "overflow-wrap:anywhere"
    style = f"text-align:{side};padding:0.15em 0.7em;vertical-align:top;{wrapped}"
    return f'<{kind} style="{style}">{html.escape(content, quote=False)}</{kind}>'


PACKAGE = Path(sctir_kaggle.__file__).parent

SHOWN: tuple[tuple[str, ModuleType, str | None], ...] = (
    ("The prompt of NuminaMath's family: one row of the dialects", rows, "NUMINA"),
    ("How the prompt grows: problem, what the model wrote, what its code printed", rendering, None),
    ("The loop of one candidate: generate, run the code, append the output, until it has an answer", rollout, None),
    ("N candidates at once, a vote after each, an end as soon as it is decided", solver, None),
    ("The answer in the box, as an integer", answers, None),
    ("The vote", voting, None),
)
"""What it is, the module, and which assignment of it; None is all of it."""


def heart() -> str:
    """The source of prompt, loop and vote, each part collapsed, with its file."""
    return "".join(_part(*part) for part in SHOWN)


def tree() -> str:
    """Every module with what its docstring says first, collapsed."""
    lines = list(_lines())
    return details(f"All {len(lines)} modules, in {PACKAGE}", pre("\n".join(lines)))


def _part(title: str, module: ModuleType, name: str | None) -> str:
    source = inspect.getsource(module)
    place = Path(str(module.__file__)).relative_to(PACKAGE.parent)
    return details(f"{title}: {place}", python(_assigned(source, name) if name else source))


def _assigned(source: str, name: str) -> str:
    """The assignment to `name`."""
    [node] = [each for each in ast.parse(source).body if isinstance(each, ast.Assign) and _target(each) == name]
    return ast.get_source_segment(source, node) or ""


def _target(node: ast.Assign) -> str:
    return ast.unparse(node.targets[0])


def _lines() -> Iterator[str]:
    for path in sorted(PACKAGE.rglob("*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        yield f"{path.relative_to(PACKAGE)!s:32}  {' '.join(doc.partition(chr(10) * 2)[0].split())}".rstrip()
