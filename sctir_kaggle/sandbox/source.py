"""The source of a block: valid Python runs as it is, what only a notebook or a person would read is repaired.

Models write cells as they have seen them: with magics and shell lines, prompts of a session, fences, an indentation of the
whole, typographic quotes. None of that is Python, so the parser stops there; the repair begins at the line where it stopped
and is kept only if all of the block is valid Python afterwards. Lines keep their numbers.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import textwrap
import time
from typing import NamedTuple

REPAIR_SECONDS = 1.0
"""How long a block may be repaired, at most: each repair parses it again, out of the time that the block has to run."""

LONGEST = 100_000
"""Characters up to which a block is repaired."""

NO_PACKAGES = "Note: packages cannot be installed here; what is installed can be imported."
NO_SHELL = "Note: there is no shell here; this line was left out: {}"
NO_MAGICS = "Note: this is Python without IPython's magics; this line was left out: {}"
NOT_PYTHON = "Note: this is plain Python: no shell commands and no IPython magics."
"""What a block is told of lines that were left out, or that keep it from running."""

_FENCE = re.compile(r"\s*(`{3,}|~{3,})[\w+.-]*\s*\Z")
_PROMPT = re.compile(r"(?P<indent>\s*)(?:>>>|\.\.\.|In \[\d*\]:|\.{3,}:)(?: |\Z)(?P<code>.*)", re.DOTALL)
_OPENING_PROMPT = re.compile(r"\s*(?:>>>|In \[\d*\]:)(?: |\Z)")
_INSTALL = re.compile(
    r"[!%]{0,2}\s*(?:sudo\s+)?(?:\{?[\w./]*\}?python[\d.]*\s+-m\s+|\{sys\.executable\}\s+-m\s+)?"
    r"(?:pip[\d.]*|uv pip|u?conda|mamba|apt|apt-get)\s+install\b(?P<packages>.*)"
)
_TIMED = re.compile(
    r"%{1,2}(?:time|timeit|prun|capture|python3?)\b(?:\s+-\w+(?:\s*\d+)?)*[ \t]*(?P<code>.*)", re.DOTALL
)
_SILENT = re.compile(r"%(?:matplotlib|pylab|config|load_ext|reload_ext|autoreload|precision|autosave|colors|xmode)\b")
_LINE = re.compile(r"[!%?][\w{./?]|[\w.]+\?{1,2}\s*\Z")
_CODE_POINT = re.compile(r"\(?U\+([0-9A-F]{4,6})\)?")
_BLANKS = "\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_QUOTES = {"\u201c": "\u201d\u201c\u201f", "\u201e": "\u201c\u201d", "\u2018": "\u2019\u2018\u201b", "\u00ab": "\u00bb"}
_SIGNS = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"),
    **dict.fromkeys("\u00d7\u2217\u22c5\u00b7", "*"),
    **{"\u00f7": "/", "\u2215": "/", "\u2264": "<=", "\u2265": ">=", "\u2260": "!=", "\u2248": "=="},
    **dict.fromkeys("\u2018\u2019\u201a\u2032", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u2033", '"'),
    **{chr(0xFEE0 + code): chr(code) for code in range(0x21, 0x7F)},  # full-width forms
    **{"\u3001": ",", "\u3002": ".", "\u3010": "[", "\u3011": "]"},
}
"""What the parser calls an invalid character, and the one that was meant."""


class Parsed(NamedTuple):
    """A block as it runs: its syntax tree, its source, and notes on lines that were left out."""

    tree: ast.Module
    code: str
    notes: list[str]


def parsed(code: str, name: str) -> Parsed:
    """Parse `code`, of the file `name`; repaired if it is not valid Python.

    Raises the `SyntaxError` (or what else `ast.parse` raises) of `code` itself where no repair makes all of it valid.
    """
    try:
        return Parsed(ast.parse(code, name), code, [])
    except SyntaxError as error:
        if len(code) > LONGEST or not (repaired := _repaired(code, name, error)):
            raise
        return repaired


def hint(error: SyntaxError) -> str:
    """A line about the line where the parser stopped, "" where it is Python."""
    line = (error.text or "").strip()
    assigned = re.match(r"[\w\s,.]+=\s*[!%]\w", line)
    return NOT_PYTHON + "\n" if assigned or _LINE.match(line) or line.startswith("%%") else ""


def _repaired(code: str, name: str, error: SyntaxError) -> Parsed | None:
    lines, notes, until = code.split("\n"), list[str](), time.monotonic() + REPAIR_SECONDS
    while time.monotonic() < until:
        at = min((error.lineno or 1) - 1, len(lines) - 1)
        if not any(repair(lines, at, error, notes) for repair in _REPAIRS):
            return None
        text = "\n".join(lines)
        try:
            return Parsed(ast.parse(text, name), text, list(dict.fromkeys(notes)))
        except SyntaxError as next_error:
            error = next_error
        except (ValueError, RecursionError, MemoryError):
            return None
    return None


def _without_fences(lines: list[str], at: int, error: SyntaxError, notes: list[str]) -> bool:
    """Leave out Markdown's fences; of several blocks with prose between them keep the blocks."""
    fences = [number for number, line in enumerate(lines) if _FENCE.match(line)]
    if not fences or not ("`" in lines[at] or "~~~" in lines[at] or at > fences[0]):
        return False
    plain = ["" if number in fences else line for number, line in enumerate(lines)]
    inside = [line if sum(fence < number for fence in fences) % 2 else "" for number, line in enumerate(plain)]
    lines[:] = plain if _is_valid(plain) or not _is_valid(inside) else inside
    return True


def _without_prompts(lines: list[str], at: int, error: SyntaxError, notes: list[str]) -> bool:
    """Keep what was typed in a session of Python or IPython, and leave out what it answered."""
    if not any(map(_OPENING_PROMPT.match, lines)):
        return False
    typed = [_PROMPT.match(line) for line in lines]
    lines[:] = textwrap.dedent("\n".join(line["code"] if line else "" for line in typed)).split("\n")
    return True


def _without_lines_for_a_notebook(lines: list[str], at: int, error: SyntaxError, notes: list[str]) -> bool:
    """Run what a magic would time; leave out other magics, shell commands and installations, with a note."""
    line = lines[at].strip()
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    if install := _INSTALL.match(line):
        if not all(map(_is_installed, _packages(install["packages"]))):
            notes.append(NO_PACKAGES)
        lines[at] = indent + "pass"
    elif timed := _TIMED.match(line):
        lines[at] = indent + (timed["code"] or ("pass" if indent else ""))
    elif _SILENT.match(line):
        lines[at] = indent + "pass"
    elif _LINE.match(line):  # not a `%%bash`, whose cell is no Python at all
        notes.append((NO_SHELL if line.startswith("!") else NO_MAGICS).format(line[:100]))
        lines[at] = indent + "pass"
    else:
        return False
    return True


def _dedented(lines: list[str], at: int, error: SyntaxError, notes: list[str]) -> bool:
    """Take back an indentation of all lines, of the first, or of all but the first."""
    if "unexpected indent" not in str(error.msg):
        return False
    code = [number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
    first = code[0]
    indents = {number: len(lines[number]) - len(lines[number].lstrip()) for number in code}
    if at == first:
        others = code
    elif at == code[min(1, len(code) - 1)] and not indents[first]:
        others = code[1:]
    else:
        return False
    margin = min(indents[number] for number in others)
    if margin:
        for number in range(others[0], len(lines)):
            cut = min(margin, len(lines[number]) - len(lines[number].lstrip()))
            lines[number] = lines[number][cut:]
    else:  # the first line alone is indented
        lines[at] = lines[at].lstrip()
    return True


def _with_plain_characters(lines: list[str], at: int, error: SyntaxError, notes: list[str]) -> bool:
    """Replace the character that the parser stopped at: blanks, typographic quotes and signs, characters not seen."""
    named = _CODE_POINT.search(str(error.msg)) if "invalid" in str(error.msg) else None
    # Python 3.10 may see a missing comma first.
    unnamed = [] if set(lines[at]) & set("\"'#") else [one for one in lines[at] if one in _SIGNS]
    if not named and not unnamed:
        return False
    char = chr(int(named[1], 16)) if named else unnamed[0]
    place = lines[at].find(char, max((error.offset or 1) - 1, 0) if named else 0)
    place = lines[at].find(char) if place < 0 else place
    if place < 0:
        return False
    before, after = lines[at][:place], lines[at][place + 1 :]
    if char in _BLANKS:
        margin = len(before) - len(before.lstrip())  # Python's idea of white space includes these blanks
        plain = before if margin < len(before) else " " * len(before)
        rest = after.lstrip(_BLANKS + " ") if not plain.strip() else after
        lines[at] = plain + " " * (len(after) - len(rest) + 1) + rest
    elif not char.isprintable():
        lines[at] = before + after
    elif char in _SIGNS:
        sign = _SIGNS[char]
        if sign in "\"'" and (ends := [after.find(end) for end in _QUOTES.get(char, char) if end in after]):
            after = after[: min(ends)] + sign + after[min(ends) + 1 :]
        lines[at] = before + sign + after
    else:
        return False
    return True


_REPAIRS = (
    _without_fences,
    _without_prompts,
    _without_lines_for_a_notebook,
    _dedented,
    _with_plain_characters,
)


def _is_valid(lines: list[str]) -> bool:
    try:
        ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _packages(words: str) -> list[str]:
    """The modules that an installation names, as far as they are called like their packages."""
    names = [re.split(r"[=<>~!\[;]", word.strip("\"'"))[0] for word in words.split() if not word.startswith("-")]
    return [name.replace("-", "_") for name in names if name]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
