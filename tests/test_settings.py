"""Every setting from every source: it arrives in the journal's header, the stronger source wins, and a typo is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import SolverConfig, UserError, cli, runtime
from sctir_kaggle.budget import Budget
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.competition.submission import Submission
from sctir_kaggle.engines import vllm_layout
from sctir_kaggle.engines.registry import EngineConfig
from sctir_kaggle.engines.scripted import Scripted
from sctir_kaggle.header import journal_header
from sctir_kaggle.journal import read_journal
from sctir_kaggle.kaggle.settings_cell import resolve_cell
from sctir_kaggle.options import check_settings
from sctir_kaggle.presets import PRESETS
from sctir_kaggle.problems import HELD_OUT, ProblemsConfig
from sctir_kaggle.runtime import EMBEDDED_MODEL
from sctir_kaggle.settings import (
    ClockConfig,
    Layer,
    RunConfig,
    all_settings,
    environment_layer,
    resolve,
    set_layer,
    toml_layer,
    with_dialect_defaults,
)
from tests.support.competitions import right, scripted

VALUES: dict[str, Any] = {
    "candidates": 3,
    "turns": 2,
    "temperature": 0.5,
    "top_p": 0.9,
    "top_k": 40,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "max_tokens": 99,
    "code_seconds": 2.5,
    "output_chars": 77,
    "output_clip": "head",
    "blocks": "last",
    "restart": True,
    "stateful": False,
    "last_expression": "never",
    "force_answer": False,
    "force_tokens": 7,
    "modulus": 500,
    "lowest": -1,
    "highest": 400,
    "default_answer": 9,
    "vote": "small",
    "stop": "beta",
    "stop_delta": 0.1,
    "stop_ballots": 3,
    "contested_risk": 0.2,
    "extra_candidates": 2,
    "tie_break": "smallest",
    "seed": 5,
    "grace_seconds": 0.5,
    "output_bytes": 999,
    "total_memory_mb": 2048,
    "engine": "vllm",
    "model": "owner/some-model",
    "base_url": ["http://one:8000", "http://two:8000/v1"],
    "served_model": "its name",
    "server_wait": 90.0,
    "layout": "tensor",
    "gpus": 2,
    "context_length": 512,
    "dtype": "bfloat16",
    "memory": 0.5,
    "kv_cache_dtype": "fp8",
    "speculative": {"method": "ngram", "num_speculative_tokens": 4},
    "engine_options": {"enforce_eager": True, "max_num_batched_tokens": 4096, "revision": "main"},
    "budget": 1800.0,
    "cap": 2.0,
    "draw": 0.25,
    "floor": 12.0,
    "high": 600.0,
    "competition": "aimo3",
    "preset": "greedy-tir",
    "dialect": "qwen3",
    "id_column": "id",
    "problem_column": "problem",
    "answer_column": "answer",
    "integers_only": True,
}
"""A value of each setting that is not its default."""

NAMES = [name for name in VALUES if name in all_settings()]

CLOCK: dict[str, Any] = {}
"""What the last budget was made with."""


class Clock(Budget):
    """Remembers it."""

    def __init__(self, *arguments: Any, floor: float = 0.0, high: float | None = None, **options: Any) -> None:
        CLOCK.update(options, floor=floor, high=high)
        super().__init__(*arguments, **options)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "Budget", Clock)


Resolved = Callable[[dict[str, Any], pytest.MonkeyPatch, Path], RunConfig]


def text(value: Any) -> str:
    if isinstance(value, (bool, dict)):
        return json.dumps(value)
    return ",".join(value) if isinstance(value, list) else str(value)


def as_toml(values: dict[str, Any]) -> str:
    def literal(value: Any) -> str:
        if isinstance(value, dict):
            return "{" + ", ".join(f"{name} = {json.dumps(each)}" for name, each in value.items()) + "}"
        return json.dumps(value)

    return "\n".join(f"{name} = {literal(value)}" for name, value in values.items())


def as_flags(values: dict[str, Any]) -> list[str]:
    words: list[str] = []
    for name, value in values.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *(value if isinstance(value, list) else [text(value)])]
    return words


def typed(arguments: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> RunConfig:
    """What `sctir dry-run` opens."""
    asked: list[RunConfig] = []

    def opened(run: RunConfig, folder: Path, **_: Any) -> Any:
        asked.append(run)
        raise UserError("enough")

    monkeypatch.setattr(runtime, "open_session", opened)
    assert cli.main(["dry-run", "--output", str(folder / "run"), *arguments]) == 2
    return asked[0]


def by_flags(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> RunConfig:
    return typed(as_flags(values), monkeypatch, folder)


def by_set(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> RunConfig:
    pairs = [word for name, value in values.items() for word in ("--set", f"{name}={text(value)}")]
    return typed(pairs, monkeypatch, folder)


def by_toml(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> RunConfig:
    (folder / "run.toml").write_text(as_toml(values))
    return typed(["--config", str(folder / "run.toml")], monkeypatch, folder)


def by_environment(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> RunConfig:
    for name, value in values.items():
        monkeypatch.setenv(f"SCTIR_{name.upper()}", text(value))
    return typed([], monkeypatch, folder)


def by_cell(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch, folder: Path) -> RunConfig:
    run = resolve_cell(values)
    return Submission(run.profile, run, folder=folder, rerun=True).run_config


SOURCES: dict[str, Resolved] = {
    "flag": by_flags,
    "--set": by_set,
    "TOML": by_toml,
    "environment": by_environment,
    "cell": by_cell,
}

ENGINE_FIELDS = {field.name for field in fields(EngineConfig)}
OF_SERVERS = {"engine": "openai", "base_url": ["http://one:8000"]}


def companions(name: str) -> dict[str, Any]:
    """What a setting cannot be without."""
    if name in ("base_url", "served_model", "server_wait"):
        return OF_SERVERS
    if name in ("stop_delta", "stop_ballots"):
        return {"stop": "beta"}
    if name in ProblemsConfig.__dataclass_fields__:
        return {"problems": str(HELD_OUT)}
    return {"engine": "vllm"} if name in ENGINE_FIELDS else {}


def in_header(header: dict[str, Any], name: str) -> Any:
    return next(place[name] for place in (header["config"], header["settings"], header) if name in place)


def test_every_setting_has_a_value_to_be_tried_with() -> None:
    # A competition takes no fractions, so neither dry run nor notebook can be asked for them: `tests/problems` tries that one.
    assert set(all_settings()) - set(VALUES) == {"problems", "output", "fractions"}
    assert {name for name in NAMES if all_settings()[name].default == VALUES[name]} == set()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", NAMES)
def test_every_setting_arrives_in_the_journals_header(
    name: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = SOURCES[source]({**companions(name), name: VALUES[name]}, monkeypatch, tmp_path)
    header = json.loads(json.dumps(journal_header(run, [], engine=None, executor=None)))
    wanted = VALUES[name]
    if name in SolverConfig.__dataclass_fields__:
        wanted = getattr(replace(SolverConfig(), **{name: wanted}), name)
    if (name, source) == ("lowest", "cell"):
        wanted = 0  # the competition's: no answer below it can be right
    assert in_header(header, name) == wanted
    assert name in header["given"]


@pytest.mark.slow
def test_a_run_writes_what_its_engine_and_its_clock_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: dict[str, Any] = {}

    def load(model: object, **choices: Any) -> Scripted:
        loaded.update(choices, model=model)
        return Scripted(right)

    monkeypatch.setattr(vllm_layout, "load_vllm", load)
    (tmp_path / "problems.csv").write_text("id,problem\na,What is 3?\n")
    chosen = {name: VALUES[name] for name in NAMES if name in ENGINE_FIELDS | set(ClockConfig.__dataclass_fields__)}
    values = {name: value for name, value in chosen.items() if name not in ("base_url", "served_model", "server_wait")}
    values["model"] = str(EMBEDDED_MODEL)
    (tmp_path / "run.toml").write_text(as_toml({**values, "candidates": 2, "output_bytes": 999}))
    options = ["--config", str(tmp_path / "run.toml"), "--output", str(tmp_path / "run")]
    assert cli.main(["solve", str(tmp_path / "problems.csv"), *options]) == 0
    header, [result] = read_journal(tmp_path / "run" / "journal.jsonl")
    assert result.answer == 3
    assert header["executor"]["output_bytes"] == 999
    assert {name: in_header(header, name) for name in values} == values
    assert loaded.pop("options") == {
        "kv_cache_dtype": "fp8",
        "speculative_config": VALUES["speculative"],
        **VALUES["engine_options"],
    }
    named = ("model", "layout", "gpus", "context_length", "dtype", "memory")
    assert {**loaded, "model": str(loaded["model"])} == {"slots": 2, **{name: values[name] for name in named}}
    assert {name: CLOCK[name] for name in ("cap", "draw", "floor", "high")} == {
        name: VALUES[name] for name in ("cap", "draw", "floor", "high")
    }


def test_a_notebooks_run_writes_them_too(tmp_path: Path) -> None:
    run = resolve_cell({"candidates": 3, "turns": 2, "engine": "vllm", "memory": 0.5, "grace_seconds": 0.5})
    (tmp_path / "problems.csv").write_text("id,problem\na,What is 3?\n")
    submission = Submission(
        run.profile, run, folder=tmp_path, load=scripted(), problems=tmp_path / "problems.csv", rerun=False
    )
    submission.run()
    header, _ = read_journal(submission.journal)
    assert (header["config"]["candidates"], header["settings"]["memory"]) == (3, 0.5)
    assert header["given"]["memory"] == "the notebook's cell"


def test_the_stronger_source_wins_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.toml").write_text('preset = "numina"\nturns = 5\ntop_k = 5\nmin_p = 0.5\nseed = 5')
    monkeypatch.setenv("SCTIR_TOP_K", "6")
    monkeypatch.setenv("SCTIR_MIN_P", "0.6")
    monkeypatch.setenv("SCTIR_SEED", "6")
    typed_ = ["--config", str(tmp_path / "run.toml"), "--set", "min_p=0.7", "--set", "seed=7", "--seed", "8"]
    config = typed(typed_, monkeypatch, tmp_path).solver
    found = (config.output_chars, config.turns, config.top_k, config.min_p, config.seed)
    assert found == (200, 5, 6, 0.7, 8)


def test_in_the_notebook_a_file_and_the_environment_win_over_the_cell(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("turns = 5\nseed = 5")
    environment = {"SCTIR_CONFIG": str(tmp_path / "run.toml"), "SCTIR_SEED": "6"}
    run = resolve_cell({"preset": "numina", "candidates": 7, "turns": 7, "seed": 7}, environment)
    assert (run.solver.output_chars, run.solver.candidates, run.solver.turns, run.solver.seed) == (200, 7, 5, 6)
    assert [run.source(name) for name in ("output_chars", "candidates", "turns", "seed")] == [
        "preset numina",
        "the notebook's cell",
        "file run.toml",
        "environment",
    ]


@pytest.mark.parametrize("name", PROFILES)
def test_a_competition_brings_its_range_and_its_hours(name: str) -> None:
    profile, run = PROFILES[name], resolve([Layer("cell", {"competition": name})])
    assert (run.solver, run.clock.budget) == (profile.config, profile.hours * 3600)
    assert run.given == {"competition": "cell"}


def test_a_range_by_name_gives_way_to_a_limit_of_the_same_source() -> None:
    solver = resolve([Layer("cell", {"highest": 7, "answers": "any"})]).solver
    assert (solver.modulus, solver.lowest, solver.highest) == (None, None, 7)


def test_a_dialects_sampling_fills_what_was_not_given() -> None:
    run = resolve([Layer("cell", {"preset": "aimo3-gpt-oss", "top_k": 5})])
    sampling = {"temperature": 0.6, "top_p": 0.95, "top_k": 20, "repetition_penalty": 1.05, "max_tokens": 32768}
    config = with_dialect_defaults(run.solver, run.given, sampling)
    assert (config.temperature, config.top_k, config.max_tokens) == (1.0, 5, 65_536)
    assert config.repetition_penalty == 1.05
    assert with_dialect_defaults(run.solver, None, sampling) == run.solver


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_made_of_settings_and_says_where_it_comes_from(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = PRESETS[name]
    run = resolve([Layer("cell", {"preset": name, "engine": "vllm"})])
    assert {key: run.value(key) for key in preset.values} == dict(preset.values)
    assert cli.main(["settings", "--preset", name]) == 0
    assert f"preset {name}: {preset.source}" in capsys.readouterr().out


def test_numina_fixed_is_the_default() -> None:
    assert resolve([Layer("cell", {"preset": "numina-fixed"})]).solver == SolverConfig()


def test_a_presets_limits_of_an_engine_are_for_the_engine_that_has_them(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    for engine, length in (("vllm", 81_920), ("recorded", None)):
        run = resolve([Layer("cell", {"preset": "aimo3-gpt-oss", "engine": engine, "model": str(tmp_path)})])
        assert check_settings(run).engine.context_length == length


def test_the_list_of_settings_says_where_each_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCTIR_TURNS", "2")
    options = ["--preset", "numina", "-n", "7", "--base-url", "http://me:secret@h", "--engine", "chat"]
    assert cli.main(["settings", "--json", *options, "--engine-options", "api_key=secret"]) == 0
    shown = capsys.readouterr().out
    rows = {row["name"]: row for row in json.loads(shown)["settings"]}
    found = {name: (rows[name]["value"], rows[name]["source"]) for name in ("candidates", "turns", "stop", "seed")}
    assert found == {
        "candidates": (7, "command line"),
        "turns": (2, "environment"),
        "stop": ("none", "preset numina"),
        "seed": (0, "default"),
    }
    assert set(rows) == set(all_settings())
    assert all(row["help"] for row in rows.values())
    assert "secret" not in shown
    assert cli.main(["settings", *options]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= len(all_settings())


@contextmanager
def refused(message: str) -> Iterator[None]:
    with pytest.raises(UserError) as error:
        yield
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_variable_that_is_nearly_a_setting_is_refused_and_others_are_left_alone() -> None:
    assert environment_layer({"SCTIR_GATEWAY_PORT": "1", "SCTIR_ZZZ": "1", "PATH": "x"}).values == {}
    with refused("SCTIR_CANDIDATE sets nothing: there is no setting candidate; did you mean candidates?"):
        environment_layer({"SCTIR_CANDIDATE": "1"})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"turn": 1}, "turn: there is no such setting; did you mean turns?"),
        ({"turns": "two"}, "turns is 'two'; it must be a whole number"),
        ({"turns": True}, "turns is True; it must be a whole number"),
        ({"turns": None}, "turns is None; it must be a whole number"),
        ({"temperature": float("nan")}, "temperature is nan; it must be a number"),
        ({"restart": "perhaps"}, "restart is 'perhaps'; it must be true or false"),
        ({"modulus": 0}, "modulus is 0; it must be at least 1, or None (cell)"),
        ({"output_bytes": 0}, "output_bytes is 0; it must be at least 1 byte (cell)"),
        ({"total_memory_mb": 9}, "total_memory_mb is 9; it must be at least 256 MiB, or none (cell)"),
        ({"blocks": "lst"}, "blocks is 'lst'; it must be one of all, last; did you mean last?"),
        ({"engine_options": 3}, "engine_options is 3; it must be NAME=VALUE pairs, or a JSON object"),
        ({"base_url": [1]}, "base_url is [1]; it must be a list of texts"),
        ({"answers": "aimo"}, "answers is 'aimo'; it must be one of aimo1, aimo3, any, rational"),
        (
            {"floor": "2h", "high": "1h"},
            "floor is 7200.0 and high is 3600.0; a problem cannot get more at least than at most",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(values: dict[str, Any], message: str) -> None:
    with refused(message):
        resolve([Layer("cell", values)])


def test_a_file_may_write_times_with_units_and_none_for_no_limit(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('budget = "4h"\nhigh = "none"\nmodulus = "none"\ntemperature = 1\n')
    run = resolve([toml_layer(tmp_path / "run.toml"), set_layer(["floor=2m", "lowest=none"])])
    assert (run.clock.budget, run.clock.high, run.clock.floor) == (14_400.0, None, 120.0)
    assert (run.solver.modulus, run.solver.lowest, run.solver.temperature) == (None, None, 1.0)


@pytest.mark.parametrize(("preset", "competition"), [("aimo2-nemotron", "aimo2"), ("aimo3-gpt-oss", "aimo3")])
def test_a_preset_made_for_a_competition_implies_it(preset: str, competition: str) -> None:
    assert resolve([Layer("flag", {"preset": preset})]).competition == competition
    assert resolve([Layer("flag", {"preset": preset, "competition": "aimo1"})]).competition == "aimo1"
    high = resolve([Layer("flag", {"preset": preset})], command={"modulus": None, "lowest": None, "highest": None})
    assert high.solver.highest is None


def test_a_chat_server_keeps_its_own_dialect_under_a_preset() -> None:
    chosen = {"preset": "numina", "engine": "chat", "base_url": "http://localhost:1"}
    assert resolve([Layer("flag", chosen)]).dialect == "auto"


def test_a_budget_without_an_end_is_refused() -> None:
    with pytest.raises(UserError, match="budget is inf"):
        resolve([Layer("flag", {"budget": "inf"})])
