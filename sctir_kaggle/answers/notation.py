r"""One notation for each thing that a written answer may hold, so that the lexer and the grammar need to know only one.

Characters of other scripts become ASCII, what prints nothing (spacing, sizes, colours) goes, groups of three digits get one
separator, environments become rows. Linear time, except in texts longer than `latex.MAX_LENGTH`, which are not parsed.
"""

from __future__ import annotations

import re
import unicodedata

STYLES = "text|textrm|textbf|textit|textsf|texttt|textnormal|textup|textsc|textsl|textmd|emph|mathrm|rm|mbox|hbox"
"""Commands whose argument may be words."""

_SUPERSCRIPTS = "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079"
_SUBSCRIPTS = "\u2080\u2081\u2082\u2083\u2084\u2085\u2086\u2087\u2088\u2089"
_RAISED = re.compile(f"[{_SUPERSCRIPTS}]+|[{_SUBSCRIPTS}]+")
_LOWERED = str.maketrans(_SUPERSCRIPTS + _SUBSCRIPTS, "0123456789" * 2)
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5E)}  # without the tilde, which is a range there
_SYNONYMS = str.maketrans(
    {"\u2212": "-", "\u00d7": "*", "\u00b7": "*", "\u22c5": "*", "\u2217": "*", "\u00f7": "/", "\u2044": "/"}
    | {"\u2215": "/", "\u221a": " sqrt ", "\u00b0": "^\\circ ", "\u2261": "=", "\u2248": "\\approx ", "\u3002": "."}
    | {"\u201c": '"', "\u201d": '"', "\u2019": "'", "\u3001": ","}
    | dict.fromkeys("\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff", "")  # they print nothing
    | _FULL_WIDTH
)

_GAP = r"(?:\s|~|\\[!,;:> ]|\\(?:thin|negthin|med|thick)space(?![A-Za-z]))"
_IN_BRACES = rf"{_GAP}?(?:\\(?:text|mathrm|mbox|mathord|mathpunct))?\{{{_GAP}*(?:,{_GAP}*)?\}}"
_GROUP = re.compile(  # only groups of digits are separated like this; a bare comma with a space makes a list
    rf"(?<=[0-9])(?:{_IN_BRACES}|,{_GAP}*\\!){_GAP}*(?=[0-9]{{3}}(?![0-9]))"
)
_LENGTHS = re.compile(
    r"\\(?:hspace|vspace|mspace|phantom|hphantom|vphantom|tag|label)\*? ?\{[^{}]*\}"
    r"|\\(?:rule|fontsize) ?\{[^{}]*\} ?\{[^{}]*\}|\\(?:raisebox|scalebox) ?\{[^{}]*\}"
    r"|\\(?:hskip|mskip|kern|mkern) ?-?[0-9.]+ ?(?:em|ex|pt|mu|cm|mm|in)?"
)
_DECORATION = re.compile(
    r"\\(?:text)?color ?(?:\[[A-Za-z]*\])? ?\{[^{}]*\}|\\colorbox ?\{[^{}]*\}|\\fcolorbox ?\{[^{}]*\} ?\{[^{}]*\}"
    r"|\\bbox ?(?:\[[^\[\]]*\])?|\\(?:left|right) ?\.(?![0-9])"
)
_SPACE = re.compile(
    r"(?P<row>\\\\)|\\[,;:>()\[\] $]|[~$`\u00a3\u20ac\s]+"
    r"|\\(?:thinspace|negthinspace|medspace|thickspace|enspace|enskip|space|hfill|hfil|strut|null|relax|par|newline"
    r"|nonumber|notag|hline|qed|centering|noindent|allowbreak|nobreak|selectfont)(?![A-Za-z])"
)
_ROWS = (
    "aligned|align|matrix|gathered|gather|split|equation|eqnarray|multline|multlined|displaymath|math|center|flushleft"
)
_COLUMNS = "array|tabular|alignat|alignedat"  # they take an argument
_ENVIRONMENT = re.compile(
    rf"\\begin ?\{{(?:(?:{_COLUMNS})\*?\}}(?: ?\[[a-z]\])? ?\{{[^{{}}]*\}}|(?:{_ROWS})\*?\}}(?: ?\[[a-z]\])?)"
    rf"|\\end ?\{{(?:{_ROWS}|{_COLUMNS})\*?\}}"
)
_BREAK = r"\\\\(?:\[[0-9.]+ ?[a-z]{2}\])?"
_BREAKS = re.compile(rf"(?: ?{_BREAK})+ ?(?P<goes_on>&? ?=)?")
_ENDS = re.compile(rf"\A(?:[ &]|{_BREAK})+|(?:[ &]|{_BREAK})+\Z")
_ALIGNMENT = re.compile(r" ?& ?(?==)|(?<==) ?& ?")

_MOD = re.compile(rf"\(? ?(?:\\(?:{STYLES}|operatorname) ?\{{ ?mod ?\}}|\\?\b[bp]?mod(?![A-Za-z]))")
_DASH = re.compile("(\\A|[=(]) ?\u2013")  # a minus where a number starts; elsewhere it is a range
_PAIR = re.compile(r"[(\[][^()\[\]]*[)\]]|\\\{[^{}]*\\\}")
_SEPARATOR = re.compile(r"(?<=[0-9]),")
_CHOICE = re.compile(rf"\A(\\(?:{STYLES}|mathbf) ?\{{)? ?\([A-E]\) ?(\}})?")  # the label of a multiple choice
_UNEQUAL = re.compile(r"(?<![0-9)}\]])!=")
_LEADING = re.compile(
    r"\A(?:\\(?:therefore|implies|Rightarrow|Longrightarrow|rightarrow)(?![A-Za-z])|[\u2234\u21d2\u2192]) ?"
)


def normalized(latex: str) -> str:
    r"""Return `latex` with one notation for each thing, and single spaces.

    >>> normalized(r"$\large 11,\! 111\text{ cm}\quad$"), normalized("\uff14\uff12.")
    ('\\large 11{,}111\\text{ cm}', '42')
    """
    latex = _GROUP.sub("{,}", ascii_digits(latex)).replace("\\!", "")
    latex = _SPACE.sub(lambda space: space["row"] or " ", _DECORATION.sub("", _LENGTHS.sub(" ", latex))).replace(
        "\\%", "%"
    )
    latex = _in_one_row(" ".join(latex.split()))
    latex = _MOD.sub(lambda mod: "\\mod (" if mod[0].startswith("(") else "\\mod ", latex)
    latex = _CHOICE.sub(lambda label: "" if label[2] else label[1] or "", latex)
    latex = _PAIR.sub(lambda pair: _SEPARATOR.sub(", ", pair[0]), latex)  # (100,200) is a point, not 100200
    latex = _UNEQUAL.sub("\\\\ne ", _DASH.sub(r"\1-", latex))
    return _LEADING.sub("", without_punctuation(latex)).replace("**", "^").removeprefix("\\approx")


def ascii_digits(text: str) -> str:
    r"""Return `text` with digits of every script, full-width forms and the usual mathematical characters in ASCII.

    >>> ascii_digits("\uff14\uff12"), ascii_digits("10\u00b2")
    ('42', '10^{2}')
    """
    if text.isascii():
        return text
    text = _RAISED.sub(
        lambda run: ("^{" if run[0][0] in _SUPERSCRIPTS else "_{") + run[0].translate(_LOWERED) + "}", text
    ).translate(_SYNONYMS)
    return text if text.isascii() else "".join(map(_digit, text))


def _digit(character: str) -> str:
    value = unicodedata.decimal(character, None)
    return character if value is None else str(value)


def without_punctuation(text: str) -> str:
    """Return `text` without the marks that end a sentence and without Markdown's marks; an ellipsis stays, it is no end."""
    text = text.strip(' *_"')
    while text.endswith((".", ",", ";", ":")) and not text.endswith(".."):
        text = text[:-1].rstrip(' *_"')
    return text


def _in_one_row(latex: str) -> str:
    """`latex` without what only arranges it: environments, row breaks before `=` and at the ends, marks of alignment.

    A break or a mark between two things stays, and has no value: these are two answers, or a matrix.
    """
    latex = _ENVIRONMENT.sub(r" \\\\ ", latex)
    latex = _BREAKS.sub(lambda rows: " = " if rows["goes_on"] else "\\\\", latex)
    return _ALIGNMENT.sub("", _ENDS.sub("", latex))
