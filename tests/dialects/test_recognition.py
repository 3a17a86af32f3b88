"""Which dialect a checkpoint speaks, and what a dialect becomes when it is bound to it: its template, its tokens."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="chat templates need the extra `cpu`: pip install 'sctir-kaggle[cpu]'")

from sctir_kaggle import Problem, UserError
from sctir_kaggle.dialects.dialect import Dialect, dialect_from
from sctir_kaggle.dialects.recognition import announcement, bind, choose, described, load, recognise
from sctir_kaggle.dialects.rendering import render
from sctir_kaggle.dialects.rows import CHAT, DIALECTS, GPT_OSS, NUMINA, QWEN3, QWEN3_CODER, QWEN_MATH, R1
from sctir_kaggle.dialects.tokenizer import Tokenizer
from sctir_kaggle.problems import ASSETS
from tests.real_tokenizers import real
from tests.support.made_tokenizers import byte_level, save

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TURNS = (
    "{% for m in messages %}<turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system message') }}{% endif %}" + TURNS
HERMES = (
    "{% if tools %}<|im_start|>system\nFor each call return JSON in <tool_call></tool_call>: "
    '{"name": ..., "arguments": ...} {{ tools | tojson }}<|im_end|>\n{% endif %}'
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'tool' %}<tool_response>\n{{ m.content }}\n</tool_response>"
    "{% elif m.tool_calls %}<tool_call>\n"
    '{"name": "{{ m.tool_calls[0].function.name }}", "arguments": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "\n</tool_call>{% else %}{{ m.content }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PROBLEM = Problem("p", "What is $2^{10}$?")


def made(folder: Path, template: str | None, *tokens: str) -> Tokenizer:
    """A checkpoint-like folder, with a tokenizer made here."""
    raw = byte_level()
    raw.add_special_tokens(list(tokens))
    config = {"eos_token": "</s>", **({} if template is None else {"chat_template": template})}
    return Tokenizer.load(save(raw, folder, **config))


def test_the_embedded_model_speaks_numina() -> None:
    dialect = recognise(Tokenizer.load(ASSETS / "model"))
    assert dialect is NUMINA


def test_what_is_recognised_is_said_and_what_looks_the_same(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, HERMES, "<|im_start|>", "<|im_end|>")
    row = DIALECTS["hermes"]
    said = announcement(row, tokenizer, choice="auto", model="m")
    assert said.startswith(
        "dialect: hermes, recognised from the chat template of m; an OpenMath-Nemotron checkpoint looks"
    )
    assert announcement(row, tokenizer, choice="hermes", model="m") == "dialect: hermes"


@pytest.mark.parametrize("template", [None, CHATML, TURNS, "{{ raise_exception('never') }}"])
def test_what_is_not_recognised_is_refused_with_the_choices(template: str | None, tmp_path: Path) -> None:
    tokenizer = made(tmp_path, template, "<|im_start|>", "<|im_end|>")
    with pytest.raises(UserError, match=r"recognised from its .*choose one with --dialect: numina, deepseek-math, "):
        choose("auto", tokenizer, model="m")


def test_without_a_tokenizer_nothing_is_guessed() -> None:
    with pytest.raises(UserError, match="not known without its tokenizer: choose one with --dialect"):
        choose("auto", None, model="a server")


def test_an_unknown_name_is_told_its_neighbour() -> None:
    with pytest.raises(UserError, match="there is no dialect 'quen3'; did you mean qwen3"):
        choose("quen3", None, model="m")


def test_a_dialect_that_needs_a_token_refuses_a_tokenizer_without_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dialect gpt-oss needs the token <\|call\|>, which m has not"):
        choose("gpt-oss", made(tmp_path, None), model="m")


def test_a_dialect_of_the_checkpoints_template_refuses_a_checkpoint_without_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dialect chat is the checkpoint's own chat template, and m has none"):
        choose("chat", made(tmp_path, None), model="m")


def test_any_template_serves_for_chat_with_its_own_ends_of_turns(tmp_path: Path) -> None:
    dialect = choose("chat", made(tmp_path, TURNS, "<turn>", "<end>"), model="m")
    assert dialect.prompt.endswith("<turn>user\n{problem}<end>\n<turn>model\n")
    assert (dialect.turn_end, dialect.output_begin) == ("<end>", "\n<turn>user\n```output\n")
    assert dialect.output_end == "\n```<end>\n<turn>model\n"
    assert len(dialect.stop_token_ids) == 1


def test_a_template_without_a_system_message_gets_its_text_with_the_users(tmp_path: Path) -> None:
    dialect = choose("chat", made(tmp_path, NO_SYSTEM, "<turn>", "<end>"), model="m")
    assert dialect.prompt.startswith("<turn>user\n" + str(CHAT.system))


def test_the_output_of_a_tool_is_written_as_the_template_writes_it(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, HERMES, "<|im_start|>", "<|im_end|>")
    dialect = choose("auto", tokenizer, model="m")
    assert (dialect.name, dialect.output_begin) == ("hermes", "\n<|im_start|>tool\n<tool_response>\n")
    assert dialect.output_end == "\n</tool_response><|im_end|>\n<|im_start|>assistant\n"


def test_how_often_code_may_run_and_the_effort_are_in_the_bound_prompt() -> None:
    assert "perform up to 7 Python code calls" in bind(DIALECTS["openmath-nemotron"], None, model="m", turns=7).prompt
    low = replace(GPT_OSS, arguments={"reasoning_effort": "low"})
    assert "Reasoning: low\n" in bind(low, None, model="m").prompt


def test_a_place_in_a_prompt_that_is_misspelled_is_told() -> None:
    dialect = replace(NUMINA, prompt="{problem} {turn} \\boxed{answer}")
    with pytest.raises(UserError, match=r"its prompt holds \{turn\}, which stands for nothing; did you mean turns"):
        bind(dialect, None, model="m")


def test_a_bound_dialect_comes_back_equal_from_a_journal(tmp_path: Path) -> None:
    dialect = choose("auto", made(tmp_path, HERMES, "<|im_start|>", "<|im_end|>"), model="m")
    assert dialect_from(json.loads(json.dumps(described(dialect))), source="j") == dialect


def test_a_file_changes_a_shipped_dialect(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('like = "qwen2.5-math"\nforce = ""\n[sampling]\ntemperature = 0.5\n')
    sampling = {**QWEN_MATH.sampling, "temperature": 0.5}
    assert load(file) == replace(QWEN_MATH, name="mine", force="", sampling=sampling)


def test_a_file_that_is_like_chat_takes_its_ends_of_turns_from_the_template(tmp_path: Path) -> None:
    file = tmp_path / "brief.toml"
    file.write_text('like = "chat"\nsystem = "Be brief."\n')
    tokenizer = made(tmp_path / "m", TURNS, "<turn>", "<end>")
    mine, chat = (choose(choice, tokenizer, model="m") for choice in (str(file), "chat"))
    assert (mine.turn_end, mine.output_begin) == (chat.turn_end, chat.output_begin)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prompt = ", "is not TOML"),
        ('promt = "{problem}"', "a dialect has no field 'promt'; did you mean prompt"),
        ('like = "nomina"', "like is 'nomina', which is no dialect that ships; did you mean numina"),
        ('prompt = "{problem}"\nstop = [1]', "stop holds 1; it must be texts"),
        ('prompt = "{problem}"\nstop = [""]', "stop holds ''; it must be texts"),
        (
            'prompt = "{problem}"\n[sampling]\ntemperature = "hot"',
            "sampling sets temperature to 'hot'; it must be a number",
        ),
        ('prompt = "x"', r"prompt has no \{problem\}"),
        ('prompt = "{problem}"\nstop = "x"', "stop is 'x'; it must be a list"),
        ('prompt = "{problem}"\nclosing_turn = "yes"', "closing_turn is 'yes'; it must be true or false"),
        ('prompt = "{problem}"\ncode = "perl"', "code is 'perl'; it must be fence, tag, json, xml, harmony or none"),
        ('prompt = "{problem}"\ncode = "tag"', "set code_begin"),
        ('prompt = "{problem}"\nthink_end = "x"', "think_begin and think_end go together"),
        ('prompt = "{problem}"\n[sampling]\nseed = 1', "sampling sets seed; it may set temperature"),
    ],
)
def test_a_file_that_is_no_dialect_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UserError, match=said) as error:
        load(file)
    assert "\n" not in str(error.value)


TEMPLATED = {
    "qwen2_5": ("hermes", None),
    "qwen3": ("qwen3", QWEN3),
    "qwen3_instruct_2507": ("hermes", None),
    "qwen3_5_think": ("qwen3-coder", QWEN3_CODER),
    "deepseek_r1_distill": ("r1", R1),
}
"""TRL's copies of published chat templates, here over Qwen3's tokenizer -> the dialect."""


def templated(folder: Path, template: str) -> Tokenizer:
    shutil.copytree(real("qwen3"), folder, dirs_exist_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["bos_token"] = "<|endoftext|>"
    del config["chat_template"]
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    shutil.copyfile(real("templates") / f"{template}.jinja", folder / "chat_template.jinja")
    return Tokenizer.load(folder)


@pytest.mark.tokenizers
@pytest.mark.parametrize("template", TEMPLATED)
def test_published_templates_are_recognised(template: str, tmp_path: Path) -> None:
    dialect = choose("auto", templated(tmp_path, template), model="m")
    assert dialect.name == TEMPLATED[template][0]
    assert dialect.thinks_first == (template in ("qwen3_5_think", "deepseek_r1_distill"))


@pytest.mark.tokenizers
@pytest.mark.parametrize("template", ["gemma3", "phi3", "llama3", "glm4moe", "cohere2"])
def test_published_templates_of_other_families_are_refused_and_serve_for_chat(template: str, tmp_path: Path) -> None:
    tokenizer = templated(tmp_path, template)
    with pytest.raises(UserError, match="choose one with --dialect"):
        choose("auto", tokenizer, model="m")
    dialect = choose("chat", tokenizer, model="m")
    assert dialect.output_end.startswith("\n```")
    assert dialect.prompt.count("{problem}") == 1


@pytest.mark.tokenizers
def test_harmony_is_recognised_from_its_tokens() -> None:
    assert recognise(Tokenizer.load(real("gptoss"))) is GPT_OSS


def asked(dialect: Dialect) -> list[dict[str, str]]:
    user = {"role": "user", "content": dialect.user.replace("{problem}", PROBLEM.text)}
    return [user] if dialect.system is None else [{"role": "system", "content": dialect.system}, user]


@pytest.mark.tokenizers
@pytest.mark.parametrize(
    ("name", "choice"),
    [("qwen3", "qwen3"), ("qwen3", "chat"), ("deepseek_v3", "chat"), ("llama3", "chat"), ("gptoss", "chat")],
)
def test_a_prompt_has_the_ids_of_the_tokenizers_own_chat_template(name: str, choice: str) -> None:
    from transformers import PreTrainedTokenizerFast

    folder = real(name)
    ours = Tokenizer.load(folder)
    dialect = choose(choice, ours, model=name)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    template = ours.chat_template
    wanted = theirs.apply_chat_template(
        asked(DIALECTS[choice]),
        tools=[dialect.tool] if dialect.tool else None,
        chat_template=template,
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
        **dialect.arguments,
    )
    assert list(ours.encode(render(dialect, PROBLEM))) == list(wanted)


@pytest.mark.tokenizers
@pytest.mark.shared
def test_the_recorded_vectors_have_the_same_ids(shared_data: Path) -> None:
    path = shared_data.parent / "reference" / "dialects-golden.json"
    if not path.is_file():
        pytest.skip(f"no {path.name} beside the project")
    [record] = [
        one for one in json.loads(path.read_text(encoding="utf-8"))["records"] if one["family"] == "gpt-oss-harmony"
    ]
    fixed = replace(GPT_OSS, prompt=GPT_OSS.prompt.replace("{date}", "2026-01-01"))
    tokenizer = Tokenizer.load(real("gptoss"))
    dialect = bind(fixed, tokenizer, model="m")
    assert dialect.stop_token_ids == (200012, 200002)
    assert list(tokenizer.encode(render(dialect, Problem("p", record["problem"])))) == record["prompt_turn1_ids"]
