"""What a text is that holds no table: a web page, a failed download, LaTeX, YAML, rows without a header."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LINK = "download the file itself, by its link `raw` or `download`"

_MARKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"<!doctype html|<html|<head|<body|<!--", re.I), f"an HTML page, not a file of problems; {_LINK}"),
    (
        re.compile(r"<\?xml|</?[a-z][^>\n]*>", re.I),
        "XML or HTML, which is not read; write its problems as CSV or JSON lines",
    ),
    (
        re.compile(r"version https://git-lfs\.github\.com"),
        "a git-lfs pointer, not the file itself; fetch it: git lfs pull",
    ),
    (
        re.compile(r"(?:---\s*\n)?(?:[\w-]+:[ \t]*\n(?:[ \t]*-[ \t]|[ \t]+[\w-]+:)|-[ \t]+[\w-]+:\s)|---\s*\n[\w-]+:"),
        "YAML, which is not read; write its problems as CSV or JSON lines",
    ),
    (re.compile(r"%PDF-"), "a PDF, which is not read; write its problems as CSV or JSON lines"),
    (
        re.compile(
            r"(?:\s*%[^\n]*\n)*\s*\\(?:documentclass|begin|section|item|usepackage|input|chapter|title|newcommand)\b"
        ),
        "LaTeX, which is not read; write its problems as CSV or JSON lines with a column problem",
    ),
    (
        re.compile(
            r"(?:error:? ?)?(?:[45]\d\d\b[ :-]*)?(?:not found|entry not found|repository not found|forbidden|unauthorized|"
            r"bad gateway|access denied|invalid username or password|access to (?:dataset|model|repo)[^\n]*|"
            r"too many requests|internal server error|bad request|service unavailable|gateway time-?out)[.!\s]*\Z",
            re.I,
        ),
        "the reply to a failed download, not a file of problems; download it again, with the right address and login",
    ),
)

_YAML = re.compile(r"(?:---|%YAML\b.*|-\s+[\w-]+:(?:\s.*)?|[\w-]+:(?:\s+[|>\-\w\"'\[{].*)?)\s*")


def described(text: str) -> str:
    """What a text surely is that is no table, and what to do; empty where it may be one."""
    start = text.lstrip("\ufeff \t\r\n")
    return next((what for mark, what in _MARKS if mark.match(start)), "")


def likely(text: str, header: Sequence[str]) -> str:
    """What a text seems to be whose header has no column with problems; empty where only the column's name is unknown."""
    lines = [line for line in text.splitlines() if line.strip()]
    first = lines[0].strip() if lines else ""
    if _YAML.fullmatch(first) and (
        first == "---" or any(re.match(r"\s*(?:- )?[\w-]+:(?:\s|$)", line) for line in lines[1:9])
    ):
        return "looks like YAML, which is not read; write its problems as CSV or JSON lines"
    shown = first if len(first) <= 60 else f"{first[:57]}..."
    if any(_is_content(cell) for cell in header):
        above = "problem" if len(header) <= 1 else "id,problem,answer" if len(header) == 3 else "problem,answer"
        return f"has no header: its first row is {shown!r}; put the columns' names above it, such as `{above}`"
    return ""


def _is_content(cell: str) -> bool:
    """Whether a cell of the first row is rather a problem or a number than the name of a column."""
    cell = cell.strip()
    is_text = len(cell) > 60 or "$" in cell or (len(cell) > 5 and cell.endswith(("?", "."))) or cell.count(" ") >= 5
    return is_text or bool(re.fullmatch(r"[-+]?\d[\d.,/]*", cell))
