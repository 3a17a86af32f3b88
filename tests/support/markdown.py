"""What tests read from a Markdown page: fenced blocks, commands in them, links outside of them, anchors of headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

_FENCED = re.compile(
    r"^(?P<indent>[ \t]*)(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=fence)[ \t]*$",
    re.DOTALL | re.MULTILINE,
)
_CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
_LINK = re.compile(
    r"\]\(\s*<?([^()\s<>]+)>?(?:\s+\"[^\"]*\")?\s*\)|\b(?:src|href)=\"([^\"]+)\"|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE
)
_SHELLS = ("bash", "sh", "shell", "console")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: `info` is what stands behind the opening fence, `line` the number of its first line in the page."""

    info: str
    text: str
    line: int


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order; indented ones (in a list) without their indentation."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found["info"].strip(), dedent(found["body"]), text.count("\n", 0, found.start("body")) + 1)
        for found in _FENCED.finditer(text)
    ]


def commands_of(page: Path, program: str) -> Iterator[tuple[int, list[str]]]:
    """Each call of `program` in the page's shell blocks: (line, arguments). `&&`, `|` and `;` separate calls."""
    for block in blocks_of(page):
        if block.info.split()[:1] and block.info.split()[0] in _SHELLS:
            text = block.text.replace("\\\n", "  ")
            for number, line in enumerate(text.splitlines()):
                if re.search(rf"\b{program}\b", line):
                    yield from ((block.line + number, call) for call in _calls(line, program))


def _calls(line: str, program: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(line.removeprefix("$ "), posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    call: list[str] = []
    for token in [*lexer, ";"]:
        if token.strip("&|;"):
            call.append(token)
            continue
        while call and re.match(r"[A-Za-z_]\w*=", call[0]):  # SCTIR_TOP_P=0.9 sctir solve ...
            call.pop(0)
        if call and call[0] == program:
            yield call[1:]
        call = []


def prose_of(page: Path) -> str:
    """The page without its blocks and spans of code."""
    return _CODE.sub("", _FENCED.sub("", page.read_text(encoding="utf-8")))


def links_of(page: Path) -> list[str]:
    """Targets of the page's links and pictures, those to other sites left out."""
    targets = [target for found in _LINK.findall(prose_of(page)) for target in found if target]
    return [target for target in targets if not re.match(r"[a-z][a-z0-9+.-]*:|//", target)]


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub and MkDocs give the page's headings, and those it sets by hand."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#{1,6}\s+(.*?)\s*#*$", text, flags=re.MULTILINE)
    return {_slug(heading) for heading in headings} | set(re.findall(r"\b(?:id|name)=\"([^\"]+)\"", text))


def _slug(heading: str) -> str:
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", shown).strip().lower())
