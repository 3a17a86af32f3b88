r"""Tokenize a written answer: spacing, sizes and currency are dropped, synonyms unified."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from sctir_kaggle.answers.rational import Unreadable


class Token(NamedTuple):
    r"""A token. `kind` is number, text (the words of a `\text{...}`), word (letters outside of one), sign (else) or end."""

    kind: str
    text: str
    spaced: bool = False  # whether white space came before it


END = Token("end", "")

_STYLES = "text|textrm|textbf|textit|textsf|texttt|textnormal|mathrm|rm|mbox|hbox"
_TOKEN = re.compile(
    rf"""(?P<gap>[ ]+)
    | (?P<number> [1-9][0-9]{{0,2}}(?P<group>,|[ ]|\{{,\}})[0-9]{{3}}(?:(?P=group)[0-9]{{3}})*(?![0-9])(?:\.[0-9]+)?
                | (?:[0-9]+(?:\.[0-9]+|\.(?![0-9.]))?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
    | \\(?:{_STYLES})[ ]?\{{(?P<text>[^{{}}0-9]*)\}}
    | (?P<word>[A-Za-z]+)
    | (?P<sign>\\(?:[A-Za-z]+|[{{}}])|.)""",
    re.VERBOSE | re.DOTALL,
)
_SPACE = re.compile(r"\\[,;:>()\[\] $]|[~$\u00a3\u20ac\s]+")
_COLOR = re.compile(r"\\(?:text)?color ?\{[A-Za-z]*\}")
_MOD = re.compile(rf"\(? ?(?:\\(?:{_STYLES}|operatorname) ?\{{ ?mod ?\}}|\\?\b[bp]?mod(?![A-Za-z]))")
_DASH = re.compile("(\\A|[=(]) ?\u2013")  # a minus where a number starts; elsewhere it is a range
_PAIR = re.compile(r"[(\[][^()\[\]]*[)\]]|\\\{[^{}]*\\\}")
_SEPARATOR = re.compile(r"(?<=[0-9]),")
_CHOICE = re.compile(rf"\A(\\(?:{_STYLES}|mathbf) ?\{{)? ?\([A-E]\) ?(\}})?")  # the label of a multiple choice
_UNEQUAL = re.compile(r"(?<![0-9)}\]])!=")
_SUPERSCRIPTS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079", "0123456789")
_SUPERSCRIPT = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+")
_SYNONYMS = str.maketrans(
    {"\u2212": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u2217": "*", "\u00f7": "/", "\u2044": "/"}
    | {"\u2215": "/", "\u221a": " sqrt ", "\u00b0": "^\\circ ", "\u2261": "=", "\u2248": "\\approx ", "\uff0c": ","}
)
_COMMANDS = {
    **dict.fromkeys(("\\dfrac", "\\tfrac", "\\cfrac"), "\\frac"),
    **dict.fromkeys(("\\dbinom", "\\tbinom"), "\\binom"),
    **dict.fromkeys(("\\cdot", "\\times", "\\ast"), "*"),
    **dict.fromkeys(("\\lvert", "\\rvert", "\\vert"), "|"),
    **{"\\div": "/", "\\equiv": "=", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\degree": "\\circ"},
}
_IGNORED = frozenset(
    [f"\\{style}" for style in (*_STYLES.split("|"), "mathbf", "mathit", "mathsf", "mathtt", "boldsymbol", "bm", "bf")]
    + ["\\boxed", "\\fbox", "\\underline", "\\displaystyle", "\\textstyle", "\\left", "\\right"]
    + [f"\\{size}{side}" for size in ("big", "Big", "bigg", "Bigg") for side in ("", "l", "r")]
)

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
    "root roots plus minus more less fewer infinity infinite pi i e k n x y"
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
    for match in _TOKEN.finditer(_normal(latex)):
        kind = match.lastgroup or "sign"
        text = re.sub(r"[ ,{}]", "", match[0]) if kind in ("number", "group") else match[kind]
        kind = "number" if kind == "group" else kind
        text = _COMMANDS.get(text, text) if kind == "sign" else text
        if kind != "gap" and text not in _IGNORED:
            tokens.append(Token(kind, text, spaced))
        spaced = kind == "gap"
    return tokens


def _normal(latex: str) -> str:
    """`latex` with one notation for each thing, and single spaces."""
    latex = _SUPERSCRIPT.sub(lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}", latex.replace("\\!", ""))
    latex = _SPACE.sub(" ", latex.translate(_SYNONYMS)).replace("\\%", "%")
    latex = _MOD.sub(lambda mod: "\\mod (" if mod[0].startswith("(") else "\\mod ", " ".join(latex.split()))
    latex = _CHOICE.sub(lambda label: "" if label[2] else label[1] or "", latex)
    latex = _PAIR.sub(lambda pair: _SEPARATOR.sub(", ", pair[0]), latex)  # (100,200) is a point, not 100200
    latex = _UNEQUAL.sub("\\\\ne ", _DASH.sub(r"\1-", _COLOR.sub("", latex)))
    latex = latex.strip(" *").removesuffix(".").rstrip(" *")  # a full stop, and Markdown's bold face
    return latex.replace("**", "^").removeprefix("\\approx")


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
