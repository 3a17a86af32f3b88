"""The library's source, for a reader of the notebook: what makes an answer, in full, and where every file lies."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import sctir_kaggle
from sctir_kaggle import answers, rollout, solver, voting
from sctir_kaggle.dialects import rendering, rows
from sctir_kaggle.kaggle import html

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
    return html.details(f"All {len(lines)} modules, in {PACKAGE}", html.pre("\n".join(lines)))


def _part(title: str, module: ModuleType, name: str | None) -> str:
    source = inspect.getsource(module)
    place = Path(str(module.__file__)).relative_to(PACKAGE.parent)
    return html.details(f"{title}: {place}", html.python(_assigned(source, name) if name else source))


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
