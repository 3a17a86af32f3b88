"""`sctir push` with the real kaggle client, in a process of its own, against a Kaggle on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.fake_kaggle import DROP, FakeKaggle, Reply, journal_of, refuses, status, weights

pytestmark = pytest.mark.kaggle_real
pytest.importorskip("kaggle", reason="needs the extra `kaggle`: pip install 'sctir-kaggle[kaggle]'")

ROOT = Path(__file__).resolve().parents[2]
CELL: dict[str, object] = {
    "cell_type": "code",
    "metadata": {},
    "source": ["print(1)\n", "print(2)"],
    "outputs": [],
    "execution_count": None,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The committed metadata, and a notebook where it says."""
    folder = tmp_path / "checkout"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "kernel-metadata.json").write_bytes((ROOT / "kernel-metadata.json").read_bytes())
    notebook = {"cells": [CELL], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / "notebooks" / "submission.ipynb").write_text(json.dumps(notebook))
    return folder


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheels" / "sctir-wheels"
    folder.mkdir(parents=True)
    for name in ("a-1-py3-none-any.whl", "b-1-py3-none-any.whl"):
        (folder / name).write_bytes(name.encode() * 10)
    document = {"title": "sctir wheels", "id": "INSERT_OWNER/sctir-wheels", "licenses": [{"name": "other"}]}
    (folder / "dataset-metadata.json").write_text(json.dumps(document))
    return folder.parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights())
    return folder


def sctir_push(kaggle: FakeKaggle, checkout: Path, *options: object, **environment: str) -> tuple[int, str]:
    """Exit code, and all that was said, in which no secret may be. An empty value leaves a variable out."""
    home = checkout.parent / "home"
    home.mkdir(exist_ok=True)
    output = checkout.parent / "out"
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    every = {**kept, **kaggle.environment(home), "PYTHONPATH": str(ROOT), **environment}
    command = [
        sys.executable,
        "-m",
        "sctir_kaggle",
        "push",
        "--path",
        checkout,
        "--output",
        output,
        "--poll",
        0.01,
        *options,
    ]
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env={name: value for name, value in every.items() if value},
        timeout=120,
    )
    said = done.stdout + done.stderr
    assert "made-up-key" not in said
    assert "Traceback" not in said, said
    return done.returncode, said


def test_push_follow_fetch_and_the_command_that_submits(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 0, said
    assert "does not resolve" not in said  # the client's own remark on a title that is not the slug
    [sent] = kaggle.calls("SaveKernel")
    assert sent["slug"] == "alice/sctir-kaggle"
    assert sent["enableInternet"] is False
    assert (sent["enableGpu"], sent["isPrivate"], sent["machineShape"]) == (True, True, "NvidiaTeslaT4")
    assert sent["competitionDataSources"] == ["ai-mathematical-olympiad-prize"]
    assert json.loads(sent["text"])["cells"][0]["source"] == "print(1)\nprint(2)"
    for state in ("queued |", "running |", "complete |"):
        assert state in said
    output = checkout.parent / "out" / "output"
    assert (output / "submission.csv").read_bytes() == kaggle.files["submission.csv"]
    assert (output / "runs" / "journal.jsonl").exists()
    assert (output / "log.txt").read_text().splitlines()[-1] == "line 39"
    assert (
        "kaggle competitions submit ai-mathematical-olympiad-prize -k alice/sctir-kaggle -v 3 -f submission.csv -m"
        in said
    )
    assert kaggle.calls("CreateCodeSubmission") == []


def test_submit_sends_the_version_that_was_pushed(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--submit", "-m", "48 x 4")
    assert code == 0, said
    [sent] = kaggle.calls("CreateCodeSubmission")
    assert sent == {
        "competitionName": "ai-mathematical-olympiad-prize",
        "kernelOwner": "alice",
        "kernelSlug": "sctir-kaggle",
        "kernelVersion": 3,
        "fileName": "submission.csv",
        "submissionDescription": "48 x 4 [alice/sctir-kaggle v3]",
    }


@pytest.mark.parametrize(
    ("refused", "remedy"),
    [(401, "kaggle auth login"), (403, "that you accepted its rules"), (400, "check kernel-metadata.json")],
)
def test_a_refused_push_is_told_once_with_what_to_do(checkout: Path, refused: int, remedy: str) -> None:
    with FakeKaggle(SaveKernel=[refuses(refused, "no, thank you")]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 2
    assert said.splitlines()[-1].startswith(
        f"sctir: pushing alice/sctir-kaggle: Kaggle answered {refused} (no, thank you): "
    )
    assert remedy in said
    assert len(kaggle.calls("SaveKernel")) == 1


def test_a_busy_kaggle_is_asked_again_after_as_long_as_it_says(checkout: Path) -> None:
    busy = refuses(429, "slow down", Retry_After="1")
    with FakeKaggle(SaveKernel=[busy, busy, Reply({"versionNumber": 4})]) as kaggle:
        started = time.monotonic()
        code, said = sctir_push(kaggle, checkout)
    assert code == 0, said
    assert time.monotonic() - started > 2.0
    assert len(kaggle.calls("SaveKernel")) == 3
    assert "-v 4" in said


def test_a_kaggle_that_asks_for_an_hour_is_not_waited_for(checkout: Path) -> None:
    with FakeKaggle(SaveKernel=[refuses(429, "tomorrow", Retry_After="3600")]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 2
    assert "wait 3600 s and try again" in said


@pytest.mark.parametrize("broken", [DROP, refuses(503, "overloaded")])
def test_a_push_whose_fate_is_unknown_is_not_repeated(checkout: Path, broken: Reply) -> None:
    with FakeKaggle(SaveKernel=[broken]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 2
    assert len(kaggle.calls("SaveKernel")) == 1
    assert "it is not known whether it was done: look at https://www.kaggle.com/code/alice/sctir-kaggle" in said


def test_following_survives_a_dropped_connection_and_a_broken_kaggle(checkout: Path) -> None:
    states = [status("RUNNING"), DROP, refuses(502), status("COMPLETE")]
    with FakeKaggle(GetKernelSessionStatus=states) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 0, said
    assert len(kaggle.calls("GetKernelSessionStatus")) == 4


def test_a_run_that_fails_shows_why_and_the_end_of_its_log(checkout: Path) -> None:
    with FakeKaggle(GetKernelSessionStatus=[status("RUNNING"), status("ERROR", "Notebook Timeout Exceeded")]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 1
    assert "the last 15 of 40 lines of its log:" in said
    assert "  line 39" in said
    assert "line 24\n" not in said
    assert "failed (Notebook Timeout Exceeded) after 0:0" in said


def test_a_cancelled_run_is_told_from_a_failed_one(checkout: Path) -> None:
    with FakeKaggle(GetKernelSessionStatus=[status("CANCEL_REQUESTED"), status("CANCEL_ACKNOWLEDGED")]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 1
    assert "was cancelled after" in said
    assert len(kaggle.calls("GetKernelSessionStatus")) == 2


def test_a_source_that_kaggle_does_not_attach_ends_the_push(checkout: Path) -> None:
    answer = Reply({"versionNumber": 3, "invalidDatasetSources": ["alice/sctir-wheels"]})
    with FakeKaggle(SaveKernel=[answer]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 2
    assert "version 3 runs without dataset_sources alice/sctir-wheels" in said
    assert kaggle.calls("GetKernelSessionStatus") == []


def test_an_error_page_is_not_kept_as_an_output_file(checkout: Path) -> None:
    told = {"submission.csv": [refuses(503), Reply()]}
    with FakeKaggle(**told) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 0, said
    assert (checkout.parent / "out" / "output" / "submission.csv").read_bytes() == kaggle.files["submission.csv"]


def test_a_run_without_a_submission_file_is_not_submitted(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        del kaggle.files["submission.csv"]
        code, said = sctir_push(kaggle, checkout, "--submit", "-m", "x")
    assert code == 1
    assert "the run left no submission.csv" in said
    assert kaggle.calls("CreateCodeSubmission") == []


def test_a_submission_whose_fate_is_unknown_is_not_repeated(checkout: Path) -> None:
    with FakeKaggle(CreateCodeSubmission=[DROP]) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--submit", "-m", "x")
    assert code == 2
    assert len(kaggle.calls("CreateCodeSubmission")) == 1
    page = "https://www.kaggle.com/competitions/ai-mathematical-olympiad-prize/submissions"
    assert f"look at {page}, or run the command again" in said


def test_a_push_need_not_be_followed(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--no-follow")
    assert code == 0, said
    assert kaggle.calls("GetKernelSessionStatus") == []
    assert "when the run is complete: sctir submit, or kaggle competitions submit" in said


def test_without_credentials_one_line_says_what_to_do(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, KAGGLE_USERNAME="", KAGGLE_KEY="")
        assert kaggle.asked == []
    assert code == 2
    [line] = said.splitlines()
    assert "found no credentials that work: run `kaggle auth login`" in line


def test_a_token_that_kaggle_does_not_know_is_no_credential(checkout: Path) -> None:
    with FakeKaggle(IntrospectToken=[refuses(401, "who are you?")]) as kaggle:
        code, said = sctir_push(kaggle, checkout, KAGGLE_USERNAME="", KAGGLE_KEY="", KAGGLE_API_TOKEN="made-up-key-4")
        assert kaggle.calls("SaveKernel") == []
    assert code == 2
    [line] = said.splitlines()
    assert "logging in: Kaggle answered 401 (who are you?)" in line


def test_the_owner_is_the_one_who_is_logged_in(checkout: Path) -> None:
    with FakeKaggle(IntrospectToken=[Reply({"active": True, "username": "bob"})]) as kaggle:
        code, said = sctir_push(kaggle, checkout, KAGGLE_USERNAME="", KAGGLE_KEY="", KAGGLE_API_TOKEN="made-up-key-4")
    assert code == 0, said
    [sent] = kaggle.calls("SaveKernel")
    assert sent["slug"] == "bob/sctir-kaggle"
    assert sent["datasetDataSources"] == ["bob/sctir-wheels", "bob/sctir-python310"]


def test_a_status_that_is_forbidden_is_told_as_kaggle_told_it(checkout: Path) -> None:
    with FakeKaggle(GetKernelSessionStatus=[refuses(403, "Permission 'kernels.get' was denied")]) as kaggle:
        code, said = sctir_push(kaggle, checkout)
    assert code == 2
    assert (
        "asking for the status of alice/sctir-kaggle: Kaggle answered 403 (Permission 'kernels.get' was denied)" in said
    )


def test_wheels_and_model_are_uploaded_before_the_push(checkout: Path, wheels: Path, model: Path) -> None:
    with FakeKaggle(GetDatasetStatus=[Reply({"status": s}) for s in ("READY", "BLOBS_RECEIVED", "READY")]) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--wheels", wheels, "--upload-model", model)
    assert code == 0, said
    order = [
        call for call, _ in kaggle.asked if call in ("CreateDatasetVersion", "CreateModelInstanceVersion", "SaveKernel")
    ]
    assert order == ["CreateDatasetVersion", "CreateModelInstanceVersion", "SaveKernel"]
    [version] = kaggle.calls("CreateDatasetVersion")
    assert (version["ownerSlug"], len(version["body"]["files"])) == ("alice", 2)
    assert kaggle.uploaded["a-1-py3-none-any.whl"] == b"a-1-py3-none-any.whl" * 10
    assert kaggle.uploaded["model.safetensors"] == weights()
    [sent] = kaggle.calls("SaveKernel")
    assert sent["modelDataSources"] == ["alice/numinamath-7b-tir/transformers/gptq-8bit/2"]
    assert len(kaggle.calls("GetDatasetStatus")) == 4


def test_a_dataset_that_is_not_there_is_made(checkout: Path, wheels: Path) -> None:
    gone = refuses(404, "not found")
    with FakeKaggle(GetDatasetStatus=[gone, gone, Reply({"status": "READY"})]) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--wheels", wheels)
    assert code == 0, said
    [made] = kaggle.calls("CreateDataset")
    assert (made["slug"], made.get("isPrivate"), len(made["files"])) == ("sctir-wheels", True, 2)


@pytest.mark.parametrize(
    ("ref", "folder", "told"),
    [
        ("bob/sctir-wheels", "", "id 'bob/sctir-wheels' is not yours: write alice/sctir-wheels, or say --owner bob"),
        ("INSERT_OWNER/sctir-wheels", "inner", "has folders (inner), which the client leaves out"),
    ],
)
def test_wheels_that_would_not_reach_the_notebook_are_refused_before_anything_is_sent(
    checkout: Path, wheels: Path, ref: str, folder: str, told: str
) -> None:
    [metadata] = wheels.glob("*/dataset-metadata.json")
    metadata.write_text(json.dumps({"title": "sctir wheels", "id": ref, "licenses": [{"name": "other"}]}))
    (metadata.parent / folder).mkdir(exist_ok=True)
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--wheels", wheels, "--dry-run")
    assert (code, kaggle.asked) == (2, [])
    assert told in said


def test_a_wheel_that_cannot_be_uploaded_makes_no_version(checkout: Path, wheels: Path) -> None:
    told = {"b-1-py3-none-any.whl": [refuses(403, "no")]}
    with FakeKaggle(**told) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--wheels", wheels)
    assert code == 2
    # ours where the client would go on without the file (2.2.4), else the client's own
    assert "b-1-py3-none-any.whl could not be uploaded, so" in said or "unsuccessful: b-1-py3-none-any.whl" in said
    assert kaggle.calls("CreateDatasetVersion") == kaggle.calls("SaveKernel") == []


def test_an_image_that_is_named_is_pushed_by_its_digest_and_its_python_is_not(checkout: Path) -> None:
    path = checkout / "kernel-metadata.json"
    image = f"gcr.io/kaggle-gpu-images/python@sha256:{'0' * 64}"
    document = {**json.loads(path.read_text()), "docker_image": image, "docker_image_python": "3.10"}
    path.write_text(json.dumps({**document, "dataset_sources": ["alice/sctir-wheels"]}))
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--no-follow")
    assert code == 0, said
    [sent] = kaggle.calls("SaveKernel")
    assert (sent["dockerImage"], sent["dockerImagePinningType"]) == (image, "original")
    assert not [key for key in sent if "imagepython" in key.lower()]


@pytest.mark.parametrize("competition", ["aimo1", "aimo3"])
def test_what_contradicts_the_competition_is_refused_before_anything_is_sent(checkout: Path, competition: str) -> None:
    path, notebook = checkout / "kernel-metadata.json", checkout / "notebooks" / "submission.ipynb"
    cell = {**CELL, "source": [f'SETTINGS = {{"competition": "{competition}"}}']}
    notebook.write_text(json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    if competition == "aimo1":  # agrees with the metadata, but has no Python to run on
        path.write_text(json.dumps({**json.loads(path.read_text()), "dataset_sources": ["alice/sctir-wheels"]}))
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--owner", "alice")
        assert kaggle.asked == []
    assert code == 2
    assert ("aimo1 runs on Python 3.10 alone" if competition == "aimo1" else '"aimo3": choose one') in said


def test_a_run_in_which_every_candidate_failed_is_not_submitted(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        kaggle.files["runs/journal.jsonl"] = journal_of(failed=3, votes=False, answers=(0, 0, 0))
        code, said = sctir_push(kaggle, checkout, "--submit", "-m", "x")
    assert (code, kaggle.calls("CreateCodeSubmission")) == (1, []), said
    line = said.splitlines()[-1]
    assert "not submitted: candidates failed on 3 of 3 problems, the first fault: p0: 1 of 1 candidates failed" in line


def test_the_first_upload_makes_model_and_variation(checkout: Path, model: Path) -> None:
    gone, made = refuses(404, "not found"), Reply({"id": 1})
    told = {"GetModel": [gone], "CreateModel": [made], "CreateModelInstance": [made]}
    listed = Reply({"versionList": {"versions": [{"versionNumber": 1}]}})
    with FakeKaggle(**told, ListModelInstanceVersions=[gone, listed]) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--upload-model", model)
    assert code == 0, said
    [shell], [variation] = kaggle.calls("CreateModel"), kaggle.calls("CreateModelInstance")
    assert (shell["ownerSlug"], shell["slug"], shell["isPrivate"]) == ("alice", "numinamath-7b-tir", True)
    body = variation["body"]
    assert (body["instanceSlug"], body["framework"]) == ("gptq-8bit", "MODEL_FRAMEWORK_TRANSFORMERS")
    assert (body["licenseName"], len(body["files"])) == ("Apache 2.0", 3)
    [sent] = kaggle.calls("SaveKernel")
    assert sent["modelDataSources"] == ["alice/numinamath-7b-tir/transformers/gptq-8bit/1"]


@pytest.mark.parametrize("name", [".cache", ".git"])
def test_a_checkpoint_that_hf_download_or_git_clone_left_is_uploaded(checkout: Path, model: Path, name: str) -> None:
    (model / name).mkdir()
    (model / name / "left").write_text("by it")
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--upload-model", model)
    assert code == 0, said
    assert {each for each in kaggle.uploaded if not each.startswith("sha256-")} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("call", ["CreateDatasetVersion", "CreateModelInstanceVersion"])
def test_a_version_whose_answer_is_lost_is_not_made_twice(checkout: Path, wheels: Path, model: Path, call: str) -> None:
    """The client itself would ask up to ten times."""
    with FakeKaggle(**{call: [DROP]}) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--wheels", wheels, "--upload-model", model)
    assert code == 2
    assert len(kaggle.calls(call)) == 1
    assert "it is not known whether it was done: run the command again: it first looks whether it was done" in said
    assert kaggle.calls("SaveKernel") == []


def test_an_upload_shows_files_bytes_and_what_is_sent(checkout: Path, wheels: Path) -> None:
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--wheels", wheels)
    assert code == 0, said
    assert "checked: dataset alice/sctir-wheels: 2 files, 400 B" in said
    assert "dataset: alice/sctir-wheels is ready: 2 files, 400 B" in said


def test_outputs_of_cells_are_not_sent_and_what_the_client_would_default_to_is_said(checkout: Path) -> None:
    """The client turns the internet on where the metadata does not say it, and sends one file."""
    path = checkout / "notebooks" / "submission.ipynb"
    output = {"output_type": "stream", "name": "stdout", "text": ["a secret\n"]}
    path.write_text(json.dumps({"cells": [{**CELL, "outputs": [output]}], "metadata": {}, "nbformat": 4}))
    (checkout / "notebooks" / "beside.py").write_text("print('not sent')")
    with FakeKaggle() as kaggle:
        assert sctir_push(kaggle, checkout)[0] == 0
    [sent] = kaggle.calls("SaveKernel")
    assert "a secret" not in sent["text"]
    assert "not sent" not in json.dumps(sent)
    assert {"enableInternet", "isPrivate", "enableGpu", "enableTpu", "machineShape"} <= sent.keys()
    assert sent["dockerImagePinningType"] == "original"


def test_a_run_that_is_not_green_is_a_red_line_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sctir_kaggle.kaggle.commands import _exit_code
    from sctir_kaggle.kaggle.versions import NotGreen

    def run() -> None:
        raise NotGreen("the run failed")

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert _exit_code(run) == 1
    assert capsys.readouterr().err == "\x1b[1;31msctir: the run failed\x1b[0m\n"


@pytest.mark.parametrize(
    ("answers", "failed", "told"),
    [((7, 8, 9), 3, "candidates failed on 3 of 3 problems"), ((), 0, "holds no result")],
)
def test_a_push_whose_run_found_nothing_is_not_green(
    checkout: Path, answers: list[int], failed: int, told: str
) -> None:
    with FakeKaggle() as kaggle:
        kaggle.files["runs/journal.jsonl"] = journal_of(answers=answers, failed=failed)
        code, said = sctir_push(kaggle, checkout)
    assert code == 1, said
    assert told in said.splitlines()[-1]
    assert "kaggle competitions submit" not in said


@pytest.mark.parametrize("content", [b"", b"id,answer\n"])
def test_a_submission_without_an_answer_is_not_submitted(checkout: Path, content: bytes) -> None:
    with FakeKaggle() as kaggle:
        kaggle.files["submission.csv"] = content
        code, said = sctir_push(kaggle, checkout, "--submit", "-m", "x")
    assert (code, kaggle.calls("CreateCodeSubmission")) == (1, []), said
    assert "the run left a submission.csv without an answer" in said


def test_an_owner_in_capitals_is_told_in_one_line(checkout: Path) -> None:
    with FakeKaggle() as kaggle:
        code, said = sctir_push(kaggle, checkout, "--owner", "Alice")
    assert (code, kaggle.asked) == (2, [])
    assert said == "sctir: the owner Alice is no name at Kaggle: write it as in kaggle.com/NAME, in small letters\n"


def test_a_submission_that_kaggle_turns_down_is_told_as_such(checkout: Path) -> None:
    refused = Reply({"message": "Submission not allowed: your team has used its daily allowance"})
    with FakeKaggle(CreateCodeSubmission=[refused]) as kaggle:
        code, said = sctir_push(kaggle, checkout, "--submit", "-m", "x")
    assert code == 2, said
    assert (
        "Kaggle says: Submission not allowed: your team has used its daily allowance: look at" in said.splitlines()[-1]
    )
    assert "submitted:" not in said


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["push", "--poll", "0"], "argument --poll: '0' must be more than 0 seconds"),
        (["submit", "--poll", "soon"], "argument --poll: 'soon' is not a time; write 9h, 1h30m"),
        (["submit", "--kernel-version", "0"], "argument --kernel-version: '0' must be a whole number of at least 1"),
    ],
)
def test_a_number_that_cannot_be_is_refused_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sctir_kaggle.cli import main

    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    usage, line = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: sctir {arguments[0]} ")
    assert line.startswith(f"sctir {arguments[0]}: {told}")
