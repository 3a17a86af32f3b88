"""Source that does not compile, or that is more than a compiler expects."""

from __future__ import annotations

from tests.sandbox.attacks.attack import CRASH, ERROR, MEMORY, OK, TIMEOUT, Attack

_COMPILES_NOT = [
    Attack(name, "syntax error", code, (ERROR,), says)
    for name, code, says in (
        ("an operator", "x = 1\ny = = 2", '  File "<cell \\d+>", line 2\n(.|\n)*^SyntaxError: invalid syntax$'),
        ("an open bracket", "print((1 + 2)", "^SyntaxError: '\\(' was never closed$"),
        ("no body", "def f():\nprint(1)", "^IndentationError: expected an indented block"),
        ("an odd dedent", "if 1:\n    a = 1\n  b = 2", "^IndentationError: unindent"),
        ("tabs and spaces", "if 1:\n\ta = 1\n        b = 2", "^TabError"),
        ("return outside", "return 1", "^SyntaxError: 'return' outside function$"),
        ("break outside", "break", "^SyntaxError: 'break' outside loop"),
        ("await in a function", "def f():\n    await g()", "^SyntaxError: 'await' outside async function"),
        ("print as in Python 2", "print 1", "^SyntaxError: Missing parentheses"),
        ("prose", "The answer is 42.", "^SyntaxError"),
        ("LaTeX", "\\frac{1}{2}", "^SyntaxError: unexpected character after line continuation"),
        ("a fence around no code", "```python\nThe answer.\n```", "^SyntaxError"),
        ("a typographic sign", "x = 1 … 2", "^SyntaxError: invalid character"),
        ("an invisible space in no code", "x\u00a0=\u00a0= 1", "^SyntaxError: invalid non-printable character"),
        ("a number", "x = 0123", "^SyntaxError: leading zeros"),
        ("braces", "from __future__ import braces", "^SyntaxError: not a chance$"),
        ("a late future", "x = 1\nfrom __future__ import annotations", "^SyntaxError: from __future__"),
        ("an unfinished string", "x = '''abc", "^SyntaxError: unterminated"),
        ("two globals", "def f():\n    x = 1\n    global x", "^SyntaxError: name 'x' is assigned"),
        ("a bad escape", "x = '\\N{no such name}'", "^SyntaxError"),
    )
]

_BYTES = [
    Attack(name, "NUL and surrogates", code, statuses, says)
    for name, code, statuses, says in (
        ("a NUL", "x = '\0'", (ERROR,), "Error: .*null"),
        ("only NULs", "\0" * 1000, (ERROR,), "Error: .*null"),
        ("a surrogate in a string", "x = '\ud800'", (ERROR,), "Error: .*(surrogate|encode)"),
        ("a surrogate in a comment", "x = 1  # \udcff", (ERROR,), "Error: .*(surrogate|encode)"),
        ("a surrogate as a name", "\ud83d = 1", (ERROR,), "Error"),
        ("an escaped surrogate", "print('\\ud800')", (OK,), r"ud800"),
        ("a byte order mark", "\ufeffprint(1)", (OK, ERROR), "1|invalid"),
        ("another encoding", "# -*- coding: utf-16 -*-\nprint('é')", (OK, ERROR), "é|Error"),
        ("an encoding that is none", "# coding: nonsense\nprint('é')", (OK, ERROR), "é|Error"),
        ("lone carriage returns", "x = 1\rprint(x)\r", (OK,), "^1$"),
        ("carriage returns", "x = 1\r\nprint(x)\r\n", (OK,), "^1$"),
        ("a form feed", "\fx = 1\n\f\nprint(x)", (OK,), "^1$"),
        ("control characters", "x = '\x1b[2J\x07'\nprint(len(x))\x1a", (OK, ERROR), "5|Error"),
        ("right to left", "x = 'admin'  # \u202e\u2066\nprint(x)", (OK,), "^admin$"),
        ("line separators", "x = 1\u2028print(x)", (ERROR,), "SyntaxError"),
        ("identifiers", "ℕ = 5; 变量 = 6\nprint(ℕ + 变量)", (OK,), "^11$"),
    )
]

_ANY = (OK, ERROR, MEMORY, CRASH, TIMEOUT)
_DEEP = [
    Attack(name, "deep nesting", code, statuses, says)
    for name, code, statuses, says in (
        ("parentheses", "(" * 10**5 + ")" * 10**5, (ERROR, MEMORY), "Error"),
        ("brackets", "x = " + "[" * 10**4 + "]" * 10**4, (ERROR, MEMORY), "Error"),
        ("minus signs", "-" * 10**6 + "1", (ERROR, MEMORY, CRASH), "Error"),
        ("nots", "not " * 10**5 + "1", (ERROR, MEMORY, CRASH), "Error"),
        ("attributes", "x" + ".a" * 10**5, (ERROR, MEMORY, CRASH), "Error"),
        ("calls", "x = int\nx" + "()" * 10**5, (ERROR, MEMORY, CRASH), "Error"),
        ("additions", "print(" + "+".join(["1"] * 10**5) + ")", (OK, ERROR, MEMORY, CRASH), "100000|Error"),
        ("powers", "**".join(["1"] * 10**5), (ERROR, MEMORY, CRASH), "Error"),
        ("indentation", "".join(" " * n + "if 1:\n" for n in range(150)) + " " * 150 + "pass", (ERROR,), "too many"),
        ("functions", "".join(" " * n + f"def f{n}():\n" for n in range(60)) + " " * 60 + "pass", _ANY, ""),
        ("loops", "".join(" " * n + "for x in y:\n" for n in range(40)) + " " * 40 + "pass", (ERROR,), "too many"),
        ("lambdas", "lambda: " * 10**4 + "1", (ERROR, MEMORY, CRASH), "Error"),
        ("conditions", "1 if 1 else " * 10**4 + "1", (OK, ERROR, MEMORY, CRASH), "1|Error"),
        ("comprehensions", "[" * 90 + "1" + " for _ in [1]]" * 90, (OK, ERROR, CRASH), r"\[|Error"),
        ("else ifs", "x = 0\nif x: pass\n" + "elif x: pass\n" * 10**4, (OK, ERROR, MEMORY, CRASH), ""),
        ("formatted strings", "f'{" * 200 + "1" + "}'" * 200, (ERROR,), "SyntaxError"),
        ("by eval", "eval('(' * 10**5 + ')' * 10**5)", (ERROR, MEMORY), "Error"),
        ("by ast", "import ast\nast.literal_eval('-' * 10**6 + '1')", (ERROR, MEMORY, CRASH), "Error"),
    )
]

_HUGE = [
    Attack(name, "megabytes of source", code, statuses, says)
    for name, code, statuses, says in (
        ("many lines", "x = 1\n" * 400_000 + "print('end')", _ANY, "end|Error"),
        ("one long line", "x = 1;" * 200_000 + "print('end')", _ANY, "end|Error"),
        ("a long string", "x = '" + "a" * 8_000_000 + "'\nprint(len(x))", (OK,), "^8000000$"),
        ("a long comment", "# " + "c" * 8_000_000 + "\nprint('end')", (OK,), "^end$"),
        ("a long integer", "x = " + "9" * 200_000 + "\nprint(x % 10)", (OK, ERROR, TIMEOUT), "9|Error"),
        ("a long list", "x = [" + "1," * 10**6 + "]\nprint(len(x))", _ANY, "1000000|Error"),
        ("a long name", "a" * 10**6 + " = 1\nprint('end')", (OK,), "^end$"),
        ("blank lines", "\n" * 5_000_000 + "1 / 0", (ERROR,), "line 5000001(.|\n)*ZeroDivisionError"),
        (
            "many functions",
            "".join(f"def f{n}(x): return x\n" for n in range(20_000)) + "print(f19999(5))",
            _ANY,
            "5|Error",
        ),
        ("noise", "".join(chr(33 + n * 7919 % 90) for n in range(3 * 10**6)), (ERROR,), "SyntaxError"),
    )
]

ATTACKS = [*_COMPILES_NOT, *_BYTES, *_DEEP, *_HUGE]
