"""The competition's own `kaggle_evaluation`, where it is at hand: it has no licence, so it is never part of this project."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sctir_kaggle.types import UserError

VARIABLE = "SCTIR_KAGGLE_EVALUATION"
"""The environment variable that names the folder in which `kaggle_evaluation` lies, or several, divided as in PATH."""


class Served(Protocol):
    """A competition's profile, as far as it is needed here."""

    @property
    def server(self) -> str | None:
        """`module:Class`, None for a competition without a push API."""


def evaluation_folder(profile: Served) -> Path | None:
    """The folder with the competition's server, of those that the environment variable names; None where it is not set.

    Where none of them has it, the first: whoever imports from it says what is missing.
    """
    folders = [Path(folder) for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder]
    module = (profile.server or "").partition(":")[0].replace(".", "/") + ".py"
    return next((folder for folder in folders if (folder / module).is_file()), folders[0] if folders else None)


def real_server(profile: Served, predict: Callable[..., Any], *, folder: Path | None = None) -> Any:
    """The competition's own inference server for `predict`; `folder` (default: the variable's) goes on the path.

    Raises `UserError` where it cannot be imported.
    """
    folder = folder or evaluation_folder(profile)
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module, _, name = (profile.server or "").partition(":")
    try:
        server = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"cannot import {profile.server}: {error}; {VARIABLE} names the folder that holds it") from None
    return server(predict)
