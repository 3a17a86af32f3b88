"""`sctir doctor`: check in seconds whether a machine can run this: for each finding ok, warning or fatal, and a remedy.

The checks run at once, in threads, and cannot harm each other: one that raises or hangs becomes a finding. CUDA is not
initialised in this process, and nothing is sent over a network. Not covered: whether the model solves problems; run the
editor's few problems for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from sctir_kaggle.budget import process_started
from sctir_kaggle.competition.aimo1_python import PROBE_SECONDS
from sctir_kaggle.competition.inputs import NotFound, Roots, find_model, input_roots, wheel_folders
from sctir_kaggle.competition.profile import Profile, profile_of
from sctir_kaggle.engines.gpus import GPU, visible_gpus
from sctir_kaggle.engines.registry import entry_of, is_hub_name
from sctir_kaggle.kaggle.checks import checkpoint, gpu, inputs, machine, vllm
from sctir_kaggle.kaggle.checks.finding import Check, Finding, Machine, of_error
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["CHECKS", "Finding", "Machine", "examine", "report", "run", "worst"]

CHECKS: tuple[Check, ...] = (
    *(machine.environment, machine.clock, machine.python, machine.libraries),
    *(gpu.gpus, gpu.cuda),
    *(checkpoint.weights, checkpoint.tokenizer, checkpoint.dialect, checkpoint.context, checkpoint.quantization),
    *(gpu.dtype, gpu.room, vllm.vllm),
    *(inputs.wheels, inputs.competition),
    *(machine.sandbox, machine.disk, machine.shared_memory, machine.internet),
)
"""All checks, in the order of the report."""

OF_CHECKPOINT: tuple[Check, ...] = (
    *(checkpoint.weights, checkpoint.tokenizer, checkpoint.dialect, checkpoint.context, checkpoint.quantization),
    *(gpu.dtype, gpu.room),
)
"""Checks that look at the checkpoint: without one there is nothing that they could say."""

OF_WEIGHTS: tuple[Check, ...] = (*OF_CHECKPOINT, gpu.gpus, gpu.cuda, vllm.vllm)
"""Checks that make sense only if the engine loads weights."""

SECONDS = 20
"""Time limit of a check; those below have their own."""

_LIMITS: dict[Check, float] = {
    vllm.vllm: vllm.SECONDS + 5,
    inputs.competition: 2 * PROBE_SECONDS,  # an attached interpreter is unpacked and run
}


def examine(
    profile: str | Profile | None = None,
    model: str | Path | None = None,
    *,
    engine: str = "vllm",
    wheels: Path | None = None,
    folder: Path | None = None,
    roots: Roots | None = None,
    started: float | None = None,
    gpus: Sequence[GPU] | None = None,
    dialect: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Return all findings, in the order of `CHECKS`. Arguments that are None are found out: attached inputs, GPUs, start.

    `model` is a checkpoint's folder, `engine` a name of the registry with `options` (`EngineConfig.engine_options`),
    `dialect` as in `RunConfig`, `wheels` a folder of wheels or of such folders, `folder` where the run will be kept,
    `started` when the kernel began (monotonic seconds; default: the start of this process). Raises `UserError` for an
    unknown competition or engine, or if `wheels` holds none.
    """
    found = wheel_folders(roots if wheels is None else [wheels])
    if wheels is not None and not found:
        raise UserError(f"{wheels} holds no *.whl: pass the folder that does")
    target = Machine(
        profile=profile_of(profile) if isinstance(profile, str) else profile,
        engine=engine,
        dialect=dialect,
        options=options or {},
        wheels=found,
        roots=input_roots(roots),
        folder=folder or Path.cwd(),
        gpus=visible_gpus() if gpus is None else gpus,
        started=process_started() if started is None else started,
    )
    if entry_of(engine).model == "weights":
        return _with_model(target, model)
    return _without_weights(target, model)


def run(target: Machine, checks: Iterable[Check] = CHECKS, *, seconds: float = SECONDS) -> list[Finding]:
    """Run all checks at once, each for `seconds` at most; return their findings in the order of `checks`."""
    begun = [(check, _start(check, target)) for check in checks]
    began = time.monotonic()
    return [
        finding
        for check, future in begun
        for finding in _ended(check, future, began + _LIMITS.get(check, seconds) - time.monotonic())
    ]


def worst(findings: Iterable[Finding]) -> Literal["ok", "warning", "fatal"]:
    """Return the worst level."""
    levels = {finding.level for finding in findings}
    return "fatal" if "fatal" in levels else "warning" if "warning" in levels else "ok"


def report(findings: Iterable[Finding]) -> str:
    """Return a line for each finding, for a log."""
    return "\n".join(map(str, findings))


def _with_model(target: Machine, model: str | Path | None) -> list[Finding]:
    """Run the checks with the checkpoint that is named, else the attached one.

    Where there is none, say so and look at the machine alone: another model's findings would say nothing of this one.
    """
    try:
        if model is None:
            return run(replace(target, model=find_model(roots=target.roots)))
        if is_hub_name(model):
            found = Finding("checkpoint", "warning", f"{model} is at the Hub, not here", "download it, pass its folder")
        else:
            return run(replace(target, model=_folder_of(model)))
    except NotFound as error:
        found = of_error("checkpoint", error, target.missing if target.engine == "vllm" else "warning")
    except UserError as error:
        found = of_error("checkpoint", error)
    return [found, *run(target, _but(OF_CHECKPOINT))]


def _without_weights(target: Machine, model: str | Path | None) -> list[Finding]:
    """Run the checks of an engine that loads no weights, with the tokenizer or the record that `model` names."""
    kind, rest = entry_of(target.engine).model, _but(OF_WEIGHTS)
    if kind == "none" and (model is not None or target.dialect != "auto"):
        option = "--model" if model is not None else "--dialect"
        raise UserError(f"{option} is not for --engine {target.engine}, which asks its server: leave it out")
    if kind == "journal":
        return [inputs.record(model), *run(target, rest)]
    if model is None:
        return run(target, rest)
    if is_hub_name(model):
        return [
            Finding("tokenizer", "warning", f"{model} is at the Hub, not here", "pass its folder"),
            *run(target, rest),
        ]
    try:
        found = run(replace(target, model=_folder_of(model)), [checkpoint.tokenizer, checkpoint.dialect])
    except UserError as error:
        found = [of_error("tokenizer", error)]
    return [*found, *run(target, rest)]


def _folder_of(model: str | Path) -> Path:
    """The folder of a checkpoint. Raises `UserError` where it is none."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: pass the one that holds config.json and *.safetensors")
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} holds no config.json: pass the folder that holds it and *.safetensors")
    return folder


def _but(without: Sequence[Check]) -> list[Check]:
    return [check for check in CHECKS if check not in without]


def _start(check: Check, target: Machine) -> Future[list[Finding]]:
    """Start a check in a daemon thread: one that hangs must not keep the process alive."""
    future: Future[list[Finding]] = Future()

    def work() -> None:
        try:
            future.set_result(list(check(target)))
        except BaseException as error:  # a bug in a check is a finding
            future.set_exception(error)

    threading.Thread(target=work, name=f"doctor-{_name(check)}", daemon=True).start()
    return future


def _ended(check: Check, future: Future[list[Finding]], seconds: float) -> list[Finding]:
    try:
        return future.result(timeout=max(0.0, seconds))
    except NotInTime:
        return [Finding(_name(check), "warning", "did not end in time", "try again; the first read of a disk is slow")]
    except Exception as error:
        detail = f"the check itself failed ({type(error).__name__}: {error})"
        return [Finding(_name(check), "warning", " ".join(detail.split()), "check it by hand, and report this")]


def _name(check: Callable[..., object]) -> str:
    return getattr(check, "__name__", "check").replace("_", " ")


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return a table for a terminal: level, check, detail, and the remedy below."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_header=False)
    for column in ("level", "check"):
        table.add_column(column, no_wrap=True)
    table.add_column("detail", overflow="fold")
    for finding in findings:
        colour = {"ok": "green", "warning": "yellow", "fatal": "bold red"}[finding.level]
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n-> {finding.remedy}", style=colour)
        table.add_row(Text(finding.level, style=colour), finding.check, detail)
    return table
