"""The one encoder: ids are those of the checkpoint's own tokenizer.json, and only control text becomes an added token."""

from __future__ import annotations

import json
import logging
import random
import unicodedata
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("transformers", reason="tokens need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.dialects.tokenizer_check import PROBE, RIGHT, _say
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.types import Control, EngineError, TokenIds
from tests.real_tokenizers import TOKENIZERS, real
from tests.support.made_tokenizers import MADE, byte_level, metaspace, save

EVERY = [*MADE, "embedded", *(pytest.param(name, marks=pytest.mark.tokenizers) for name in TOKENIZERS)]
REAL = [pytest.param(name, marks=pytest.mark.tokenizers) for name in TOKENIZERS]

PIECES = [
    "The answer is ",
    "\n\n",
    "    ",
    " ",
    "```output\n",
    "數學",
    "ü ",
    "\t",
    "</",
    "<|",
    "|>",
    "s>",
    "12345",
    "\\boxed{",
]

VERSION = tuple(int(part) for part in metadata.version("transformers").split(".")[:2])
WRONG = (5, 3) <= VERSION < (5, 22)
"""Whether the installed transformers loses the white space of DeepSeek's files."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, folders: Path) -> Path:
    """The one that the test is parametrized with."""
    name = request.param
    if name in MADE:
        return folders / name if (folders / name).exists() else save(MADE[name](), folders / name)
    return ASSETS / "model" if name == "embedded" else real(name)


@cache
def load(folder: Path) -> Tokenizer:
    return Tokenizer.load(folder)


@cache
def original(folder: Path) -> Any:
    from tokenizers import Tokenizer as Raw

    return Raw.from_file(str(folder / "tokenizer.json"))


@cache
def trainers(folder: Path) -> Any:
    """As trainers have it."""
    from sctir_kaggle.recipes.tokenizer import load_transformers_tokenizer

    return load_transformers_tokenizer(folder)


def ids_of(folder: Path, text: str) -> TokenIds:
    """The file's own."""
    return tuple(original(folder).encode(text, add_special_tokens=False).ids)


def control_ids(tokenizer: Tokenizer) -> set[int]:
    """All added tokens but `<unk>`, which a made tokenizer gives to characters that it has no token for."""
    return {number for content, number in tokenizer.added_tokens.items() if content != "<unk>"}


def mixed(rng: random.Random, tokens: Sequence[str], length: int = 10) -> str:
    return "".join(rng.choice(PIECES if rng.random() < 0.6 else tokens) for _ in range(length))


every = pytest.mark.parametrize("folder", EVERY, indirect=True)
all_real = pytest.mark.parametrize("folder", REAL, indirect=True)


@every
def test_control_text_has_the_ids_that_the_file_gives_it(folder: Path) -> None:
    tokenizer, rng = load(folder), random.Random(0)
    tokens = list(tokenizer.added_tokens)
    for _ in range(500):
        text = mixed(rng, tokens)
        assert tokenizer.encode_text(Control(text)) == ids_of(folder, text), text


@every
@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=60))
def test_ordinary_text_has_the_ids_that_the_file_gives_it(folder: Path, text: str) -> None:
    assume(not any(token in text for token in load(folder).added_tokens))
    assert load(folder).encode_text(text) == ids_of(folder, text)


@pytest.mark.slow
@every
@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_printed_control_token_is_never_one_id(folder: Path, data: st.DataObject) -> None:
    tokenizer = load(folder)
    token = data.draw(st.sampled_from(sorted(tokenizer.added_tokens)))
    before, behind = (data.draw(st.lists(st.sampled_from([*PIECES, token]), max_size=3).map("".join)) for _ in range(2))
    printed = before + token + behind
    ids = tokenizer.encode((Control("a"), printed, Control("b")))[len(tokenizer.bos) :]
    assert not control_ids(tokenizer) & set(ids)
    if original(folder).token_to_id("<unk>") not in ids:
        assert unicodedata.normalize("NFC", tokenizer.decode(ids).strip()) == f"a{printed}b"


@every
def test_texts_of_a_prompt_are_encoded_as_one(folder: Path) -> None:
    tokenizer, rng = load(folder), random.Random(1)
    for _ in range(200):
        parts = [rng.choice(PIECES) + rng.choice(PIECES) for _ in range(4)]
        kinds = [Control(part) if rng.random() < 0.5 else part for part in parts]
        whole = "".join(parts)
        if not any(token in whole for token in tokenizer.added_tokens):
            assert tokenizer.encode(tuple(kinds)) == (*tokenizer.bos, *ids_of(folder, whole))


@every
def test_each_added_token_is_itself_and_is_read_as_it_is_spelled(folder: Path) -> None:
    tokenizer = load(folder)
    for content, number in tokenizer.added_tokens.items():
        assert tokenizer.encode_text(Control(content)) == (number,)
        assert tokenizer.decode([number]) == content
        assert tokenizer.id_of(content) == number


@every
def test_ids_are_passed_through_and_text_behind_them_joins_on(folder: Path) -> None:
    tokenizer = load(folder)
    head, said = "### Problem: 1\n### Solution:", " We compute\n```output\n"
    prompt = tokenizer.encode((head,))
    sampled = tokenizer.encode_text(said, before=prompt[-1])
    ids = tokenizer.encode((head, sampled, "9\n```", Control("\nSo")))
    assert ids[: len(prompt) + len(sampled)] == (*prompt, *sampled)
    assert tokenizer.decode(ids[len(prompt) :], before=prompt[-1]) == said + "9\n```\nSo"


@pytest.mark.parametrize("folder", ["byte level", "metaspace first", "legacy"], indirect=True)
def test_text_behind_a_sampled_token_that_eats_white_space_is_that_of_the_whole(folder: Path) -> None:
    tokenizer = load(folder)
    end = tokenizer.added_tokens["<|end|>"]
    whole = ids_of(folder, "a<|end|>\n  The answer")
    assert tokenizer.encode((Control("a"), (end,), Control("\n  The answer"))) == (*tokenizer.bos, *whole)


@every
def test_bos_stands_in_front_once(folder: Path) -> None:
    tokenizer = load(folder)
    alone = tokenizer.encode(("a",))
    assert alone[: len(tokenizer.bos)] == tokenizer.bos
    assert tokenizer.encode((alone,)) == alone
    if tokenizer.bos:
        written = Control(tokenizer.decode(tokenizer.bos) + "a")
        assert tokenizer.encode((written,)).count(tokenizer.bos[0]) == 1
        assert tokenizer.encode((str(written),)).count(tokenizer.bos[0]) == 1  # ordinary text, behind the one BOS
        assert tokenizer.encode(("a", alone[-1:], "a")).count(tokenizer.bos[0]) == 1


@every
def test_what_is_loaded_is_the_same_to_trainers(folder: Path) -> None:
    from sctir_kaggle.recipes.tokenizer import encoder_of

    tokenizer, loaded = load(folder), trainers(folder)
    text = PROBE + "".join(tokenizer.added_tokens)
    assert tuple(loaded.encode(text, add_special_tokens=False)) == ids_of(folder, text)
    assert tuple(loaded.encode("a")) == tokenizer.encode(("a",))
    assert encoder_of(loaded).bos == tokenizer.bos


@all_real
def test_code_comes_back_as_it_was(folder: Path) -> None:
    tokenizer = load(folder)
    assert tokenizer.decode(tokenizer.encode_text(PROBE)) == PROBE


@pytest.mark.tokenizers
def test_deepseeks_files_are_right_under_every_transformers(caplog: pytest.LogCaptureFixture) -> None:
    folder = real("deepseek")
    _say.cache_clear()
    with caplog.at_level(logging.WARNING, logger="sctir_kaggle"):
        tokenizer, again = Tokenizer.load(folder), Tokenizer.load(folder)
    said = [record.getMessage() for record in caplog.records if record.name == "sctir_kaggle"]
    assert said == ([tokenizer.notice] if WRONG else [])
    assert bool(tokenizer.notice) is WRONG
    assert tokenizer.notice == again.notice
    if WRONG:
        assert f"transformers {metadata.version('transformers')} " in tokenizer.notice
        assert "white space" in tokenizer.notice
        assert RIGHT in tokenizer.notice
    assert tokenizer.decode(tokenizer.encode_text("### Problem: What is\n    x")) == "### Problem: What is\n    x"
    assert tokenizer.bos == (tokenizer.id_of("<｜begin▁of▁sentence｜>"),)


CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "What is $6 \\cdot 7$?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "數 <b>?"}],
    [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two.\n\n\\boxed{2}"},
        {"role": "user", "content": "  Why?\n"},
    ],
]

TOOL = {
    "type": "function",
    "function": {
        "name": "python",
        "description": "Runs code & prints <its> output.",
        "parameters": {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]},
    },
}


@pytest.mark.parametrize("folder", [*REAL[:4], "embedded"], indirect=True)
@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("tools", [None, [TOOL]])
def test_a_chat_is_that_of_the_tokenizers_own_template(folder: Path, chat: Any, tools: Any) -> None:
    loaded, tokenizer = trainers(folder), load(folder)
    rendered = tokenizer.render_chat(chat, tools=tools)
    options = {"tools": tools, "add_generation_prompt": True}
    assert rendered == loaded.apply_chat_template(chat, tokenize=False, **options)
    expected = tuple(loaded.apply_chat_template(chat, tokenize=True, return_dict=False, **options))
    front = () if expected[: len(tokenizer.bos)] == tokenizer.bos else tokenizer.bos
    assert tokenizer.encode((Control(rendered),)) == (*front, *expected)
    head, problem, tail = rendered.rpartition(chat[-1]["content"].strip())
    assert tokenizer.encode((Control(head), problem, Control(tail))) == (*front, *expected)


@pytest.mark.parametrize("folder", REAL[:4], indirect=True)
def test_a_problem_that_spells_control_tokens_leaves_the_frame_of_a_chat_as_it_is(folder: Path) -> None:
    tokenizer = load(folder)
    head, _, tail = tokenizer.render_chat([{"role": "user", "content": "PROBLEM"}]).partition("PROBLEM")
    controls = control_ids(tokenizer)
    frame = [one for one in tokenizer.encode((Control(head), "PROBLEM", Control(tail))) if one in controls]
    for token in tokenizer.added_tokens:
        ids = tokenizer.encode((Control(head), f"1{token}2", Control(tail)))
        assert [one for one in ids if one in controls] == frame


STOPS = ["output", " 9", "9 ", "e an", ")", "</s>", "<tool_call>"]


@pytest.mark.parametrize("folder", [*MADE, "embedded", REAL[0]], indirect=True)
@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_string_is_found_with_the_token_that_completes_it(folder: Path, stop: str) -> None:
    tokenizer = load(folder)
    before = tokenizer.encode(("a",))[-1]
    said = "print(1) ```output 9 The answer</s>x<tool_call>y"
    ids = tokenizer.encode_text(Control(said), before=before)
    read = [tokenizer.decode(ids[:end], before=before) for end in range(len(ids) + 1)]
    hits = [end for end in range(1, len(ids) + 1) if tokenizer.find_stop(ids[:end], (stop,), before=before)]
    assert hits[0] == min(end for end, text in enumerate(read) if stop in text)
    text, kept = tokenizer.finish(ids[: hits[0]], stop=stop, before=before)
    assert text == read[-1][: read[-1].index(stop) + len(stop)]
    assert tokenizer.decode(kept, before=before) == text
    assert kept[:-3] == ids[: len(kept)][:-3]


def test_split_characters_are_cut_without_loss(folders: Path) -> None:
    tokenizer, rng = load(save(byte_level(), folders / "bytes")), random.Random(0)
    for _ in range(50):
        said = "".join(rng.choices("🙂数ü≤a 1\n", k=12))
        ids, stop = tokenizer.encode_text(said), said[5:7]
        end = next(e for e in range(1, len(ids) + 1) if tokenizer.find_stop(ids[:e], (stop,), before=None))
        cut, kept = tokenizer.finish(ids[:end], stop=stop, before=None)
        assert cut == said[: said.index(stop) + len(stop)]
        assert tokenizer.decode(kept) == cut


@every
def test_the_token_that_ended_a_completion_is_kept_and_not_shown(folder: Path) -> None:
    tokenizer = load(folder)
    assert tokenizer.eos_token is not None
    end = tokenizer.id_of(tokenizer.eos_token)
    assert end in tokenizer.end_ids
    before = tokenizer.encode(("a",))[-1]
    ids = (*tokenizer.encode_text(" The answer is 9.", before=before), end)
    assert tokenizer.finish(ids, stop=None, before=before, ended=True) == (" The answer is 9.", ids)
    shown, kept = tokenizer.finish(ids, stop=None, before=before)
    assert (shown, kept) == (f" The answer is 9.{tokenizer.eos_token}", ids)


@every
def test_threads_do_not_disturb_each_other(folder: Path) -> None:
    tokenizer, rng = load(folder), random.Random(2)
    texts = [mixed(rng, list(tokenizer.added_tokens), 30) for _ in range(64)]
    alone = [tokenizer.encode_text(Control(text)) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda text: Tokenizer.encode_text(tokenizer, Control(text)), texts * 4)) == alone * 4


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("named", ["eos_token", "added_tokens_decoder", "added_tokens.json"])
def test_a_token_that_only_the_config_names_is_a_control_token(kind: str, named: str, tmp_path: Path) -> None:
    """As in transformers, and so in the servers that load with it."""
    folder = save(MADE[kind](), tmp_path)
    file = folder / "tokenizer.json"
    stored = json.loads(file.read_text())
    end = next(token for token in stored["added_tokens"] if token["content"] == "</s>")
    stored["added_tokens"].remove(end)
    file.write_text(json.dumps(stored))
    settings = folder / "tokenizer_config.json"
    config = json.loads(settings.read_text())
    if named == "added_tokens_decoder":
        config |= {"eos_token": None, named: {str(end["id"]): {**end, "id": None}}}
    elif named == "added_tokens.json":
        config["eos_token"] = None
        (folder / named).write_text(json.dumps({"</s>": end["id"]}))
    settings.write_text(json.dumps(config))
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.added_tokens["</s>"] == end["id"]
    assert end["id"] not in tokenizer.encode(("it prints </s> here",))
    assert tokenizer.encode((Control("a</s>b"),)).count(end["id"]) == 1
    if named != "added_tokens.json":  # which transformers 5 no longer reads
        assert tuple(trainers(folder).encode("a</s>b", add_special_tokens=False)) == tokenizer.encode_text(
            Control("a</s>b")
        )


@every
def test_a_lone_surrogate_is_encoded_as_the_replacement_character(folder: Path) -> None:
    tokenizer = load(folder)
    assert tokenizer.encode(("a\ud800b",)) == tokenizer.encode(("a\ufffdb",))
    assert tokenizer.encode((Control("a\udfffb"),)) == tokenizer.encode((Control("a\ufffdb"),))


def test_indentation_that_is_an_added_token_stays_one_in_any_text(tmp_path: Path) -> None:
    raw = byte_level()
    raw.add_tokens(["        ", "\n\n\n"])
    tokenizer = Tokenizer.load(save(raw, tmp_path))
    assert tokenizer.encode_text("a        b") == tuple(raw.encode("a        b", add_special_tokens=False).ids)
    assert raw.token_to_id("        ") in tokenizer.encode_text("a        b")


def test_a_tokenizer_that_loses_white_space_is_refused(tmp_path: Path) -> None:
    from tokenizers import pre_tokenizers

    raw = byte_level()
    raw.pre_tokenizer = pre_tokenizers.Metaspace()  # what transformers 5.19 makes of a byte-level file
    with pytest.raises(EngineError, match=r"tokenizer\.json loses white space: "):
        Tokenizer.load(save(raw, tmp_path))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("tokenizer.json", '{"version"', r"tokenizer\.json cannot be read \(.*\): copy it from the original"),
        ("tokenizer_config.json", "{", r"tokenizer_config\.json is not whole JSON"),
        ("tokenizer.json", None, "has no usable tokenizer"),
    ],
)
def test_files_that_are_not_whole_are_one_line(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    file = save(byte_level(), tmp_path) / name
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(EngineError, match=said) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_is_one_line() -> None:
    with pytest.raises(EngineError, match=r"^/no/such/model is not a folder: "):
        Tokenizer.load("/no/such/model")


def test_a_checkpoint_with_vocabulary_and_merges_only_is_read_by_transformers(tmp_path: Path) -> None:
    raw = byte_level()
    model = json.loads(raw.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(map(" ".join, model["merges"])))
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GPT2Tokenizer", "eos_token": "</s>"})
    )
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.decode(tokenizer.encode_text(PROBE)) == PROBE
    assert tokenizer.eos_token == "</s>"


def test_ends_and_templates_are_found_wherever_a_checkpoint_keeps_them(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "T"}]
    save(metaspace(), tmp_path, eos_token={"content": "</s>"}, chat_template=named)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 6]}))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.end_ids == {2, 5, 6}
    assert tokenizer.chat_template == "D"
    assert tokenizer.render_chat([{"role": "user", "content": "x"}], tools=[TOOL]) == "T"
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}{{ mode }}")
    written = Tokenizer.load(tmp_path)
    assert written.render_chat([{"role": "user", "content": "x"}], mode="!") == "<s>x!"
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
    with pytest.raises(EngineError, match=r"the chat template of .* failed: roles must alternate"):
        Tokenizer.load(tmp_path).render_chat([])


def test_a_tokenizer_without_a_template_says_so(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="has no chat template"):
        Tokenizer.load(save(byte_level(), tmp_path)).render_chat([])
