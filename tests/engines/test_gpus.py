"""The GPUs that this process may use, as NVIDIA's driver lists them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from sctir_kaggle.engines import gpus as driver
from sctir_kaggle.engines.gpus import chosen_of, visible_gpus

LISTING = "0, GPU-aa, 15360, 7.5\n1, GPU-bb, 15360, 7.5\n"


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["0", "1"]),
        ("1", ["1"]),
        ("1,0", ["1", "0"]),
        ("GPU-bb, 0", ["GPU-bb", "0"]),
        ("0,-1,1", ["0"]),  # CUDA ends at the first that it does not know
        ("", []),
    ],
)
def test_the_gpus_are_those_that_cuda_would_see(visible: str | None, names: list[str]) -> None:
    found = chosen_of(LISTING, visible)
    assert [gpu.name for gpu in found] == names
    assert all((gpu.memory, gpu.capability) == (15 << 30, (7, 5)) for gpu in found)


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(driver, "_QUERY", (str(tmp_path / "nvidia-smi"),))
    assert visible_gpus({}) == []
    monkeypatch.setattr(driver, "_QUERY", ("false",))
    assert visible_gpus({}) == []


def test_the_driver_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def smi(command: tuple[str, ...], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, LISTING, "")

    monkeypatch.setattr(subprocess, "run", smi)
    assert [gpu.name for gpu in visible_gpus({"CUDA_VISIBLE_DEVICES": "1"})] == ["1"]
    assert asked[0][0] == "nvidia-smi"
