"""Training's ids are the engine's, on recorded traces; a tokenizer that came back different from disk is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.recipes.rendering import encode_row, encode_segments, segments_of
from sctir_kaggle.recipes.synthetic.corpus import Segment
from sctir_kaggle.recipes.tokenizer import encoder_of, load_transformers_tokenizer, save_tokenizer
from sctir_kaggle.recipes.train.preferences import segments
from sctir_kaggle.types import Completion, Control, Problem, TokenIds, Trace, TraceStatus, Turn, UserError
from tests.real_tokenizers import TOKENIZERS, real
from tests.support.made_tokenizers import MADE, metaspace, save

TRACES = Path(__file__).parents[3] / "shared" / "data" / "traces"

EVERY = [
    "metaspace",
    "legacy",
    "byte level",
    *(pytest.param(name, marks=pytest.mark.tokenizers) for name in TOKENIZERS),
]

LARGE = [pytest.param(name, marks=pytest.mark.tokenizers) for name in ("deepseek", "qwen3")]

CODE = "```python\nprint(6 * 7)\n```\n```output\n"


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one that the test is parametrized with."""
    name = request.param
    return save(MADE[name](), tmp_path_factory.mktemp("made") / name) if name in MADE else real(name)


@cache
def engines(folder: Path) -> Tokenizer:
    """As an engine has it."""
    return Tokenizer.load(folder)


@cache
def trainers(folder: Path) -> Any:
    """As a trainer has it."""
    return load_transformers_tokenizer(folder)


def recorded(count: int) -> list[dict[str, Any]]:
    """Rows of training made of recorded completions with code and its output."""
    file = TRACES / "rho_tir_math_gsm8k.jsonl.gz"
    if not file.is_file():
        pytest.skip(f"no recorded traces in {TRACES}")
    return list(islice(_rows(file), count))


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for item in map(json.loads, lines):
            for completion in item["completions"]:
                row = row_of(item["problem"], completion["text"])
                try:
                    segments_of(row)
                except UserError:  # an output that is not closed
                    continue
                yield row


def row_of(problem: str, solution: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": problem}, {"role": "assistant", "content": solution}]
    return {"id": "r", "problem": problem, "messages": messages}


def sent(tokenizer: Tokenizer, parts: tuple[Segment, ...]) -> TokenIds:
    """All that an engine has read and written, turn by turn: ids that it sampled, and the texts between them."""
    prompt: list[str | TokenIds] = []
    for part in parts:
        if not part.learned:
            prompt.append(part.text)
            continue
        before = tokenizer.encode(tuple(prompt))
        prompt.append(tokenizer.encode_text(Control(part.text), before=before[-1]))
    return tokenizer.encode(tuple(prompt))


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize("folder", EVERY, indirect=True)
def test_training_and_inference_have_the_same_ids_on_a_thousand_traces(folder: Path) -> None:
    tokenizer, trained = engines(folder), trainers(folder)
    rows = recorded(1000)
    assert len(rows) == 1000
    for row in rows:
        ids, learned = encode_row(row, trained)
        assert ids == (*sent(tokenizer, segments_of(row)), trained.eos_token_id)
        assert len(learned) == len(ids)
        assert not any(learned[: len(tokenizer.bos)])


@pytest.mark.parametrize("folder", EVERY, indirect=True)
def test_what_a_trace_reads_is_never_a_control_token_and_what_it_writes_may_be(folder: Path) -> None:
    trained = trainers(folder)
    encoder = encoder_of(trained)
    for token, number in encoder.added_tokens.items():
        if token == "<unk>":
            continue
        row = row_of(f"Why {token}?", f"{CODE}{token}\n```\nIt printed {token}.")
        ids, learned = encode_row(row, trained)
        whole = ids[len(encoder.bos) : -1]
        places = [place for place, one in enumerate(whole, len(encoder.bos)) if one == number]
        assert [learned[place] for place in places] == [True], token


@pytest.mark.parametrize("folder", EVERY, indirect=True)
def test_a_recorded_candidate_is_encoded_as_the_prompt_that_it_was_sent(folder: Path) -> None:
    """The forced box and an output are one text where nothing was sampled between them."""
    trained = trainers(folder)
    encoder = encoder_of(trained)
    turns = (Turn(Completion(CODE), bridge=("42\n```",)), Turn(Completion("42}$"), prefix="\nThe answer is $\\boxed{"))
    parts = segments(Problem("p", "What is $6 \\cdot 7$?", 42), Trace(0, turns, TraceStatus.ANSWERED))
    assert encode_segments(parts, trained)[0][:-1] == sent(encoder, parts)
    assert [part.learned for part in parts] == [False, True, False, False, True]


def test_a_trace_of_a_tokenizer_without_an_end_is_refused(tmp_path: Path) -> None:
    trained = load_transformers_tokenizer(save(metaspace(), tmp_path, eos_token=None))
    with pytest.raises(UserError, match="no eos_token"):
        encode_row(row_of("q", "a"), trained)


@pytest.mark.parametrize("folder", [*LARGE, "metaspace", "legacy"], indirect=True)
def test_a_saved_tokenizer_is_the_one_that_was_loaded(folder: Path, tmp_path: Path) -> None:
    trained, tokenizer = trainers(folder), engines(folder)
    save_tokenizer(trained, tmp_path)
    saved = Tokenizer.load(tmp_path)
    assert saved.notice == ""
    text = "### Problem: What is\n    數?" + "".join(tokenizer.added_tokens)
    assert saved.encode((Control(text),)) == tokenizer.encode((Control(text),))
    assert (saved.bos, saved.eos_token, saved.chat_template) == (
        tokenizer.bos,
        tokenizer.eos_token,
        tokenizer.chat_template,
    )
    again: Any = load_transformers_tokenizer(tmp_path)
    assert tuple(again.encode("a")) == tokenizer.encode(("a",))


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    stored = json.loads((folder / name).read_text(encoding="utf-8"))
    change(stored)
    (folder / name).write_text(json.dumps(stored), encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("tokenizer.json", lambda it: it["model"]["merges"].pop(), "other tokens or rules"),
        ("tokenizer.json", lambda it: it.update(post_processor=None), r"in front of a text stands \[\], it was \[1\]"),
        ("tokenizer.json", lambda it: it.update(pre_tokenizer={"type": "Whitespace"}), "loses white space"),
        ("tokenizer_config.json", lambda it: it.update(eos_token="<pad>"), "eos_token is <pad>, it was </s>"),
        ("tokenizer_config.json", lambda it: it.update(pad_token=None), "pad_token is None, it was <pad>"),
    ],
)
def test_a_saved_tokenizer_that_came_back_different_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    trained: Any = load_transformers_tokenizer(ASSETS / "model")
    write = type(trained).save_pretrained

    def damage(self: Any, output: Path, *arguments: Any, **options: Any) -> Any:
        written = write(self, output, *arguments, **options)
        edit(Path(output), name, change)
        return written

    monkeypatch.setattr(type(trained), "save_pretrained", damage)
    with pytest.raises(UserError, match=rf"came back different \(.*{said}.*\): copy the original's files there"):
        save_tokenizer(trained, tmp_path)


def test_a_saved_chat_template_that_came_back_different_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: Any = load_transformers_tokenizer(ASSETS / "model")
    write = type(trained).save_pretrained
    monkeypatch.setattr(
        type(trained),
        "save_pretrained",
        lambda self, output: (write(self, output), (output / "chat_template.jinja").write_text("another")),
    )
    with pytest.raises(UserError, match="another chat template"):
        save_tokenizer(trained, tmp_path)
