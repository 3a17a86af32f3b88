"""`sctir fetch` with the real huggingface_hub, in a process of its own, against a Hub on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sctir_kaggle.kaggle.fetch import Remote, is_right
from tests.support.fake_hub import COMMIT, REPO, FakeHub, blob_id

pytest.importorskip("huggingface_hub", reason="needs huggingface_hub, which the extra `kaggle` brings")

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = bytes(range(256)) * 40_000  # ten megabytes: the client reads in pieces of ten
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b'{"version": "1.0"}',
    "LICENSE": b"Apache License\n",
    "README.md": b"# a card\n",
    ".gitattributes": b"*.safetensors filter=lfs\n",
    "pytorch_model.bin": b"the same once more",
    "onnx/model.onnx": b"and once more",
}
KEPT = {"config.json", "model.safetensors", "tokenizer.json", "LICENSE"}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(dict(FILES), large=("model.safetensors", "pytorch_model.bin")) as hub:
        yield hub


def command(*options: object) -> list[str]:
    return [sys.executable, "-m", "sctir_kaggle", "fetch", *map(str, options)]


def environment(hub: FakeHub, home: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "HOME": str(home), "PYTHONPATH": str(ROOT)}
    return {**kept, **own, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_XET": "1"}


def sctir_fetch(hub: FakeHub, home: Path, *options: object) -> tuple[int, str]:
    done = subprocess.run(
        command(*options), capture_output=True, text=True, env=environment(hub, home), timeout=300, cwd=home
    )
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


def fetched(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_what_inference_reads_is_fetched_and_the_rest_is_named(hub: FakeHub, tmp_path: Path) -> None:
    code, said = sctir_fetch(hub, tmp_path, REPO)
    assert code == 0, said
    folder = tmp_path / "runs" / "NuminaMath-7B-TIR-GPTQ"
    assert fetched(folder) == {name: FILES[name] for name in KEPT}
    assert f"{REPO} at {COMMIT[:12]}: 4 files, 10.2 MB" in said
    for name in set(FILES) - KEPT:
        assert name in said
    assert "every hash is right" in said


def test_a_second_call_fetches_nothing(hub: FakeHub, tmp_path: Path) -> None:
    assert sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")[0] == 0
    before = dict(hub.sent)
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")
    assert (code, hub.sent) == (0, before)
    assert "nothing was fetched" in said


def test_a_dry_run_fetches_nothing_and_says_how_much_it_would(hub: FakeHub, tmp_path: Path) -> None:
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model", "--dry-run")
    assert (code, hub.sent) == (0, {}), said
    assert not (tmp_path / "model").exists()
    assert f"to fetch into {tmp_path / 'model'}: 4 files, 10.2 MB" in said


@pytest.mark.slow
def test_a_transfer_that_breaks_goes_on_where_it_was(hub: FakeHub, tmp_path: Path) -> None:
    hub.broken["model.safetensors"] = 4_000_000
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")
    assert code == 0, said
    assert fetched(tmp_path / "model")["model.safetensors"] == WEIGHTS


@pytest.mark.slow
def test_a_killed_fetch_goes_on_where_it_was(hub: FakeHub, tmp_path: Path) -> None:
    """The bytes that came before the kill are not sent a second time."""
    hub.files["model.safetensors"] = WEIGHTS * 3
    hub.broken["model.safetensors"], hub.hold = 25_000_000, threading.Event()
    process = subprocess.Popen(
        command(REPO, "--output", tmp_path / "model"),
        env=environment(hub, tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=tmp_path,
    )
    assert hub.reached.wait(120)
    unfinished = tmp_path / "model" / ".cache" / "sctir"
    while not any(path.stat().st_size for path in unfinished.glob("*.part")):
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = sum(path.stat().st_size for path in unfinished.glob("*.part"))
    hub.hold.set()
    hub.sent.clear()
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")
    assert code == 0, said
    assert hub.sent["model.safetensors"] == 3 * len(WEIGHTS) - kept
    assert fetched(tmp_path / "model")["model.safetensors"] == WEIGHTS * 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_with_a_wrong_hash_is_removed_and_refused(hub: FakeHub, tmp_path: Path, name: str) -> None:
    hub.wrong.add(name)
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")
    assert code == 2
    assert f"{name} came with a wrong hash and was removed" in said
    assert not (tmp_path / "model" / name).exists()
    hub.wrong.clear()
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")
    assert code == 0, said
    assert fetched(tmp_path / "model") == {name: FILES[name] for name in KEPT}


@pytest.mark.slow
def test_a_file_that_changed_on_the_disk_is_fetched_again(hub: FakeHub, tmp_path: Path) -> None:
    assert sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")[0] == 0
    (tmp_path / "model" / "model.safetensors").write_bytes(WEIGHTS[:-1] + b"?")
    hub.sent.clear()
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", tmp_path / "model")
    assert code == 0, said
    assert list(hub.sent) == ["model.safetensors"]
    assert "is not what the Hub has: it is fetched again" in said
    assert fetched(tmp_path / "model")["model.safetensors"] == WEIGHTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refused", "told"),
    [
        ((404, "RepoNotFound"), "the Hub has no model AI-MO/NuminaMath-7B-TIR-GPTQ, or it is private"),
        ((403, "GatedRepo"), "is gated: accept its terms at https://huggingface.co/AI-MO/NuminaMath-7B-TIR-GPTQ"),
        ((404, "RevisionNotFound"), "has no revision v9: leave out --revision"),
        ((500, ""), "the Hub answered 500: try again later"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(
    hub: FakeHub, tmp_path: Path, refused: tuple[int, str], told: str
) -> None:
    hub.refused = refused
    code, said = sctir_fetch(hub, tmp_path, REPO, "--revision", "v9")
    assert code == 2
    [line] = said.splitlines()
    assert told in line


def test_a_hub_that_cannot_be_reached_is_told_in_one_line(hub: FakeHub, tmp_path: Path) -> None:
    hub._server.server_close()
    code, said = sctir_fetch(hub, tmp_path, REPO)
    assert code == 2
    assert "the Hub cannot be reached" in said.splitlines()[-1]


def test_a_name_without_an_owner_is_told_in_one_line(hub: FakeHub, tmp_path: Path) -> None:
    code, said = sctir_fetch(hub, tmp_path, "a/b/c")
    assert code == 2
    assert "is no name of a model: write OWNER/NAME" in said


def test_a_repository_without_safetensors_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    code, said = sctir_fetch(hub, tmp_path, REPO)
    assert (code, hub.sent) == (2, {})
    assert "no config.json or no *.safetensors" in said


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sctir_kaggle.kaggle import fetch
    from sctir_kaggle.types import UserError

    monkeypatch.setattr(fetch, "MARGIN", 10**18)  # no disk has that
    with pytest.raises(UserError, match=r"are needed: make room, or choose another disk with --output"):
        fetch._check_disk(tmp_path, [Remote("model.safetensors", 1, "", "")])


def test_a_hash_is_git_s_for_small_files_and_the_content_s_for_large_ones(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    assert blob_id(b"hello\n") == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object says so
    assert is_right(path, Remote("file", 6, blob_id(b"hello\n"), None))
    assert not is_right(path, Remote("file", 6, blob_id(b"hello!"), None))
    sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert is_right(path, Remote("file", 6, "", sha256))
    assert not is_right(path, Remote("file", 5, "", sha256))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "model.safetensors.index.json"])
def test_a_folder_with_another_checkpoints_weights_is_refused(hub: FakeHub, tmp_path: Path, name: str) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / name).write_bytes(b"of another")
    code, said = sctir_fetch(hub, tmp_path, REPO, "--output", "old")
    assert (code, said.splitlines()[-1]) == (
        2,
        f"sctir: old holds {name} of another checkpoint: choose another --output",
    )
    assert fetched(tmp_path / "old") == {name: b"of another"}
