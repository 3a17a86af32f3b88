"""vLLM as an `Engine`: concurrent candidates share its continuous batch, and later turns hit its prefix cache.

Prompts go in as token ids and completions come out as the sampled ids, special tokens and the token that ended them
included, so that the next turn's prompt begins with exactly what is cached. A stop string can end inside a token:
`Tokenizer` then gives ids for exactly the text, and only the last cached block is lost.

Covered: one replica, in this process or in one of its own, on GPUs or on vLLM's CPU build. Two side effects on this process:
the CPU build replaces `torch.set_num_threads` by a function without effect (set OMP_NUM_THREADS before the start), and vLLM
seeds the global random generators, which this package does not draw from.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.dialects.tokenizer_files import TokenizerFiles
from sctir_kaggle.engines.vllm_loop import RESTARTS, EngineLoop, Request
from sctir_kaggle.engines.vllm_options import (
    argument_name,
    check_installed,
    checkpoint_name,
    engine_arguments,
    write_corrected,
)
from sctir_kaggle.engines.vllm_process import environment_of_child, tie
from sctir_kaggle.types import Completion, EngineError, Prompt, PromptTooLong, SamplingParams, TokenIds

if TYPE_CHECKING:
    from typing_extensions import Self

Facts = dict[str, str | int]

_SAMPLE = 65_536  # bytes hashed at either end of a weight file: reading a 14 GB checkpoint whole would take too long

_IN_PROCESS: weakref.WeakSet[EngineLoop] = weakref.WeakSet()  # loops whose engine core runs in this process

log = logging.getLogger("sctir_kaggle")


class VLLMEngine:
    """Passes concurrent `generate` calls to one vLLM engine. Create it with `load`; `close` ends engine and thread.

    If vLLM dies, all requests in flight raise `EngineError` and the engine is restarted once, for which later requests
    wait; after a second death they raise `EngineError`, too.
    """

    _RESTARTS = RESTARTS
    _LOGPROBS: int | None = None
    """Log-probabilities in vLLM's output: None for none, 0 for that of the sampled token."""

    def __init__(self, loop: EngineLoop, tokenizer: Tokenizer, facts: Facts, end: Callable[[], None]) -> None:
        self.tokenizer = tokenizer
        self._loop, self._facts, self._end = loop, facts, end
        self._vocabulary = int(loop.engine.model_config.get_vocab_size())

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        slots: int = 48,
        dtype: str | None = None,
        context_length: int | None = None,
        memory: float = 0.9,
        child: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load `model`, a folder or a name on the Hugging Face Hub, for `slots` concurrent requests.

        The quantization is the checkpoint's own. `dtype` is by default float32 on a CPU unless quantized, float16 on a
        GPU without bfloat16, else the checkpoint's. `context_length` is in tokens, by default the model's. `memory` is
        the share of a GPU's memory that vLLM may take; on a CPU, VLLM_CPU_KVCACHE_SPACE is the size of the cache in GiB,
        4 unless set. With `child`, environment variables such as {"CUDA_VISIBLE_DEVICES": "1"}, the engine runs in a
        process of its own that has them; without it, in this process, which can hold only one such engine. `options` are
        engine arguments of the installed vLLM by their names, and win. Raises `EngineError` where anything is wrong.
        """
        if slots < 1:
            raise EngineError(f"slots is {slots}: it is the number of concurrent requests, pass at least 1")
        # Of two engines in one process, the first to end would destroy the other's torch process groups.
        if child is None and any(loop.serving for loop in _IN_PROCESS):
            raise EngineError("this process has a vLLM engine already: close it before you load another")
        check_installed()
        name, began = checkpoint_name(model), time.monotonic()
        tokenizer = Tokenizer.load(name)
        with ExitStack() as undo:
            own: dict[str, Any] = {}
            if tokenizer.notice:  # transformers, and so vLLM, would read the tokenizer wrongly: give it corrected files
                own["tokenizer"] = undo.enter_context(TemporaryDirectory(prefix="sctir-tokenizer-"))
                write_corrected(TokenizerFiles.read(name), Path(own["tokenizer"]))
            arguments = engine_arguments(
                name,
                slots=slots,
                dtype=dtype,
                context_length=context_length,
                memory=memory,
                options={**own, **(options or {})},
            )
            imported = time.monotonic()
            loop = EngineLoop(lambda: _build(arguments, child), _shut_down, most_restarts=cls._RESTARTS)
            undo.callback(loop.close)
            if child is None:
                _IN_PROCESS.add(loop)
            loop.wait_until_started()
            log.info(
                f"vLLM: {imported - began:.1f} s to import and to read the tokenizer, {time.monotonic() - imported:.1f} s to "
                f"start; {_kv_tokens(loop.engine)} tokens of KV cache for {slots} requests"
            )
            facts = _facts(model, loop.engine, slots)
            if options:
                chosen = {argument_name(argument): value for argument, value in options.items()}
                facts["options"] = json.dumps(chosen, sort_keys=True, default=str)
            if tokenizer.notice:
                facts["tokenizer"] = tokenizer.notice
            return cls(loop, tokenizer, facts, undo.pop_all().close)

    @property
    def serving(self) -> bool:
        """False while vLLM is being restarted, and once it has died for good or is closed."""
        return self._loop.serving

    @property
    def context_length(self) -> int:
        """The most tokens of a prompt and its completion together."""
        return int(self._facts["context_length"])

    def describe(self) -> Facts:
        """Return the facts for a journal's header: model, dtype, device, versions, restarts so far."""
        return {**self._facts, "restarts": self._loop.restarts}

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`. Can be called from any event loop; `request_id` names the request in error messages."""
        ids = self.tokenizer.encode(prompt)
        room = self.context_length - len(ids)
        if room < 1:
            raise PromptTooLong(
                f"{request_id}: the prompt has {len(ids)} tokens, the context {self.context_length}, and one must be "
                "left: shorten the prompt or load the model with a larger context_length"
            )
        if not 0 <= min(ids) <= max(ids) < self._vocabulary:
            raise EngineError(
                f"{request_id}: a token id is not in 0..{self._vocabulary - 1}: pass this model's own ids"
            )
        sampling = _sampling(params, limit=min(params.max_tokens, room), request_id=request_id, logprobs=self._LOGPROBS)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._loop.submit(Request(request_id, ids, sampling, future))
        return self._completion(ids, params, await future, request_id)

    def close(self) -> None:
        """End the engine. Requests in flight raise `EngineError`, and so do later ones."""
        self._end()

    def _completion(self, prompt: TokenIds, params: SamplingParams, output: Any, request_id: str) -> Completion:
        """Convert vLLM's output. Runs in the caller's thread, so that the engine's goes on with its next step."""
        sample = output.outputs[0]
        reason = sample.finish_reason
        if reason not in ("stop", "length"):
            raise EngineError(f"{request_id}: vLLM ended the request with {reason!r}")
        sampled = list(sample.token_ids)
        stop = sample.stop_reason if isinstance(sample.stop_reason, str) else None
        ended = reason == "stop" and stop is None
        text, ids = self.tokenizer.finish(sampled, stop=stop, before=prompt[-1], ended=ended)
        return Completion(
            text,
            ids,
            finish_reason=reason,
            stop_reason=sampled[-1] if ended and sampled[-1] in params.stop_token_ids else stop,
            tokens=len(ids or sampled),
            prompt_tokens=len(prompt),
            cached_tokens=output.num_cached_tokens or 0,
        )


def _sampling(params: SamplingParams, *, limit: int, request_id: str, logprobs: int | None = None) -> Any:
    """Convert `params` to vLLM's own.

    vLLM detokenizes only where there are stop strings, which it finds in the text: without them the engine's thread is
    spared that work. Output is requested once, at the end, rather than at every token.
    """
    import vllm  # type: ignore[import-not-found,unused-ignore]
    from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found,unused-ignore]

    stop = [string for string in params.stop if string]
    try:
        return vllm.SamplingParams(
            n=1,
            temperature=params.temperature,
            top_p=params.top_p,
            top_k=params.top_k or -1,
            min_p=params.min_p,
            repetition_penalty=params.repetition_penalty,
            max_tokens=limit,
            seed=params.seed,
            logprobs=logprobs,
            stop=stop,
            stop_token_ids=list(params.stop_token_ids),
            detokenize=bool(stop),
            skip_special_tokens=False,
            spaces_between_special_tokens=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
    except Exception as error:  # vLLM's classes for a bad parameter differ between its versions
        raise EngineError(f"{request_id}: vLLM refused the sampling parameters: {error}") from error


def _build(arguments: Any, child: Mapping[str, str] | None) -> Any:
    """Start an engine and sample two tokens, so that kernels compiled at first use do not delay the first problem."""
    started = time.monotonic()
    engine = _in_this_process(arguments) if child is None else _in_a_child(arguments, child)
    loaded = time.monotonic()
    _warm_up(engine)
    log.info(
        f"vLLM: {loaded - started:.1f} s for its configuration, weights and KV cache, "
        f"{time.monotonic() - loaded:.1f} s to the first two tokens"
    )
    return engine


def _in_this_process(arguments: Any) -> Any:
    """Start the engine core in this process."""
    from vllm.distributed import cleanup_dist_env_and_memory  # type: ignore[import-not-found,unused-ignore]
    from vllm.v1.engine.llm_engine import LLMEngine  # type: ignore[import-not-found,unused-ignore]

    cleanup_dist_env_and_memory()  # of an engine that died: the last reference to it is gone only now
    return LLMEngine.from_engine_args(arguments)


def _in_a_child(arguments: Any, variables: Mapping[str, str]) -> Any:
    from vllm.v1.engine.llm_engine import LLMEngine  # type: ignore[import-not-found,unused-ignore]

    with environment_of_child(variables):
        engine = LLMEngine.from_engine_args(arguments, enable_multiprocessing=True)
    tie(engine)
    return engine


def _warm_up(engine: Any) -> None:
    import vllm  # type: ignore[import-not-found,unused-ignore]

    engine.add_request("warm-up", {"prompt_token_ids": [0]}, vllm.SamplingParams(temperature=1, seed=0, max_tokens=2))
    while engine.has_unfinished_requests():
        engine.step()


def _shut_down(engine: Any) -> None:
    """Shut down now: at garbage collection it would destroy the process groups of the next engine."""
    engine.engine_core.shutdown()


def _kv_tokens(engine: Any) -> int:
    cache = engine.vllm_config.cache_config
    return int(cache.num_gpu_blocks or 0) * int(cache.block_size or 0)


def _facts(model: str | Path, engine: Any, slots: int) -> Facts:
    """The facts of `describe` that are the same at every start: a journal is resumed only where they are equal."""
    from importlib.metadata import version

    import vllm  # type: ignore[import-not-found,unused-ignore]
    from vllm.platforms import current_platform  # type: ignore[import-not-found,unused-ignore]

    config = engine.model_config
    return {
        "engine": "vllm",
        "model": Path(model).name,
        "architecture": str((config.hf_config.architectures or ["unknown"])[0]),
        "weights": _fingerprint(sorted(Path(model).expanduser().glob("*.safetensors"))),
        "dtype": str(config.dtype).removeprefix("torch."),
        "quantization": str(config.quantization or "none"),
        "device": str(current_platform.get_device_name() or current_platform.device_type),
        "slots": slots,
        "context_length": int(config.max_model_len),
        "memory": f"{engine.vllm_config.cache_config.gpu_memory_utilization:g}",
        "vllm": str(vllm.__version__),
        "torch": version("torch"),
    }


def _fingerprint(files: Sequence[Path]) -> str:
    """Hash the sizes and ends of the weight files, to tell apart two checkpoints in folders of the same name."""
    digest = hashlib.blake2b(digest_size=6)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}/{size}/".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest() if files else "unknown"
