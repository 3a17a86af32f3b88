r"""Text -> exact integer: every shape that models write, and nothing that they write does harm.

`VALUES` and `NO_VALUE` are the specification of `parse`.
"""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sctir_kaggle.answers import Reading, boxed, parse, prose, read_answer, stated, to_vote

# fmt: off
VALUES: dict[str, dict[str, str | int]] = {
    "an integer": {
        "42": 42, "-42": -42, "+42": 42, "−42": -42, "- 42": -42, "–5": -5, "1,000,000": 1000000, "12,345": 12345,
        r"1,\!000,\!000": 1000000, "42.": 42, "$42.$": 42, "**42**": 42, r"42\ ": 42, "~42~": 42, r"\,42": 42,
    },
    "in an equation": {
        "x=42": 42, "x = y = 42": 42, "f(3) = 42": 42, "42 = x": 42, "a+b+c = 42": 42, "x=-5": -5,
        r"m\angle ABC = 42^\circ": 42, r"\sum_{i=1}^{10} i = 55": 55, "f(100,200)=42": 42, "x=0": 0,
    },
    "a chain counts with its last value": {
        r"42 = 6 \cdot 7": 42, r"6 \cdot 7 = 42": 42, "16 + 2*8 = 16 + 16 = 32": 32, "5! = 120": 120, "n = 5!": 120,
        r"S=\frac{1}{2}\cdot 84": 42,
    },
    "with a unit": {
        r"42\text{ cm}": 42, r"42\ \mathrm{cm}^2": 42, r"42\,\text{cm}^{2}": 42, r"42 \text{ square units}": 42,
        "42 square units": 42, "42 cm": 42, "42cm": 42, "47 degrees": 47, "1152 cups of flour": 1152,
        r"42\text{ m}": 42, r"42\text{ km/h}": 42, r"42 \text{ sq. units}": 42, r"\text{42 cm}": 42,
        r"2 \times 3 \text{ cm}": 6, r"42 \text{ units}^2": 42, r"11^{\text{th}}": 11, r"11^{\mathrm{th}}": 11,
        "11th": 11,
    },
    "money": {
        r"\$42": 42, "$42$": 42, r"\$1,450,000": 1450000, r"-\$42": -42, r"\$ 42": 42, "€42": 42,
    },
    "percent and degrees are units": {
        r"42\%": 42, "42%": 42, r"P = 42\%": 42, r"0.5\%": "1/2", r"42^\circ": 42, r"42^{\circ}": 42, "42°": 42,
        r"42^\circ\text{C}": 42, r"42\text{ degrees}": 42, r"35^\circ + 7^\circ": 42,
    },
    "wrapped": {
        r"\(42\)": 42, r"\[42\]": 42, r"\text{42}": 42, r"\mathrm{42}": 42, r"\mathbf{42}": 42, r"\boxed{42}": 42,
        r"\underline{42}": 42, r"\left(42\right)": 42, r"\bigl(42\bigr)": 42, "(42)": 42, "[42]": 42, "{42}": 42,
        r"\{42\}": 42, r"\displaystyle 42": 42, r"\color{red}{42}": 42, r"\textcolor{blue}{42}": 42,
    },
    "after a multiple-choice label": {
        r"\textbf{(C)}\ 42": 42, r"\textbf{(C) }42": 42, r"\textbf{(C) 42}": 42, "(C) 42": 42,
    },
    "a fraction": {
        r"\frac{10}{2}": 5, r"\dfrac{84}{2}": 42, r"\tfrac{1}{3}": "1/3", r"\frac12": "1/2", r"\frac1{2}": "1/2",
        r"\frac{1}2": "1/2", r"\frac 12": "1/2", r"\frac{270}7": "270/7", r"\frac{\frac{1}{2}}{\frac{1}{4}}": 2,
        r"-\frac{84}{2}": -42, r"\frac{-84}{2}": -42, r"\frac{20,000}{10}": 2000, r"\displaystyle\frac{84}{2}": 42,
        "10/2": 5, "10 / 4": "5/2", "1/2/2": "1/4", r"\(\frac{7}{2}\)": "7/2",
    },
    "a mixed number": {
        r"2\frac{1}{2}": "5/2", r"2 \frac12": "5/2", r"-2\frac{1}{2}": "-5/2", r"137\frac{1}{2}\text{ days}": "275/2",
    },
    "a product all the same": {
        r"3\frac{8}{4}": 6, r"3 \cdot \frac{1}{2}": "3/2",
    },
    "a decimal": {
        "42.0": 42, "42.00000": 42, "2.5": "5/2", ".5": "1/2", "0.1": "1/10", "1,000.50": "2001/2",
    },
    "scientific": {
        r"4.2\times 10^{1}": 42, r"4.2 \cdot 10^1": 42, "1e3": 1000, "1.5e-1": "3/20", "1e+20": 100000000000000000000,
    },
    "a power": {
        "2^{10}": 1024, "2^10": 1024, "2**10": 1024, "2¹⁰": 1024, "10²": 100, "2^{-1}": "1/2", "2^-1": "1/2",
        "-2^2": -4, "(-2)^2": 4, "2^{3^2}": 512, "2^3^2": 512, "16^{1/2}": 4, r"8^{\frac{2}{3}}": 4, "4^{0.5}": 2,
        "1^{99999999999}": 1, "(-1)^{99999999999}": -1,
    },
    "a root": {
        r"\sqrt{16}": 4, r"\sqrt 4": 2, "√16": 4, "sqrt(25)": 5, r"\sqrt[3]{27}": 3, r"\sqrt[3]{-27}": -3,
        r"\sqrt{\frac{9}{4}}": "3/2", r"3\sqrt{4}": 6,
    },
    "counting": {
        "10!": 3628800, "(2^3)!": 40320, r"\binom{10}{3}": 120, r"\dbinom{10}{3}": 120, r"{10 \choose 3}": 120,
        r"10 \choose 3": 120, "8 choose 2": 28, r"\binom{3}{10}": 0,
    },
    "arithmetic": {
        r"6 \cdot 7": 42, r"6 \times 7": 42, "6*7": 42, "6×7": 42, r"84 \div 2": 42, "2(3)": 6, "(2)(3)": 6,
        "2(3)^2": 18, r"2 \cdot -3": -6, "100+5": 105, "100 - 5 + 2": 97, "5 - (-3)": 8, "5-5=0": 0,
    },
    "absolute value, floor and ceiling": {
        "|{-5}|": 5, "|-5|": 5, r"\left| -5 \right|": 5, r"\lvert -5 \rvert": 5, r"\lfloor 5/2 \rfloor": 2,
        r"\left\lfloor \frac{5}{2} \right\rfloor": 2, r"\lfloor -5/2 \rfloor": -3, r"\lceil 5/2 \rceil": 3,
    },
    "a residue": {
        r"42 \pmod{1000}": 42, r"1042 \pmod{1000}": 42, r"1042 \bmod 1000": 42, r"1042 \mod 1000": 42, r"-3 \pmod 7": 4,
        r"x \equiv 42 \pmod{1000}": 42, "42 (mod 1000)": 42, r"42 \text{ mod } 1000": 42, r"2^{10} \bmod 1000": 24,
    },
    "in another base: the digits asked for": {
        "2112_6": 2112, "2112_{6}": 2112, r"2112_{\text{six}}": 2112, "2112_{(6)}": 2112, "-221_3": -221, "8_9": 8,
        "0_2": 0, "24_{10}": 24,
    },
    "with spacing that prints nothing": {
        r"42 \quad": 42, r"\qquad 42": 42, r"x \quad = \quad 42": 42, r"42 \quad \text{cm}": 42, r"42\,": 42, r"\;42\;": 42,
        r"\hspace{1cm} 42": 42, r"42\hspace*{2pt}": 42, r"42\hskip 1em": 42, r"42\enspace": 42, r"\phantom{0}42": 42,
        r"42\ \text{cm}": 42, r"\!42\!": 42, r"4\!2": 42, r"42 \\": 42, "42\u200b": 42, "\ufeff42": 42, "42\u3000": 42,
    },
    "with a size, a font or a colour": {
        r"\large 42": 42, r"{\Large 42}": 42, r"\huge{42}": 42, r"\small 42": 42, r"\bf 42": 42, r"{\bf 42}": 42,
        r"\mathbf 42": 42, r"\boldsymbol{42}": 42, r"\textbf{42}": 42, r"\underline{42}": 42, r"\emph{42}": 42,
        r"\color{blue} 42": 42, r"{\color{red}42}": 42, r"\color[rgb]{1,0,0}42": 42, r"\textcolor[HTML]{FF0000}{42}": 42,
        r"\colorbox{yellow}{42}": 42, r"\bbox[5px]{42}": 42, r"\ensuremath{42}": 42, r"\mathrm{42}": 42,
        r"\underline{\underline{42}}": 42, r"\left. 42 \right.": 42, r"\mathbf{\large 42}": 42, r"\mathcal{42}": 42,
    },
    "with punctuation at its end": {
        "42,": 42, "42;": 42, "42.": 42, "42 .": 42, r"42\text{.}": 42, r"42\,.": 42, "1,234,": 1234, "x = 42,": 42, "42:": 42,
        "___42___": 42, "__42__": 42, "`42`": 42, '"42"': 42, "\u201c42\u201d": 42, "42\u3002": 42,
    },
    "in an environment of one row, or in one chain": {
        r"\begin{aligned}42\end{aligned}": 42, r"\begin{align*} x &= 42 \end{align*}": 42,
        r"\begin{gathered}42\end{gathered}": 42,
        r"\begin{array}{c} 42 \end{array}": 42, r"\begin{array}{|c|} \hline 42 \\ \hline \end{array}": 42,
        r"\begin{equation*} n = 42 \end{equation*}": 42, r"\begin{aligned} x &= 6 \cdot 7 \\ &= 42 \end{aligned}": 42,
        r"\begin{aligned} S &= 1+2 \\[2pt] &= 3. \end{aligned}": 3, r"\begin{array}{rcl} n & = & 42 \end{array}": 42,
        r"\begin{split}42\end{split}": 42, r"\begin{gather} 42 \tag{1} \end{gather}": 42, r"\begin{center}42\end{center}": 42,
    },
    "digits of other scripts": {
        "\uff14\uff12": 42, "\uff0d\uff14\uff12": -42, "\uff11\uff0c\uff12\uff13\uff14": 1234, "\u0664\u0662": 42,
        "\u096a\u0968": 42, "\U0001d7d2\U0001d7d0": 42, "x \uff1d \uff14\uff12": 42, "\uff14\uff12\uff05": 42,
        "2112\u2086": 2112, "\uff08\uff14\uff12\uff09": 42, "2\u00b9\u2070": 1024,
    },
    "groups of digits, however they are separated": {
        r"11,\! 111,\! 111": 11111111, r"10{,}\,080": 10080, "14 {, }916": 14916, r"1{,}\!234{,}\!567": 1234567,
        r"1{\,}234": 1234, r"1\mathpunct{,}234": 1234, r"1\text{,}234": 1234, r"12, \!345": 12345, r"-1{,}234": -1234,
        "1,234{,}567": 1234567, r"1{,}000.5": "2001/2", "1{}234": 1234, r"\$16,\!386": 16386, r"2\;345": 2345,
    },
    "after a sign of a conclusion": {
        r"\therefore 42": 42, r"\therefore x = 42": 42, r"\Rightarrow 42": 42, "\u2234 42": 42,
    },
    "approximately, and nothing else": {
        r"\approx 42": 42, "≈ 42": 42,
    },
}

NO_VALUE: dict[str, list[str]] = {
    "nothing": [
        "", "None", "NaN", "nan", ".", "x", "x =", r"\text{}", r"\boxed{}",
    ],
    "a list": [
        "1,2", "(1,2)", "1, 2, 3", "1, 234", "0,500", "1,00,000", "1,0000", "[1, 2]", r"\{1, 2\}", "(100,101)",
        "[100,200]", r"\{100,200\}", "a = 1, b = 6", "x = 2, y = 3", "(x,y) = (1,2)", "1; 2",
    ],
    "several answers": [
        r"42 \text{ or } 43", "42 or 43", r"x = 2 \text{ or } x = 3", r"x = 2 \text{, } x = 3", r"x = 2 \quad x = 3",
        r"\pm 3", r"x = \pm 3", "6 positive and 6 negative integers", r"42 \text{ for } n = 7",
    ],
    "an interval, a relation, an equation": [
        r"(-\infty, 0]", "(1, 2]", "x < 5", r"x \neq 5", "x != 5", r"x \ge 5 = y", "5–10", "x + y + z = 0",
        r"x \in \{1\}",
    ],
    "irrational, infinite or complex": [
        r"\pi", r"2\pi", "25π", r"\ln 2", r"\sqrt{2}", "2^{1/2}", r"\sqrt{-4}", "(-8)^{1/3}", r"\infty", "-∞", "12i",
        "42 i", r"42\mathrm{i}", "2 + 3i", r"$3\sqrt{5}$", r"1 + \sqrt{2}",
    ],
    "a variable": [
        "42x", "9n", "42 m", r"42\text{x}", "a_1", "100100_b", r"3\text{A}_{16}", "2k + 2",
    ],
    "words": [
        "forty-two", r"\text{forty-two}", r"\text{Angela}", r"\text{(B)}", "(C)", "42 million", r"42 \text{ million}",
        "There are 42 ways", "Fraction(84, 2)", "0x1F",
    ],
    "not exact": [
        r"41.6 \approx 42", r"x \approx 42", r"0.\overline{3}", "0.6944...", r"1\ldots",
    ],
    "two numbers side by side, or a sign too many": [
        "10 20", "12 1/3", "{1}{2}", "2{3}", "4{2}", "5--3", "1.2.3", "1.000.000", "3:2", "7:30",
    ],
    "an underscore that is not a base": [
        "1_000", "2_112", "92_3", "2112_66", "2112_6 + 1",
    ],
    "undefined": [
        r"\frac{1}{0}", "0^0", "0^{-1}", r"5 \bmod 0", "(-3)!", "(1/2)!", r"\binom{-1}{2}", r"\frac{5}{2} \bmod 3",
    ],
    "ambiguous": [
        "5!!", "2^{3}!", r"\sqrt16", r"\text{42 cm}^2", r"42 \text{ (base 6)}",
    ],
    "malformed": [
        "(1", "(1]", "1)", r"\frac{}{2}", r"\frac{1}", "2^", "2^2^", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}",
        r"1\\sqrt{19}", r"42 \\ 43", r"42\text{ cm} + 3", r"\text{cm}^2",
    ],
    "two rows or two columns": [
        r"\begin{aligned} x &= 3 \\ y &= 4 \end{aligned}", r"\begin{array}{cc} 1 & 234 \end{array}",
        r"\begin{cases} 3 \\ 4 \end{cases}", r"\begin{pmatrix} 42 \end{pmatrix}", r"\begin{gathered} 3 \\ 4 \end{gathered}",
        r"\begin{aligned} a + b &= 10 \\ a &= 4 \end{aligned}", r"\begin{array}{c} 3 \\ \hline 4 \end{array}",
    ],
    "digits that are no decimal digits": [
        "\u3247", "\u2463", "\u56db\u5341\u4e8c", "\u00bd", "49\u2153", "XLII",
    ],
    "wide space between two things": [
        r"42 \quad 43", r"1 \quad 234", r"x = 2 \qquad y = 3", r"\frac{1}{2} \quad \frac{1}{3}", r"42 \quad (n = 7)",
    ],
    "a letter that is spelled out": [
        "1340 omega", "2 alpha", "4 theta",
    ],
}
# fmt: on


@pytest.mark.parametrize(("latex", "value"), [pair for group in VALUES.values() for pair in group.items()])
def test_a_written_number_has_its_exact_value(latex: str, value: str | int) -> None:
    assert parse(latex) == Fraction(value)


@pytest.mark.parametrize("latex", [latex for group in NO_VALUE.values() for latex in group])
def test_what_is_not_one_rational_number_has_no_value(latex: str) -> None:
    assert parse(latex) is None


def grouped(separator: str) -> list[str]:
    return [f"{number:,}".replace(",", separator) for number in (1000, 27_000, 1_234_567)]


@pytest.mark.parametrize("separator", [",", "{,}", ",\\!", "\\,", "\\;", "\\ ", " ", "~", "\u202f", "\u00a0"])
def test_digits_in_groups_of_three_are_one_number(separator: str) -> None:
    assert [parse(text) for text in grouped(separator)] == [1000, 27_000, 1_234_567]


SHAPES = [
    "{}", "{}.0", "{}.", "${}$", r"\({}\)", r"\[{}\]", "x={}", "x = y = {}", r"\$ {}", r"{}\text{{ cm}}",
    r"{}\ \mathrm{{cm}}^2", r"{}\%", r"{}^\circ", r"\text{{{}}}", r"\mathbf{{{}}}", r"\boxed{{{}}}", r"\left({}\right)",
    "{{{}}}", r"\frac{{{}}}{{1}}", "{}/1", "({})^1", r"1 \cdot {}", "{} + 0",
    r"n \equiv {} \pmod{{99999999999999999999999}}", r"\textbf{{(C)}}\ {}", "**{}**",
]  # fmt: skip


@given(st.integers(min_value=0, max_value=10**20), st.sampled_from(SHAPES))
def test_an_integer_comes_back_from_every_shape(number: int, shape: str) -> None:
    assert parse(shape.format(number)) == number


@given(st.integers(), st.sampled_from(["{}", "x = {}", "({})", "$ {} $", "|{}| = {}", "\\frac{{{}}}{{1}}"]))
def test_a_negative_integer_comes_back(number: int, shape: str) -> None:
    assert parse(shape.format(number, number)) == number
    assert parse(shape.format(number, number).replace("-", "\u2212")) == number


@given(st.fractions())
def test_a_fraction_parses_back_exactly(value: Fraction) -> None:
    latex = f"\\frac{{{value.numerator}}}{{{value.denominator}}}"
    assert parse(latex) == parse(f"{value.numerator}/{value.denominator}") == parse(f"({latex})") == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
def test_a_decimal_is_read_without_rounding(value: object) -> None:
    assert parse(f"{value:f}") == Fraction(str(value))


@given(st.integers(0, 40), st.integers(0, 40))
def test_python_agrees_on_factorials_binomials_and_powers(n: int, k: int) -> None:
    assert parse(f"{n}!") == math.factorial(n)
    assert parse(f"\\binom{{{n}}}{{{k}}}") == parse(f"{{{n} \\choose {k}}}") == math.comb(n, k)
    assert parse(f"{n + 1}^{{{k}}}") == (n + 1) ** k
    assert parse(f"\\sqrt[{k + 1}]{{{n ** (k + 1)}}}") == n


HOSTILE = {
    "a tower": "5^{5^{5^{5^5}}}",
    "a short tower": "9^{9^{9}}",
    "a long tower": "2^" * 1999 + "2",
    "a factorial": "99999999!",
    "a factorial of a factorial": "((9!)!)!",
    "a product of factorials": "500!500!",
    "a binomial": "\\binom{10^{9}}{5^{12}}",
    "an exponent": "1e99999",
    "a tiny number": "10^{-99999}",
    "a root": "\\sqrt[99999999999]{3}",
    "digits": "7" * 3999,
    "more digits": "7" * 10**6,
    "braces": "{" * 10**5 + "42" + "}" * 10**5,
    "brackets": "(" * 1900 + "42" + ")" * 1900,
    "bars": "|" * 3999,
    "signs": "-" * 3999,
    "fractions": "\\frac1" * 600,
    "radicals": "sqrt " * 700,
    "many roots": "+".join(["\\sqrt[3]{2^{4095}}"] * 200) + "!",
    "many binomials": "=".join(["\\binom{9999}{4000}"] * 200),
    "many fractions": "+".join(f"1/({i}^{{97}}+1)" for i in range(2, 250)),
    "surrogates": "\ud800\\text{\udfff}",
    "NUL": "4\x002",
    "spaces": " " * 10**6 + "x",
}


@pytest.mark.parametrize("latex", HOSTILE.values(), ids=HOSTILE.keys())
def test_no_expression_takes_time_or_memory(latex: str) -> None:
    assert parse(latex) is None
    assert read_answer(f"\\boxed{{{latex}}}").answer is None


def test_large_values_within_the_ceiling_are_exact() -> None:
    assert parse("2^{4095}") == 2**4095
    assert parse("2^{4097}") is None
    assert parse("\\binom{123456789}{2}") == math.comb(123456789, 2)
    assert parse("\\frac{500!}{498!}") == 249500


def test_the_last_complete_box_is_the_answer() -> None:
    assert boxed("First $\\boxed{1}$, in fact $\\boxed{2}$, which ends the proof. " + "Remark. " * 40) == "2"
    assert boxed("$\\boxed{1}$ and then \\boxed{2") == "1"
    assert boxed("no box") is None
    assert boxed("\\boxed{") is None


def test_braces_in_a_box_balance() -> None:
    assert boxed("\\boxed{\\frac{1}{\\sqrt{4}}}") == "\\frac{1}{\\sqrt{4}}"
    assert boxed("\\boxed{\\{1\\}}") == "\\{1\\}"
    assert boxed("a { b \\boxed{42} c") == "42"
    assert boxed("a } b \\boxed{42} c }") == "42"
    assert boxed("\\boxed{x = \\boxed{42}}") == "x = \\boxed{42}"
    assert boxed("\\boxed{\\text{cut off} \\boxed{42}") == "42"


@pytest.mark.parametrize(
    "text", ["\\boxed 42", "\\boxed42.", "\\fbox{42}", "\\boxed {42}", "\\\\boxed{42}", "\\boxed{ 42 }"]
)
def test_a_box_has_several_spellings(text: str) -> None:
    assert boxed(f"Hence ${text}$") == "42"


def test_an_empty_box_is_passed_over() -> None:
    assert boxed("\\boxed{42} as asked, in \\boxed{}") == "42"


def test_another_command_is_no_box() -> None:
    assert boxed("\\boxedfoo{42} \\unboxed{42}") is None


def test_code_and_its_output_are_no_prose() -> None:
    code = '```python\nprint("\\\\boxed{1}")\n```\n```output\n\\boxed{2}\n```\n'
    assert boxed(code) is None
    assert boxed("\\boxed{42}\n" + code) == "42"
    assert boxed(code + "Hence \\boxed{42}.\n```python\n# \\boxed{3}") == "42"
    assert stated("```output\nThe answer is 3") is None
    assert prose(f"a{code}b").split() == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 42", "the answer is: 42.", "The final answer is $42$.", "Answer: 42", "**Answer:** 42",
        "The answer is **42**.", r"The answer is \(42\).", "The answer is 42. I hope it is correct.",
        r"The answer is $6 \cdot 7$.", "the answer is x = 42",
    ],
)  # fmt: skip
def test_a_closing_statement_stands_in_for_a_missing_box(text: str) -> None:
    assert read_answer(f"We add up. {text}").answer == 42
    assert read_answer(f"We add up. {text}", allow_stated=False) == Reading()


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 42. " + "And more. " * 20, "The answer is not 42.", "The answer is 41 or 42.", "42",
        "the answers are 42", "I do not know what the answer is.", "The answer is $\\boxed{42",
    ],
)  # fmt: skip
def test_any_other_statement_is_no_answer(text: str) -> None:
    assert read_answer(text) == Reading()


def test_a_box_goes_before_a_statement() -> None:
    assert read_answer("\\boxed{7}. The answer is 42.") == Reading("7", 7)
    assert read_answer("\\boxed{\\pi}. The answer is 42.") == Reading("\\pi", None)


def test_a_reading_keeps_what_was_written() -> None:
    assert read_answer("\\boxed{\\frac{5}{2}}") == Reading("\\frac{5}{2}", None)
    assert read_answer("\\boxed{1\\,042}") == Reading("1\\,042", 42)
    assert read_answer("\\boxed{1042}", modulus=None) == Reading("1042", None)
    assert read_answer("\\boxed{1042}", modulus=None, highest=99_999) == Reading("1042", 1042)
    assert read_answer("\\boxed{-5}", modulus=None, lowest=None) == Reading("-5", -5)


@pytest.mark.parametrize(
    ("value", "vote"),
    [
        (42, 42),
        (1042, 42),
        (-1, 999),
        (-1000, 0),
        (0, 0),
        (999, 999),
        (Fraction(5, 2), None),
        (Fraction(-2, 5), None),
        (None, None),
    ],
)
def test_a_vote_is_an_integer_modulo_1000(value: Fraction | int | None, vote: int | None) -> None:
    assert to_vote(None if value is None else Fraction(value)) == vote


@pytest.mark.parametrize(("value", "vote"), [(0, 0), (99_999, 99_999), (100_000, None), (-1, None)])
def test_without_a_modulus_the_range_decides(value: int, vote: int | None) -> None:
    assert to_vote(Fraction(value), modulus=None, highest=99_999) == vote


@given(st.integers())
def test_without_modulus_and_bounds_every_integer_is_a_vote(number: int) -> None:
    assert to_vote(Fraction(number), modulus=None, lowest=None, highest=None) == number


@given(st.integers(), st.integers(min_value=1, max_value=10**6))
def test_a_residue_is_never_negative(number: int, modulus: int) -> None:
    vote = to_vote(Fraction(number), modulus=modulus, highest=None)
    assert vote is not None
    assert 0 <= vote < modulus
    assert (vote - number) % modulus == 0
