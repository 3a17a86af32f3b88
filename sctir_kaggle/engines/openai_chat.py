"""Any OpenAI-compatible chat server as an `Engine`: a strong model that nobody has taught NuminaMath's format writes in it.

A prompt is turned into messages: what to do, the problem, then by turns what the model wrote and what its code printed.
What it answers is turned back: a reply that ends with a block of code is one that hands over, whether the stop string was
cut off or the model ended there by itself. Retries, pauses and limits are those of `OpenAIEngine`.

Covered: text prompts of `prompt.render`. Not covered: the forced box, since few servers go on with an assistant's message;
reasoning that a server keeps apart from the content (it is not read, its tokens are counted); the counts of a server that
ignores the stop string: its stream is closed there, and counts come at its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sctir_kaggle.engines.openai import OpenAIEngine, Request
from sctir_kaggle.engines.openai_reply import Reply
from sctir_kaggle.engines.openai_server import Server
from sctir_kaggle.prompt import CLOSE_FENCE, HEADER, OUTPUT_FENCE, last_code_block
from sctir_kaggle.types import Completion

INSTRUCTION = (
    "Solve the problem step by step, reasoning in words and computing with Python. Write code in a block that begins with "
    "```python and ends with ```, print what you need to know, and end your message right after the block: it is run, and "
    "the next message is what it printed, or its traceback. Variables are kept; numpy and sympy are installed. Never write "
    "an output yourself. If an output is wrong or an error, say why and write another block. Once you know the answer, "
    "end with it in \\boxed{}: a single number."
)
"""What the model is told to do; the message of the role `system`."""

_BEFORE, _BETWEEN = HEADER.split("{problem}")
_OUTPUT = re.compile(re.escape(OUTPUT_FENCE) + "(?:.*?)" + re.escape(CLOSE_FENCE), re.DOTALL)

Message = dict[str, str]


class ChatReply(Reply):
    """A `Reply` whose choices hold messages, or pieces of one."""

    __slots__ = ()

    def _add(self, choice: dict[str, Any]) -> None:
        said = choice.get("delta") or choice.get("message") or {}
        Reply._add(self, {**choice, "text": said.get("content")})


class ChatEngine(OpenAIEngine):
    """See `OpenAIEngine`; `open` it without a tokenizer. An option of None takes its field out of the request."""

    path = "/v1/chat/completions"
    instruction = INSTRUCTION

    def describe(self) -> dict[str, str | int]:
        """As an engine of completions, and what the model is told."""
        return {**super().describe(), "engine": "chat", "instruction": self.instruction}

    def _reply(self, stop: Sequence[str]) -> Reply:
        return ChatReply(stop)

    def _body(self, server: Server, request: Request) -> dict[str, Any]:
        params = request.params
        body = {
            "model": self._model,
            "messages": messages_of(str(request.prompt), self.instruction),
            "max_tokens": request.limit,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "stop": list(params.stop) or None,
            "seed": None if params.seed is None else params.seed % 2**31,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._options,
        }
        return {name: value for name, value in body.items() if value is not None}

    def _completion(self, request: Request, reply: Reply) -> Completion:
        """The reply as a continuation of the prompt: on a line of its own after an output, up to the output's fence."""
        completion = super()._completion(request, reply)
        follows = str(request.prompt).endswith(CLOSE_FENCE)
        text = ("\n" if follows else "") + completion.text.lstrip()
        hands_over = completion.finish_reason == "stop" and OUTPUT_FENCE in request.params.stop and _ends_in_code(text)
        stop = OUTPUT_FENCE if hands_over else completion.stop_reason
        text = _up_to_code(text) + "\n" + OUTPUT_FENCE if hands_over else text
        return replace(completion, text=text, stop_reason=stop)


def messages_of(prompt: str, instruction: str = INSTRUCTION) -> list[Message]:
    """`prompt` as messages. What stands before its header's end is the problem; all of it, where it has no header."""
    problem, _, written = prompt.removeprefix(_BEFORE).partition(_BETWEEN)
    messages = [_message("system", instruction), _message("user", problem)]
    place = 0
    for output in _OUTPUT.finditer(written):
        messages += [_message("assistant", written[place : output.start()]), _message("user", output[0])]
        place = output.end()
    rest = _message("assistant", written[place:])
    return [message for message in (*messages, rest) if message["content"]]


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content.strip()}


def _ends_in_code(text: str) -> bool:
    return _up_to_code(text).endswith("```") and last_code_block(_up_to_code(text)) is not None


def _up_to_code(text: str) -> str:
    """Without the fence of an output at its end, however much of it there is."""
    return text.rstrip().removesuffix(OUTPUT_FENCE.rstrip()).rstrip()
