"""Any Hugging Face causal language model as an `Engine`, on CPU or GPU: continuous batching without vLLM.

One thread owns the model and loops: waiting requests take idle slots, a step appends one token to each, finished requests
leave. A prompt starts from the longest prefix that any slot still holds. Requests are independent: each gets the tokens
that it would get alone, up to rounding.

Not covered: encoder-decoder and recurrent models, several GPUs. Sliding attention is covered up to the window's width.
"""

from __future__ import annotations

import asyncio
import hashlib
import queue
import random
import re
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.types import (
    Completion,
    EngineError,
    FinishReason,
    Prompt,
    PromptTooLong,
    SamplingParams,
    TokenIds,
    one_line,
)

if TYPE_CHECKING:
    from sctir_kaggle.engines.slots import Slots

Facts = dict[str, str | int]

OLDEST = {"torch": "2.6.0", "transformers": "4.57.6"}
"""The oldest versions that this engine is tested with; transformers 4.57.6 comes with vLLM 0.19.1 on Kaggle."""

SMALL = 20_000_000
"""Parameters below which one CPU thread is used: several would wait for each other longer than they work, and they spin
while waiting (with two threads, and one of two cores busy otherwise, a step of 7 ms took 270 ms)."""


@dataclass(slots=True, eq=False)
class _Request:
    """One call of `generate` in flight."""

    prompt: TokenIds
    params: SamplingParams
    limit: int
    future: asyncio.Future[Completion]
    draws: random.Random
    ids: list[int] = field(default_factory=list)
    stored: int = 0  # tokens of prompt + ids whose keys and values its slot holds
    cached: int = 0  # tokens of the prompt that another request had left in the slot

    def next_input(self) -> int:
        """The input of the next step: the prompt's next token, or the one sampled last."""
        return self.prompt[self.stored] if self.stored < len(self.prompt) else self.ids[-1]

    def next_draw(self) -> float:
        """The random number of the next step, in [0, 1). None is drawn while the prompt still runs, so that a completion
        does not depend on how much of its prompt was cached."""
        return self.draws.random() if self.stored >= len(self.prompt) - 1 else 0.0


class TransformersEngine:
    """Batches concurrent `generate` calls on one model. Create it with `load`; `close` ends its thread.

    A completion's `token_ids` are the sampled ones; `tokenizer` decodes them to `text`, without the token that ended it.
    """

    def __init__(
        self, slots: Slots, tokenizer: Tokenizer, *, end: frozenset[int], vocabulary: int, facts: Facts
    ) -> None:
        self.tokenizer = tokenizer
        self._slots, self._end, self._vocabulary, self._facts = slots, end, vocabulary, facts
        self._inbox: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._waiting: deque[_Request] = deque()
        self._running: list[_Request] = []  # the request of row i is in slot i
        self._lock = threading.Lock()
        self._failure: EngineError | None = None
        self._thread = threading.Thread(target=self._serve, name="transformers-engine", daemon=True)
        self._thread.start()

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        slots: int = 48,
        device: str | None = None,
        dtype: str | None = None,
        context_length: int | None = None,
        threads: int | None = None,
    ) -> TransformersEngine:
        """Load `model`, a folder or a name on the Hugging Face Hub, for `slots` concurrent requests.

        Defaults: `device` is CUDA where there is one. `dtype` is float32 on a CPU; on a GPU the checkpoint's bfloat16
        where the GPU has it, else float16. `context_length`, in tokens, is the model's. `threads`, the number of CPU
        threads of the whole process, is one for a model below `SMALL` parameters, else torch's own number. Raises
        `EngineError` for missing or old libraries, and for a checkpoint that cannot be loaded.
        """
        if slots < 1:
            raise EngineError(f"slots is {slots}: it is the number of concurrent requests, pass at least 1")
        try:
            import torch

            from sctir_kaggle.engines.slots import Slots
        except ImportError as error:
            raise EngineError(f"{error.name} is not installed: pip install 'sctir-kaggle[cpu]'") from error
        check_installed({name: version(name) for name in OLDEST})
        name = _checkpoint(model)
        tokenizer = Tokenizer.load(name)
        loaded = _load(name, device or ("cuda" if torch.cuda.is_available() else "cpu"), dtype)
        if threads is None and loaded.num_parameters() < SMALL:
            threads = 1
        if threads is not None:
            torch.set_num_threads(threads)
        context = context_limit(loaded.config.get_text_config(), context_length)
        return cls(
            Slots(loaded, slots=slots, context_length=context),
            tokenizer,
            end=end_tokens(loaded, tokenizer),
            vocabulary=loaded.get_input_embeddings().num_embeddings,
            facts=_facts(model, loaded, slots, context) | ({"tokenizer": tokenizer.notice} if tokenizer.notice else {}),
        )

    @property
    def context_length(self) -> int:
        """The most tokens of a prompt and its completion together."""
        return int(self._facts["context_length"])

    def describe(self) -> Facts:
        """Return the facts for a journal's header: model, sizes, dtype, device, versions."""
        return dict(self._facts)

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`. Can be called from any event loop; `request_id` names the request in error messages."""
        ids = self.tokenizer.encode(prompt)
        room = self.context_length - len(ids)
        if room < 1:
            raise PromptTooLong(
                f"{request_id}: the prompt has {len(ids)} tokens, the context {self.context_length}, and one must be "
                "left: shorten the prompt or load the model with a larger context_length"
            )
        if params.max_tokens < 1:
            raise EngineError(f"{request_id}: max_tokens is {params.max_tokens}: pass at least 1")
        if not 0 <= min(ids) <= max(ids) < self._vocabulary:
            raise EngineError(
                f"{request_id}: a token id is not in 0..{self._vocabulary - 1}: pass this model's own ids"
            )
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        limit = min(params.max_tokens, room)
        self._submit(_Request(ids, params, limit, future, random.Random(params.seed)))
        return await future

    def close(self) -> None:
        """End the thread. Requests in flight raise `EngineError`, and so do later ones."""
        self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _submit(self, request: _Request) -> None:
        with self._lock:
            if self._failure is not None:
                raise EngineError(str(self._failure)) from self._failure
            self._inbox.put(request)

    def _serve(self) -> None:
        """The thread's body: runs until `close`, or until an error, which then every request raises."""
        try:
            while self._receive():
                self._leave([row for row, request in enumerate(self._running) if request.future.cancelled()])
                self._join()
                if self._running:
                    self._step()
            failure = EngineError("the engine is closed: load the model again")
        except BaseException as error:  # a request must never wait for a thread that is gone
            failure = EngineError(f"the engine failed and is closed: {type(error).__name__}: {error}")
            failure.__cause__ = error
        self._fail(failure)

    def _receive(self) -> bool:
        """Take all queued requests, blocking only while none runs or waits; False once `close` was called."""
        try:
            while True:
                request = self._inbox.get(block=not (self._running or self._waiting))
                if request is None:
                    return False
                self._waiting.append(request)
        except queue.Empty:
            return True

    def _join(self) -> None:
        """Give waiting requests idle slots, first come, first served, each with the longest stored prefix of its prompt."""
        row = first = len(self._running)
        while self._waiting and row < self._slots.size:
            request = self._waiting.popleft()
            if not request.future.cancelled():
                self._running.append(request)
                request.cached = self._slots.open(row, request.prompt)
                row += 1
        if row > first:
            self._slots.prefill()
            for request, stored in zip(self._running[first:], self._slots.length[first:row].tolist(), strict=True):
                request.stored = stored

    def _step(self) -> None:
        """Run one step: one more token for every row, of its prompt or of its completion."""
        running = self._running
        tokens = self._slots.step(
            [request.next_input() for request in running],
            [request.params for request in running],
            [request.next_draw() for request in running],
        )
        self._leave([row for row, token in enumerate(tokens) if self._advance(running[row], token)])

    def _advance(self, request: _Request, token: int) -> bool:
        """Account for the step that gave `token`; True where it was the request's last."""
        request.stored += 1
        if request.stored < len(request.prompt):
            return False
        request.ids.append(token)
        if token in request.params.stop_token_ids:
            return self._finish(request, "stop", token)
        if token in self._end:
            return self._finish(request, "stop")
        stop = self.tokenizer.find_stop(request.ids, request.params.stop, before=request.prompt[-1])
        if stop is not None:
            return self._finish(request, "stop", stop)
        return len(request.ids) == request.limit and self._finish(request, "length")

    def _finish(self, request: _Request, reason: FinishReason, stop: str | int | None = None) -> bool:
        string = stop if isinstance(stop, str) else None
        ended = reason == "stop" and string is None
        text, ids = self.tokenizer.finish(request.ids, stop=string, before=request.prompt[-1], ended=ended)
        completion = Completion(
            text,
            ids,
            finish_reason=reason,
            stop_reason=stop,
            tokens=len(ids or request.ids),
            prompt_tokens=len(request.prompt),
            cached_tokens=request.cached,
        )
        _settle(request.future, completion)
        return True

    def _leave(self, rows: Sequence[int]) -> None:
        """Free these rows and close the gaps in the batch; the slots keep their contents for later prompts."""
        for row in reversed(rows):
            self._slots.close(row)
            self._slots.swap(
                row, len(self._running) - 1
            )  # from the last row back, so that the last is never one to free
            self._running[row] = self._running[-1]
            self._running.pop()

    def _fail(self, failure: EngineError) -> None:
        """Make every request, in flight or later, raise `failure`."""
        with self._lock:
            self._failure = failure
            while not self._inbox.empty():
                self._waiting.extend(filter(None, [self._inbox.get()]))
        for request in (*self._running, *self._waiting):
            _settle(request.future, EngineError(str(failure)), cause=failure)
        self._running, self._waiting = [], deque()


def _settle(
    future: asyncio.Future[Completion], outcome: Completion | EngineError, cause: Exception | None = None
) -> None:
    """Pass `outcome` to the future's event loop, from any thread."""

    def settle() -> None:
        if future.cancelled():
            return
        if isinstance(outcome, EngineError):
            outcome.__cause__ = cause
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    try:
        future.get_loop().call_soon_threadsafe(settle)
    except RuntimeError:  # that loop is closed: no caller waits any more
        pass


def check_installed(installed: Mapping[str, str]) -> None:
    """Raise `EngineError` where one of the `installed` versions is older than those in `OLDEST`."""
    for name, oldest in OLDEST.items():
        if _numbers(installed[name]) < _numbers(oldest):
            raise EngineError(
                f"{name} {installed[name]} is installed, engine=transformers needs {oldest} or newer: "
                f"pip install '{name}>={oldest}'"
            )


def _numbers(text: str) -> tuple[int, ...]:
    """The first three numbers of a version such as "2.13.0+cpu" or "5.0.0rc1"."""
    return tuple(int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3])


def _checkpoint(model: str | Path) -> str:
    """`model` as transformers takes it: a folder, or owner/name on the Hugging Face Hub. Raises `EngineError` if neither."""
    here = Path(model).expanduser()
    if (here / "config.json").is_file():
        return str(here)
    if here.is_dir() or isinstance(model, Path) or here.is_absolute() or str(model).count("/") != 1:
        fault = "holds no config.json" if here.is_dir() else "is not a folder"
        raise EngineError(f"{model} {fault}: pass the folder that holds config.json and *.safetensors")
    return str(model)


def _load(model: str, device: str, dtype: str | None) -> Any:
    """Load the model onto `device`. Raises `EngineError`, one line, for any fault of its files."""
    from transformers import AutoConfig, AutoModelForCausalLM

    options: dict[str, Any] = {"local_files_only": Path(model).is_dir()}
    try:
        with _quiet():
            stored = AutoConfig.from_pretrained(model, **options).get_text_config().dtype
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype=_dtype(dtype, device, stored), **options)
            return cast(Any, loaded).to(device).eval()
    except EngineError:
        raise
    except Exception as error:  # any library may find any fault with a file
        raise EngineError(
            f"{model} cannot be loaded as a causal language model ({one_line(error, named=True, first=True)}): "
            "pass a complete checkpoint with config.json, tokenizer.json and *.safetensors"
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Turn off transformers' progress bars, which would tear the command's own."""
    from transformers.utils import logging as untyped

    logging = cast(Any, untyped)
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _dtype(asked: str | None, device: str, stored: object) -> Any:
    """The dtype: as asked, or what suits checkpoint and device (a T4 has no bfloat16)."""
    import torch

    if asked is not None:
        if not getattr(getattr(torch, asked, None), "is_floating_point", False):
            raise EngineError(f"dtype is {asked!r}: pass 'float32', 'float16' or 'bfloat16'")
        return getattr(torch, asked)
    if not device.startswith("cuda"):
        return torch.float32
    has_bfloat16 = torch.cuda.get_device_capability(device) >= (8, 0)
    return torch.bfloat16 if has_bfloat16 and stored is torch.bfloat16 else torch.float16


def context_limit(config: Any, asked: int | None) -> int:
    """The context in tokens: as asked, at most what the model's positions and its attention window cover.

    Beyond the window this engine would have to drop keys, which its slots do not do.
    """
    foreign = set(getattr(config, "layer_types", None) or ()) - {"full_attention", "sliding_attention"}
    if foreign:
        raise EngineError(f"the model has layers of type {min(foreign)}: this engine serves attention alone, use vLLM")
    limits = [getattr(config, name, None) for name in ("max_position_embeddings", "sliding_window")]
    limit = min([value for value in limits if value] or [asked or 4096])
    if asked is not None and not 2 <= asked <= limit:
        raise EngineError(f"context_length is {asked}: pass 2 to {limit}, which is what the model covers")
    return asked or limit


def end_tokens(model: Any, tokenizer: Tokenizer) -> frozenset[int]:
    """All tokens that end a sequence: those in the checkpoint's generation config, else the tokenizer's."""
    listed = getattr(model.generation_config, "eos_token_id", None)
    return frozenset(tokenizer.end_ids if listed is None else [listed] if isinstance(listed, int) else listed)


def _facts(model: str | Path, loaded: Any, slots: int, context_length: int) -> Facts:
    return {
        "engine": "transformers",
        "model": Path(model).name,
        "architecture": type(loaded).__name__,
        "parameters": sum(weights.numel() for weights in loaded.parameters()),
        "weights": _fingerprint(loaded),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "device": str(loaded.device),
        "slots": slots,
        "context_length": context_length,
        "torch": version("torch"),
        "transformers": version("transformers"),
    }


def _fingerprint(loaded: Any) -> str:
    """Hash the first 64 numbers of every weight, to tell apart two checkpoints in folders of the same name."""
    digest = hashlib.blake2b(digest_size=6)
    for weights in loaded.parameters():
        digest.update(weights.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return digest.hexdigest()
