r"""Find the answer that a text states without a box: `The answer is 42.`, `**Final Answer**: $42$`, a value below a heading.

A claim is an introduction, with "answer" in it, and a value up to the end of its sentence; in mathematics the value may take
several lines. Only the end of the text is searched, so the work is bounded whatever its length. A claim that is negated, that
depends on a condition, that is taken back or that gives several values is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from sctir_kaggle.answers.latex import parse
from sctir_kaggle.answers.sentences import value_in
from sctir_kaggle.dialects.fences import without_code

STATED_WITHIN = 100
"""Characters before the end of the prose within which a closing claim ends. A claim further up is no conclusion."""

_SEARCHED = 600
"""Characters before the end of the prose that are searched for claims."""

_MARKS = r"[\s*_`}\])\"\u201d]{0,8}"
_VERBS = (
    r"is|was|equals|becomes|(?:should|must|will|would|has to|turns out to|works out to|comes out to)(?: be)?".replace(
        " ", r"\s"
    )
)
_ADVERBS = (
    r"equal\sto|given\sby|therefore|thus|then|hence|indeed|simply|just|exactly|precisely|again|clearly|now|so|also"
)
_TAG = re.compile(r"</?(?:b|strong|i|em|u|p|br|div|span|center|h[1-6])(?: [^<>\n]{0,40})?/?>", re.IGNORECASE)
_INTRODUCTION = re.compile(
    rf"""(?<![A-Za-z])(?:answer|ans)(?![A-Za-z0-9])
        (?:\s?\([^()\n]{{0,40}}\))?                          # Answer (in cm): 42
        (?:,?\ (?:to|for|of|in)\ [^.,:;=!?\n]{{1,60}}?|,\ [a-z\ ]{{1,20}},)?  # the answer to the question is 42
        {_MARKS}
        (?:(?P<says>(?:{_VERBS})(?![A-Za-z])(?:\s(?:{_ADVERBS})(?![A-Za-z]))*\s?[:\uff1a]?)
         | [:\uff1a=]|->|=>|[\u2192\u21d2]|[\u2013\u2014](?=\s)|\\(?:[Rr]ightarrow|to|implies)(?![A-Za-z]))
    | (?:\A|\n)[^\w\n]{{0,12}}(?:(?:the|my|our|so|final|correct|numerical|short)\s){{0,4}}answer  # a heading
        [^\w\n$\\(\[-]{{0,12}}\n
    | (?:\A|\n)[^\w\n]{{0,12}}(?:\*\*|__|\\(?:textbf|paragraph|section|subsection)\*?\s?\{{)   # a title in bold
        (?:(?:my|our|the)\s)?(?:final\s)?answer\.?(?:\*\*|__|\}})[:.]?(?:\s?[\u2013\u2014-](?=\s))?
    | (?:\A|\n)[^\w\n]{{0,12}}final\sanswer[ ](?=[$\\*0-9])
    | <answer>
    | (?:\A|\n)\#{{4}}[ ]
    | \u7b54\u6848\s?[\u662f\u4e3a\u70ba:\uff1a=]{{1,3}}     # "answer is", in Chinese
    """,
    re.VERBOSE | re.IGNORECASE,
)
# With the rule below a heading, and the mark of a list:
_BEFORE = re.compile(r"(?:(?<=\n)[ \t]*(?:[-=]{3,}\s*\n|[-\u2022][ \t])|[\s*_`>#}\"\u201c:])*")
_PROVED = re.compile(
    r"(?:\$?\s*\\(?:blacksquare|square|Box|qed|checkmark)\s*\$?|[\u220e\u25a0\u25a1\u2713\u2714\u2705])\s*\Z"
)
_PIECE = re.compile(
    r"""\$\$.*?\$\$ | \\\[.*?\\\] | \\\(.*?\\\) | \\begin\{(?P<name>[a-z]{1,20}\*?)\}.*?\\end\{(?P=name)\}
    | \$(?:[^$.!?\n] | [.!?](?!\s+[A-Z]) | \n(?!\s*\n))+\$(?![0-9])
    | (?P<end> \n | </ | \.(?=[*_`"'\u201d)\]}$]*(?:\s|\Z) | [A-Z*]) | !+(?=[*_`"\u201d]*(?:\s*\Z|\s+[A-Z\n]|\n|\.)) | \?
        | [\u3002\uff01\uff1f] )
    | .""",
    re.VERBOSE | re.DOTALL,
)
_SENTENCE_END = re.compile(r"[.!?:;](?=\s|[A-Z*])|\n|[\u3002\uff01]")
_DOUBTED = re.compile(
    r"(?:\b(?:not|never|if|suppose|assum\w+|whether|unless)\b|n't\b)[^,]*\Z"
    r"|\b(?:wrong|incorrect|previous|earlier|initial|intermediate|partial|possible|other|another|old|sample|example|no)"
    r" (?:\w+ )?\Z",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(r"\b(?:wait|hmm+|wrong|incorrect|mistake|not (?:correct|right))\b", re.IGNORECASE)
_DENIED = re.compile(r"[0-9]|\b(?:not?|never|none|wrong|incorrect|unknown|undefined)\b", re.IGNORECASE)
_FIRST_NUMBER = re.compile(r"[^\w\\]*([-\u2212]?[0-9](?:[0-9,]*[0-9])?)")


class _Claim(NamedTuple):
    begin: int  # of the introduction
    start: int  # of the value
    end: int
    text: str
    value: Fraction | None


def stated(text: str) -> str | None:
    """Return the value of the closing claim, as written, in place of a box; None without one.

    A text that a token limit cut off may end inside its number: callers that know of it pass `allow_stated=False` to
    `read_answer`.

    >>> stated("6 * 7 = 42.The answer is: $42$!"), stated("The answer is 41 or 42.")
    ('42', None)
    """
    return claim_in(without_code(text))


def claim_in(prose: str) -> str | None:
    """As `stated`, of a text without code."""
    tail = _TAG.sub("", prose.rstrip()[-_SEARCHED:]).rstrip()
    claims = list(_claims(tail))
    while claims:
        claim = claims.pop()
        if claim.value is not None:
            return claim.text if _holds(tail, claim, claims[-1] if claims else None) else None
        if _DENIED.search(claim.text):
            return None  # "the answer is not 42": an earlier claim is no conclusion, either
    return None


def _claims(tail: str) -> Iterator[_Claim]:
    introductions = list(_INTRODUCTION.finditer(tail))
    for place, introduction in enumerate(introductions, 1):
        limit = introductions[place].start() if place < len(introductions) else len(tail)
        start = min(_start(tail, introduction.end()), limit)
        text, end = _sentence(tail, start, limit)
        value = value_in(text, named=introduction["says"] is None)
        written, number = (_undelimited(value.text), value.number) if value else (text, None)
        begin = introduction.end() - len(introduction[0].lstrip("\n"))
        yield _Claim(begin, start, end, written, number)


def _start(tail: str, place: int) -> int:
    marks = _BEFORE.match(tail, place)
    return marks.end() if marks else place


def _sentence(tail: str, start: int, limit: int) -> tuple[str, int]:
    """The text from `start` to the end of its sentence and where that is; a question claims nothing."""
    end = start
    while end < limit and (piece := _PIECE.match(tail, end, limit)):
        if piece["end"]:
            return ("" if piece["end"] in ("?", "\uff1f") else _bare(tail[start:end])), end
        end = piece.end()
    return _bare(tail[start:end]), end


def _bare(text: str) -> str:
    r"""`text` without Markdown's marks and without closing braces of what opened before it: `\textbf{Answer: 42}`."""
    text = _PROVED.sub("", text).strip(' \n\t*_`"\u201c\u201d')
    while text.endswith("}") and text.count("{") < text.count("}"):
        text = text[:-1].rstrip(" *_`")
    return text


def _undelimited(text: str) -> str:
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\[", "\\]"), ("\\(", "\\)")):
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and inner and opening not in inner:
            return inner.strip()
    return text


def _holds(tail: str, claim: _Claim, before: _Claim | None) -> bool:
    """Whether the claim concludes the text: near its end, neither in doubt nor taken back, with no other in its sentence."""
    sentence = _SENTENCE_END.split(tail[: claim.begin])[-1]
    if len(tail) - claim.end > STATED_WITHIN or _DOUBTED.search(sentence) or _TAKEN_BACK.search(tail, claim.end):
        return False
    other = None if before is None else _FIRST_NUMBER.match(tail[before.start : claim.begin])
    same_sentence = before is not None and _SENTENCE_END.search(tail, before.start, claim.begin) is None
    return not (other and same_sentence) or parse(other[1]) == claim.value
