"""Lists and objects that stand as text in a cell, since pandas writes them so into a CSV or a spreadsheet."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

_JOINED = re.compile(r"""['"]\s+['"]""")
"""What stands between two texts of a numpy array. In a list of Python it would join them into one."""

_LONE = re.compile(r"(?<!\\)\\(?=[A-Za-z])")
"""A backslash before a letter that is not doubled, as LaTeX's would be in a Python or JSON text."""

_LATEX = re.compile(r"(?<!\\)\\(?![ntrxuUN])[A-Za-z]")
"""One that neither Python nor JSON writes: then none of them was doubled."""


def literal(text: str) -> list[Any] | dict[str, Any] | None:
    r"""The list or object whose JSON or Python text this is; None for any other text, LaTeX in braces or brackets too.

    >>> literal("['2']"), literal("{'x': 1}"), literal(r"{\frac12}")
    (['2'], {'x': 1}, None)
    """
    text = text.strip()
    ends = text[:1] + text[-1:]
    if ends not in ("[]", "{}") or (text[1:2] in ("'", '"') and ends == "[]" and _JOINED.search(text)):
        return None
    doubled = _LONE.sub(r"\\\\", text) if _LATEX.search(text) else text
    for read in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the parser, about backslashes
                found = read(doubled)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, (list, dict)) else None
    return None
