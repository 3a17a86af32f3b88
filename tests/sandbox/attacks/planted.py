"""What the host has to lose: a submission, a journal, inputs, a home, secrets. All of it open to any user.

Nothing here is protected by its owner or its mode, so what protects it in a run is the sandbox.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sysconfig
from pathlib import Path

PREFIX = "hunter2-"
"""What every secret begins with. Snippets that search for it do not spell it in one piece."""
SECRET_LENGTH = 16


class Planted:
    """Files in `folder`, and one variable in the environment, each with a secret of its own."""

    def __init__(self, folder: Path) -> None:
        self.work, self.home, self.inputs = (self._folder(folder / name) for name in ("working", "home", "input"))
        self.scratch = self._folder(folder / "tmp")
        self.secrets = [PREFIX + secrets.token_hex(SECRET_LENGTH // 2) for _ in range(6)]
        self._write(self.work / "submission.csv", "id,answer\n0,1\n# " + self.secrets[0] + "\n")
        self._write(self.work / "journal.jsonl", f'{{"turn": "{self.secrets[1]}"}}\n')
        self._write(self.inputs / "test.csv", f"id,problem\n0,{self.secrets[2]}\n")
        self._write(self.home / ".kaggle" / "kaggle.json", f'{{"key": "{self.secrets[3]}"}}\n')
        self._write(self.home / "weights.bin", self.secrets[3] * 1000)
        self.in_environment, self.in_memory = self.secrets[4:]

    @staticmethod
    def _folder(path: Path) -> Path:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)
        return path

    def _write(self, path: Path, text: str) -> None:
        self._folder(path.parent)
        path.write_text(text)
        path.chmod(0o666)

    def fingerprint(self) -> dict[str, str]:
        """Everything about every file that a system call could change, but the time of its last reading."""
        paths = [path for root in (self.work, self.home, self.inputs) for path in (root, *sorted(root.rglob("*")))]
        return {str(path): _fingerprint(path) for path in paths}

    def placeholders(self) -> dict[str, str]:
        """What the snippets call the places by."""
        return {
            "@SUBMISSION@": str(self.work / "submission.csv"),
            "@JOURNAL@": str(self.work / "journal.jsonl"),
            "@WORK@": str(self.work),
            "@INPUT@": str(self.inputs),
            "@HOME@": str(self.home),
            "@SCRATCH@": str(self.scratch),
            "@SITE@": sysconfig.get_path("purelib"),
            "@HOST@": str(os.getpid()),
        }


def _fingerprint(path: Path) -> str:
    try:
        stat = path.lstat()
    except FileNotFoundError:
        return "gone"
    names = os.listxattr(path, follow_symlinks=False) if hasattr(os, "listxattr") else []
    data = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    owner = (stat.st_uid, stat.st_gid, oct(stat.st_mode), stat.st_nlink)
    return f"{data[:16]} {stat.st_size} {stat.st_mtime_ns} {owner} {names}"
