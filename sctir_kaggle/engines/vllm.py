"""vLLM as an `Engine`: candidates' requests meet in its continuous batch, their re-sent turns in its prefix cache.

Prompts go in as token ids and completions come out as the ids that were sampled, special tokens and the token that ended
them included, so that what a turn re-sends is what is cached. A stop string can end inside a token: `Tokenizer` then gives
ids for exactly the text, and only the last block is lost.

Covered: one replica, in this process or in one of its own, on the GPUs that vLLM is told to use or on its CPU build. In a
process where the latter has served, `torch.set_num_threads` has no effect any more (vLLM replaces it): set OMP_NUM_THREADS
before the start. vLLM also seeds the process's global random numbers; nothing in this package draws from those.
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
from typing import Any

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.dialects.tokenizer_files import TokenizerFiles
from sctir_kaggle.engines.vllm_loop import EngineLoop, Request
from sctir_kaggle.engines.vllm_options import argument_name, checkpoint_name, engine_arguments, write_corrected
from sctir_kaggle.engines.vllm_process import environment_of_child, tie
from sctir_kaggle.types import Completion, EngineError, Prompt, PromptTooLong, SamplingParams, TokenIds

Facts = dict[str, str | int]

_SAMPLE = 65_536  # bytes at either end of a weight file that tell two checkpoints apart

_IN_PROCESS: weakref.WeakSet[EngineLoop] = weakref.WeakSet()

log = logging.getLogger("sctir_kaggle")


class VLLMEngine:
    """Hands concurrent `generate` calls to one vLLM engine. Build it with `load`; `close` ends engine and thread.

    Where vLLM dies, all requests on their way raise `EngineError`; it is started again once, later requests wait for
    that, and after a second death they raise `EngineError`, too.
    """

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
    ) -> VLLMEngine:
        """Load `model`, a folder or a name on the Hugging Face hub, for `slots` concurrent requests.

        The quantization is the checkpoint's own. `dtype` is float32 on a CPU unless quantized, float16 on a GPU
        without bfloat16, else the checkpoint's. `context_length` is the model's own, in tokens. `memory` is the share of
        a GPU's memory that vLLM may take; on a CPU, VLLM_CPU_KVCACHE_SPACE gives the cache that many GiB, 4 unless set.
        With `child`, environment variables such as {"CUDA_VISIBLE_DEVICES": "1"}, the engine runs in a process of its own
        that has them: a process holds any number of such engines, but one of its own. `options` are engine arguments of
        the installed vLLM by their names, any of them, and win. Raises `EngineError` where anything is amiss.
        """
        if slots < 1:
            raise EngineError(f"slots is {slots}: it is the number of concurrent requests, pass at least 1")
        # In one process, the end of an engine would end the other's process groups.
        if child is None and any(loop.serving for loop in _IN_PROCESS):
            raise EngineError("this process has a vLLM engine already: close it before you load another")
        name, began = checkpoint_name(model), time.monotonic()
        tokenizer = Tokenizer.load(name)
        with ExitStack() as undo:
            own: dict[str, Any] = {}
            if tokenizer.notice:
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
            loop = EngineLoop(lambda: _build(arguments, child), _shut_down)
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
        """What a journal should say about this engine: model, number format, device, versions, restarts so far."""
        return {**self._facts, "restarts": self._loop.restarts}

    async def generate(self, prompt: Prompt, params: SamplingParams, *, request_id: str) -> Completion:
        """See `Engine`. May be called from any event loop; `request_id` names the request in error messages."""
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
        sampling = _sampling(params, limit=min(params.max_tokens, room), request_id=request_id)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._loop.submit(Request(request_id, ids, sampling, future))
        return self._completion(ids, params, await future, request_id)

    def close(self) -> None:
        """End the engine; requests on their way raise `EngineError`, and so do later ones."""
        self._end()

    def _completion(self, prompt: TokenIds, params: SamplingParams, output: Any, request_id: str) -> Completion:
        """Made in the caller's thread, so that the engine's goes on with its next step."""
        said = output.outputs[0]
        reason = said.finish_reason
        if reason not in ("stop", "length"):
            raise EngineError(f"{request_id}: vLLM ended the request with {reason!r}")
        sampled = list(said.token_ids)
        stop = said.stop_reason if isinstance(said.stop_reason, str) else None
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


def _sampling(params: SamplingParams, *, limit: int, request_id: str) -> Any:
    """vLLM's own parameters for one completion.

    It reads text only where there are stop strings: they are found in text, within the step that completes them. Without
    them the engine's thread is spared that work. Output is asked for once, at the end, not at every token.
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
    """A new engine that has said two tokens, so that what is compiled at first use does not wait for the first problem."""
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
    """With the memory that an engine before it may have left; only now does nothing refer to that any more."""
    from vllm.distributed import cleanup_dist_env_and_memory  # type: ignore[import-not-found,unused-ignore]
    from vllm.v1.engine.llm_engine import LLMEngine  # type: ignore[import-not-found,unused-ignore]

    cleanup_dist_env_and_memory()
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
    """Now, and not when the garbage is collected, which would end the next engine's process groups."""
    engine.engine_core.shutdown()


def _kv_tokens(engine: Any) -> int:
    cache = engine.vllm_config.cache_config
    return int(cache.num_gpu_blocks or 0) * int(cache.block_size or 0)


def _facts(model: str | Path, engine: Any, slots: int) -> Facts:
    """Nothing that differs from start to start: a journal is resumed where these are equal."""
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
    """Twelve hex digits of the weight files' sizes and ends: two checkpoints in folders of one name are told apart."""
    digest = hashlib.blake2b(digest_size=6)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}/{size}/".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest() if files else "unknown"
