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
"""The environment variable that names the folder in which `kaggle_evaluation` lies."""


class Served(Protocol):
    """A competition's profile, as far as it is needed here."""

    @property
    def server(self) -> str | None:
        """`module:Class`, None for a competition without a push API."""


def evaluation_folder() -> Path | None:
    """What the environment variable names, None where it is not set."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def real_server(profile: Served, predict: Callable[..., Any], *, folder: Path | None = None) -> Any:
    """The competition's own inference server for `predict`; `folder` (default: the variable's) goes on the path.

    Raises `UserError` where it cannot be imported.
    """
    folder = folder or evaluation_folder()
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module, _, name = (profile.server or "").partition(":")
    try:
        server = getattr(importlib.import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(f"cannot import {profile.server}: {error}; {VARIABLE} names the folder that holds it") from None
    return server(predict)
