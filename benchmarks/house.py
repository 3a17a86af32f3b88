"""Measures of the code itself: `python -m benchmarks.house [CHECKOUT [CHECKOUT]]`.

One checkout (default: this folder) gives a table of its measures, two give before and after. Only the files of `git ls-files`
count, so that build outputs stay out. `--write FILE` puts the table between that file's markers.

A *public* name has no leading underscore, in its own name or in a part of its module's path. Measured are functions of every
depth, methods included; lines of a function are those from `def` to its end, its docstring included.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import statistics
import subprocess
import sys
import time
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tables import publish
from sctir_kaggle.types import UserError

PACKAGE = "sctir_kaggle"

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_UNITS = re.compile(
    r"(?i:\b(?:seconds?|minutes?|hours?|ms|bytes?|MB|MiB|GB|GiB|tokens?|characters?|per ?cent|points)\b|%)"  # units
    r"|\b(?:shape|rows?|columns?)\b|\([A-Z](?:, ?[A-Z])*,?\)"  # shapes
)
"""Units of a quantity, or the shape of an array, in a docstring."""


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package: its path below the package, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        return len(self.text.splitlines())

    @property
    def public(self) -> bool:
        return not any(
            part.startswith("_") and not part.startswith("__") for part in Path(self.path).with_suffix("").parts
        )


def measures(checkout: Path) -> dict[str, str]:
    """The measures of a checkout by name, as they are printed. Raises `UserError` where there is no such package."""
    modules = [_module(checkout, path) for path in _files(checkout, f"{PACKAGE}/*.py")]
    if not modules:
        raise UserError(f"{checkout} holds no {PACKAGE}; give the root of a git checkout")
    functions = [node for module in modules for node in ast.walk(module.tree) if _is_function(node)]
    sizes = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]  # type: ignore[attr-defined]
    stems = Counter(stem for module in modules if not (stem := Path(module.path).stem).startswith("__"))
    defined = Counter(node.name for module in modules for node in module.tree.body if isinstance(node, Definition))
    public = [node for module in modules if module.public for node in _public(module.tree)]
    docs = [text for node in public if (text := ast.get_docstring(node))]
    written = [text for module in modules if module.public for text in _docstrings(module.tree)]
    lines, comments = sum(module.lines for module in modules), sum(_comments(module.text) for module in modules)
    readme = checkout / "README.md"
    return {
        "lines of the package": f"{lines:,}",
        "files of the package": f"{len(modules):,}",
        "lines of a function, median": f"{statistics.median(sizes):g}",
        "lines of a file, median": f"{statistics.median(module.lines for module in modules if module.lines > 1):g}",
        "functions and methods": f"{len(functions):,}",
        "file names (stems) used more than once": _repeated(stems),
        "functions and classes named alike in several files": _repeated(defined),
        "public functions, classes and methods": f"{len(public):,}",
        "of these with a docstring": f"{100 * len(docs) / max(1, len(public)):.0f} %",
        "docstrings that name a unit or a shape": f"{sum(bool(_UNITS.search(text)) for text in written):,} of {len(written):,}",
        "docstrings that open with 'What'": f"{sum(text.startswith('What ') for text in written):,}",
        "examples in docstrings (`>>>`)": f"{sum(text.count('>>> ') for text in written):,}",
        "whole-line comments": f"{comments:,} ({100 * comments / lines:.1f} %)",
        "words of the README": f"{len(readme.read_text(encoding='utf-8').split()) if readme.exists() else 0:,}",
        "lines of the tests": f"{sum(_lines(checkout / path) for path in _files(checkout, 'tests/*.py')):,}",
    }


def seconds_of_tests(checkout: Path) -> str:
    """Wall-clock seconds of `python -m pytest` in a checkout, by this Python, and what it says at its end."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    failed = sum(line.startswith(("FAILED", "ERROR")) for line in done.stdout.splitlines())
    return f"{seconds:,.0f}{f' ({failed} failed)' if failed else ''}"


def table(checkouts: Sequence[Path], *, tests: bool = False) -> str:
    """A Markdown table: a row per measure, a column per checkout, headed by its commit; with `tests` these are run, too."""
    columns = [measures(checkout) for checkout in checkouts]
    if tests:
        columns = [
            {**column, "seconds of `python -m pytest`": seconds_of_tests(checkout)}
            for column, checkout in zip(columns, checkouts, strict=True)
        ]
    heads = [f"{name}{_commit(checkout)}" for name, checkout in zip(("before, ", "after, "), checkouts, strict=False)]
    heads = heads if len(checkouts) > 1 else [_commit(checkouts[0])]
    rows = [["", *heads], ["---"] * (1 + len(columns)), *([name, *(c[name] for c in columns)] for name in columns[0])]
    written = "\n".join(f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows)
    return (
        f"{written}\n\nTracked files, those of `{PACKAGE}/` unless a row says otherwise: `python -m benchmarks.house`."
    )


def _files(checkout: Path, pattern: str) -> list[str]:
    """Tracked files below `checkout` that are there, sorted; git's `*` also matches slashes."""
    command = ["git", "-C", str(checkout), "ls-files", pattern]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    return sorted({path for path in listed if (checkout / path).is_file()})


def _module(checkout: Path, path: str) -> Module:
    text = (checkout / path).read_text(encoding="utf-8")
    return Module(path.removeprefix(f"{PACKAGE}/"), text, ast.parse(text))


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))


def _public(node: ast.Module | ast.ClassDef) -> Iterator[Definition]:
    """Functions and classes without an underscore, and the same in public classes; not what a function defines inside."""
    for child in node.body:
        if isinstance(child, Definition) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """Of the module, of its public definitions, and of the constants and fields that have one below them."""
    if text := ast.get_docstring(tree):
        yield text
    for node in _public(tree):
        if text := ast.get_docstring(node):
            yield text
    holders: list[ast.Module | ast.ClassDef] = [tree]
    holders += [node for node in _public(tree) if isinstance(node, ast.ClassDef)]
    for holder in holders:
        for above, below in zip(holder.body, holder.body[1:], strict=False):
            named = isinstance(above, (ast.Assign, ast.AnnAssign))
            value = below.value if isinstance(below, ast.Expr) else None
            if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def _comments(text: str) -> int:
    """Lines with a comment and nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") for token in tokens)


def _repeated(counts: Counter[str]) -> str:
    """How many names occur more than once, and the most frequent of them."""
    several = [(name, count) for name, count in counts.most_common() if count > 1]
    shown = ", ".join(f"`{name}` {count} x" for name, count in several[:3])
    return f"{len(several)}" + (f" ({shown})" if shown else "")


def _lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _commit(checkout: Path) -> str:
    """Short hash of a checkout, and whether tracked files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(checkout), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    changed = " with changes" if git("status", "--porcelain", "--untracked-files=no") else ""
    return (git("rev-parse", "--short", "HEAD") or "unknown") + changed


def main() -> None:
    """Print the table of one checkout, or of two side by side; `--write FILE` also puts it between the file's markers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", type=Path, nargs="*", metavar="CHECKOUT", help="one or two; default: this folder")
    parser.add_argument("--write", type=Path, metavar="FILE", nargs="+", default=[], help="files with its markers")
    parser.add_argument("--tests", action="store_true", help="also run and time `python -m pytest` in each: minutes")
    args = parser.parse_args()
    if len(args.checkouts) > 2:
        parser.error("give one checkout, or two to compare")
    written = table(args.checkouts or [Path()], tests=args.tests)
    print(written)
    for file in args.write:
        publish(file, "house", written)


if __name__ == "__main__":
    main()
