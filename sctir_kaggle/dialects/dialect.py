"""A dialect: the prompt format of one family of models, as plain data.

A dialect whose `prompt` is empty uses the checkpoint's own chat template: `recognition.bind` renders it once and returns a
dialect with the text in `prompt` and the ids of its tokens. A bound dialect needs no checkpoint; a journal keeps it whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import UserError

Code = Literal["fence", "tag", "json", "xml", "harmony", "none"]

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "max_tokens")
"""The fields of `SolverConfig` that `Dialect.sampling` may set."""


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """Every string that differs between families of models. Raises `UserError` for values that contradict each other.

    The texts are what the model sees, character by character; added tokens of the tokenizer in them become those tokens.
    """

    name: str
    """For `--dialect NAME`."""

    prompt: str = ""
    """The text that the model continues: `{problem}` stands for the problem, `{turns}` for the number of times that code
    may run, `{date}` for the day, and the name of one of `arguments` for its value. Empty: the chat template renders it."""

    system: str | None = None
    """The system message, for a chat template; None sends none."""

    user: str = "{problem}"
    """The user's message, for a chat template."""

    tool: Mapping[str, Any] | None = field(default=None, hash=False)
    """The JSON schema of the Python tool, for a chat template that describes tools."""

    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Variables of the chat template: `enable_thinking`, `reasoning_effort`, ..."""

    opener: str = ""
    """The text that an assistant's message must begin with, added where the chat template does not write it."""

    code: Code = "fence"
    """How code is written: `fence`, in Markdown; `tag`, raw between `code_begin` and `code_end`; `json` or `xml`, as the
    argument of a call between those; `harmony`, as a message to the recipient `python`; `none`, no code is run."""

    code_begin: str = ""
    """The text before the code, or before the call."""

    code_end: str = ""
    """The text after it; empty if only the end of the turn ends it."""

    stop: tuple[str, ...] = ()
    """Strings at which the model hands over to the interpreter; they stay in the text."""

    stop_tokens: tuple[str, ...] = ()
    """Tokens that end a turn, besides the checkpoint's end-of-sequence token."""

    stop_token_ids: tuple[int, ...] = ()
    """Their ids in the checkpoint's tokenizer; filled in when the dialect is bound to one."""

    turn_end: str = ""
    """The token that closes a turn that ran code, before its output (`<|im_end|>`); added if the model did not write it.
    Empty: the output stands in the same message, and the token that ended the completion is not sent again."""

    output_begin: str = "\n```output\n"
    """The text before an output; a fence that the model has opened already is not opened again."""

    output_end: str = "\n```"
    """The text after an output."""

    outputs_as_messages: bool = False
    """Whether an output is a user message: `turn_end` and the text around the output are then the chat template's."""

    output_verbatim: bool = False
    """Whether an output keeps the line breaks at its end."""

    empty_output: str = ""
    """The text in place of an empty output."""

    remark: str = ""
    """The text after `output_end`; `{left}` stands for the number of times that code may still run."""

    last_remark: str = ""
    """Replaces `remark` once code may run no more; empty: `remark` is used there, too."""

    closing_turn: bool = False
    """Whether a candidate writes one more turn once code may run no more; else its answer is forced at once."""

    think_begin: str = ""
    """The tag that opens thinking, in which no answer counts; empty if the model does not mark it."""

    think_end: str = ""
    """The tag that closes thinking."""

    thinks_first: bool = False
    """Whether a message begins inside thinking, because the prompt opens it; set by `bind`."""

    force: str = "\nThe answer is $\\boxed{"
    """The text appended for a candidate without an answer, so that its last tokens are one. Empty: none is forced."""

    force_stop: str = "$"
    """The stop string of a forced answer: not a brace, which may be a fraction's."""

    sampling: Mapping[str, float] = field(default_factory=dict, hash=False)
    """The model card's values of fields of `SolverConfig`; presets and options override them."""

    def __post_init__(self) -> None:
        if self.code not in get_args(Code):
            raise UserError(f"dialect {self.name}: code is {self.code!r}; it must be {_either(get_args(Code))}")
        if self.code in ("tag", "json", "xml") and not self.code_begin:
            raise UserError(f"dialect {self.name}: code {self.code} has to begin with something; set code_begin")
        if bool(self.think_begin) != bool(self.think_end):
            raise UserError(f"dialect {self.name}: think_begin and think_end go together; set both or neither")
        if "{problem}" not in (self.prompt or self.user):
            where = "prompt" if self.prompt else "user"
            raise UserError(f"dialect {self.name}: {where} has no {{problem}}, where the problem goes; add it")
        if wrong := [text for text in (*self.stop, *self.stop_tokens) if not isinstance(text, str) or not text]:
            raise UserError(f"dialect {self.name}: stop holds {wrong[0]!r}; it must be texts that are not empty")
        for name, value in self.sampling.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise UserError(f"dialect {self.name}: sampling sets {name} to {value!r}; it must be a number")
        if unknown := set(self.sampling) - set(SAMPLING):
            known = _either(SAMPLING)
            raise UserError(f"dialect {self.name}: sampling sets {', '.join(sorted(unknown))}; it may set {known}")

    @property
    def runs_code(self) -> bool:
        """Whether the model writes code that is run."""
        return self.code != "none"

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits of a hash of all fields."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


FIELDS = tuple(each.name for each in fields(Dialect))


def dialect_from(values: Mapping[str, Any], *, source: str) -> Dialect:
    """Build a dialect from a journal's header or a TOML table. Raises `UserError`, which names `source` and the field."""
    for name, value in values.items():
        if name not in FIELDS:
            raise UserError(f"{source}: a dialect has no field {name!r}{nearest(name, FIELDS)}")
        wanted = _kind(name)
        if not isinstance(value, wanted) or (wanted is str and isinstance(value, bool)):
            raise UserError(f"{source}: {name} is {value!r}; it must be {_KINDS[wanted]}")
    if "name" not in values:
        raise UserError(f"{source}: a dialect needs a name; add name = ...")
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Dialect(**made)


_KINDS: Mapping[Any, str] = {
    str: "a text",
    bool: "true or false",
    (list, tuple): "a list",
    Mapping: "a table",
    (str, type(None)): "a text",
    (Mapping, type(None)): "a table",
}


def _kind(name: str) -> Any:
    """The types that the field `name` takes, as JSON and TOML know them."""
    written = str(Dialect.__dataclass_fields__[name].type)
    if written.startswith("tuple"):
        return (list, tuple)
    if written.startswith("Mapping"):
        return (Mapping, type(None)) if "None" in written else Mapping
    if written == "bool":
        return bool
    return (str, type(None)) if "None" in written else str


def _either(known: Iterable[str]) -> str:
    *others, last = known
    return f"{', '.join(others)} or {last}"
