"""Parse a turn: the code to run, and the text that may hold an answer. Pure functions of the text.

Thinking is a draft: no answer in it counts, and code in it is run only if the turn ends inside it, as with models that call
tools while they think.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sctir_kaggle.dialects.dialect import Dialect
from sctir_kaggle.dialects.fences import blocks, python_code
from sctir_kaggle.types import Completion, Turn


class Written(NamedTuple):
    """A parsed turn: the `code` to run, or the `fault` of a malformed call; `final` is the text outside of thinking.

    `thinking`: the turn ends inside open thinking.
    """

    code: str | None = None
    fault: str | None = None
    final: str = ""
    thinking: bool = False

    @property
    def wrote_code(self) -> bool:
        """Whether there is code to run, or a malformed call."""
        return self.code is not None or self.fault is not None


def read_turn(dialect: Dialect, turns: Sequence[Turn], completion: Completion, *, last_block: bool = False) -> Written:
    """Parse `completion`, which follows `turns`. With `last_block` only the last of several blocks is run, else all."""
    text = completion.text
    if dialect.code == "harmony":
        return _read_harmony(text, ended=completion.finish_reason == "stop")
    draft, final, thinking = _parts(dialect, text, opened=_begins_in_thinking(dialect, turns))
    part = draft if thinking else final
    handed_over = isinstance(completion.stop_reason, str)
    if dialect.code == "fence":
        code, fault = python_code(part, handed_over=handed_over, last=last_block), None
    elif dialect.runs_code:
        code, fault = _called(dialect, part, ended=completion.finish_reason == "stop", last=last_block)
    else:
        code, fault = None, None
    return Written(code, fault, final, thinking)


def _begins_in_thinking(dialect: Dialect, turns: Sequence[Turn]) -> bool:
    """Whether the turn starts inside thinking that the prompt, or an earlier turn of the same message, left open."""
    if not dialect.think_end:
        return False
    if dialect.turn_end:
        return dialect.thinks_first
    thinking = dialect.thinks_first
    for turn in turns:
        thinking = dialect.thinks_first if turn.restarted else _parts(dialect, _said(turn), opened=thinking)[2]
    return thinking


def _said(turn: Turn) -> str:
    return turn.prefix + turn.completion.text


def _parts(dialect: Dialect, text: str, *, opened: bool) -> tuple[str, str, bool]:
    """(thinking that is open at the end, or ""; the final text; whether thinking is open).

    Only the text after the last thinking is final: what a model writes before it thinks again is a draft, too.
    """
    if not dialect.think_end:
        return "", text, False
    begin, end = text.rfind(dialect.think_begin), text.rfind(dialect.think_end)
    if begin > end or (opened and end < 0):
        start = begin + len(dialect.think_begin) if begin >= 0 else 0
        return text[start:], "", True
    return "", text[end + len(dialect.think_end) :] if end >= 0 else text, False


def _called(dialect: Dialect, text: str, *, ended: bool, last: bool) -> tuple[str | None, str | None]:
    """(code of all calls in `text`, joined, or of the last; None), or (None, what is wrong with a call)."""
    calls = list(_between(dialect, text, ended=ended))
    read = {"tag": _raw_code, "xml": _code_of_xml, "json": _code_of_json}[dialect.code]
    codes: list[str] = []
    try:
        for call in calls[-1:] if last else calls:
            codes += read(call)
    except ValueError as error:
        return None, f"The tool call cannot be read: {error}. Write it again."
    return ("\n".join(codes), None) if codes else (None, None)


def _between(dialect: Dialect, text: str, *, ended: bool) -> Iterator[str]:
    """Yield the texts between `code_begin` and `code_end`; an open one counts if the model `ended` its turn there."""
    start = text.find(dialect.code_begin)
    while start >= 0:
        start += len(dialect.code_begin)
        end = text.find(dialect.code_end, start) if dialect.code_end else -1
        if end >= 0:
            yield text[start:end]
        elif ended:
            yield text[start:]
        start = text.find(dialect.code_begin, end) if end >= 0 else -1


def _raw_code(call: str) -> list[str]:
    """The code as it is, or without a fence around all of it, which some models add."""
    text = call.strip()
    block = next(blocks(text), None)
    fenced = block is not None and (block.start, block.end) == (0, len(text)) and block.closed
    return [block.code if block is not None and fenced else call.strip("\n")]


_PARAMETER = re.compile(r"<parameter=(\w+)>\n?(.*?)\n?</parameter>\s*(?=<parameter=|</function>|\Z)", re.DOTALL)
_OPEN_PARAMETER = re.compile(r"<parameter=(\w+)>\n?(.*?)\n?(?:</function>\s*)?\Z", re.DOTALL)


def _code_of_xml(call: str) -> list[str]:
    """The parameter `code`, or the only one; a call that lacks its closing tags extends to its end."""
    found = dict(_PARAMETER.findall(call)) or dict(_OPEN_PARAMETER.findall(call))
    return _code_argument(found)


def _code_of_json(call: str) -> list[str]:
    """The argument `code` of each call: one object, or a list of them."""
    calls = _loaded(call)
    return [code for each in (calls if isinstance(calls, list) else [calls]) for code in _code_of_call(each)]


def _code_of_call(call: Any) -> list[str]:
    if not isinstance(call, dict):
        raise ValueError(f"a call is an object with a name and arguments, not {type(call).__name__}")
    arguments = call.get("arguments", call.get("parameters", call))
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments, strict=False)
        except (ValueError, RecursionError):
            return [arguments]
    return [arguments] if isinstance(arguments, str) else _code_argument(arguments, tool=str(call.get("name", "")))


_INTERPRETER = re.compile(r"python|code|jupyter|interpret|exec|run", re.IGNORECASE)


def _code_argument(arguments: Any, *, tool: str = "python") -> list[str]:
    """The argument `code`, or the only string argument of a tool whose name says that it runs code."""
    if not isinstance(arguments, dict):
        raise ValueError(f"its arguments are an object, not {type(arguments).__name__}")
    texts = {name: value for name, value in arguments.items() if isinstance(value, str)}
    if "code" not in texts and not (len(texts) == 1 and _INTERPRETER.search(tool)):
        raise ValueError("it has no argument `code`")
    return _raw_code(texts["code"] if "code" in texts else next(iter(texts.values())))


def _loaded(call: str) -> Any:
    """Parse JSON as models write it: with line breaks in strings, or as a Python literal. Raises `ValueError`."""
    try:
        return json.loads(call, strict=False)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        try:
            return ast.literal_eval(call.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            raise ValueError(f"it is not JSON ({error})") from None


_MESSAGE = re.compile(r"(?:^|<\|start\|>)(?P<header>(?:(?!<\|start\|>|<\|message\|>).)*)<\|message\|>", re.DOTALL)
_MESSAGE_END = re.compile(r"<\|(?:end|call|return|start)\|>")
_RECIPIENT = re.compile(r"\bto=(?:functions\.)?python\b")


def _read_harmony(text: str, *, ended: bool) -> Written:
    """Parse harmony: a message to the recipient `python` is code, one in the channel `final` may hold the answer.

    Code that the token limit cut off is not run.
    """
    code, final, thinking = None, "", False
    for header, content, closed in _messages(text):
        is_code, is_final = _RECIPIENT.search(header) is not None, "<|channel|>final" in header
        code = _of_recipient(header, content) if is_code and (ended or closed) else code
        final = "" if is_code else content if is_final else final
        thinking = not is_code and not is_final and not closed
    return Written(code, None, final, thinking)


def _messages(text: str) -> Iterator[tuple[str, str, bool]]:
    """(header, content, whether it was ended) of each message; the first continues the prompt's `<|start|>assistant`."""
    place = 0
    while header := _MESSAGE.search(text, place):
        end = _MESSAGE_END.search(text, header.end())
        place = end.start() if end and end[0] == "<|start|>" else end.end() if end else len(text)
        yield header["header"], text[header.end() : end.start() if end else len(text)], end is not None
        if not end:
            return


def _of_recipient(header: str, content: str) -> str:
    """Raw code, as in the model's training; JSON if the header says so or the content looks like it."""
    if "json" not in header and not content.lstrip().startswith('{"'):
        return content.strip("\n")
    try:
        return _code_of_call(_loaded(content))[0]
    except ValueError:
        return content.strip("\n")
