"""The table of engines: how each is loaded from its settings, and what the package knows of it beforehand.

To add an engine, write one module and one entry. The module holds a class with `generate` (see `types.Engine`),
`describe` (facts for the journal's header) and `close`; a `tokenizer` attribute lets the dialect be recognised and prompts
be token ids, without it the prompt is NuminaMath's as text. The entry goes into the table below, with a function that
imports the module when it is called:

    def _mine(config: EngineConfig, model: Model, slots: int) -> Any:
        from sctir_kaggle.engines.mine import MyEngine

        return MyEngine.load(model, slots=slots, **_chosen(config, "dtype"), **config.engine_options)

    Entry(
        name="mine", help="my server", load=_mine, model="weights", takes=frozenset({"dtype", "engine_options"})
    )

The choices of `--engine`, the check of settings that the engine does not take, replay, the notebook, the doctor and
`Submission` all read this table; tests/engines/test_registry.py runs such an entry through the commands. A setting that
no engine has yet goes into `engine_options`; only a new field of `EngineConfig` makes a new flag.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import UserError


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """The settings that an engine is loaded from. Raises `UserError` for a value outside its limits.

    Fields that not every engine reads are named in `Entry.takes`. Their docstrings are the help of the flags.
    """

    engine: str = "transformers"
    """Who writes the text: vllm, transformers, openai (servers of completions), chat (servers of chat), recorded."""

    model: str | Path | None = None
    """A checkpoint's folder or its name at the Hugging Face Hub; default: the embedded model. `openai`: of the
    tokenizer. `recorded`: the run's folder or journal."""

    base_url: Sequence[str] = ()
    """Servers of one model, http://HOST:PORT, for `openai` and `chat`."""

    served_model: str | None = None
    """The model's name at the servers; default: the only one there."""

    server_wait: float | None = None
    """How long to wait for a server: 10m, 90; default: 10m while it says that it loads, 10 s while nothing answers."""

    layout: Literal["auto", "replicas", "tensor"] = "auto"
    """vLLM on several GPUs: an engine on each, or one over all; `auto` takes the first that fits and says why."""

    gpus: int | None = None
    """vLLM takes the first so many GPUs; default: all."""

    context_length: int | None = None
    """Tokens of prompt and text together; default: the model's own."""

    dtype: str | None = None
    """The number format of weights and activations: float16, bfloat16, float32; default: what model and machine have."""

    memory: float | None = None
    """The share of a GPU's memory that vLLM may take; default: 0.9."""

    kv_cache_dtype: str | None = None
    """vLLM's number format of the KV cache, such as fp8; default: that of the activations."""

    speculative: Mapping[str, Any] | None = None
    """vLLM's `speculative_config`, such as {"method": "ngram", "num_speculative_tokens": 4}; default: none."""

    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Any engine argument of the installed vLLM, or any field of a server's requests: NAME=VALUE, or JSON."""

    def __post_init__(self) -> None:
        _require(self.gpus is None or self.gpus >= 1, "gpus", self.gpus, "at least 1")
        _require(
            self.context_length is None or self.context_length >= 1,
            "context_length",
            self.context_length,
            "at least 1 token",
        )
        _require(
            self.server_wait is None or self.server_wait >= 0, "server_wait", self.server_wait, "at least 0 seconds"
        )
        _require(self.memory is None or 0 < self.memory <= 1, "memory", self.memory, "above 0 and at most 1")


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}; it must be {limit}")


Model = str | Path | None

Load = Callable[[EngineConfig, Model, int], Any]
"""(settings, checkpoint, requests at once) -> the loaded engine. Imports its libraries itself."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An engine as the package knows it before it is loaded."""

    name: str

    help: str
    """In a few words, for lists of choices."""

    load: Load | None
    """None for `recorded`, which has nothing to load: the caller opens it with the problems that it must hold."""

    model: Literal["weights", "tokenizer", "journal", "none"]
    """The kind of thing that `--model` names. Only weights have a default, the embedded model."""

    takes: frozenset[str]
    """The fields of `EngineConfig` that this engine reads, besides `engine` and `model`."""

    servers: bool = False
    """Whether it needs `base_url`."""

    room: int = 256
    """Concurrent requests that a replay loads it for."""

    slots: int | None = None
    """Concurrent requests that it reserves memory for, at most; None where requests share memory (paged KV cache)."""

    needs: tuple[str, ...] = ()
    """Top-level modules that it imports; the doctor checks that they are installed."""

    extra: str | None = None
    """The extra that installs it: pip install 'sctir-kaggle[EXTRA]'."""


def _chosen(config: EngineConfig, *names: str) -> dict[str, Any]:
    """Those of the named settings that differ from their defaults; for the rest the engine's own defaults hold."""
    return {name: getattr(config, name) for name in names if name in given(config)}


def _vllm(config: EngineConfig, model: Model, slots: int) -> Any:
    from sctir_kaggle.engines.vllm_layout import load_vllm

    options = {
        **_chosen(config, "kv_cache_dtype"),
        **({"speculative_config": dict(config.speculative)} if config.speculative else {}),
        **config.engine_options,
    }
    choices = _chosen(config, "layout", "gpus", "dtype", "context_length", "memory")
    return load_vllm(str(model) if model is None else model, slots=slots, **choices, **_if_any(options))


def _transformers(config: EngineConfig, model: Model, slots: int) -> Any:
    from sctir_kaggle.engines.transformers import TransformersEngine

    assert model is not None
    return TransformersEngine.load(model, slots=slots, **_chosen(config, "dtype", "context_length"))


def _openai(config: EngineConfig, model: Model, slots: int) -> Any:
    from sctir_kaggle.engines.openai import OpenAIEngine

    return OpenAIEngine.open(list(config.base_url), config.served_model, tokenizer=model, **_of_server(config, slots))


def _chat(config: EngineConfig, model: Model, slots: int) -> Any:
    from sctir_kaggle.engines.openai_chat import ChatEngine

    return ChatEngine.open(list(config.base_url), config.served_model, **_of_server(config, slots))


def _of_server(config: EngineConfig, slots: int) -> dict[str, Any]:
    wait = config.server_wait
    waits = {"wait": LOADING_SECONDS} if wait is None else {"wait": wait, "reach": wait}
    return {"slots": slots, **waits, **_chosen(config, "context_length"), **_if_any(dict(config.engine_options))}


def _if_any(options: dict[str, Any]) -> dict[str, Any]:
    return {"options": options} if options else {}


LOADING_SECONDS = 600.0
"""How long a server that loads its model is waited for, where `server_wait` does not say."""

_SERVERS = frozenset({"base_url", "served_model", "server_wait", "context_length", "engine_options"})

_ROWS = (
    Entry(
        name="transformers",
        help="CPU or GPU, without vLLM",
        load=_transformers,
        model="weights",
        takes=frozenset({"dtype", "context_length"}),
        room=48,
        slots=48,
        needs=("torch", "transformers", "safetensors"),
        extra="cpu",
    ),
    Entry(
        name="vllm",
        help="one GPU or several",
        load=_vllm,
        model="weights",
        takes=frozenset(
            {"layout", "gpus", "context_length", "dtype", "memory", "kv_cache_dtype", "speculative", "engine_options"}
        ),
        needs=("vllm",),
        extra="vllm",
    ),
    Entry(
        name="openai",
        help="servers of completions",
        load=_openai,
        model="tokenizer",
        takes=_SERVERS,
        servers=True,
        needs=("httpx", "transformers"),
        extra="openai",
    ),
    Entry(
        name="chat",
        help="any OpenAI-compatible chat server",
        load=_chat,
        model="none",
        takes=_SERVERS,
        servers=True,
        needs=("httpx",),
        extra="openai",
    ),
    Entry(name="recorded", help="a run, from its journal", load=None, model="journal", takes=frozenset()),
)

ENGINES: Mapping[str, Entry] = {entry.name: entry for entry in _ROWS}
"""The engines by name, in the order in which they are listed."""


def entry_of(name: str) -> Entry:
    """Return the entry of this name. Raises `UserError` for an unknown one, with the nearest name."""
    if name in ENGINES:
        return ENGINES[name]
    raise UserError(f"there is no engine {name!r}{nearest(name, ENGINES) or '; choose one of ' + ', '.join(ENGINES)}")


def check(config: EngineConfig) -> None:
    """Check that the settings fit the engine. Raises `UserError` where one is for another engine, or is missing."""
    entry = entry_of(config.engine)
    if entry.servers != bool(config.base_url):
        names = " or ".join(other.name for other in ENGINES.values() if other.servers)
        engine = config.engine if entry.servers else names
        raise UserError(f"--engine {engine} and --base-url http://HOST:PORT go together: give both or neither")
    for name in sorted(given(config) - entry.takes - {"engine", "model", "base_url"}):
        takers = " or ".join(f"--engine {other.name}" for other in ENGINES.values() if name in other.takes)
        raise UserError(f"--{name.replace('_', '-')} is for {takers}, not for {config.engine}: leave it out")


def given(config: EngineConfig) -> set[str]:
    """Return the names of the fields that differ from their defaults."""
    default = EngineConfig()
    names = {field.name for field in fields(EngineConfig) if field.default is not MISSING or field.default_factory}
    return {name for name in names if getattr(config, name) != getattr(default, name)}


_HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(model: str | Path) -> bool:
    """Whether `model` is an `owner/name` at the Hugging Face Hub, and not a folder of this machine."""
    text = str(model)
    here = Path(text).expanduser()
    # "runs/model" with a folder `runs` beside it is a mistyped path rather than a model at the Hub.
    return isinstance(model, str) and bool(_HUB.fullmatch(text)) and not here.exists() and not here.parent.is_dir()


def checkpoint_of(model: str | Path) -> str | Path:
    """Return `model` as a folder, or unchanged where it names a model at the Hub. Raises `UserError` if it is neither."""
    here = Path(model).expanduser()
    if is_hub_name(model):
        return model
    if here.exists():
        return here
    beside = [path.name for path in here.parent.iterdir() if path.is_dir()] if here.parent.is_dir() else []
    hint = "; pass a checkpoint's folder, or owner/name at the Hub"
    raise UserError(f"{model} is not a folder{nearest(here.name, beside, shown=here.parent.joinpath) or hint}")
