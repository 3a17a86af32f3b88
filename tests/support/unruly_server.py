"""A chat server on loopback with a model that multiplies, and with the manners of a public endpoint on a bad day.

What the model says depends on the problem and the request's seed alone, so that runs can be compared however often they
were refused, broken off or killed. Which requests are ill-treated is drawn anew each time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from sctir_kaggle.recipes.rows import write_rows
from tests.support.fake_server import DONE, Answer, FakeServer, Json, data, refuses, usage

SILENCE = 3.0
"""Seconds: what asks has to lose its patience before that."""

ERROR = "that was not this, but a number"


def problem_rows(count: int, *, findable: bool = False) -> list[dict[str, Any]]:
    """Products; each tenth has a fraction for its answer, each twentieth, unless all are `findable`, one never found."""
    rows = []
    for number in range(count):
        a, b = 12 + number % 89, 7 + number // 89
        answer: int | str = (
            f"\\frac{{{a}}}{{{2 * a * b}}}" if number % 10 == 3 else a * b + 2 * (number % 20 == 7 and not findable)
        )
        rows.append({"id": f"p{number}", "problem": _question(a, b, number % 10 == 3), "answer": answer})
    return rows


def write_problems(path: Path, count: int, *, findable: bool = False) -> Path:
    write_rows(path, problem_rows(count, findable=findable))
    return path


def _question(a: int, b: int, fraction: bool) -> str:
    return f"What is the inverse of twice {b}? Start from {a}." if fraction else f"How much is {a} times {b}?"


class UnrulyServer(FakeServer):
    """`unruly` is the share of requests that go wrong; `most_at_once`, where it is given, more are refused with 429.

    `treated` counts what was done to requests by name; `delay` is the seconds before an answer, `reply` the model.
    """

    def __init__(
        self,
        unruly: float = 0.0,
        *,
        most_at_once: int | None = None,
        delay: float = 0.0,
        reply: Callable[[Json], str] | None = None,
    ) -> None:
        super().__init__(owned_by="somebody")
        self.unruly, self.most_at_once, self.delay, self.reply = unruly, most_at_once, delay, reply or reply_to
        self.treated: dict[str, int] = {}
        self._draw = Random(5)

    def __enter__(self) -> UnrulyServer:
        super().__enter__()
        return self

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """As `FakeServer`, which looks for clients that go 500 times a second; a thousand at once are too many for that."""
        body = self.bodies.pop()
        try:
            if self.most_at_once is not None and self.running > self.most_at_once:
                return await self._write(writer, self._count("429", refuses(429, "too many", retry_after="1")))
            await asyncio.sleep(self.delay)
            return await self._write(writer, self._treated(body))
        except asyncio.CancelledError:  # the server ends
            return False

    def _treated(self, body: Json) -> Answer:
        whole = chat_says(self.reply(body))
        if self._draw.random() >= self.unruly:
            return self._count("200", whole)
        cut = self._draw.randrange(1, len(whole.pieces) - 2)
        name, answer = self._draw.choice(
            [
                ("429", refuses(429, "slow down")),
                ("500", refuses(500, "oops")),
                ("503", refuses(503, "busy", retry_after="0")),
                ("dropped", Answer(whole.pieces[:cut], end="drop")),
                ("half", Answer(whole.pieces[:cut])),
                ("silent", Answer([*whole.pieces[:cut], SILENCE], end="drop")),
                ("garbage", Answer([b"data: {\n\n"])),
            ]
        )
        return self._count(name, answer)

    def _count(self, name: str, answer: Answer) -> Answer:
        self.treated[name] = self.treated.get(name, 0) + 1
        return answer


def reply_to(body: Json) -> str:
    """What the model says. First a program, right or not; then what it printed, or another program if that was an error."""
    problem, *later = [message["content"] for message in body["messages"][1:]]
    numbers = re.findall(r"\d+", problem)
    if not later:
        return _program(Random(f"{problem}/{body['seed']}").random(), *numbers[:2], inverse="inverse" in problem)
    output = later[-1].removeprefix("```output\n").removesuffix("\n```").strip()
    if ERROR in output:
        return f"{ERROR.capitalize()}.\n\n```python\nprint(value)\n```\n"
    output = output.rpartition("\n")[2]
    return f"The code prints {output}, so the answer is $\\boxed{{{output}}}$."


def _program(luck: float, a: str, b: str, *, inverse: bool) -> str:
    value = f"sp.Rational(1, 2 * {a})" if inverse else f"{a} * {b}"
    if luck < 0.15:
        return "This is too hard for me."
    if luck < 0.35:
        return f"We compute.\n\n```python\nvalue = {value}\nprint(value + 1)\n```"
    if luck < 0.45:
        return f"We try.\n\n```python\nvalue = {value}\nraise ValueError('{ERROR}')\n```\n"
    if luck < 0.5:
        return f"By chance.\n\n```python\nimport random\nprint(random.random())\nprint({value})\n```\n"
    return f"We compute.\n\n```python\nvalue = {value}\nprint(value)\n```\n"


def right_by(how: str) -> Callable[[Json], str]:
    """A model that always knows the answer, and comes to it by "no code", "a crash", "another output" or "its output"."""
    programs = {
        "a crash": "print({0})\nraise ValueError('no')",
        "another output": "print({0} + 1)",
        "its output": "print({0})",
    }

    def reply(body: Json) -> str:
        problem, *later = [message["content"] for message in body["messages"][1:]]
        first, second = re.findall(r"\d+", problem)[:2]
        inverse = "inverse" in problem
        box = f"The answer is $\\boxed{{{f'1/{2 * int(first)}' if inverse else int(first) * int(second)}}}$."
        if later or how == "no code":
            return box
        value = f"sp.Rational(1, 2 * {first})" if inverse else f"{first} * {second}"
        return f"We compute.\n\n```python\n{programs[how].format(value)}\n```\n"

    return reply


def chat_says(text: str) -> Answer:
    """A whole stream of a chat server, an event for 20 characters each; it says that the prompt had 100 tokens."""
    pieces: Sequence[str] = [text[place : place + 20] for place in range(0, len(text), 20)]
    events = [_delta({"role": "assistant", "content": ""}), *(_delta({"content": piece}) for piece in pieces)]
    return Answer([*events, _delta({}, "stop"), usage(100, len(pieces)), DONE])


def _delta(delta: Json, finish_reason: str | None = None) -> bytes:
    return data({"object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish_reason}]})
