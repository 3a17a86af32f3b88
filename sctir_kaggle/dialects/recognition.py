"""Recognise a checkpoint's dialect by rendering its chat template (never by its name), and bind a dialect to a checkpoint.

A dialect that was recognised, chosen by name or read from a TOML file is bound: the template is rendered with a placeholder
for the problem, stop tokens get their ids, and the text between one turn and the next is taken from the template, too.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sctir_kaggle.dialects.dialect import Dialect, dialect_from
from sctir_kaggle.dialects.rows import (
    CHAT_SERVER,
    DEEPSEEK_MATH,
    DIALECTS,
    GPT_OSS,
    HERMES,
    LLAMA3,
    NUMINA,
    OPENMATH_NEMOTRON,
    QWEN3,
    QWEN3_CODER,
    QWEN_MATH,
    R1,
)
from sctir_kaggle.kinds import nearest, read_toml
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from sctir_kaggle.dialects.tokenizer import Tokenizer

AUTO = "auto"
"""The choice that recognises the dialect from the checkpoint."""

log = logging.getLogger("sctir_kaggle")

# Placeholders in a template; one word each, which no template changes.
_PROBLEM, _WRITTEN, _OUTPUT = "sctirproblem", "sctirwritten", "sctiroutput"

Message = dict[str, Any]


def choose(choice: str, tokenizer: Tokenizer | None, *, model: str, turns: int = 0) -> Dialect:
    """Return the dialect of a run, bound to the checkpoint (see `bind`). `choice` is `auto`, a name or a TOML file.

    `tokenizer` is None where only a server has one. Raises `UserError` if none is recognised or the choice does not fit.
    """
    if choice != AUTO:
        return bind(named(choice), tokenizer, model=model, turns=turns)
    if tokenizer is None:
        raise UserError(f"which dialect {model} speaks is not known without its tokenizer: {_advice()}")
    found = recognise(tokenizer)
    if found is None:
        raise UserError(f"{model} speaks no dialect that is recognised from its {_looked_at(tokenizer)}: {_advice()}")
    return bind(found, tokenizer, model=model, turns=turns)


def named(choice: str) -> Dialect:
    """Return the dialect of this name or in this TOML file, not bound yet. Raises `UserError` for an unknown one."""
    if choice in DIALECTS:
        return DIALECTS[choice]
    if choice.endswith(".toml") or "/" in choice:
        return load(Path(choice))
    meant = nearest(choice, _shipped()) or f"; {_advice()}"
    raise UserError(f"there is no dialect {choice!r}{meant}")


def load(path: Path) -> Dialect:
    """Read a dialect from a TOML file with the fields of `Dialect`.

    `like = NAME` starts from a row; of `arguments` and `sampling` only the entries in the file are changed.
    """
    values = read_toml(path)
    like = values.pop("like", None)
    if like is not None and like not in DIALECTS:
        raise UserError(f"{path}: like is {like!r}, which is no dialect that ships{nearest(str(like), _shipped())}")
    base = {} if like is None else {name: value for name, value in vars(DIALECTS[like]).items() if name != "name"}
    for table in ("arguments", "sampling"):
        if isinstance(values.get(table), Mapping):
            values[table] = {**base.get(table, {}), **values[table]}
    return dialect_from({"name": path.stem, **base, **values}, source=str(path))


def recognise(tokenizer: Tokenizer) -> Dialect | None:
    """Return the row that the checkpoint's own template matches, not bound yet; None if no rule matches."""
    tokens = tokenizer.added_tokens
    if {"<|channel|>", "<|message|>", "<|call|>", "<|return|>"} <= tokens.keys():
        return GPT_OSS
    plain = _rendered(tokenizer, [_message("user", _PROBLEM)]) or _calls(tokenizer)
    if not plain:
        return None
    return next((dialect for dialect, fits in _RULES if fits(tokenizer, plain)), None)


def bind(dialect: Dialect, tokenizer: Tokenizer | None, *, model: str, turns: int = 0) -> Dialect:
    """Return `dialect` with its whole prompt as text and the ids of its stop tokens.

    `turns` is the number of times that a candidate may run code. Raises `UserError` if it does not fit the checkpoint.
    """
    if dialect.prompt:
        dialect = replace(dialect, prompt=_filled(dialect))
    elif tokenizer is None or not tokenizer.chat_template:
        raise UserError(
            f"dialect {dialect.name} is the checkpoint's own chat template, and {model} has none at hand: pass the "
            f"checkpoint's folder with --model, or choose {', '.join(name for name in _shipped() if DIALECTS[name].prompt)}"
        )
    else:
        dialect = _from_template(dialect, tokenizer, model=model)
    dialect = replace(dialect, prompt=dialect.prompt.replace("{turns}", str(turns)))
    return dialect if tokenizer is None else _with_ids(dialect, tokenizer, model=model)


def _with_ids(dialect: Dialect, tokenizer: Tokenizer, *, model: str) -> Dialect:
    """Fill in the ids of the stop tokens. One of them must exist, and so must the one that comes before an output."""
    ids = [tokenizer.id_of(token) for token in dialect.stop_tokens]
    needed = [dialect.turn_end] if dialect.turn_end else []
    missing = [token for token in needed if tokenizer.id_of(token) is None]
    if missing or (ids and not any(found is not None for found in ids)):
        lacking = (missing or list(dialect.stop_tokens))[0]
        raise UserError(f"dialect {dialect.name} needs the token {lacking}, which {model} has not: {_advice()}")
    return replace(dialect, stop_token_ids=tuple(found for found in ids if found is not None))


def _filled(dialect: Dialect) -> str:
    text = dialect.prompt.replace("{date}", date.today().isoformat())
    for name, value in dialect.arguments.items():
        text = text.replace(f"{{{name}}}", str(value))
    known = ("problem", "turns", "date", *dialect.arguments)
    for found in _PLACEHOLDER.findall(text):
        if found not in known and (meant := nearest(found, known)):
            raise UserError(f"dialect {dialect.name}: its prompt holds {{{found}}}, which stands for nothing{meant}")
    return text


_PLACEHOLDER = re.compile(r"(?<![\\\w}])\{([a-z_]+)\}")
"""A placeholder, not a command's argument as in `\\boxed{answer}`."""


def _from_template(dialect: Dialect, tokenizer: Tokenizer, *, model: str) -> Dialect:
    """Take the text around the problem, and that between one turn and the next, from the template."""
    asked = _asked(dialect, tokenizer)
    text = None if asked is None else _rendered(tokenizer, asked, dialect)
    if text is None or asked is None or text.count(_PROBLEM) != 1:
        raise UserError(f"the chat template of {model} cannot be rendered with one message of the user: {_advice()}")
    if dialect.opener and not text.endswith(dialect.opener):
        text += dialect.opener
    tail = text.rpartition(_PROBLEM)[2]
    opened = bool(dialect.think_end) and tail.rfind(dialect.think_begin) > tail.rfind(dialect.think_end)
    dialect = replace(dialect, prompt=text.replace(_PROBLEM, "{problem}"), thinks_first=opened)
    if dialect.code in ("json", "xml"):
        return _tool_bridge(dialect, tokenizer, asked)
    return _chat_bridge(dialect, tokenizer, asked) if dialect.outputs_as_messages else dialect


def _asked(dialect: Dialect, tokenizer: Tokenizer) -> list[Message] | None:
    """The messages before the first turn; the system text moves into the user's if the template drops or refuses it."""
    user = dialect.user.replace("{problem}", _PROBLEM)
    if dialect.system is None:
        return [_message("user", user)]
    apart = [_message("system", dialect.system), _message("user", user)]
    text = _rendered(tokenizer, apart, dialect)
    if text is not None and dialect.system.strip() in text:
        return apart
    return [_message("user", f"{dialect.system}\n\n{user}")]


def _tool_bridge(dialect: Dialect, tokenizer: Tokenizer, asked: list[Message]) -> Dialect:
    """Take the text around a tool's output from the template; keep the row's if the template quotes the output or fails."""
    text = _rendered(tokenizer, _with_a_call(asked), dialect) or ""
    before, found, after = text.rpartition(_OUTPUT)
    closed, ended, begin = before.rpartition(_WRITTEN)[2].partition(dialect.turn_end)
    if not (found and closed and ended) or begin.endswith(('"', "'")):
        return dialect
    return replace(dialect, output_begin=begin, output_end=after)


def _chat_bridge(dialect: Dialect, tokenizer: Tokenizer, asked: list[Message]) -> Dialect:
    """For outputs as user messages: take the text from the end of a turn to the start of the next from the template."""
    text = _rendered(tokenizer, [*asked, _message("assistant", _WRITTEN), _message("user", _OUTPUT)], dialect) or ""
    before, _, after = text.rpartition(_OUTPUT)
    between = before.rpartition(_WRITTEN)[2]
    ends = [token for token in tokenizer.added_tokens if token and between.lstrip().startswith(token)]
    end = max(ends, key=len, default=tokenizer.eos_token or "")
    if not between or not end:
        raise UserError(f"the chat template does not say how a turn ends: {_advice()}")
    begin = between.partition(end)[2] if ends else between
    return replace(
        dialect,
        turn_end=end,
        stop_tokens=(end,),
        output_begin=begin + dialect.output_begin,
        output_end=dialect.output_end + after,
    )


def _rendered(tokenizer: Tokenizer, messages: list[Message], dialect: Dialect | None = None) -> str | None:
    """The rendering by the checkpoint's template; None if it has none or refuses these messages."""
    if not tokenizer.chat_template:
        return None
    tools = [dialect.tool] if dialect is not None and dialect.tool is not None else None
    arguments = {} if dialect is None else dict(dialect.arguments)
    try:
        return tokenizer.render_chat(messages, tools=tools, add_generation_prompt=True, **arguments)
    except Exception as error:  # a template is a program and may raise anything
        log.debug("the chat template refuses %s: %s", [message["role"] for message in messages], error)
        return None


def _with_a_call(asked: list[Message]) -> list[Message]:
    """The messages, followed by a call of the Python tool and its output."""
    call = {"type": "function", "function": {"name": "python", "arguments": {"code": _WRITTEN}}}
    return [*asked, {**_message("assistant", ""), "tool_calls": [call]}, _message("tool", _OUTPUT)]


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _ends(text: str, expected: Dialect) -> bool:
    """Whether the rendering ends with this dialect's prompt."""
    return text.endswith(expected.prompt.replace("{problem}", _PROBLEM))


def _is_qwen_math(tokenizer: Tokenizer, plain: str) -> bool:
    return plain.startswith("<|im_start|>system\n") and "\\boxed{}" in plain.partition("<|im_end|>")[0]


def _is_r1(tokenizer: Tokenizer, plain: str) -> bool:
    tail = plain.rpartition(_PROBLEM)[2]
    opens = tail.endswith(R1.opener) or (_thinks(tokenizer) and tokenizer.id_of(R1.think_begin) is not None)
    return tail.startswith("<｜Assistant｜>") and opens and "</think>" not in tail


def _calls(tokenizer: Tokenizer) -> str:
    """The rendering of a user message with the Python tool, which describes how to call it."""
    return _rendered(tokenizer, [_message("user", _PROBLEM)], QWEN3) or ""


def _is_json(tokenizer: Tokenizer) -> bool:
    text = _calls(tokenizer)
    return (
        "<tool_call>" in text and '"arguments"' in text and "<function=" not in text and _called_with(tokenizer, QWEN3)
    )


def _called_with(tokenizer: Tokenizer, dialect: Dialect) -> bool:
    """Whether the template itself writes a call between the tags, and its turn's end as the dialect has it."""
    text = (_rendered(tokenizer, _with_a_call([_message("user", _PROBLEM)]), dialect) or "").rpartition(_PROBLEM)[2]
    for part in (dialect.code_begin, _WRITTEN, dialect.code_end, dialect.turn_end, _OUTPUT):
        _, found, text = text.partition(part)
        if not found:
            return False
    return True


def _thinks(tokenizer: Tokenizer) -> bool:
    return "</think>" in str(tokenizer.chat_template)


_RULES: tuple[tuple[Dialect, Callable[[Tokenizer, str], bool]], ...] = (
    (NUMINA, lambda tokenizer, plain: _ends(plain, NUMINA)),
    (
        DEEPSEEK_MATH,
        lambda tokenizer, plain: (
            plain.endswith(f"User: {_PROBLEM}\n\nAssistant:") and "<｜end▁of▁sentence｜>" in tokenizer.added_tokens
        ),
    ),
    (R1, _is_r1),
    (QWEN_MATH, _is_qwen_math),
    (QWEN3_CODER, lambda tokenizer, plain: "<function=" in _calls(tokenizer) and _called_with(tokenizer, QWEN3_CODER)),
    (QWEN3, lambda tokenizer, plain: _is_json(tokenizer) and _thinks(tokenizer)),
    (HERMES, lambda tokenizer, plain: _is_json(tokenizer)),
    (
        LLAMA3,
        lambda tokenizer, plain: (
            plain.endswith("<|start_header_id|>assistant<|end_header_id|>\n\n")
            and {"<|python_tag|>", "<|eom_id|>"} <= tokenizer.added_tokens.keys()
            and "ipython" in str(tokenizer.chat_template)
        ),
    ),
)
"""(dialect, whether the rendering of one user message is its), the most specific first."""


def announcement(dialect: Dialect, tokenizer: Tokenizer | None, *, choice: str, model: str) -> str:
    """Return the line that tells which dialect was chosen, and from what."""
    if choice != AUTO or tokenizer is None:
        return f"dialect: {dialect.name}"
    return (
        f"dialect: {dialect.name}, recognised from the {_looked_at(tokenizer)} of {model}{_others(dialect, tokenizer)}"
    )


def _others(dialect: Dialect, tokenizer: Tokenizer) -> str:
    """A note on OpenMath-Nemotron, whose checkpoints have the template and tokens of Qwen's."""
    if (
        dialect.name in (QWEN3.name, HERMES.name, QWEN_MATH.name)
        and tokenizer.id_of(OPENMATH_NEMOTRON.code_begin) is not None
    ):
        return "; an OpenMath-Nemotron checkpoint looks the same and needs --dialect openmath-nemotron"
    return ""


def _looked_at(tokenizer: Tokenizer) -> str:
    return "chat template" if tokenizer.chat_template else "tokens (it has no chat template)"


def _shipped() -> Iterator[str]:
    yield from (name for name in DIALECTS if name != CHAT_SERVER.name)


def _advice() -> str:
    return f"choose one with --dialect: {', '.join(_shipped())}, or a TOML file"


def described(dialect: Dialect) -> Mapping[str, Any]:
    """Return the whole dialect as JSON values, for a journal; `dialect_from` is the inverse."""
    return dict(json.loads(json.dumps(vars(dialect), ensure_ascii=False)))
