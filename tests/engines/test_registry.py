"""The table of engines: each engine is loaded from the settings that were given, and one entry makes an engine available."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest

from sctir_kaggle import UserError
from sctir_kaggle.cli import main
from sctir_kaggle.commands import _parser
from sctir_kaggle.engines.registry import ENGINES, EngineConfig, Entry, check, checkpoint_of, entry_of
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.journal import read_journal
from sctir_kaggle.kaggle.doctor import examine
from sctir_kaggle.runtime import EMBEDDED_MODEL
from tests.support.fake_server import DONE, Answer, FakeServer, data, usage

URLS = {"base_url": ["http://one:8000"]}

LOADERS = {
    "transformers": "sctir_kaggle.engines.transformers.TransformersEngine.load",
    "vllm": "sctir_kaggle.engines.vllm_layout.load_vllm",
    "openai": "sctir_kaggle.engines.openai.OpenAIEngine.open",
    "chat": "sctir_kaggle.engines.openai_chat.ChatEngine.open",
}


def loaded(monkeypatch: pytest.MonkeyPatch, config: EngineConfig, model: Any = "m") -> tuple[Any, dict[str, Any]]:
    """The arguments that the engine's own function is called with."""
    calls: list[tuple[Any, dict[str, Any]]] = []
    monkeypatch.setattr(LOADERS[config.engine], lambda *args, **choices: calls.append((args, choices)))
    load: Callable[..., Any] | None = entry_of(config.engine).load
    assert load is not None
    load(config, model, 7)
    return calls[0]


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (EngineConfig(), (("m",), {"slots": 7})),
        (
            EngineConfig(dtype="float16", context_length=9),
            (("m",), {"slots": 7, "dtype": "float16", "context_length": 9}),
        ),
        (EngineConfig(engine="vllm"), (("m",), {"slots": 7})),
        (EngineConfig(engine="vllm", engine_options={"a": 1}), (("m",), {"slots": 7, "options": {"a": 1}})),
        (
            EngineConfig(engine="openai", **URLS),  # type: ignore[arg-type]
            ((["http://one:8000"], None), {"slots": 7, "wait": 600.0, "tokenizer": "m"}),
        ),
        (
            EngineConfig(engine="chat", served_model="s", engine_options={"top_k": 5}, **URLS),  # type: ignore[arg-type]
            ((["http://one:8000"], "s"), {"slots": 7, "wait": 600.0, "options": {"top_k": 5}}),
        ),
        (
            EngineConfig(engine="chat", served_model="s", server_wait=90.0, **URLS),  # type: ignore[arg-type]
            ((["http://one:8000"], "s"), {"slots": 7, "wait": 90.0, "reach": 90.0}),
        ),
    ],
)
def test_an_engine_is_given_what_was_set_alone(
    config: EngineConfig, wanted: tuple[Any, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs the engines' libraries: the extra `cpu`")
    assert loaded(monkeypatch, config) == wanted


def test_an_argument_of_vllm_by_its_own_name_goes_before_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    config = EngineConfig(engine="vllm", kv_cache_dtype="fp8", engine_options={"kv_cache_dtype": "auto"})
    assert loaded(monkeypatch, config)[1]["options"] == {"kv_cache_dtype": "auto"}


@pytest.mark.parametrize("name", ENGINES)
def test_every_setting_of_engines_is_taken_by_some_and_refused_by_the_others(name: str) -> None:
    entry = ENGINES[name]
    assert entry.takes <= {field.name for field in fields(EngineConfig)}
    needed = URLS if entry.servers else {}
    check(EngineConfig(engine=name, **needed))  # type: ignore[arg-type]
    if "gpus" not in entry.takes:
        with pytest.raises(UserError, match=f"--gpus is for --engine vllm, not for {name}: leave it out"):
            check(EngineConfig(engine=name, gpus=1, **needed))  # type: ignore[arg-type]


def test_the_commands_offer_every_engine() -> None:
    for name in ENGINES:
        assert _parser().parse_args(["dry-run", "--engine", name]).engine == name
        assert _parser().parse_args(["doctor", "--engine", name]).engine == name


@pytest.mark.parametrize("name", [name for name, entry in ENGINES.items() if entry.model != "weights"])
def test_the_doctor_looks_at_no_weights_and_no_gpu_for_an_engine_without(name: str, tmp_path: Path) -> None:
    checks = {finding.check for finding in examine(engine=name, roots=[tmp_path], gpus=[], folder=tmp_path)}
    assert {"sandbox", "libraries", "python"} <= checks
    assert not checks & {"checkpoint", "weights", "gpus", "room", "vllm"}


def test_a_folder_is_a_folder_and_a_name_at_the_hub_stays_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "model-a").mkdir(parents=True)
    assert checkpoint_of("runs/model-a") == Path("runs/model-a")
    assert checkpoint_of(str(EMBEDDED_MODEL)) == EMBEDDED_MODEL
    assert checkpoint_of("AI-MO/NuminaMath-7B-TIR") == "AI-MO/NuminaMath-7B-TIR"
    with pytest.raises(UserError, match=r"runs/model-b is not a folder; did you mean runs/model-a\?"):
        checkpoint_of("runs/model-b")


@pytest.mark.parametrize("wrong", ["nowhere", "/no/where", "a/b/c", "./a/b", "owner/", "~nobody/x y"])
def test_what_is_neither_is_refused(wrong: str) -> None:
    with pytest.raises(UserError, match="is not a folder; pass a checkpoint's folder, or owner/name at the Hub"):
        checkpoint_of(wrong)


@pytest.mark.slow
def test_a_chat_server_solves_a_csv(tmp_path: Path) -> None:
    (tmp_path / "problems.csv").write_text("id,problem,answer\na,What is $3^2$?,9\n")
    said = {"choices": [{"delta": {"content": "It is $\\boxed{9}$."}, "finish_reason": "stop"}]}
    with FakeServer(otherwise=Answer([data(said), usage(50, 9, 30), DONE]), owned_by="somebody") as fake:
        options = ["--engine", "chat", "--base-url", fake.url, "-n", "3", "--output", str(tmp_path / "run")]
        assert main(["solve", str(tmp_path / "problems.csv"), *options]) == 0
    header, [result] = read_journal(tmp_path / "run" / "journal.jsonl")
    assert (header["engine"]["engine"], header["settings"]["engine"], result.answer) == ("chat", "chat", 9)


@pytest.mark.slow
def test_a_further_engine_is_one_entry_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Entry(
        name="made-up",
        help="says nine",
        load=lambda config, model, slots: Scripted(lambda prompt, candidate, turn: "It is $\\boxed{9}$."),
        model="none",
        takes=frozenset(),
    )
    monkeypatch.setitem(cast("dict[str, Entry]", ENGINES), made.name, made)
    (tmp_path / "problems.csv").write_text("id,problem,answer\na,What is $3^2$?,9\n")
    for command, output in (("solve", "run"), ("replay", "replayed")):
        options = ["--engine", "made-up", "-n", "3", "--output", str(tmp_path / output)]
        assert main([command, str(tmp_path / "problems.csv"), *options]) == 0
    _, [result] = read_journal(tmp_path / "run" / "journal.jsonl")
    assert result.answer == 9
    with pytest.raises(UserError, match="--gpus is for --engine vllm, not for made-up"):
        check(EngineConfig(engine="made-up", gpus=1))
