"""A deterministic engine for tests and examples, which takes its texts from a script."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from sctir_kaggle.types import Completion, EngineError, Prompt, SamplingParams

Script = Callable[[str, int, int], str]
"""(prompt as text, candidate, turn) -> the completion's text, which is cut after a stop string, as in a real engine."""


class Scripted:
    """Serves `script`, a function or a table of texts by candidate and turn, after `delay` seconds.

    `prompts` and `params` record the calls, by request id. It gives no token ids, only their number: one token is one
    character. Raises `EngineError` where the table has no text.
    """

    def __init__(self, script: Script | Mapping[int, Sequence[str]], *, delay: float = 0.0) -> None:
        self.prompts: dict[str, str] = {}
        self.params: dict[str, SamplingParams] = {}
        self._script = script if callable(script) else _from_table(script)
        self._delay = delay

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """Return the script's text, cut after the first stop string or at `max_tokens` characters."""
        text = "".join(part if isinstance(part, str) else "".join(map(chr, part)) for part in prompt)
        self.prompts[request_id], self.params[request_id] = text, params
        await asyncio.sleep(self._delay)
        _, candidate, turn = request_id.rsplit("/", 2)
        return _complete(self._script(text, int(candidate), int(turn)), params, len(text))

    def describe(self) -> dict[str, str | int]:
        """Return the facts for a journal's header."""
        return {"engine": "scripted"}

    def close(self) -> None:
        """Nothing to close."""


def _from_table(table: Mapping[int, Sequence[str]]) -> Script:
    def script(_: str, candidate: int, turn: int) -> str:
        try:
            return table[candidate][turn]
        except (KeyError, IndexError):
            raise EngineError(f"the script has no text for candidate {candidate}, turn {turn}") from None

    return script


def _complete(said: str, params: SamplingParams, prompt_tokens: int) -> Completion:
    ends = [(said.index(stop) + len(stop), stop) for stop in params.stop if stop in said]
    end, stop_reason = min(ends, default=(len(said), None))
    text = said[: min(end, params.max_tokens)]
    reason, stop_reason = ("length", None) if end > params.max_tokens else ("stop", stop_reason)
    return Completion(text, (), reason, stop_reason, len(text), prompt_tokens)  # type: ignore[arg-type]
