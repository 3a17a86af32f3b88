"""The published notebook's SC-TIR loop with its flaws, to be measured against: written from a description of what it does.

All samples of a problem go through `depth` rounds together. A round sends every sample's whole text to the engine, waits
for the slowest, then judges each new text (`judge`), and runs the code of all that stopped for it, a few at a time, in a
fresh `python3` a block; the next round starts when the last block has ended. Kept as published, since it changes answers
or costs time: samples that have answered are written on and may change their answer; an answer is looked for in the last
100 characters, and only behind an output; a text without an answer or a block at its end starts again from the bare
prompt; the last round runs no code; nothing is remembered from block to block; the last line is printed whether or not
that is valid; the model sees the first 200 characters of an output; numbers are rounded through float; ties go to the
first; no vote is a 0; no clock, no early stop, and one failure ends the problem.

In its favour: the engine is the one it is compared with, prefix cache included, and so are the seeds; a prompt beyond the
context is an empty completion; the pool needs no start. NOT covered: confinement. The code runs as this user.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sctir_kaggle.dialects.rows import CLOSE_FENCE, HEADER, OUTPUT_FENCE
from sctir_kaggle.rollout import seed_for
from sctir_kaggle.types import Engine, Problem, PromptTooLong, SamplingParams

TAIL = 100
"""An answer is looked for in so many characters at the end of a text."""

SHOWN = 200
"""Characters of an output that the model sees, the first ones."""

IMPORTS = "import math\nimport numpy as np\nimport sympy as sp\n"

_PYTHON = re.compile(r"```python(.*?)```", re.DOTALL)
_OUTPUT = re.compile(r"```output(.*?)```", re.DOTALL)
_STATED = re.compile(r"answer is(.*)", re.DOTALL)
_PLACE = re.compile(r'File "[^"]*", line \d+(, )?')

Verdict = Literal["run", "read", "drop", "restart"]


@dataclass(slots=True)
class Sample:
    """One of a problem's texts, edited in place. `dropped` samples take no further part and have no vote."""

    number: int
    text: str
    answer: int | None = None
    dropped: bool = False


class FreshPythons:
    """Runs blocks `workers` at a time, each in a process of its own for at most `seconds`."""

    def __init__(self, *, workers: int | None = None, seconds: float = 5.0) -> None:
        self._pool = ThreadPoolExecutor(workers or os.cpu_count() or 1)
        self._seconds = seconds

    async def map(self, codes: Iterable[str]) -> list[str]:
        """What every block printed, when all have ended."""
        loop = asyncio.get_running_loop()
        return list(await asyncio.gather(*(loop.run_in_executor(self._pool, self._run, code) for code in codes)))

    def close(self) -> None:
        self._pool.shutdown()

    def _run(self, code: str) -> str:
        """Standard output, or the traceback without file names and line numbers."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "block.py")
            file.write_text(IMPORTS + last_line_printed(code), encoding="utf-8")
            command = [sys.executable, str(file)]
            try:
                ended = subprocess.run(
                    command, capture_output=True, text=True, timeout=self._seconds, check=False, cwd=folder
                )
            except subprocess.TimeoutExpired:
                return f"timed out after {self._seconds:g} seconds"
        return (_PLACE.sub("", ended.stderr) if ended.returncode else ended.stdout).strip()


class NuminaCompat:
    """The loop, for one problem at a time; `width` samples, `depth` rounds."""

    def __init__(
        self,
        engine: Engine,
        pythons: FreshPythons,
        *,
        width: int = 48,
        depth: int = 4,
        temperature: float = 0.8,
        max_tokens: int = 2048,
        seed: int = 0,
    ) -> None:
        self._engine, self._pythons = engine, pythons
        self._width, self._depth, self._seed = width, depth, seed
        self._temperature, self._max_tokens = temperature, max_tokens

    async def solve(self, problem: Problem) -> int:
        """The majority's answer. An engine's error is not caught."""
        prompt = HEADER.format(problem=problem.text.strip())
        samples = [Sample(number, prompt) for number in range(self._width)]
        for number in range(self._depth):
            going = [sample for sample in samples if not sample.dropped]
            await self._write(going, f"{problem.id}/{{}}/{number}")
            await self._go_on(going, prompt, last=number == self._depth - 1)
        return majority(samples)

    async def _write(self, samples: Sequence[Sample], request_id: str) -> None:
        """Every text goes on by one completion; all wait for the slowest."""
        asked = [self._complete(sample.text, request_id.format(sample.number)) for sample in samples]
        for sample, written in zip(samples, await asyncio.gather(*asked), strict=True):
            sample.text += written

    async def _complete(self, text: str, request_id: str) -> str:
        params = SamplingParams(
            temperature=self._temperature,
            max_tokens=self._max_tokens,
            stop=(OUTPUT_FENCE,),
            seed=seed_for(self._seed, request_id),
        )
        try:
            return (await self._engine.generate((text,), params, request_id=request_id)).text
        except PromptTooLong:
            return ""

    async def _go_on(self, samples: Sequence[Sample], prompt: str, *, last: bool) -> None:
        """Read, drop and restart; then run the code of the others, and wait for all of it."""
        stopped = []
        for sample in samples:
            verdict = judge(sample.text)
            if verdict == "run":
                stopped.append(sample)
            elif verdict == "read":
                sample.answer = read(sample.text)
            elif verdict == "drop":
                sample.dropped = True
            else:
                sample.text = prompt
        if not last:
            outputs = await self._pythons.map(_PYTHON.findall(sample.text)[-1] for sample in stopped)
            for sample, output in zip(stopped, outputs, strict=True):
                sample.text += output[:SHOWN] + CLOSE_FENCE


def judge(text: str) -> Verdict:
    """What becomes of a text after a round. The test for code comes first."""
    if not _PYTHON.search(text):
        return "restart"
    if text.endswith(OUTPUT_FENCE):
        return "run"
    if "\\boxed" in text[-TAIL:] or "answer is" in text[-TAIL:]:
        return "read" if _OUTPUT.search(text) else "drop"  # without an output the model made its answer up
    return "restart"


def read(text: str) -> int | None:
    """The answer at the end of a text: rounded to an integer through float, modulo 1000; None where float refuses it."""
    tail = text[-TAIL:]
    stated = _STATED.findall(tail)
    written = _boxed(tail) if "\\boxed" in tail else stated[-1]
    with contextlib.suppress(ValueError, OverflowError):
        return round(float(written.strip(" \n.$").replace(",", ""))) % 1000
    return None


def _boxed(text: str) -> str:
    """Between the braces of the last box; to the end where they do not close."""
    inside, depth = text[text.rindex("\\boxed") + len("\\boxed") :], 0
    for place, character in enumerate(inside):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth <= 0 and character == "}":
            return inside[:place].lstrip("{")
    return inside.lstrip("{")


def last_line_printed(code: str) -> str:
    """The last line without what looks like a comment, inside `print(...)` unless it prints already."""
    *lines, last = code.strip().split("\n")
    if "print" not in last:
        last = f"print({last.split('#')[0].strip()})"
    return "\n".join([*lines, last])


def majority(samples: Iterable[Sample]) -> int:
    """The most frequent answer, at a tie the one seen first, 0 where there is none."""
    votes = Counter(sample.answer for sample in samples if sample.answer is not None and not sample.dropped)
    return votes.most_common(1)[0][0] if votes else 0
