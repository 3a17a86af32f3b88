"""Any OpenAI-compatible chat server as an `Engine`: a strong model that was never taught NuminaMath's format writes in it.

A prompt is turned into messages: what to do, the problem, then by turns what the model wrote and what its code printed.
What it answers is turned back: a reply that ends with a block of code hands over, whether the stop string was cut off or
the model ended there by itself, and so does a call of any tool with code in its arguments. Reasoning that the server keeps
apart stands in the text between `<think>` and `</think>`, and is not sent again. Retries, pauses and limits are those of
`OpenAIEngine`.

Covered: prompts of the dialect `chat-server`, in segments, and their plain text. Not covered: the forced box at
servers other than vLLM's, since few go on with an assistant's message; the counts of a server that ignores the stop string:
its stream is closed there, and counts come at its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sctir_kaggle.dialects.fences import python_code
from sctir_kaggle.dialects.rows import CHAT_SERVER, CLOSE_FENCE, OUTPUT_FENCE
from sctir_kaggle.engines.chat_messages import INSTRUCTION, Message, messages_of
from sctir_kaggle.engines.chat_reply import ChatReply
from sctir_kaggle.engines.openai import OpenAIEngine, Request
from sctir_kaggle.engines.openai_reply import Reply
from sctir_kaggle.engines.openai_server import Server, extra_fields, seed_for, without_unknown
from sctir_kaggle.types import Completion

__all__ = ["INSTRUCTION", "ChatEngine", "ChatReply", "Message", "messages_of"]


class ChatEngine(OpenAIEngine):
    """See `OpenAIEngine`; `open` it without a tokenizer. An option of None takes its field out of the request."""

    path = "/v1/chat/completions"
    instruction = INSTRUCTION
    dialect = CHAT_SERVER

    def describe(self) -> dict[str, str | int]:
        """As an engine of completions, and what the model is told."""
        return {**super().describe(), "engine": "chat", "instruction": self.instruction}

    def _reply(self, stop: Sequence[str]) -> Reply:
        return ChatReply(stop)

    def _body(self, server: Server, request: Request) -> dict[str, Any]:
        params, messages = request.params, messages_of(request.segments, self.instruction)
        goes_on = server.asked.continuing if messages[-1]["role"] == "assistant" else {}
        body = {
            "model": self._model,
            "messages": messages,
            "max_tokens": request.limit,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "stop": list(filter(None, params.stop)) or None,
            "seed": None if params.seed is None else seed_for(server, params.seed),
            "stream": True,
            "stream_options": {"include_usage": True},
            **extra_fields(server, params),
            **goes_on,
            **self._options,
        }
        return without_unknown(server, body)

    def _completion(self, request: Request, reply: Reply) -> Completion:
        """The reply as a continuation of the prompt: on a line of its own after an output, up to the output's fence."""
        assert isinstance(reply, ChatReply)
        completion = super()._completion(request, reply)
        content, calls = completion.text.lstrip(), reply.call_blocks()
        whole = completion.finish_reason == "stop" and OUTPUT_FENCE in request.params.stop
        hands_over = whole and (reply.calls_code or _ends_in_code(content))
        if calls or hands_over:
            blocks = [content.rstrip(), *calls] if calls else [_up_to_code(content)]
            content = "\n\n".join(filter(None, blocks)) + ("\n" + OUTPUT_FENCE if hands_over else "")
        follows = "".join(map(str, request.segments)).endswith(CLOSE_FENCE)
        text = ("\n" if follows else "") + reply.thinking(content) + content
        return replace(completion, text=text, stop_reason=OUTPUT_FENCE if hands_over else completion.stop_reason)


def _ends_in_code(text: str) -> bool:
    return _up_to_code(text).endswith("```") and python_code(_up_to_code(text)) is not None


def _up_to_code(text: str) -> str:
    """Without the fence of an output at its end, however much of it there is."""
    return text.rstrip().removesuffix(OUTPUT_FENCE.rstrip()).rstrip()
