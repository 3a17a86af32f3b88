"""A dialect: how one family of models is shown a problem, writes code, reads its output and gives its answer. Plain data.

A dialect whose `prompt` is empty takes the checkpoint's own chat template: `recognition.bound` renders it once and gives a
dialect with the text in `prompt` and the ids of its tokens, which needs no checkpoint any more and is what a journal keeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from sctir_kaggle.types import UserError

Code = Literal["fence", "tag", "json", "xml", "harmony", "none"]

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
"""What `Dialect.sampling` may set: fields of `SolverConfig`."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Every string that differs between families of models. Raises `UserError` on a value that no dialect can have.

    Texts are what the model sees, character by character. In all but `user` the tokenizer's added tokens are read as such.
    """

    name: str
    """For `--dialect NAME`."""

    prompt: str = ""
    """What the model goes on from; `{problem}` stands for the problem. Empty: the checkpoint's chat template renders
    `system` and `user`."""

    system: str | None = None
    """The system message, for a chat template; None sends none."""

    user: str = "{problem}"
    """The user's message, for a chat template; `{turns}` stands for how often code may run."""

    tool: Mapping[str, Any] | None = None
    """The JSON schema of the Python tool, for a chat template that describes tools."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the chat template: `enable_thinking`, `reasoning_effort`, ..."""

    opener: str = ""
    """What is written behind the chat template's generation prompt, if it does not stand there already."""

    code: Code = "fence"
    """How code is written: `fence`, Markdown; `tag`, raw code between `code_begin` and `code_end`; `json` and `xml`, a
    call of a tool between those; `harmony`, a message to the recipient `python`; `none`, no code is run."""

    code_begin: str = ""
    """What stands before the code, or before the call."""

    code_end: str = ""
    """What stands behind it; empty where the turn's end is the code's."""

    stop: tuple[str, ...] = ()
    """Strings that hand over to the interpreter; they are kept in the text."""

    stop_tokens: tuple[str, ...] = ()
    """Tokens that end a turn, besides the checkpoint's end of a sequence."""

    stop_token_ids: tuple[int, ...] = ()
    """Their ids in the checkpoint's tokenizer; filled in when the dialect is bound to one."""

    turn_end: str = ""
    """What a turn that ran code is closed with before its output (`<|im_end|>`); it is written where the model has not.
    Empty: the output follows in the same message, and the token that ended the completion is left out."""

    output_begin: str = "\n```output\n"
    """Before an output; what of it the model has written already, as a stop string, is not written again."""

    output_end: str = "\n```"
    """Behind it."""

    output_verbatim: bool = False
    """Whether the blank lines at an output's end are kept; else they are taken off."""

    empty_output: str = ""
    """Instead of an output without a character."""

    remark: str = ""
    """Behind an output, inside `output_end`'s place: `{left}` stands for how often code may still run."""

    last_remark: str = ""
    """The same where code may run no more; empty takes `remark`."""

    think_begin: str = ""
    """Opens what is thinking and no answer; empty where the model does not think apart."""

    think_end: str = ""
    """Closes it."""

    thinks_first: bool = False
    """Whether a message begins inside thinking, with no `think_begin` of the model's."""

    force: str = "\nThe answer is $\\boxed{"
    """Written for a candidate without an answer, so that its last tokens are one. Empty: none is forced."""

    force_stop: str = "$"
    """Where the forced answer ends."""

    sampling: Mapping[str, float] = field(default_factory=dict)
    """The model card's values of fields of `SolverConfig`; a preset or an option goes before them."""
    def __post_init__(self) -> None:
        if unknown := set(self.sampling) - set(SAMPLING):
            raise UserError(f"dialect {self.name}: sampling sets {', '.join(sorted(unknown))}; it may set {SAMPLING}")
