"""Checks of the machine itself: Python, libraries, sandbox, disk, clock, and how Kaggle started it.

Not covered: its speed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sctir_kaggle.display import clock_face
from sctir_kaggle.engines.registry import entry_of
from sctir_kaggle.engines.transformers import OLDEST, check_installed
from sctir_kaggle.kaggle.checks.finding import Finding, Machine, importable, installed, of_error, size
from sctir_kaggle.types import EngineError, ExecutorError

OLDEST_PYTHON = (3, 10)

JOURNAL_BYTES = 1 << 30
"""Ample room for a journal: 50 problems of 48 candidates with 4 turns of some kB each take a tenth of it at most."""

SMALLEST_JOURNAL_BYTES = 100 << 20

SHARED_BYTES = 1 << 30
"""Room in /dev/shm, which the processes of tensor parallelism share; many containers have 64 MiB only."""

HOPELESS_SECONDS = 300
"""With less time than this left, loading the model would take all of it."""

_ROUTES = Path("/proc/net/route")


def python(machine: Machine) -> Iterator[Finding]:
    """Whether the Python version is supported; whether it fits the wheels is another check."""
    found, oldest = (".".join(map(str, version)) for version in (machine.python, OLDEST_PYTHON))
    if machine.python < OLDEST_PYTHON:
        remedy = "choose a newer image (docker_image_pinning_type: latest)"
        yield Finding("python", "fatal", f"{found}, and {oldest} is the oldest that this package runs on", remedy)
    else:
        yield Finding("python", "ok", found)


def libraries(machine: Machine) -> Iterator[Finding]:
    """Whether the libraries are there that model-generated code and the competition's API import, and the engine's."""
    needed = ["numpy", "sympy", "pandas", "rich"]
    if machine.engine != "vllm":  # vLLM has a check of its own
        needed += entry_of(machine.engine).needs
    if machine.profile and machine.profile.api == "push":
        needed += ["polars", "grpc"]
    missing = [name for name in needed if not importable(name)]
    if missing:
        pip = " ".join(name.replace("grpc", "grpcio") for name in missing)
        yield Finding("libraries", "fatal", f"not installed: {', '.join(missing)}", f"pip install {pip}")
        return
    try:
        if machine.engine == "transformers":
            check_installed({name: installed(name) or "0" for name in OLDEST})
    except EngineError as error:
        yield of_error("libraries", error)
        return
    versions = (f"{name} {installed(name, name + 'io') or '(no version)'}" for name in needed)
    yield Finding("libraries", "ok", ", ".join(versions))


def sandbox(machine: Machine) -> Iterator[Finding]:
    """Which layers of the sandbox's confinement work here: each is tried out."""
    from sctir_kaggle.sandbox import layers

    try:
        found = layers()
    except ExecutorError as error:
        yield Finding("sandbox", "fatal", str(error), "no candidate's code can run here: choose another image")
        return
    held = ", ".join(layer.name for layer in found if layer.active)
    missing = "; ".join(f"{layer.name}: {layer.detail}" for layer in found if layer.active is False)
    if missing:
        remedy = "the run works without; sandbox/confinement.py says what is then not confined"
        yield Finding("sandbox", "warning", f"{held or 'no layer'} hold; missing {missing}", remedy)
    else:
        yield Finding("sandbox", "ok", f"{held} hold")


def disk(machine: Machine) -> Iterator[Finding]:
    """Whether the journal can be written, and whether the disk has room for it."""
    folder = next(path for path in (machine.folder.absolute(), *machine.folder.absolute().parents) if path.is_dir())
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"journal")
    except OSError as error:
        yield Finding("disk", "fatal", f"{folder} cannot be written to ({error.strerror})", "choose another folder")
        return
    free = shutil.disk_usage(folder).free
    detail = f"{size(free)} free in {folder}"
    if free < JOURNAL_BYTES:
        remedy = f"delete something: a journal may take up to {size(JOURNAL_BYTES)}"
        yield Finding("disk", "fatal" if free < SMALLEST_JOURNAL_BYTES else "warning", detail, remedy)
    else:
        yield Finding("disk", "ok", detail)


def shared_memory(machine: Machine, *, place: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Room in /dev/shm, which tensor parallelism over several GPUs needs."""
    free = shutil.disk_usage(place).free if place.is_dir() else 0
    if len(machine.gpus) > 1 and free < SHARED_BYTES:
        remedy = f"start the container with --shm-size={SHARED_BYTES >> 30}g, or take --layout replicas"
        yield Finding("shared memory", "warning", f"{size(free)} free in {place}, for {len(machine.gpus)} GPUs", remedy)
    else:
        yield Finding("shared memory", "ok", f"{size(free)} free in {place}")


def clock(machine: Machine) -> Iterator[Finding]:
    """How much of the competition's time is left since the kernel began. The editor has a limit of its own."""
    gone = time.monotonic() - machine.started
    if machine.profile is None:
        yield Finding("clock", "ok", f"{clock_face(gone)} since the start; no competition, no limit")
        return
    hours = machine.profile.hours
    left = hours * 3600 - gone
    detail = f"{clock_face(left)} of {hours:g} h left since the kernel's start"
    if left < HOPELESS_SECONDS:
        yield Finding("clock", "fatal", detail, "restart the session")
    elif gone > left:
        yield Finding("clock", "warning", detail, "less than half: restart the session for a full run")
    else:
        yield Finding("clock", "ok", detail)


def environment(machine: Machine) -> Iterator[Finding]:
    """How Kaggle started this kernel, and which environment variables of vLLM and CUDA are set."""
    kind = machine.environment.get("KAGGLE_KERNEL_RUN_TYPE", "unset")
    where = "competition rerun: this one counts" if machine.rerun else "no rerun"
    switches = sorted(name for name in machine.environment if name.startswith(("VLLM_", "CUDA_VISIBLE_DEVICES")))
    detail = f"{where}; KAGGLE_KERNEL_RUN_TYPE {kind}" + (f"; set by hand: {', '.join(switches)}" if switches else "")
    yield Finding("environment", "ok", detail)


def internet(machine: Machine, *, routes: Path = _ROUTES) -> Iterator[Finding]:
    """Whether there is a route to the internet, from the routing table: nothing is sent. The run needs none."""
    if not routes.is_file():
        yield Finding("internet", "ok", "this system does not say; the run needs none")
    elif _has_default(routes.read_text()):
        yield Finding("internet", "ok", "there is a route out (not tried); the run needs none, and a rerun has none")
    else:
        yield Finding("internet", "ok", "off")


def _has_default(table: str) -> bool:
    """Whether /proc/net/route has a default route: columns 2 (destination) and 8 (mask) are zero."""
    rows = [line.split() for line in table.splitlines()[1:]]
    return any(len(row) > 7 and row[1] == row[7] == "00000000" for row in rows)
