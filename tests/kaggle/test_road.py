"""A newcomer's road to a score, from an empty account, with the real client against an account at a Kaggle on loopback.

One data set of each name, one model, one version, one submission at its end: typed once, typed twice, or killed with SIGKILL
before or after any request and typed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path

import pytest

from sctir_kaggle.kaggle.wheels.requirements import LOCK, Lock, Wheel, write_lock
from tests.support.fake_hub import REPO, FakeHub
from tests.support.fake_kaggle import Json, journal_of, weights
from tests.support.kaggle_account import KaggleAccount, State, When

pytestmark = pytest.mark.kaggle_real
pytest.importorskip("kaggle", reason="needs the extra `kaggle`: pip install 'sctir-kaggle[kaggle]'")

ROOT = Path(__file__).resolve().parents[2]
ROAD = {
    "upload": ["upload", "--wheels", "../wheels", "--model", "../model", "--poll", "0.01"],
    "push": ["push", "--poll", "0.01", "--output", "runs/push"],
    "submit": ["submit", "-m", "48 x 4", "--poll", "0.01"],
}


class Machine:
    """A user's: a checkout, wheels and a checkpoint below `folder`, and commands in processes of their own."""

    def __init__(self, account: KaggleAccount, folder: Path) -> None:
        self.account, self.folder = account, folder
        home = folder / "home"
        home.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        self.environment = {**kept, **account.environment(home), "PYTHONPATH": str(ROOT)}
        self.fresh = folder / "fresh"
        (self.fresh / "notebooks").mkdir(parents=True)
        shutil.copy(ROOT / "kernel-metadata.json", self.fresh)
        notebook = {"cells": [_cell("print(1)\n"), _cell("print(2)")], "metadata": {}, "nbformat": 4}
        (self.fresh / "notebooks" / "submission.ipynb").write_text(json.dumps(notebook))
        _wheels(folder / "wheels")
        _model(folder / "model")
        self._loaded: subprocess.Popen[str] | None = None

    def checkout(self, name: str, like: Path | None = None) -> Path:
        return Path(shutil.copytree(like or self.fresh, self.folder / name, symlinks=True))

    def types(self, checkout: Path, *arguments: str) -> tuple[int, str]:
        """`python -m sctir_kaggle ...`."""
        done = subprocess.run(
            [sys.executable, "-m", "sctir_kaggle", *arguments],
            cwd=checkout,
            env=self.environment,
            timeout=300,
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said, said
        assert "made-up-key" not in said
        return done.returncode, said

    def forks(self, checkout: Path, *arguments: str, fatal: tuple[int, When] | None = None) -> tuple[int, str]:
        """The same from a process that has imported the client; killed at the request `fatal`."""
        loaded = self._loaded or self._load()
        output = checkout / "said.txt"
        self.account.count, self.account.fatal, self.account.pid = 0, None, 0
        with self.account._lock:  # no request is handled before the process is known
            print(json.dumps([str(checkout), list(arguments), str(output)]), file=loaded.stdin, flush=True)
            assert loaded.stdout is not None
            self.account.pid, self.account.fatal = int(loaded.stdout.readline()), fatal
        code = int(loaded.stdout.readline())
        said = output.read_text()
        assert "Traceback" not in said, said
        return code, said

    def _load(self) -> subprocess.Popen[str]:
        self._loaded = subprocess.Popen(
            [sys.executable, "-m", "tests.support.preloaded"],
            cwd=ROOT,
            env=self.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        return self._loaded

    def close(self) -> None:
        if self._loaded is not None:
            assert self._loaded.stdin is not None
            self._loaded.stdin.close()
            self._loaded.wait(60)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with KaggleAccount() as account:
        machine = Machine(account, tmp_path)
        yield machine
        machine.close()


def test_the_road_from_an_empty_account_to_a_score(machine: Machine) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    shutil.rmtree(machine.folder / "model")
    files = {"config.json": b"{}", "model.safetensors": weights(700), "README.md": b"# a card"}
    with FakeHub(files, large=("model.safetensors",)) as hub:
        machine.environment |= {"HF_ENDPOINT": hub.endpoint, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        _done(machine.types(checkout, "fetch", REPO, "--output", "../model"))
    said = {name: _done(machine.types(checkout, *arguments)) for name, arguments in ROAD.items()}
    _assert_one_of_each(account)
    assert "submission 1: public score 27" in said["submit"]
    document = json.loads((checkout / "kernel-metadata.json").read_text())
    assert document["dataset_sources"] == ["INSERT_OWNER/sctir-python310", "INSERT_OWNER/sctir-wheels"]
    assert document["model_sources"] == ["INSERT_OWNER/numinamath-7b-tir/transformers/gptq-8bit/1"]
    assert "kernel-metadata.json: dataset_sources is now INSERT_OWNER/sctir-python310, " in said["upload"]


def test_push_with_wheels_and_model_is_upload_and_push(machine: Machine) -> None:
    """On an empty account, from a folder that `hf download` left."""
    (machine.folder / "model" / ".cache").mkdir()
    checkout = machine.checkout("checkout")
    options = ["--wheels", "../wheels", "--upload-model", "../model", "--submit", "-m", "48 x 4"]
    said = _done(machine.forks(checkout, *ROAD["push"], *options))
    _assert_one_of_each(machine.account)
    assert "submission 1: public score 27" in said


def test_typed_a_second_time_each_command_says_that_it_is_done(machine: Machine) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    for arguments in ROAD.values():
        _done(machine.forks(checkout, *arguments))
    before = account.state.things()
    said = {name: _done(machine.forks(checkout, *arguments)) for name, arguments in ROAD.items()}
    assert account.state.things() == before
    assert said["upload"].count("is there already") == 3
    assert "version 1 of alice/sctir-kaggle is this already" in said["push"]
    assert "version 1 of alice/sctir-kaggle was submitted already: submission 1" in said["submit"]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("command", list(ROAD))
def test_killed_at_any_request_and_typed_again_it_ends_as_if_it_had_not_been(
    machine: Machine, command: str, when: When
) -> None:
    """The requests of one whole run are counted, so that every gap between two of them has its kill."""
    account, names = machine.account, list(ROAD)
    start = machine.checkout("start")
    for name in names[: names.index(command)]:
        _done(machine.forks(start, *ROAD[name]))
    state = deepcopy(account.state)
    whole = machine.checkout("whole", start)
    _done(machine.forks(whole, *ROAD[command]))
    requests, wanted = account.count, account.state.things()
    assert requests > 5
    for number in range(1, requests + 1):
        account.state = deepcopy(state)
        checkout = machine.checkout(f"killed-{number}", start)
        code, said = machine.forks(checkout, *ROAD[command], fatal=(number, when))
        assert code == -9, said
        _done(machine.forks(checkout, *ROAD[command]))
        assert account.state.things() == wanted, (number, said)
        assert _metadata(checkout) == _metadata(whole)


def test_a_file_of_which_half_had_come_is_not_sent_from_its_beginning(machine: Machine) -> None:
    """The kill comes in the middle of the checkpoint."""
    account, checkout = machine.account, machine.checkout("checkout")
    arguments = ["upload", "--model", "../model", "--poll", "0.01"]
    _done(machine.forks(machine.checkout("whole"), *arguments))
    [number] = [index for index, (call, body) in enumerate(account.asked) if body.get("name") == "model.safetensors"]
    account.state = State()
    code, _ = machine.forks(checkout, *arguments, fatal=(number + 1 + _puts_before(account, number) + 1, "before"))
    assert code == -9
    [half] = [blob for blob in account.state.blobs.values() if blob.name == "model.safetensors"]
    assert 0 < len(half.data) < half.size
    _done(machine.forks(checkout, *arguments))
    assert [blob.name for blob in account.state.blobs.values()].count("model.safetensors") == 1
    assert half.data == (machine.folder / "model" / "model.safetensors").read_bytes()


def test_other_files_make_one_more_version_and_a_run_with_them(machine: Machine) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    for arguments in (ROAD["upload"], ROAD["push"]):
        _done(machine.forks(checkout, *arguments))
    (machine.folder / "wheels" / "sctir-wheels" / "d-1-py3-none-any.whl").write_bytes(b"new")
    (machine.folder / "model" / "config.json").write_text('{"changed": 1}')
    for arguments in (ROAD["upload"], ROAD["push"]):
        _done(machine.forks(checkout, *arguments))
    versions = {ref: len(versions) for ref, versions in account.state.datasets.items()}
    assert versions == {"alice/sctir-wheels": 2, "alice/sctir-python310": 1}
    assert _metadata(checkout)["model_sources"] == ["INSERT_OWNER/numinamath-7b-tir/transformers/gptq-8bit/2"]
    assert len(account.state.kernels["alice/sctir-kaggle"]) == 2


def test_a_checkpoint_that_was_trained_further_is_a_new_version_though_its_sizes_are_the_same(machine: Machine) -> None:
    checkout, path = machine.checkout("checkout"), machine.folder / "model" / "model.safetensors"
    _done(machine.forks(checkout, *ROAD["upload"]))
    path.write_bytes(path.read_bytes().replace(b"w", b"v"))
    _done(machine.forks(checkout, *ROAD["upload"]))
    versions = machine.account.state.models["alice/numinamath-7b-tir"]["transformers/gptq-8bit"]
    assert [files["model.safetensors"] for files in versions] == [len(weights(700))] * 2


def test_again_makes_one_more_version_of_the_same_notebook_and_one_more_submission_of_it(machine: Machine) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    for arguments in ROAD.values():
        _done(machine.forks(checkout, *arguments))
    _done(machine.forks(checkout, *ROAD["push"], "--again"))
    assert len(account.state.kernels["alice/sctir-kaggle"]) == 2
    _done(machine.forks(checkout, *ROAD["submit"], "--kernel-version", "1", "--again"))
    assert [each["version"] for each in account.state.submissions] == [1, 1]


def test_what_is_not_at_kaggle_is_refused_before_a_version_is_made(machine: Machine) -> None:
    code, said = machine.forks(machine.checkout("checkout"), *ROAD["push"])
    assert code == 2
    assert "alice/sctir-wheels, alice/sctir-python310" in said
    assert "numinamath-7b-tir/transformers/gptq-8bit/1 is not at Kaggle: sctir upload" in said
    assert machine.account.state == State()


@pytest.mark.parametrize("command", list(ROAD))
def test_a_dry_run_sends_nothing(machine: Machine, command: str) -> None:
    said = _done(machine.forks(machine.checkout("checkout"), *ROAD[command], "--dry-run"))
    assert machine.account.count == 0
    assert "no request was sent" in said


def test_a_folder_that_hf_download_or_git_clone_left_is_uploaded_without_what_they_leave(machine: Machine) -> None:
    model = machine.folder / "model"
    for name in (".cache/huggingface/download", ".git/objects"):
        (model / name).mkdir(parents=True)
    (model / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    said = _done(machine.forks(machine.checkout("checkout"), *ROAD["upload"]))
    assert "left out: .cache, .git, .gitattributes" in said
    [files] = machine.account.state.models["alice/numinamath-7b-tir"]["transformers/gptq-8bit"]
    assert {name for name in files if not name.startswith("sha256-")} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder / "model" / "original").mkdir(), "has folders (original), which the client leaves out"),
        (lambda folder: (folder / "model" / "config.json").unlink(), "is no checkpoint"),
        (
            lambda folder: (folder / "model" / "model.safetensors").write_bytes(weights(700)[:-1]),
            "model.safetensors has 771 bytes and its header wants 772: fetch it again with `sctir fetch`",
        ),
        (
            lambda folder: _lock(folder / "wheels" / "sctir-wheels", python="3.10", sha256="0" * 64),
            "1 wheels are not there, or not whole: a-1-py3-none-any.whl",
        ),
        (
            lambda folder: _lock(folder / "wheels" / "sctir-wheels", python="3.10"),
            "the wheels are for Python 3.10, the notebook's image has 3.12",
        ),
        (
            lambda folder: (folder / "model" / "model.safetensors.index.json").write_text(
                '{"weight_map": {"a": "model-2.safetensors"}}'
            ),
            "lacks model-2.safetensors: fetch it again",
        ),
        (
            lambda folder: shutil.copytree(folder / "wheels" / "sctir-wheels", folder / "wheels" / "same"),
            "alice/sctir-wheels is the id of two folders",
        ),
        (lambda folder: shutil.rmtree(folder / "wheels"), "has no dataset-metadata.json"),
        (
            lambda folder: [path.unlink() for path in (folder / "wheels" / "sctir-wheels").glob("*.whl")],
            "holds no files",
        ),
    ],
)
def test_nothing_is_sent_where_one_name_or_folder_is_wrong(machine: Machine, spoil: object, told: str) -> None:
    assert callable(spoil)
    spoil(machine.folder)
    code, said = machine.forks(machine.checkout("checkout"), *ROAD["upload"])
    assert (code, machine.account.count) == (2, 0), said
    assert told in said


def test_what_else_is_attached_stays_and_parts_of_an_earlier_split_go(machine: Machine) -> None:
    checkout = machine.checkout("checkout")
    document = _metadata(checkout)
    document["dataset_sources"] += ["INSERT_OWNER/sctir-wheels-2", "INSERT_OWNER/mine", "bob/corpus"]
    (checkout / "kernel-metadata.json").write_text(json.dumps(document))
    _done(machine.forks(checkout, *ROAD["upload"]))
    mine = ["INSERT_OWNER/sctir-python310", "INSERT_OWNER/sctir-wheels"]
    assert _metadata(checkout)["dataset_sources"] == [*mine, "INSERT_OWNER/mine", "bob/corpus"]


@pytest.mark.parametrize(
    ("journal", "told"),
    [
        (journal_of(failed=1), "candidates failed on 1 of 3 problems, the first fault: p0: 1 of 1 candidates failed"),
        (journal_of(votes=False), "not one of 3 problems has a vote"),
        (journal_of(answers=(0, 0, 0)), "all 3 answers are the same"),
        (journal_of(answers=()), "holds no result"),
        (None, "the run left no journal.jsonl"),
        (b"{}\n", "its journal cannot be read"),
    ],
    ids=["faults", "no votes", "one answer", "no results", "no journal", "no header"],
)
@pytest.mark.parametrize("command", ["submit", "push"])
def test_a_run_that_is_not_worth_it_is_not_submitted_unless_it_is_asked_for(
    machine: Machine, command: str, journal: bytes | None, told: str
) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    account.files = {"submission.csv": b"id,answer\np0,7\n", **({} if journal is None else {"journal.jsonl": journal})}
    _done(machine.forks(checkout, *ROAD["upload"]))
    code, said = machine.forks(checkout, *ROAD["push"])
    assert (code, told in said, "kaggle competitions submit" in said) == (1, True, False)
    arguments = ROAD["submit"] if command == "submit" else [*ROAD["push"], "--submit"]
    code, said = machine.forks(checkout, *arguments)
    assert (code, account.state.submissions) == (1, [])
    assert f"sctir: not submitted: {told}" in said.replace(f"{checkout}/", "") or told in said
    assert "--submit-anyway" in said
    assert told in _done(machine.forks(checkout, *arguments, "--submit-anyway"))
    assert len(account.state.submissions) == 1


def test_one_problem_in_ten_with_a_fault_is_no_reason_not_to_submit(machine: Machine) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    account.files["journal.jsonl"] = journal_of(answers=tuple(range(10)), failed=1)
    for arguments in ROAD.values():
        _done(machine.forks(checkout, *arguments))
    assert len(account.state.submissions) == 1


def test_a_submission_that_kaggle_cannot_score_is_told_with_its_reason(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout, account = machine.checkout("checkout"), machine.account
    broken = {"status": "ERROR", "errorDescription": "Notebook Threw Exception"}
    monkeypatch.setattr(account, "_score", lambda _: broken)
    for name in ("upload", "push"):
        _done(machine.forks(checkout, *ROAD[name]))
    code, said = machine.forks(checkout, *ROAD["submit"])
    assert code == 1
    assert "submission 1 has no score: Notebook Threw Exception" in said


def test_the_notebook_that_is_built_from_this_checkout_is_the_same_every_time(machine: Machine) -> None:
    """With the library's wheel in it: a build that differed would make a version each time."""
    checkout = machine.checkout("checkout")
    _done(machine.forks(checkout, *ROAD["upload"]))
    for name in ("sctir_kaggle", "pyproject.toml", "README.md", "LICENSE", "notebooks/submission.py"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, checkout / name)
    assert "pushed: version 1" in _done(machine.forks(checkout, *ROAD["push"]))
    assert "version 1 of alice/sctir-kaggle is this already" in _done(machine.forks(checkout, *ROAD["push"]))
    said = _done(machine.forks(checkout, *ROAD["push"], "--set", "top_p=0.9"))
    assert "version 1 of alice/sctir-kaggle differs in source" in said


def _done(result: tuple[int, str]) -> str:
    code, said = result
    assert code == 0, said
    return said


def _assert_one_of_each(account: KaggleAccount) -> None:
    state = account.state
    assert {ref: len(versions) for ref, versions in state.datasets.items()} == {
        "alice/sctir-wheels": 1,
        "alice/sctir-python310": 1,
    }
    assert list(state.models) == ["alice/numinamath-7b-tir"]
    [versions] = state.models["alice/numinamath-7b-tir"].values()
    assert len(versions) == 1
    assert {ref: len(versions) for ref, versions in state.kernels.items()} == {"alice/sctir-kaggle": 1}
    [submission] = state.submissions
    assert submission == {"ref": 1, "description": "48 x 4 [alice/sctir-kaggle v1]", "version": 1}


def _puts_before(account: KaggleAccount, number: int) -> int:
    """Every blob that was begun before was also put."""
    return sum(call == "StartBlobUpload" for call, _ in account.asked[:number])


def _metadata(checkout: Path) -> Json:
    document: Json = json.loads((checkout / "kernel-metadata.json").read_text())
    return document


def _cell(source: str) -> Json:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


def _wheels(folder: Path) -> None:
    for slug, names in (("sctir-wheels", ("a", "b", "c")), ("sctir-python310", ("python",))):
        part = folder / slug
        part.mkdir(parents=True)
        for name in names:
            (part / f"{name}-1-py3-none-any.whl").write_bytes(name.encode() * 10)
        document = {
            "title": slug.replace("-", " "),
            "id": f"INSERT_OWNER/{slug}",
            "licenses": [{"name": "other"}],
        }
        (part / "dataset-metadata.json").write_text(json.dumps(document))


def _model(folder: Path) -> None:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights(700))


def _lock(folder: Path, *, python: str, sha256: str | None = None) -> None:
    """A lock beside the wheels that names one of them, with its hash or another."""
    wheel = folder / "a-1-py3-none-any.whl"
    content = wheel.read_bytes()
    found = sha256 or hashlib.sha256(content).hexdigest()
    made = Wheel("a", "1", wheel.name, found, "https://example.org/a", len(content))
    write_lock(folder / LOCK, Lock(python, "an image", "0", [made]))
