"""requirements.txt, as `sctir wheels` reads it: a line that ends in `# at home` is not for the notebook.

Not covered: lines that begin with `-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sctir_kaggle.kaggle.wheels.image import canonical
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


HOME = "at home"
"""The comment of a line that is installed on a laptop, and is of no use in a notebook without a network."""

PINS = "requirements.txt"
"""Beside the wheels: the requirements that they meet."""


def for_the_notebook(path: Path, pins: Iterable[str] = ()) -> list[str]:
    """Its requirements; one of `pins` takes the place of the line with its name. Raises `UserError`."""
    if not path.is_file():
        raise UserError(f"{path} does not exist: name a file of requirements with --requirements")
    listed = [parsed(text, str(path)) for text in _lines(path.read_text(encoding="utf-8"))]
    pinned = {canonical(made.name): made for made in (parsed(pin, "--pin") for pin in pins)}
    if loose := [str(made) for made in pinned.values() if not made.specifier]:
        raise UserError(f"--pin {loose[0]} pins nothing: write --pin {loose[0]}==VERSION")
    if unknown := pinned.keys() - {canonical(made.name) for made in listed}:
        raise UserError(f"--pin {', '.join(sorted(unknown))}: {path} names none such for the notebook: add it there")
    return [str(pinned.get(canonical(made.name), made)) for made in listed]


def parsed(text: str, where: str) -> Requirement:
    """One line. Raises `UserError`, which names it."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:
        raise UserError(
            "packaging, which reads requirements, is not installed: pip install 'sctir-kaggle[kaggle]'"
        ) from None
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise UserError(f"{where}: {text!r} is no requirement: {error}".splitlines()[0]) from None


def _lines(text: str) -> Iterable[str]:
    for line in text.splitlines():
        wanted, _, comment = line.partition("#")
        if wanted.strip() and not wanted.strip().startswith("-") and comment.strip() != HOME:
            yield wanted.strip()


_BUILT_WITH_CUDA = re.compile(
    r"torch|torchvision|torchaudio|triton|cuda-(bindings|toolkit)"
    r"|nvidia-(cublas|cuda-\w+|cudnn|cufft|cufile|curand|cusolver|cusparse|cusparselt|nccl|nvjitlink|nvshmem|nvtx)(-cu\d+)?"
)


def is_protected(name: str) -> bool:
    """Of a canonical name. numpy or transformers are not: another version of them works with the same driver."""
    return _BUILT_WITH_CUDA.fullmatch(name) is not None
