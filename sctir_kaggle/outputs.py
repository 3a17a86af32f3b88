"""The files that a command is asked to write: refused beforehand where they cannot be, whole or not there; `-` is stdout."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from sctir_kaggle.journal import refuse_journal
from sctir_kaggle.types import UserError

PICTURES = ("png",)
"""Outputs that are no text: they cannot go to standard output."""


def is_stdout(path: Path | None) -> bool:
    """Whether this is the `-` that stands for standard output."""
    return path is not None and str(path) == "-"


def check_outputs(outputs: Mapping[str, Path]) -> bool:
    """Whether one of the files, by the name of its option, is standard output: then nothing else may be printed there.

    Raises `UserError`, before gigabytes are read, for a file that cannot be written and for a journal, which would be lost.
    """
    printed = [kind for kind, path in outputs.items() if is_stdout(path)]
    if len(printed) > 1:
        raise UserError(f"{' and '.join(f'--{kind} -' for kind in printed)} are both standard output: give one a file")
    if printed and printed[0] in PICTURES:
        raise UserError(f"--{printed[0]} - would print a picture; give it a file")
    for kind, path in outputs.items():
        if kind not in printed:
            _check_file(f"--{kind}", path)
    return bool(printed)


def _check_file(option: str, path: Path) -> None:
    refuse_journal(path, option)
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"{option} {path} must be a file in a folder that exists; choose another")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UserError(f"{option} {path} cannot be written: no permission, or a read-only disk; choose another")


def write_output(path: Path, write: Callable[[Path], object]) -> None:
    """Have `write` make the file. A file that was there stays as it was if that fails. Raises `UserError`."""
    if is_stdout(path):
        with tempfile.TemporaryDirectory(prefix="sctir-") as folder:
            made = Path(folder, "output")
            write(made)
            sys.stdout.write(made.read_text(encoding="utf-8"))
        return
    target = path.resolve()
    if target.exists() and not target.is_file():  # a pipe, /dev/null
        write(target)
        return
    new = target.with_name(f".new-{target.name}")  # with the suffix, from which a picture's format follows
    try:
        write(new)
        os.replace(new, target)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        new.unlink(missing_ok=True)


def print_or_write(text: str, path: Path) -> None:
    """Write `text` as lines to the file, or print it for `-`."""
    if is_stdout(path):
        print(text)
    else:
        write_output(path, lambda file: file.write_text(f"{text}\n", encoding="utf-8"))
