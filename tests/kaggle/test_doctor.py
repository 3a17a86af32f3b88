"""What the doctor says of a machine: every check on its own, with facts put in, and the command as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.competition.profile import PROFILES
from sctir_kaggle.engines import vllm_attention
from sctir_kaggle.engines.gpus import GPU, chosen_of
from sctir_kaggle.engines.vllm_attention import nvcc
from sctir_kaggle.engines.vllm_probe import VLLMProbe
from sctir_kaggle.kaggle.checks import gpu, machine
from sctir_kaggle.kaggle.checks import vllm as vllm_checks
from sctir_kaggle.kaggle.checks.finding import Check, Finding, Machine
from sctir_kaggle.kaggle.doctor import examine, report, run, worst
from sctir_kaggle.problems import ASSETS
from sctir_kaggle.sandbox import Layer
from sctir_kaggle.types import UserError
from tests.support.vllm_support import needs_vllm

MODEL = ASSETS / "model"
T4 = GPU(15 << 30, (7, 5), "0", free=15 << 30, product="Tesla T4")
P100 = replace(T4, capability=(6, 0), product="Tesla P100-PCIE-16GB")
H100 = replace(T4, memory=80 << 30, capability=(9, 0), free=80 << 30, product="NVIDIA H100")
KERNEL = {"KAGGLE_KERNEL_RUN_TYPE": "Batch"}
PLAIN = Machine(model=MODEL, environment={})


def the(check: Check, machine: Machine) -> Finding:
    """The only finding of a check."""
    [finding] = check(machine)
    return finding


def seven_b(folder: Path, **changes: Any) -> Path:
    """The shape of the 7B that won, in 8 bits, with weights of the right size that take no room on disk."""
    shape = {"num_hidden_layers": 30, "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}
    stored = {"dtype": "float16", "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps({**shape, **stored, **changes}))
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(7_900_000_000)
    return folder


def test_two_t4s_are_named_once() -> None:
    finding = the(gpu.gpus, replace(PLAIN, gpus=[T4, T4]))
    assert (finding.level, finding.detail) == ("ok", "2 x Tesla T4, compute capability 7.5")


def test_a_p100_is_fatal_and_the_accelerator_to_choose_is_named() -> None:
    finding = the(gpu.gpus, replace(PLAIN, gpus=[P100]))
    assert finding.level == "fatal"
    assert "6.0" in finding.detail
    assert "GPU T4 x2" in finding.remedy


@pytest.mark.parametrize(
    ("environment", "engine", "level"),
    [(KERNEL, "vllm", "fatal"), ({}, "vllm", "warning"), (KERNEL, "transformers", "ok")],
)
def test_no_gpu_is_as_bad_as_it_is_where_it_runs(environment: dict[str, str], engine: Any, level: str) -> None:
    assert the(gpu.gpus, replace(PLAIN, environment=environment, engine=engine)).level == level


@pytest.mark.parametrize(
    ("gpus", "stored", "level", "detail"),
    [
        ([T4], "float16", "ok", "float16: no bfloat16"),
        ([T4], "bfloat16", "warning", "float16, although stored as bfloat16"),
        ([H100], "bfloat16", "ok", "bfloat16, as stored"),
        ([H100, T4], "bfloat16", "warning", "float16"),
        ([], "float16", "ok", "float32 on a CPU"),
    ],
)
def test_the_number_format_follows_the_weakest_gpu(
    tmp_path: Path, gpus: list[GPU], stored: str, level: str, detail: str
) -> None:
    finding = the(gpu.dtype, replace(PLAIN, gpus=gpus, model=seven_b(tmp_path, dtype=stored)))
    assert finding.level == level
    assert finding.detail.startswith(detail)


def test_the_plan_of_two_t4s_is_shown_with_its_layout(tmp_path: Path) -> None:
    finding = the(gpu.room, replace(PLAIN, gpus=[T4, replace(T4, name="1")], model=seven_b(tmp_path)))
    assert finding.level == "warning"
    assert "GPUs in tensor parallel: 4.0 GB of weights a GPU" in finding.detail
    assert "preemption expected" in finding.detail


def test_a_model_that_does_not_fit_is_fatal(tmp_path: Path) -> None:
    finding = the(gpu.room, replace(PLAIN, gpus=[replace(T4, memory=8 << 30, free=8 << 30)], model=seven_b(tmp_path)))
    assert finding.level == "fatal"
    assert "too little" in finding.detail
    assert "smaller" in finding.remedy


def test_memory_that_somebody_holds_is_fatal_since_vllm_will_refuse(tmp_path: Path) -> None:
    held = replace(H100, free=50 << 30)
    [plan, taken] = gpu.room(replace(PLAIN, gpus=[held], model=seven_b(tmp_path)))
    assert (plan.level, taken.level) == ("ok", "fatal")
    assert "50.0 GiB free of 80.0 GiB" in taken.detail


def test_transformers_is_measured_on_one_gpu(tmp_path: Path) -> None:
    patient = replace(PLAIN, engine="transformers", gpus=[T4, T4], model=seven_b(tmp_path))
    assert the(gpu.room, patient).level == "ok"
    small = replace(T4, free=6 << 30)
    assert the(gpu.room, replace(patient, gpus=[small, small])).level == "fatal"


def test_a_model_larger_than_the_hosts_memory_is_fatal_without_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_available", lambda: 12 << 30)
    finding = the(gpu.room, replace(PLAIN, model=seven_b(tmp_path)))
    assert (finding.level, "12.0 GiB available" in finding.detail) == ("fatal", True)
    assert the(gpu.room, PLAIN).level == "ok"


@pytest.mark.parametrize(
    ("built", "served", "level"),
    [("12.8", "CUDA 12.4", "ok"), ("13.0", "CUDA 12.8", "fatal"), (None, "CUDA 12.8", "fatal"), ("12.8", None, "ok")],
)
def test_torch_is_built_for_what_the_driver_serves(
    monkeypatch: pytest.MonkeyPatch, built: str | None, served: str | None, level: str
) -> None:
    monkeypatch.setattr(gpu, "_torch_cuda", lambda: built)
    monkeypatch.setattr(gpu, "_driver_cuda", lambda: served)
    monkeypatch.setattr(gpu, "importable", lambda name: True)
    assert the(gpu.cuda, replace(PLAIN, gpus=[T4])).level == level
    assert the(gpu.cuda, PLAIN).level == "ok"


def test_a_torch_that_is_not_installed_yet_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "importable", lambda name: False)
    finding = the(gpu.cuda, replace(PLAIN, gpus=[T4]))
    assert (finding.level, finding.remedy) == ("warning", "install the attached wheels first")


def test_the_drivers_cuda_is_read_from_what_nvidia_smi_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    head = "| NVIDIA-SMI 570.172.08      Driver Version: 570.172.08     CUDA Version: 12.8     |"
    tool.write_text(f"#!/bin/sh\necho '{head}'\n")
    tool.chmod(0o755)
    monkeypatch.setattr(gpu, "_SMI", (str(tool),))
    assert gpu._driver_cuda() == "CUDA 12.8"


def test_free_memory_and_product_are_the_drivers() -> None:
    [found] = chosen_of("0, GPU-aa, 15360, 7.5, 14910, Tesla T4", None)
    assert (found.free, found.product) == (14910 << 20, "Tesla T4")
    [silent] = chosen_of("0, GPU-aa, 15360, 7.5, [N/A], Tesla T4", None)
    assert silent.free is None


@pytest.mark.parametrize(("gone", "level"), [(60, "ok"), (5 * 3600, "warning"), (9 * 3600 - 100, "fatal")])
def test_the_clock_counts_from_the_kernels_start(gone: float, level: str) -> None:
    patient = replace(PLAIN, profile=PROFILES["aimo1"], started=time.monotonic() - gone)
    assert the(machine.clock, patient).level == level


def test_without_a_competition_the_clock_has_no_limit() -> None:
    assert the(machine.clock, replace(PLAIN, started=time.monotonic() - 1e6)).level == "ok"


def test_an_old_python_is_fatal() -> None:
    assert the(machine.python, replace(PLAIN, python=(3, 9))).level == "fatal"
    assert the(machine.python, replace(PLAIN, python=(3, 12))).level == "ok"


def test_what_the_competitions_interface_imports_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "importable", lambda name: name != "grpc")
    assert the(machine.libraries, replace(PLAIN, profile=PROFILES["aimo1"])).level == "ok"
    finding = the(machine.libraries, replace(PLAIN, profile=PROFILES["aimo3"]))
    assert (finding.level, finding.remedy) == ("fatal", "pip install grpcio")


def test_the_sandboxs_layers_here_are_tried_out() -> None:
    finding = the(machine.sandbox, PLAIN)
    assert finding.level in ("ok", "warning")
    assert "limits" in finding.detail


def test_a_layer_that_is_missing_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = (Layer("limits", True, ""), Layer("landlock", False, "the kernel is too old"))
    monkeypatch.setattr("sctir_kaggle.sandbox.layers", lambda: layers)
    finding = the(machine.sandbox, PLAIN)
    assert finding.level == "warning"
    assert "missing landlock: the kernel is too old" in finding.detail


def test_a_disk_without_room_for_the_journal_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = replace(PLAIN, folder=tmp_path / "runs" / "new")
    for free, level in ((50 << 30, "ok"), (500 << 20, "warning"), (1 << 20, "fatal")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(machine.shutil, "disk_usage", lambda path, usage=usage: usage)  # type: ignore[attr-defined]
        assert the(machine.disk, here).level == level
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_fatal() -> None:
    assert the(machine.disk, replace(PLAIN, folder=Path("/proc/1"))).level == "fatal"


def test_little_shared_memory_matters_with_several_gpus_only(tmp_path: Path) -> None:
    [two] = machine.shared_memory(replace(PLAIN, gpus=[T4, T4]), place=tmp_path / "none")
    [one] = machine.shared_memory(replace(PLAIN, gpus=[T4]), place=tmp_path / "none")
    assert (two.level, one.level) == ("warning", "ok")


@pytest.mark.parametrize(
    ("destination", "detail"), [("00000000", "there is a route out"), ("000011AC", "off"), (None, "off")]
)
def test_a_way_out_is_read_from_the_routing_table(tmp_path: Path, destination: str | None, detail: str) -> None:
    head = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    mask = "00000000" if destination == "00000000" else "0000FFFF"
    row = f"eth0\t{destination}\t010011AC\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n" if destination else ""
    (tmp_path / "route").write_text(head + row)
    [finding] = machine.internet(PLAIN, routes=tmp_path / "route")
    assert finding.detail.startswith(detail)


def test_a_rerun_is_told_from_the_editor() -> None:
    rerun = replace(PLAIN, environment={**KERNEL, "KAGGLE_IS_COMPETITION_RERUN": "1"})
    assert "this one counts" in the(machine.environment, rerun).detail
    assert (
        "no rerun; KAGGLE_KERNEL_RUN_TYPE Batch" in the(machine.environment, replace(PLAIN, environment=KERNEL)).detail
    )


def test_a_check_that_raises_is_a_finding_and_costs_no_other() -> None:
    def broken(patient: Machine) -> Iterator[Finding]:
        yield Finding("broken", "ok", "so far")
        raise RuntimeError("a bug\nof two lines")

    findings = run(PLAIN, [broken, machine.python])
    assert [finding.check for finding in findings] == ["broken", "python"]
    assert findings[0].level == "warning"
    assert "a bug of two lines" in findings[0].detail


def test_a_check_that_hangs_is_a_finding_and_is_not_waited_for() -> None:
    never = threading.Event()

    def hanging(patient: Machine) -> list[Finding]:
        never.wait(600)
        return []

    began = time.monotonic()
    findings = run(PLAIN, [hanging, machine.python], seconds=1.0)
    never.set()
    assert [(finding.check, finding.level) for finding in findings] == [("hanging", "warning"), ("python", "ok")]
    assert time.monotonic() - began < 300


def test_the_worst_finding_is_the_verdict() -> None:
    levels: list[Any] = ["ok", "fatal", "warning"]
    findings = [Finding("c", level, "d") for level in levels]
    assert [worst(findings), worst(findings[::2]), worst(findings[:1]), worst([])] == ["fatal", "warning", "ok", "ok"]


@pytest.mark.slow
def test_a_whole_examination_is_quick_and_does_not_import_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from sctir_kaggle.kaggle.doctor import examine, report\n"
        f"print(report(examine('aimo1', engine='transformers', roots=[{str(tmp_path)!r}])))\n"
        "print(sorted({'torch', 'vllm', 'kaggle'} & sys.modules.keys()))"
    )
    began = time.monotonic()
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - began < 30
    assert "the check itself failed" not in ran.stdout


def test_a_missing_checkpoint_is_fatal_on_kaggle_and_no_other_is_looked_at_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("KAGGLE_KERNEL_RUN_TYPE", "KAGGLE_IS_COMPETITION_RERUN"):
        monkeypatch.delenv(name, raising=False)
    found, *others = examine(roots=[tmp_path], gpus=[])
    assert (found.check, found.level) == ("checkpoint", "warning")
    assert {"gpus", "cuda", "vllm", "sandbox"} <= {finding.check for finding in others}
    assert not {"weights", "tokenizer", "dialect", "room"} & {finding.check for finding in others}
    assert str(MODEL) not in report([found, *others])
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert examine(roots=[tmp_path], gpus=[])[0].level == "fatal"


def test_the_doctor_of_an_engine_without_weights_looks_at_what_is_named(tmp_path: Path) -> None:
    tokenizer = examine(model=MODEL, engine="openai", roots=[tmp_path], gpus=[])
    assert [finding.level for finding in tokenizer if finding.check in ("tokenizer", "dialect")] == ["ok", "ok"]
    assert examine(model=tmp_path, engine="openai", roots=[tmp_path], gpus=[])[0].level == "fatal"
    record = examine(model=tmp_path, engine="recorded", roots=[tmp_path], gpus=[])[0]
    assert (record.check, record.level) == ("record", "fatal")
    with pytest.raises(UserError, match="--model is not for --engine chat"):
        examine(model=MODEL, engine="chat", roots=[tmp_path], gpus=[])


def test_a_folder_without_a_checkpoint_is_fatal(tmp_path: Path) -> None:
    finding = examine(model=tmp_path, engine="transformers", roots=[tmp_path], gpus=[])[0]
    assert (finding.check, finding.level) == ("checkpoint", "fatal")
    assert "config.json" in finding.detail


def test_a_competition_or_wheels_that_there_are_not_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="aimo2"):
        examine("aimo9")
    with pytest.raises(UserError, match=r"holds no \*.whl"):
        examine(wheels=tmp_path)


@pytest.mark.parametrize("bad", [False, True])
def test_the_command_prints_a_line_a_finding_and_exits_with_the_verdict(
    tmp_path: Path, bad: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path if bad else MODEL
    assert main(["doctor", "--engine", "transformers", "--model", str(model)]) == int(bad)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith(("ok  ", "warning ", "fatal  ")) for line in lines)
    assert any(line.startswith("fatal ") for line in lines) == bad


def test_the_command_writes_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--engine", "transformers", "--model", str(MODEL), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"check", "level", "detail", "remedy"} == set(found[0])
    assert {"weights", "sandbox", "gpus"} <= {finding["check"] for finding in found}


def test_the_table_fits_a_hundred_columns_and_says_what_to_do() -> None:
    from rich.console import Console

    from sctir_kaggle.kaggle.doctor import findings_table

    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(findings_table([Finding("gpus", "fatal", "word " * 60 + "[not markup]", "choose [another]")]))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 100
    assert "[not markup]" in "".join(lines)
    assert lines[-1].strip() == "-> choose [another]"


def test_a_finding_is_one_line_with_the_remedy_last() -> None:
    text = report([Finding("gpus", "warning", "none", "choose one"), Finding("python", "ok", "3.12")])
    assert text == "warning gpus: none: choose one\nok      python: 3.12"


def test_vllms_answers_become_findings() -> None:
    t4 = VLLMProbe("0.19.1", "Tesla T4", "float16", "FLASH_ATTN", kernel="MarlinLinearKernel")
    assert [str(finding) for finding in vllm_checks.said(t4, PLAIN)] == [
        "ok      vllm: 0.19.1 on Tesla T4, float16",
        "ok      attention: FLASH_ATTN",
        "ok      kernel: MarlinLinearKernel",
    ]


OURS = VLLMProbe("0.19.1", "Tesla T4", "float16", "TRITON_ATTN", "compute capability", "FLASHINFER")
FLASHINFER = VLLMProbe("0.19.1", "Tesla T4", "float16", "FLASHINFER", "engine options", "FLASHINFER")
ON_T4S = replace(PLAIN, gpus=[T4, T4], environment={**KERNEL, "PATH": ""})


def attention(answers: VLLMProbe, machine: Machine) -> Finding:
    [finding] = [finding for finding in vllm_checks.said(answers, machine) if finding.check == "attention"]
    return finding


def executable(folder: Path, name: str) -> Path:
    """A program that is there, and is never run."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return folder / name


@pytest.fixture
def no_usual_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an image without CUDA's folder, whatever lies on this machine."""
    monkeypatch.setattr(vllm_checks, "nvcc", partial(nvcc, usual=Path("/nonexistent")))


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python's headers, which an image may lack."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "Python.h").touch()
    monkeypatch.setattr(
        "sctir_kaggle.engines.vllm_attention.sysconfig.get_paths", lambda: {"include": str(tmp_path / "include")}
    )
    return tmp_path / "include"


@pytest.mark.usefixtures("no_usual_cuda", "headers")
def test_an_image_without_nvcc_is_no_fault_for_the_back_end_that_we_choose(tmp_path: Path) -> None:
    path = str(executable(tmp_path / "bin", "gcc").parent)
    finding = attention(OURS, replace(ON_T4S, environment={**KERNEL, "PATH": path}))
    assert finding.level == "ok"
    assert finding.detail.startswith("TRITON_ATTN (chosen here: the GPU is older than compute capability 8.0")
    assert "vLLM itself would take FLASHINFER" in finding.detail
    assert f"no nvcc; Triton compiles it at the first step, its launcher with {path}/gcc" in finding.detail


@pytest.mark.usefixtures("no_usual_cuda")
def test_an_image_without_nvcc_is_fatal_for_a_back_end_that_compiles() -> None:
    finding = attention(FLASHINFER, ON_T4S)
    assert (finding.level, "there is no nvcc" in finding.detail) == ("fatal", True)
    assert "chosen by you: engine options" in finding.detail
    assert "attention_backend=TRITON_ATTN" in finding.remedy
    assert attention(FLASHINFER, replace(ON_T4S, environment={"PATH": ""})).level == "warning"


@pytest.mark.usefixtures("no_usual_cuda")
@pytest.mark.parametrize("found", ["CUDA_HOME", "PATH"])
def test_with_nvcc_such_a_back_end_costs_a_compilation_in_every_session(tmp_path: Path, found: str) -> None:
    nvcc_here = executable(tmp_path / "cuda" / "bin", "nvcc")
    there = {"CUDA_HOME": str(tmp_path / "cuda")} if found == "CUDA_HOME" else {"PATH": str(nvcc_here.parent)}
    machine = replace(ON_T4S, environment={**KERNEL, "PATH": "", **there})
    finding = attention(FLASHINFER, machine)
    assert finding.level == "warning"
    assert f"it compiles with {nvcc_here} when the model loads, in every session and in the rerun" in finding.detail
    own = replace(FLASHINFER, attention_from=None)  # what vLLM takes for a newer GPU
    assert attention(own, machine).level == "ok"


@pytest.mark.usefixtures("no_usual_cuda")
def test_compiled_kernels_that_are_installed_spare_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_attention, "find_spec", lambda name: name == "flashinfer_jit_cache" or None)
    assert attention(FLASHINFER, ON_T4S).level == "ok"


@pytest.mark.parametrize("missing", ["compiler", "headers"])
def test_an_image_without_a_c_compiler_is_fatal_for_triton(tmp_path: Path, headers: Path, missing: str) -> None:
    path = str(executable(tmp_path / "bin", "gcc").parent) if missing == "headers" else ""
    if missing == "headers":
        (headers / "Python.h").unlink()
    finding = attention(OURS, replace(ON_T4S, environment={**KERNEL, "PATH": path}))
    assert (finding.level, "no C compiler" in finding.detail) == ("fatal", True)
    assert "gcc" in finding.remedy


@pytest.mark.parametrize(
    ("name", "old"),
    [("transformers", "4.57.5"), ("transformers", "4.41.2"), ("torch", "2.5.1"), ("transformers", None)],
)
def test_a_version_that_the_engine_does_not_run_on_is_fatal(
    monkeypatch: pytest.MonkeyPatch, name: str, old: str | None
) -> None:
    monkeypatch.setattr(machine, "importable", lambda module: True)
    monkeypatch.setattr(machine, "installed", lambda *names: old if names[0] == name else "9.0.0")
    finding = the(machine.libraries, replace(PLAIN, engine="transformers"))
    assert finding.level == "fatal"
    assert finding.detail.startswith(f"{name} {old or 0} is installed, engine=transformers needs ")
    assert finding.remedy.startswith(f"pip install '{name}>=")
    assert the(machine.libraries, replace(PLAIN, engine="vllm")).level == "ok"


@pytest.mark.parametrize(
    ("question", "reason", "level", "detail"),
    [
        ("import", "ImportError: libcudart.so.13", "fatal", "cannot be imported (ImportError: libcudart.so.13)"),
        ("configuration", "ValueError: not supported", "fatal", "0.19.1 refuses this checkpoint"),
        ("attention", "TypeError: 9 arguments", "warning", "cannot be asked here (TypeError"),
        ("kernel", "ValueError: Failed to find", "fatal", "no kernel for these weights"),
        ("kernel", "AttributeError: gone", "warning", "cannot be asked here (AttributeError"),
    ],
)
def test_what_vllm_refuses_is_told_from_what_it_cannot_be_asked(
    question: str, reason: str, level: str, detail: str
) -> None:
    version = None if question == "import" else "0.19.1"
    backend = None if question == "attention" else "TRITON_ATTN"
    answers = VLLMProbe(version, "cpu", "float16", backend, refused={question: reason})
    findings = list(vllm_checks.said(answers, PLAIN))
    assert any(finding.level == level and detail in finding.detail for finding in findings)


def test_vllm_that_is_not_there_is_as_bad_as_it_is_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_checks, "importable", lambda name: False)
    assert the(vllm_checks.vllm, PLAIN).level == "warning"
    assert the(vllm_checks.vllm, replace(PLAIN, environment=KERNEL)).level == "fatal"
    assert the(vllm_checks.vllm, replace(PLAIN, engine="transformers")).level == "ok"


@needs_vllm
def test_the_installed_vllm_says_what_it_will_take_for_the_embedded_model() -> None:
    findings = {finding.check: finding for finding in vllm_checks.vllm(PLAIN)}
    assert {finding.level for finding in findings.values()} == {"ok"}, findings
    assert set(findings) == {"vllm", "attention", "kernel"}
    assert findings["attention"].detail.isupper()


@needs_vllm
def test_vllms_own_reason_is_passed_on_where_it_has_no_kernel_for_the_weights() -> None:
    """Its CPU build has none for 8 bits; where a GPU or a plugin has one, that kernel is named."""
    findings = {finding.check: finding for finding in vllm_checks.vllm(replace(PLAIN, model=ASSETS / "model-gptq"))}
    assert findings["vllm"].level == "ok"
    assert "Kernel" in findings["kernel"].detail
    assert findings["kernel"].level == ("fatal" if "Failed to find" in findings["kernel"].detail else "ok")
