"""Text that others wrote, as a person would see it: what a problem states and what a program prints.

A model reads every character of a text, also those that show nothing: a hidden instruction in tag characters, a word that
is split by zero-width spaces, the five hundred states of a progress bar. Here they become what a screen shows.
"""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"(?!\x1b\[[012]?K)(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor movements
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC: titles, links
    r"|\x1b[PX^_][^\x1b]*\x1b\\"  # DCS, SOS, PM, APC
    r"|\x1b[ -/]+[0-~]|\x1b[0-Z\\^-~])"  # character sets, keypad modes
)
_MOVES = re.compile("(\r|\b|\x1b\\[[012]?K)")

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line feed
    "\u00ad\u034f\u061c\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"  # tag characters, and selectors of variants that no font has
)
_JOINER = re.compile("[\u200c\u200d\ufe00-\ufe0f]")
# Joiners and selectors of variants mean something in other scripts and in emoji, nothing beside ASCII or one another.
_IDLE_JOINER = re.compile(
    "(?:(?<![^\x00-\x7f])|(?<=[\u200c\u200d\ufe00-\ufe0f]))[\u200c\u200d\ufe00-\ufe0f]|[\u200c\u200d](?![^\x00-\x7f])"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_BREAKS = re.compile("\r\n?|[\u2028\u2029]")


def visible(text: str) -> str:
    r"""`text` without characters that show nothing, and with line feeds for other line breaks.

    Left out are control characters, byte order marks, zero-width spaces, marks of writing direction and tag characters. A
    lone surrogate, which no tokenizer can encode, becomes U+FFFD.

    >>> visible("\ufeffFind\u200b $x$.\r\n")
    'Find $x$.\n'
    """
    text = _INVISIBLE.sub("", _BREAKS.sub("\n", text))
    while _JOINER.search(text) and (shorter := _IDLE_JOINER.sub("", text)) != text:
        text = shorter  # a joiner may have lost its neighbour, at most twice
    return _SURROGATE.sub("\ufffd", text)


def on_terminal(text: str) -> str:
    r"""`text` as a terminal shows it at the end: lines overwritten after carriage returns and backspaces, no colours.

    >>> on_terminal("  0%|    |\r100%|####|\n\x1b[31mdone\x1b[0m")
    '100%|####|\ndone'
    """
    if "\x1b" in text or "\x9b" in text:
        text = _ESCAPES.sub("", text)
    if not _MOVES.search(text):
        return text
    return "\n".join(_overwritten(line) if _MOVES.search(line) else line for line in text.split("\n"))


def _overwritten(line: str) -> str:
    shown: list[str] = []
    at = 0
    for part in _MOVES.split(line):
        if part == "\r":
            at = 0
        elif part == "\b":
            at = max(at - 1, 0)
        elif part.startswith("\x1b"):
            erased = {"1": slice(0, at), "2": slice(0, len(shown))}.get(part[2:-1], slice(at, len(shown)))
            shown[erased] = " " * len(shown[erased])
        else:
            shown += " " * (at - len(shown))
            shown[at : at + len(part)] = part
            at += len(part)
    return "".join(shown).rstrip(" ") if "\r" in line.rstrip("\r") or "\x1b" in line else "".join(shown)
