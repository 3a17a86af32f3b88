"""All settings of a run, described once: the command line, TOML files, the environment and the notebook's cell read this.

A field of one of the six dataclasses (`SolverConfig`, `EngineConfig`, `SandboxConfig`, `ClockConfig`, `ProblemsConfig`,
`RunConfig`) is a setting everywhere, under its name: `--top-p 0.9`, `top_p = 0.9` in a file, `SCTIR_TOP_P=0.9`,
`--set top_p=0.9`, `SETTINGS = {"top_p": 0.9}`. Where several sources give it, the later `Layer` wins.

To add a setting, add a field with a default and a docstring of one line, and read it where it is used. The flag and its
help, the TOML key, the environment variable, the notebook's key, `sctir settings` and the journal's header follow.
"""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from sctir_kaggle import config as configs
from sctir_kaggle.budget import check_clamps
from sctir_kaggle.competition.profile import Profile, profile_of
from sctir_kaggle.config import SolverConfig
from sctir_kaggle.dialects.recognition import AUTO, named
from sctir_kaggle.engines.registry import EngineConfig, entry_of
from sctir_kaggle.kinds import Kind, docstrings, kind_of, nearest, read_toml
from sctir_kaggle.presets import preset_of
from sctir_kaggle.problems import ProblemsConfig
from sctir_kaggle.types import UserError

ANSWERS = {"aimo1": configs.AIMO1, "aimo3": configs.AIMO3, "any": configs.MATH, "rational": configs.RATIONAL}
"""Ranges of answers by name: `answers` stands for the settings in `RANGE` together."""

RANGE = ("modulus", "lowest", "highest", "fractions")
"""The settings that say which answers are votes."""

TIMES = {"budget", "floor", "high", "code_seconds", "grace_seconds", "server_wait"}
"""Settings in seconds that may be written with units or as a clock shows them: 9h, 1h30m, 9:00:00."""

DEFAULT, COMMAND, COMPETITION, DIALECT = "default", "the command", "competition", "dialect"
"""Sources of values that nobody chose; the last two are followed by a name."""


@dataclass(frozen=True, kw_only=True)
class ClockConfig:
    """How the wall clock is shared out among problems. Raises `UserError` on a value outside its limits."""

    budget: float = 9 * 3600.0
    """Wall clock for the whole run, start-up included: 9h, 1h30m, 9:00:00, 90; default: the competition's."""

    cap: float = 3.0
    """The most base shares (the time for all, in equal parts) that a contested problem may take."""

    draw: float = 0.5
    """The part of what other problems saved that one contested problem may take."""

    floor: float = 0.0
    """Seconds that a problem gets at least, while there are any."""

    high: float | None = None
    """Seconds that a problem gets at most; none has no limit besides `cap`."""

    def __post_init__(self) -> None:
        # A run without a clock, such as a replay, has an infinite budget; no source of settings can ask for one.
        _require(self.budget > 0, "budget", self.budget, "more than 0 seconds")
        _require(self.cap < math.inf, "cap", self.cap, "finite")
        check_clamps(cap=self.cap, draw=self.draw, floor=self.floor, high=self.high)


@dataclass(frozen=True, kw_only=True)
class SandboxConfig:
    """Limits on the programs that candidates run. Raises `UserError` on a value outside its limits."""

    output_bytes: int = 16_384
    """Bytes kept of a program's output from its beginning, and as many from its end; `output_chars` of them are shown."""

    total_memory_mb: int | None = None
    """MiB of memory for all programs together; none: the machine's (or cgroup's) less a quarter, and less 4 GiB at least."""

    def __post_init__(self) -> None:
        _require(self.output_bytes >= 1, "output_bytes", self.output_bytes, "at least 1 byte")
        total = self.total_memory_mb
        _require(total is None or total >= 256, "total_memory_mb", total, "at least 256 MiB, or none")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run: how to solve a problem, the engine, the sandbox, the clock, the competition."""

    solver: SolverConfig = field(default_factory=SolverConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    clock: ClockConfig = field(default_factory=ClockConfig)
    reading: ProblemsConfig = field(default_factory=ProblemsConfig)

    competition: str = "aimo1"
    """Whose API, range of answers and hours hold: a name such as aimo3, or the slug."""

    preset: str | None = None
    """Settings that have a name and a source, such as numina or aimo3-gpt-oss; every other source overrides them."""

    dialect: str = "auto"
    """How problem, code and output are written: a dialect's name, a TOML file with one, or `auto`: the checkpoint's."""

    problems: str | None = None
    """A file of problems (CSV, JSON, JSONL, Parquet, XLSX), a data set of the Hub (`org/name:split`) or `-`, standard input;
    default: the embedded 50, at Kaggle the competition's."""

    output: str | None = None
    """Where the run is kept; default: below runs/, with the time in its name, at Kaggle the working folder."""

    sources: Mapping[str, str] | None = None
    """The source of each setting that is not at its default. None for a run that is built in code, not by `resolve`: all
    of its settings count as chosen, and no dialect replaces its sampling."""

    @property
    def profile(self) -> Profile:
        """The competition's row."""
        return profile_of(self.competition)

    @property
    def given(self) -> Mapping[str, str] | None:
        """The source of each setting that was chosen: neither a default nor implied by competition or dialect."""
        if self.sources is None:
            return None
        implied = (COMMAND, f"{COMPETITION} ", f"{DIALECT} ")
        return {name: source for name, source in self.sources.items() if not source.startswith(implied)}

    def source(self, name: str) -> str:
        """The source of the setting with this name."""
        return (self.sources or {}).get(name, DEFAULT)

    def value(self, name: str) -> Any:
        """The value of the setting with this name."""
        group = all_settings()[name].group
        return getattr(getattr(self, group) if group else self, name)

    def settings(self) -> dict[str, Any]:
        """Values by name."""
        return {name: self.value(name) for name in all_settings()}

    def with_model(self, model: str | Path | None) -> RunConfig:
        """The same run with another checkpoint."""
        return replace(self, engine=replace(self.engine, model=model))


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One setting, as its dataclass describes it. `group` is the field of `RunConfig` in which it lies, if any."""

    name: str
    kind: Kind
    default: Any
    help: str
    group: str = ""

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return f"--{self.name.replace('_', '-')}"


@dataclass(frozen=True)
class Layer:
    """Settings from one source. `label` writes a setting's name as that source does, for error messages."""

    source: str
    values: Mapping[str, Any]
    label: Callable[[str], str] = str


_GROUPS: Mapping[str, type] = {
    "solver": SolverConfig,
    "engine": EngineConfig,
    "sandbox": SandboxConfig,
    "clock": ClockConfig,
    "reading": ProblemsConfig,
}
"""The dataclasses of settings, by the field of `RunConfig` that holds them."""


@cache
def all_settings() -> Mapping[str, Setting]:
    """Every setting by name, in the order of the dataclasses."""
    found = [setting for group, cls in {"": RunConfig, **_GROUPS}.items() for setting in _settings_of(cls, group)]
    return {setting.name: setting for setting in found}


def _settings_of(cls: type, group: str) -> Iterable[Setting]:
    helps, hints = docstrings(cls), typing.get_type_hints(cls)
    for each in fields(cls):
        if (each.name in _GROUPS and not group) or each.name == "sources":
            continue
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        kind = kind_of(hints[each.name], time=each.name in TIMES)
        yield Setting(name=each.name, kind=kind, default=default, help=helps.get(each.name, ""), group=group)


def resolve(layers: Sequence[Layer], *, command: Mapping[str, Any] | None = None) -> RunConfig:
    """Merge the layers into one run; each is stronger than those before it.

    Below them lie, from the weakest: the defaults, the competition that a preset implies, the command's own defaults
    (`command`), a competition chosen by name, the sampling of a dialect chosen by name, the preset. Raises `UserError` on
    an unknown name, a wrong type or a value outside its limits.
    """
    read = [_read(layer) for layer in layers]
    preset = _preset_layers(_merged(read))
    below = [
        *_competition_layers(preset),
        Layer(COMMAND, command or {}),
        *_competition_layers(read),
        *_dialect_layers(_merged([*preset, *read])),
        *preset,
    ]
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for layer in [*below, *read]:
        values.update(layer.values)
        sources.update(dict.fromkeys(layer.values, layer.source))
    return _build(values, sources)


def _merged(layers: Iterable[Layer]) -> dict[str, Any]:
    return {name: value for layer in layers for name, value in layer.values.items()}


def with_dialect_defaults(
    config: SolverConfig, given: Mapping[str, str] | None, sampling: Mapping[str, float]
) -> SolverConfig:
    """`config` with the dialect's `sampling` in the fields that are not in `given`; unchanged where `given` is None."""
    if given is None:
        return config
    filled = {name: value for name, value in sampling.items() if name not in given}
    return replace(config, **{name: all_settings()[name].kind.check(name, value) for name, value in filled.items()})


def _read(layer: Layer) -> Layer:
    """The layer with its names and values checked, and `answers` replaced by the settings that it stands for."""
    values: dict[str, Any] = {}
    for name, value in layer.values.items():
        if name == "answers":
            continue
        label = layer.label(name)
        if name not in all_settings():
            meant = nearest(name, [*all_settings(), "answers"]) or "; `sctir settings` lists them"
            raise UserError(f"{label}: there is no such setting{meant}")
        kind = all_settings()[name].kind
        values[name] = kind.read(label, value) if isinstance(value, str) else kind.check(label, value)
    return Layer(layer.source, {**_range(layer), **values})  # one of `RANGE` beside `answers` overrides it


def _range(layer: Layer) -> dict[str, Any]:
    """The settings of `RANGE` that the layer's `answers` stands for."""
    if "answers" not in layer.values:
        return {}
    kind = Kind(base="text", choices=tuple(ANSWERS))
    chosen = ANSWERS[kind.check(layer.label("answers"), layer.values["answers"])]
    return {name: getattr(chosen, name) for name in RANGE}


def _competition_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The range of answers and the hours of the competition that a layer names. The default one has the defaults."""
    chosen = [layer.values["competition"] for layer in layers if "competition" in layer.values]
    if not chosen:
        return []
    profile = profile_of(chosen[-1])
    implied = {name: getattr(profile.config, name) for name in (*RANGE, "default_answer")}
    return [Layer(f"{COMPETITION} {profile.name}", {**implied, "budget": profile.hours * 3600})]


def _dialect_layers(chosen: Mapping[str, Any]) -> list[Layer]:
    """The sampling of a dialect that is chosen by name. With `auto` it is known only once the checkpoint is opened."""
    choice = chosen.get("dialect", AUTO)
    if choice == AUTO:
        return []
    dialect = named(choice)
    return [Layer(f"{DIALECT} {dialect.name}", dialect.sampling)]


def _preset_layers(chosen: Mapping[str, Any]) -> list[Layer]:
    """The settings of the chosen preset, without those that the chosen engine does not read."""
    if chosen.get("preset") is None:
        return []
    preset = preset_of(chosen["preset"])
    engine = entry_of(chosen.get("engine", EngineConfig.engine))
    unread = {field.name for field in fields(EngineConfig)} - engine.takes
    unread |= {"dialect"} if engine.model == "none" else set()
    values = {name: value for name, value in preset.values.items() if name not in unread}
    return [_read(Layer(f"preset {preset.name}", values))]


def _build(values: Mapping[str, Any], sources: Mapping[str, str]) -> RunConfig:
    """Build the dataclasses, which check their limits. An error ends with the source of the value that it names."""

    def values_in(group: str) -> dict[str, Any]:
        return {name: value for name, value in values.items() if all_settings()[name].group == group}

    try:
        groups: dict[str, Any] = {group: cls(**values_in(group)) for group, cls in _GROUPS.items()}
        budget = groups["clock"].budget
        _require(budget < math.inf, "budget", budget, "more than 0 seconds, and finite")
    except UserError as error:
        source = sources.get(str(error).split()[0])
        raise UserError(f"{error} ({source})" if source else str(error)) from None
    run = RunConfig(**groups, **values_in(""), sources=dict(sources))
    entry_of(run.engine.engine)  # raises where there is no such engine
    return replace(run, competition=profile_of(run.competition).name)


def _require(holds: bool, name: str, value: object, limit: str) -> None:
    if not holds:
        raise UserError(f"{name} is {value}; it must be {limit}")


PREFIX = "SCTIR_"

CONFIG = "SCTIR_CONFIG"
"""The environment variable that names a TOML file."""

OTHERS = {
    *("SCTIR_CONFIG", "SCTIR_DATA", "SCTIR_GATEWAY_PORT", "SCTIR_KAGGLE_EVALUATION", "SCTIR_KAGGLE_INPUT"),
    *("SCTIR_KAGGLE_WORKING", "SCTIR_GPTQ_TWIN", "SCTIR_REPLICA", "SCTIR_TOKENIZERS"),
}
"""Variables of this package that are no settings."""


def toml_layer(path: Path) -> Layer:
    """The settings of a file. Raises `UserError` where it cannot be read."""
    return Layer(f"file {path.name}", read_toml(path), lambda name: f"{path}: {name}")


def environment_file(environment: Mapping[str, str] = os.environ) -> list[Layer]:
    """The file that SCTIR_CONFIG names, if it is set."""
    return [toml_layer(Path(environment[CONFIG]))] if environment.get(CONFIG) else []


def environment_layer(environment: Mapping[str, str] = os.environ) -> Layer:
    """The settings in SCTIR_ variables. Raises `UserError` for a variable whose name is nearly a setting's."""
    variables = {f"{PREFIX}{name.upper()}": name for name in (*all_settings(), "answers")}
    for variable in environment:
        if variable.startswith(PREFIX) and variable not in {*variables, *OTHERS}:
            _refuse_typo(variable)
    values = {name: environment[variable] for variable, name in variables.items() if variable in environment}
    return Layer("environment", values, lambda name: f"{PREFIX}{name.upper()}")


def _refuse_typo(variable: str) -> None:
    """Raises `UserError` where a setting has nearly this name; any other variable may belong to another program."""
    name = variable.removeprefix(PREFIX).lower()
    if meant := nearest(name, (*all_settings(), "answers"), cutoff=0.8):
        raise UserError(f"{variable} sets nothing: there is no setting {name}{meant}")


def set_layer(pairs: Sequence[str]) -> Layer:
    """The settings of `--set NAME=VALUE`, once for each. Raises `UserError` where there is no `=`."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UserError(f"--set {pair} sets nothing: write --set NAME=VALUE")
        values[name.strip().replace("-", "_")] = value
    return Layer("--set", values, lambda name: f"--set {name}")
