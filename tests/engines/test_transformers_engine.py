"""The engine over transformers, on a random Llama of 60,000 parameters: what it gives must not depend on company."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

torch: Any = pytest.importorskip("torch", reason="this engine needs torch: pip install 'sctir-kaggle[cpu]'")
hf: Any = pytest.importorskip("transformers", reason="this engine needs transformers: pip install 'sctir-kaggle[cpu]'")
tokenizers: Any = pytest.importorskip("tokenizers")

from sctir_kaggle.dialects.tokenizer import Tokenizer  # noqa: E402
from sctir_kaggle.engines import transformers as module  # noqa: E402
from sctir_kaggle.engines.transformers import TransformersEngine  # noqa: E402
from sctir_kaggle.types import Completion, EngineError, Prompt, PromptTooLong, SamplingParams, TokenIds  # noqa: E402

SPECIAL = ["<s>", "</s>", "<pad>"]
CONTEXT = 320
GREEDY = SamplingParams(temperature=0, max_tokens=24)
SAMPLED = SamplingParams(temperature=1.0, max_tokens=24, seed=1)
TEXT = [
    "### Problem: Find the remainder when $3^{7}$ is divided by 11.\n### Solution: We compute it with Python.\n",
    "```python\nprint(pow(3, 7, 11))\n```\n```output\n9\n```\nThe answer is $\\boxed{9}$.",
    "Für jede natürliche Zahl n gilt: α ≤ β, 1 ≤ n ≤ 10. 数学 🙂",
]


def byte_level_tokenizer(vocabulary: int = 512) -> Any:
    """Single digits, a `<s>` in front, and characters that a random model splits: like the embedded model's."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    digits, bytes_ = (
        tokenizers.pre_tokenizers.Digits(individual_digits=True),
        tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False),
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([digits, bytes_])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer
    tokenizer.train_from_iterator(
        TEXT * 4,
        trainer(vocab_size=vocabulary, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def sentencepiece_like_tokenizer() -> Any:
    """A space in front of every text that it encodes, which decoding takes away again: like Llama 2's."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    tokenizer.decoder = tokenizers.decoders.Metaspace()
    trainer = tokenizers.trainers.BpeTrainer
    tokenizer.train_from_iterator(TEXT * 4, trainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False))
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with grouped heads, as a folder. Its weights are large, so that it does not say one thing only."""
    folder = tmp_path_factory.mktemp("checkpoint")
    byte_level_tokenizer().save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "max_position_embeddings": CONTEXT}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.3}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    model = hf.LlamaForCausalLM(hf.LlamaConfig(vocab_size=512, tie_word_embeddings=True, **sizes, **heads, **ends))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> Iterator[TransformersEngine]:
    """Few slots, so that requests queue."""
    engine = TransformersEngine.load(checkpoint, slots=6, threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def tokenizer(checkpoint: Path) -> Any:
    return hf.PreTrainedTokenizerFast.from_pretrained(checkpoint)


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def shown(completion: Completion) -> TokenIds:
    """The ids that `text` shows: all but a token that ended it."""
    return completion.token_ids[:-1] if completion.ended_by_token else completion.token_ids


def loaded(make: Callable[[], Any], folder: Path) -> Tokenizer:
    make().save_pretrained(folder)
    return Tokenizer.load(folder)


def problem(number: int) -> Prompt:
    return (f"### Problem: Find {'the sum of ' * (number % 4)}$3^{{{number}}}$.\n### Solution: ",)


def ask(engine: TransformersEngine, prompt: Prompt, params: SamplingParams) -> Completion:
    return asyncio.run(engine.generate(prompt, params, request_id="p/0/0"))


def ask_all(engine: TransformersEngine, requests: Sequence[tuple[Prompt, SamplingParams]]) -> list[Completion]:
    """All at once, but arriving one after the other while earlier ones are running."""

    async def one(place: int, prompt: Prompt, params: SamplingParams) -> Completion:
        await asyncio.sleep(0.003 * place)
        return await engine.generate(prompt, params, request_id=f"p/{place}/0")

    async def every() -> list[Completion]:
        return list(await asyncio.gather(*(one(place, *request) for place, request in enumerate(requests))))

    return asyncio.run(every())


@lru_cache(maxsize=2)
def plain_model(checkpoint: Path) -> Any:
    return hf.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)


def reference(checkpoint: Path, tokenizer: Any, prompt: str, tokens: int, **options: Any) -> TokenIds:
    """The tokens that `model.generate` gives by itself, with the end token."""
    model = plain_model(checkpoint)
    ids = torch.tensor([tokenizer.encode(prompt)])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens, **options)
    return tuple(output[0, ids.shape[1] :].tolist())


@pytest.mark.slow
def test_greedy_text_is_that_of_generate_alone_and_in_company(
    checkpoint: Path, engine: TransformersEngine, tokenizer: Any
) -> None:
    prompts = [problem(number) for number in range(20)]
    lengths = [4 + 7 * number % 60 for number in range(20)]
    expected = [reference(checkpoint, tokenizer, str(p[0]), n) for p, n in zip(prompts, lengths, strict=True)]
    params = [replace(GREEDY, max_tokens=length) for length in lengths]
    together = ask_all(engine, list(zip(prompts, params, strict=True)))
    assert [completion.token_ids for completion in together] == expected
    assert ask(engine, prompts[3], params[3]).token_ids == expected[3]
    assert len(set(expected)) > 15, "the random model says too little for this test to mean anything"


def test_an_architecture_with_learned_positions_gives_the_text_of_generate(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, "initializer_range": 0.3}
    sizes = {"vocab_size": 512, "n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 2}
    model = hf.GPT2LMHeadModel(hf.GPT2Config(**sizes, **ends))
    model.save_pretrained(tmp_path)
    engine = TransformersEngine.load(tmp_path, slots=4)
    together = ask_all(engine, [(problem(number), GREEDY) for number in range(8)])
    engine.close()
    assert [completion.token_ids for completion in together] == [
        reference(tmp_path, tokenizer, str(problem(number)[0]), GREEDY.max_tokens) for number in range(8)
    ]


def test_a_seed_gives_the_same_text_in_any_company(engine: TransformersEngine) -> None:
    alone = [ask(engine, problem(1), replace(SAMPLED, seed=seed)).text for seed in range(4)]
    company = [(problem(n), replace(SAMPLED, seed=n, top_p=0.5 + n % 2 / 2, temperature=n % 3 / 2)) for n in range(12)]
    mine = [(problem(1), replace(SAMPLED, seed=seed)) for seed in range(4)]
    assert [completion.text for completion in ask_all(engine, mine + company)[:4]] == alone
    assert len(set(alone)) == 4


def test_requests_without_a_seed_differ(engine: TransformersEngine) -> None:
    texts = [completion.text for completion in ask_all(engine, [(problem(2), replace(SAMPLED, seed=None))] * 4)]
    assert len(set(texts)) == 4


def test_a_completion_is_cut_after_the_first_stop_string_wherever_it_ends(
    engine: TransformersEngine, tokenizer: Any
) -> None:
    full = [ask(engine, problem(1), replace(SAMPLED, seed=seed, max_tokens=40)) for seed in range(3)]
    inside = 0
    for seed, whole in enumerate(full):
        for start in range(0, len(whole.text) - 3, 5):
            stop = whole.text[start : start + 3]
            if "\ufffd" in stop:
                continue
            cut = ask(engine, problem(1), replace(SAMPLED, seed=seed, max_tokens=40, stop=("@never@", stop)))
            assert cut.text == whole.text[: whole.text.index(stop) + len(stop)]
            assert (cut.finish_reason, cut.stop_reason) == ("stop", stop)
            assert decoded(tokenizer, shown(cut)) == cut.text
            assert cut.tokens == len(cut.token_ids)
            inside += cut.token_ids != whole.token_ids[: len(cut.token_ids)]
    assert inside > 5, "no stop string ended inside a token"


def test_every_completion_decodes_to_its_text_with_special_tokens_visible(
    engine: TransformersEngine, tokenizer: Any
) -> None:
    hot = [(problem(n), replace(SAMPLED, seed=n, temperature=2.0, max_tokens=60)) for n in range(12)]
    said = ask_all(engine, hot)
    for completion in said:
        assert decoded(tokenizer, shown(completion)) == completion.text
        assert completion.tokens == len(completion.token_ids)
    assert any("<pad>" in completion.text for completion in said)
    assert any(completion.token_ids[-1] == tokenizer.eos_token_id for completion in said)


def test_every_end_token_of_the_generation_config_ends_a_completion(
    checkpoint: Path, tokenizer: Any, tmp_path: Path
) -> None:
    said = reference(checkpoint, tokenizer, str(problem(5)[0]), 24)
    model = hf.AutoModelForCausalLM.from_pretrained(checkpoint)
    model.generation_config.eos_token_id = [1, said[6]]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    engine = TransformersEngine.load(tmp_path, slots=2)
    completion = ask(engine, problem(5), GREEDY)
    engine.close()
    assert completion.token_ids == said[: said.index(said[6]) + 1]
    assert completion.text == decoded(tokenizer, completion.token_ids[:-1])
    assert (completion.finish_reason, completion.stop_reason) == ("stop", None)


def test_a_token_that_the_request_names_ends_its_completion_alone(
    engine: TransformersEngine, checkpoint: Path, tokenizer: Any
) -> None:
    said = reference(checkpoint, tokenizer, str(problem(5)[0]), 24)
    stopped = replace(GREEDY, stop_token_ids=(500, said[6]))
    named, other = ask_all(engine, [(problem(5), stopped), (problem(5), GREEDY)])
    assert named.token_ids == said[: said.index(said[6]) + 1]
    assert (named.finish_reason, named.stop_reason, named.ended_by_token) == ("stop", said[6], True)
    assert other.token_ids == said


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.7},
        {"top_k": 3},
        {"min_p": 0.2},
        {"min_p": 0.1, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.2, "temperature": 0.6},
        {"temperature": 0, "repetition_penalty": 2.5},
    ],
    ids=str,
)
def test_a_request_samples_what_the_processors_of_transformers_leave(options: dict[str, Any]) -> None:
    """Each row by its own parameters, on random logits, beside rows with others."""
    from sctir_kaggle.engines.slots import sample

    torch.manual_seed(1)
    rows, size = 8, 60
    logits = 3 * torch.randn(rows, size)
    seen = [torch.randint(size, (12,)).numpy() for _ in range(rows)]
    params = [SAMPLED if row % 2 else replace(SAMPLED, **options) for row in range(rows)]
    draws = torch.linspace(0, 0.9999, 300).tolist()
    drawn = [sample(logits, params, [draw] * rows, seen) for draw in draws]
    for row in range(rows):
        chances = processed(logits[row : row + 1], params[row], seen[row])
        expected = torch.searchsorted(chances.double().cumsum(0), torch.tensor(draws, dtype=torch.float64), right=True)
        same = sum(one[row] == min(token, size - 1) for one, token in zip(drawn, expected.tolist(), strict=True))
        assert same >= len(draws) - 1  # one draw may lie on an edge
        assert {one[row] for one in drawn} <= set(chances.nonzero().flatten().tolist())


def processed(logits: Any, params: SamplingParams, seen: Any) -> Any:
    """The chances that transformers' own processors leave, in vLLM's order."""
    from transformers.generation import logits_process as own

    steps: list[Any] = [own.RepetitionPenaltyLogitsProcessor(params.repetition_penalty)]
    if not params.temperature:
        scores = steps[0](torch.tensor(seen)[None], logits)
        return torch.nn.functional.one_hot(scores.argmax(), scores.shape[1]).float()
    steps.append(own.TemperatureLogitsWarper(params.temperature))
    steps += [own.MinPLogitsWarper(params.min_p)] if params.min_p else []
    steps += [own.TopKLogitsWarper(params.top_k)] if params.top_k else []
    steps += [own.TopPLogitsWarper(params.top_p)] if params.top_p < 1 else []
    for step in steps:
        logits = step(torch.tensor(seen)[None], logits)
    return torch.softmax(logits[0], dim=-1)


def test_the_penalty_counts_the_prompt_and_what_was_sampled(
    engine: TransformersEngine, checkpoint: Path, tokenizer: Any
) -> None:
    prompts = [problem(number) for number in range(6)]
    expected = [reference(checkpoint, tokenizer, str(prompt[0]), 24, repetition_penalty=1.8) for prompt in prompts]
    penalized = replace(GREEDY, repetition_penalty=1.8)
    company = [(problem(number), SAMPLED) for number in range(6)]
    said = ask_all(engine, [(prompt, penalized) for prompt in prompts] + company)[:6]
    assert [completion.token_ids for completion in said] == expected
    assert expected[0] != reference(checkpoint, tokenizer, str(prompts[0][0]), 24)


@pytest.mark.parametrize(
    ("name", "installed"), [("transformers", "4.57.5"), ("transformers", "4.41.2"), ("torch", "2.5.1+cpu")]
)
def test_an_older_version_is_named_with_the_one_that_is_needed(
    name: str, installed: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "version", lambda asked: installed if asked == name else "9.0.0")
    needed = (
        rf"{name} {re.escape(installed)} is installed, engine=transformers needs .* or newer: pip install '{name}>="
    )
    with pytest.raises(EngineError, match=needed):
        TransformersEngine.load(checkpoint)


def test_max_tokens_and_the_context_end_a_completion_with_length(engine: TransformersEngine) -> None:
    short = ask(engine, problem(1), replace(SAMPLED, max_tokens=5))
    assert (short.tokens, short.finish_reason) == (5, "length")
    almost_full = ask(engine, (tuple(range(5, 5 + CONTEXT - 3)),), replace(SAMPLED, max_tokens=50))
    assert (almost_full.tokens, almost_full.finish_reason, almost_full.prompt_tokens) == (3, "length", CONTEXT - 3)


def test_a_prompt_that_leaves_no_room_is_refused_with_its_size(engine: TransformersEngine) -> None:
    with pytest.raises(PromptTooLong, match=rf"{CONTEXT} tokens, the context {CONTEXT}"):
        ask(engine, ((5,) * CONTEXT,), GREEDY)


@pytest.mark.parametrize(
    ("prompt", "params", "message"),
    [
        ((), GREEDY, "empty"),
        (((5, 512),), GREEDY, r"0\.\.511"),
        (("a",), replace(GREEDY, max_tokens=0), "max_tokens is 0"),
    ],
)
def test_a_faulty_request_is_refused_and_others_go_on(
    engine: TransformersEngine, prompt: Prompt, params: SamplingParams, message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        ask(engine, prompt, params)
    assert ask(engine, problem(1), GREEDY).tokens > 0


def test_text_and_ids_make_the_same_prompt(engine: TransformersEngine, tokenizer: Any) -> None:
    first, then = "### Problem: 1\n", "```output\n"
    ids = tuple(tokenizer.encode(then, add_special_tokens=False))
    of_text, of_ids = ask(engine, (first, then), GREEDY), ask(engine, (first, ids), GREEDY)
    assert (of_text.token_ids, of_text.prompt_tokens) == (of_ids.token_ids, of_ids.prompt_tokens)


def test_cancelling_frees_the_slot_and_others_go_on(engine: TransformersEngine) -> None:
    async def scenario() -> list[Completion]:
        long = replace(SAMPLED, max_tokens=CONTEXT)
        hogs = [
            asyncio.ensure_future(engine.generate(problem(n), replace(long, seed=n), request_id=f"p/{n}/0"))
            for n in range(20)
        ]
        await asyncio.sleep(0.05)
        for hog in hogs:
            hog.cancel()
        ended = await asyncio.gather(*hogs, return_exceptions=True)
        assert any(isinstance(outcome, asyncio.CancelledError) for outcome in ended)
        return await asyncio.wait_for(
            asyncio.gather(*(engine.generate(problem(n), GREEDY, request_id=f"q/{n}/0") for n in range(8))), timeout=300
        )

    after = asyncio.run(scenario())
    assert after == [replace(ask(engine, problem(n), GREEDY), cached_tokens=after[n].cached_tokens) for n in range(8)]


def test_identical_prompts_are_stored_once(checkpoint: Path) -> None:
    engine = TransformersEngine.load(checkpoint, slots=4)
    completions = ask_all(engine, [(problem(7), replace(SAMPLED, seed=seed)) for seed in range(8)])
    engine.close()
    assert [completion.cached_tokens for completion in completions[1:]] == [completions[0].prompt_tokens - 1] * 7
    assert completions[0].cached_tokens == 0


def turn_params(number: int, turn: int) -> SamplingParams:
    return replace(SAMPLED, seed=10 * number + turn, max_tokens=10 + 9 * (number + turn) % 30)


def with_output(prompt: Prompt, completion: Completion, number: int) -> Prompt:
    return (*prompt, completion.token_ids, f"\n```output\n{number}\n```\n")


async def candidate(engine: TransformersEngine, number: int) -> list[Completion]:
    """Three turns, as the solver takes them, with a while between them."""
    prompt, done = problem(number % 3), list[Completion]()
    for turn in range(3):
        done.append(await engine.generate(prompt, turn_params(number, turn), request_id=f"p/{number}/{turn}"))
        prompt = with_output(prompt, done[-1], number)
        await asyncio.sleep(0.002 * number)
    return done


async def candidates(engine: TransformersEngine, count: int) -> list[list[Completion]]:
    return list(await asyncio.gather(*(candidate(engine, number) for number in range(count))))


def shared_part(turns: list[list[Completion]]) -> float:
    later = [completion for done in turns for completion in done[1:]]
    return sum(completion.cached_tokens for completion in later) / sum(c.prompt_tokens for c in later)


@pytest.mark.slow
@pytest.mark.parametrize("slots", [5, 12])
def test_returning_candidates_go_on_from_what_is_stored_as_if_it_were_new(checkpoint: Path, slots: int) -> None:
    engine = TransformersEngine.load(checkpoint, slots=slots)
    together = asyncio.run(candidates(engine, 12))
    engine.close()
    for number in range(0, 12, 3):
        prompt = problem(number % 3)
        for turn, completion in enumerate(together[number]):
            fresh = TransformersEngine.load(checkpoint, slots=1)
            assert ask(fresh, prompt, turn_params(number, turn)).token_ids == completion.token_ids
            fresh.close()
            prompt = with_output(prompt, completion, number)
    assert shared_part(together) > (0.8 if slots >= 12 else 0.2)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_draws_follow_the_softmax(checkpoint: Path, tokenizer: Any, temperature: float, top_p: float) -> None:
    ids = torch.tensor([tokenizer.encode(str(problem(1)[0]))])
    with torch.no_grad():
        chances = torch.softmax(plain_model(checkpoint)(ids).logits[0, -1] / temperature, dim=-1)
    ranked, order = chances.sort(descending=True)
    nucleus = order[: int((ranked.cumsum(0) < top_p).sum()) + 1]
    expected: Counter[int] = Counter()
    for token, chance in zip(nucleus.tolist(), (chances[nucleus] / chances[nucleus].sum()).tolist(), strict=True):
        expected[token] += chance
    draws = 1500
    params = replace(SAMPLED, temperature=temperature, top_p=top_p, max_tokens=1)
    engine = TransformersEngine.load(checkpoint, slots=48)
    counts = Counter(drawn_tokens(engine, [(problem(1), replace(params, seed=seed)) for seed in range(draws)]))
    engine.close()
    assert set(counts) <= set(expected)
    likely = {token: chance for token, chance in expected.items() if chance * draws >= 5}
    surprise = sum((counts[token] - draws * chance) ** 2 / (draws * chance) for token, chance in likely.items())
    assert surprise < len(likely) + 5 * (2 * len(likely)) ** 0.5


def drawn_tokens(engine: TransformersEngine, requests: Sequence[tuple[Prompt, SamplingParams]]) -> list[int]:
    """The first token of each."""

    async def every() -> list[Completion]:
        return list(await asyncio.gather(*(engine.generate(*request, request_id="p/0/0") for request in requests)))

    return [completion.token_ids[0] for completion in asyncio.run(every())]


def test_an_error_in_the_thread_reaches_every_request(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersEngine.load(checkpoint, slots=2)
    monkeypatch.setattr(engine._slots, "step", broken)

    async def scenario() -> list[Completion | BaseException]:
        calls = [engine.generate(problem(n), GREEDY, request_id=f"p/{n}/0") for n in range(6)]
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout=300)

    assert {str(outcome) for outcome in asyncio.run(scenario()) if isinstance(outcome, EngineError)} == {FAILURE}
    with pytest.raises(EngineError, match="the device is gone"):
        ask(engine, problem(1), GREEDY)
    engine.close()


FAILURE = "the engine failed and is closed: RuntimeError: the device is gone"


def broken(*args: object, **kwargs: object) -> list[int]:
    raise RuntimeError("the device is gone")


def test_closing_ends_the_requests_and_the_thread(checkpoint: Path) -> None:
    engine = TransformersEngine.load(checkpoint, slots=2)

    async def scenario() -> list[Completion | BaseException]:
        params = replace(SAMPLED, max_tokens=CONTEXT)
        calls = [
            asyncio.ensure_future(engine.generate(problem(n), replace(params, seed=n), request_id=f"p/{n}/0"))
            for n in range(12)
        ]
        await asyncio.sleep(0.02)
        await asyncio.to_thread(engine.close)
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), timeout=300)

    outcomes = asyncio.run(scenario())
    assert any(isinstance(outcome, EngineError) for outcome in outcomes)
    assert not engine._thread.is_alive()
    with pytest.raises(EngineError, match="closed"):
        ask(engine, problem(1), GREEDY)
    engine.close()


def test_a_model_that_cannot_be_read_is_named_with_what_to_do(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(EngineError, match=r"nowhere is not a folder: pass the folder"):
        TransformersEngine.load(tmp_path / "nowhere")
    with pytest.raises(EngineError, match=r"holds no config.json: pass the folder"):
        TransformersEngine.load(tmp_path)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((checkpoint / name).read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(
        EngineError, match=r"cannot be loaded as a causal language model .*: pass a complete checkpoint"
    ):
        TransformersEngine.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slots": 0}, "slots is 0"),
        ({"dtype": "int3"}, "dtype is 'int3'"),
        ({"context_length": CONTEXT + 1}, f"context_length is {CONTEXT + 1}: pass 2 to {CONTEXT}"),
    ],
)
def test_an_impossible_option_is_named(checkpoint: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        TransformersEngine.load(checkpoint, **options)


def test_the_engine_describes_itself(engine: TransformersEngine, checkpoint: Path) -> None:
    facts = engine.describe()
    assert facts["model"] == checkpoint.name
    assert (facts["architecture"], facts["slots"], facts["context_length"]) == ("LlamaForCausalLM", 6, CONTEXT)
    assert (facts["dtype"], facts["device"], engine.context_length) == ("float32", "cpu", CONTEXT)


@pytest.mark.parametrize("make", [byte_level_tokenizer, sentencepiece_like_tokenizer])
def test_segments_and_completions_join_to_the_text_that_was_meant(make: Callable[[], Any], tmp_path: Path) -> None:
    text, tokenizer = loaded(make, tmp_path), make()
    pieces = ["### Problem: 1\n### Solution:", " We compute", "```output\n", "9\n```", " The answer"]
    ids = text.encode(tuple(pieces))
    assert decoded(tokenizer, ids).removeprefix("<s>").strip() == "".join(pieces)
    before = text.encode((pieces[0],))
    assert text.decode(ids[len(before) :], before=before[-1]) == "".join(pieces[1:])


@pytest.mark.parametrize("make", [byte_level_tokenizer, sentencepiece_like_tokenizer])
def test_a_stop_string_is_found_with_the_token_that_completes_it(make: Callable[[], Any], tmp_path: Path) -> None:
    text = loaded(make, tmp_path)
    before = text.encode(("a",))[-1]
    said = "print(1) ```output 9 The answer"
    ids = text.encode_text(said, before=before)
    for stop in ("output", " 9", "9 ", "e an", ")"):
        hits = [end for end in range(1, len(ids) + 1) if text.find_stop(ids[:end], (stop,), before=before)]
        assert hits[0] == min(e for e in range(1, len(ids) + 1) if stop in text.decode(ids[:e], before=before))
        cut, kept = text.finish(ids[: hits[0]], stop=stop, before=before)
        assert cut == said[: said.index(stop) + len(stop)]
        assert text.decode(kept, before=before) == cut


def test_split_characters_are_cut_without_loss(tmp_path: Path) -> None:
    text = loaded(lambda: byte_level_tokenizer(vocabulary=300), tmp_path)
    rng = random.Random(0)
    for _ in range(50):
        said = "".join(rng.choices("🙂数ü≤a 1\n", k=12))
        ids = text.encode_text(said)
        stop = said[5:7]
        end = next(e for e in range(1, len(ids) + 1) if text.find_stop(ids[:e], (stop,), before=None))
        cut, kept = text.finish(ids[:end], stop=stop, before=None)
        assert cut == said[: said.index(stop) + len(stop)]
        assert text.decode(kept) == cut


def test_two_checkpoints_in_folders_of_one_name_are_told_apart(checkpoint: Path, tmp_path: Path) -> None:
    model = hf.AutoModelForCausalLM.from_pretrained(checkpoint)
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1
    other = tmp_path / checkpoint.name
    model.save_pretrained(other)
    hf.PreTrainedTokenizerFast.from_pretrained(checkpoint).save_pretrained(other)
    engines = [TransformersEngine.load(folder, slots=1) for folder in (checkpoint, checkpoint, other)]
    first, same, different = (engine.describe()["weights"] for engine in engines)
    for engine in engines:
        engine.close()
    assert first == same != different
