r"""Tokenize a written answer, in the one notation of `notation`: synonyms are unified, sizes and fonts dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sctir_kaggle.answers.notation import STYLES, normalized
from sctir_kaggle.answers.rational import Unreadable


class Token(NamedTuple):
    r"""A token. `kind` is number, text (the words of a `\text{...}`), word (letters outside of one), sign (else) or end."""

    kind: str
    text: str
    spaced: bool = False  # whether white space came before it


END = Token("end", "")

_TOKEN = re.compile(
    rf"""(?P<gap>[ ]+)
    | (?P<number> [1-9][0-9]{{0,2}} (?: (?:[ ][0-9]{{3}})+ | (?:(?:,|\{{,\}})[0-9]{{3}})+ )(?![0-9])(?:\.[0-9]+)?
                | (?:[0-9]+(?:\.[0-9]+|\.(?![0-9.]))?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | \\(?:{STYLES})[ ]?\{{(?P<text>[^{{}}0-9]*)\}}
    | (?P<word>[A-Za-z]+)
    | (?P<sign>\\(?:[A-Za-z]+|[{{}}])|.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMANDS = {
    **dict.fromkeys(("\\dfrac", "\\tfrac", "\\cfrac"), "\\frac"),
    **dict.fromkeys(("\\dbinom", "\\tbinom"), "\\binom"),
    **dict.fromkeys(("\\cdot", "\\times", "\\ast"), "*"),
    **dict.fromkeys(("\\lvert", "\\rvert", "\\vert"), "|"),
    **{"\\div": "/", "\\equiv": "=", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\degree": "\\circ"},
}
_SIZES = (
    "displaystyle textstyle scriptstyle scriptscriptstyle tiny scriptsize footnotesize small normalsize large Large LARGE "
    "huge Huge bf it rm sf tt sl sc em bfseries mdseries itshape upshape rmfamily sffamily ttfamily normalfont boldmath "
    "mathbf mathit mathsf mathtt mathbb mathcal mathnormal boldsymbol bm pmb mathop mathord mathbin mathrel mathpunct "
    "mathinner ensuremath boxed fbox framebox underline uline left right middle limits nolimits"
)
_IGNORED = frozenset(
    [f"\\{command}" for command in (*STYLES.split("|"), *_SIZES.split())]
    + [f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r")]
)

_WIDE = frozenset({"\\quad", "\\qquad"})
_AMBIGUOUS = frozenset("<>&~\\") | {
    *("\\\\", "\\quad", "\\qquad", "\\pm", "\\mp", "\\approx", "\\sim", "\\simeq", "\\cong", "\\ne", "\\neq", "\\mid"),
    *("\\lt", "\\gt", "\\le", "\\leq", "\\ge", "\\geq", "\\in", "\\cup", "\\to", "\\rightarrow", "\\Rightarrow"),
    *("\\implies", "\\iff", "\\lor", "\\vee", "\\land", "\\wedge", "\\begin", "\\infty"),
}


def _vocabulary(words: str) -> frozenset[str]:
    return frozenset(words.split())


_JOINING = _vocabulary("or and if when where for with at to not but through otherwise either")
_NO_UNITS = _JOINING | _vocabulary(
    "hundred thousand million billion trillion dozen half halves thirds base mod choose factorial squared cubed sqrt "
    "root roots plus minus more less fewer infinity infinite pi i e k n x y "
    "alpha beta gamma delta epsilon theta lambda omega sigma binary octal hexadecimal "
    "wrong incorrect impossible approximately approx about roughly"
)
_SHORT_UNITS = _vocabulary(
    "mm cm dm km nm in ft yd mi mg kg lb lbs oz ml mL cc sq cu mph kph rpm sec min mins hr hrs day am pm men Hz USD "
    "EUR deg rad of per st nd rd th"
)
_LETTER_UNITS = frozenset("mgshlLJNWVAKCF")
_MAX_UNIT_WORDS = 6


def tokenize(latex: str) -> list[Token]:
    r"""Return the tokens of `latex`, in linear time.

    >>> [token.text for token in tokenize(r"\dfrac{1,234}{5}\text{ cm}")]
    ['\\frac', '{', '1234', '}', '{', '5', '}', ' cm']
    """
    tokens, spaced = list[Token](), False
    for match in _TOKEN.finditer(normalized(latex)):
        kind = match.lastgroup or "sign"
        text = re.sub(r"[ ,{}]", "", match[0]) if kind == "number" else match[kind]
        text = _COMMANDS.get(text, text) if kind == "sign" else text
        if kind != "gap" and text not in _IGNORED:
            tokens.append(Token(kind, text, spaced))
        spaced = kind == "gap"
    return [token for place, token in enumerate(tokens) if not (token.text in _WIDE and _prints_nothing(tokens, place))]


def _prints_nothing(tokens: Sequence[Token], place: int) -> bool:
    """Whether wide space separates nothing: at an end, beside words or beside `=`. Elsewhere it separates two answers."""
    before, after = tokens[place - 1] if place else END, tokens[place + 1] if place + 1 < len(tokens) else END
    return any(token.kind in ("end", "text") or token.text in ("=", *_WIDE) for token in (before, after))


def sides(tokens: Sequence[Token]) -> list[list[Token]]:
    """Split a chain of equations into its sides. Raises `Unreadable` for lists, alternatives and every other relation."""
    found: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        if _separates(token, depth):
            raise Unreadable(f"several answers, or none: {token.text!r}")
        depth += (token.text in ("(", "[", "{", "\\{")) - (token.text in (")", "]", "}", "\\}"))
        if token.text == "=" and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return found


def _separates(token: Token, depth: int) -> bool:
    if token.kind in ("word", "text"):
        return not _JOINING.isdisjoint(_words(token)) or "," in token.text or ";" in token.text
    return token.text in _AMBIGUOUS or (depth == 0 and token.text in (",", ";"))


def _words(token: Token) -> list[str]:
    return re.findall("[A-Za-z]+", token.text.lower())


def is_unit(token: Token) -> bool:
    r"""Whether `token` is a unit or a noun that does not change the number before it: `%`, `\text{ cm}`, `cups`.

    A single letter outside of `\text{}` is a variable; so are letters without a space before them, except known units.
    """
    if token.text in ("%", "\\circ", "\\%") and token.kind == "sign":
        return True
    if token.kind == "word" and token.text not in _SHORT_UNITS:
        return token.spaced and len(token.text) > 3 and token.text.lower() not in _NO_UNITS
    if token.kind == "text" and len(token.text.strip()) == 1 and token.text.strip().isalpha():
        return token.text.strip() in _LETTER_UNITS
    words = _words(token)
    return token.kind in ("word", "text") and len(words) <= _MAX_UNIT_WORDS and _NO_UNITS.isdisjoint(words)
