r"""A value with words around it: `The area is 42.`, `\text{answer: } 42`, `42, as required`; not `at least 42` or `3 and 5`.

`latex.parse` reads expressions with units. Around them, words may name the quantity before one verb or colon, or explain it
after a comma, a bracket or a conjunction. Words that could change the value, and other numbers, leave it without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from sctir_kaggle.answers.latex import MAX_LENGTH, parse
from sctir_kaggle.answers.notation import STYLES, ascii_digits, without_punctuation

_STYLED = re.compile(rf"\\(?:{STYLES}|mathbf|boldsymbol) ?\{{([^{{}}]*)\}}")
_SPACES = re.compile(r"\\\\|\\[,;:!> ]|\\q?quad(?![A-Za-z])|\*\*|__|[~`\s]+")
_ADVERBS = "equal to|given by|therefore|thus|then|hence|indeed|simply|just|exactly|precisely|now|also|clearly|finally"
_VERB = re.compile(
    rf"(?<![A-Za-z])(?:is|are|was|were|equals|becomes|gives|yields|get)(?![A-Za-z])(?: ?(?:{_ADVERBS})(?![A-Za-z]))* ?:?"
    r"|(?<=[A-Za-z)}$]) ?:"
)
_OPENED = re.compile(
    r"\A(?:(?:therefore|thus|hence|so|yes|answer|final answer|result|total)(?![A-Za-z])[,:]? *)+", re.IGNORECASE
)
_NAMED = re.compile(r"\$[^$=<>]*[A-Za-z][^$=<>]*\$|\\\([^=<>]*?[A-Za-z][^=<>]*?\\\)|[0-9]+(?:st|nd|rd|th)(?![A-Za-z])")
_NUMERIC = re.compile(r"(?<![A-Za-z_^{])[0-9]|[=<>]")
_EXPLAINED = re.compile(
    r",(?![0-9])| \(|;| [\u2013\u2014] | (?:because|since|as|which|that|is|in|we|so|thus|hence|by|after|using|from|per|of) "
)
_NO_WORDS = re.compile(r"[0-9=<>\\$^_+*/|]")


_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{([^{}]*)\}")


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall("[a-z']+", text.lower()))


_CHANGING = _words(
    "or nor not no none never cannot can't isn't aren't wasn't don't doesn't didn't won't if unless whether when for either "
    "neither otherwise but except only least most more less fewer than about around roughly nearly almost approximately "
    "approx approaching maybe perhaps possibly wrong incorrect false impossible undefined unknown"
)
_LIMITING = _words("where such whose given suppose assume assuming without between")
_NUMBERS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve dozen hundred thousand million billion trillion "
    "half twice double triple times squared cubed root factorial pi infinity base binary octal hexadecimal mod modulo minus"
)


class Value(NamedTuple):
    """A part of a text, as written, and the number that it denotes."""

    text: str
    number: Fraction


def value_in(text: str, *, named: bool = True) -> Value | None:
    r"""Return the one value of `text`; None if it has none, or several. With `named` words may stand before the value.

    >>> value_in(r"\text{The area is } 42"), value_in("at least 42")
    (Value(text='42', number=Fraction(42, 1)), None)
    """
    if (number := parse(text)) is not None:
        return Value(text, number)
    if len(text) > MAX_LENGTH:
        return None
    for part in _parts(text, named):
        if (number := parse(part)) is not None:
            return Value(_BOX.sub(r"\1", part), number)
    return None


def _parts(text: str, named: bool) -> Iterator[str]:
    """Yield what is left of `text` without the words before and after the value, where they cannot change it."""
    text = ascii_digits(text).replace("\\colon", ":")
    for _ in range(3):  # \textbf{Answer: \text{42}}
        text = _STYLED.sub(r"\1", text)
    text = without_punctuation(_SPACES.sub(" ", text))
    if opened := _OPENED.match(text):
        text = text[opened.end() :]
        yield text
    short = _without_explanation(text)
    if short != text and not _VERB.search(short):
        yield short
    for part in dict.fromkeys((short, text)) if named else ():
        verbs = list(_VERB.finditer(part))
        if len(verbs) == 1 and _names(part[: verbs[0].start()]):
            value = part[verbs[0].end() :].strip()
            yield value
            yield _without_explanation(value)


def _names(text: str) -> bool:
    """Whether `text` names a quantity and does no more: neither another number nor a condition."""
    return not _NUMERIC.search(_NAMED.sub("", text)) and _words(text).isdisjoint(_CHANGING | _LIMITING)


def _without_explanation(text: str) -> str:
    """Return `text` up to an explanation, `, which is even`, if that has no number of its own and opens no alternative."""
    explained = _EXPLAINED.search(text)
    if explained is None:
        return text
    rest = text[explained.start() :]
    words = _words(rest)
    explains = any(len(word) > 2 for word in words) and not _NO_WORDS.search(rest)
    return text[: explained.start()] if explains and words.isdisjoint(_CHANGING | _NUMBERS) else text
