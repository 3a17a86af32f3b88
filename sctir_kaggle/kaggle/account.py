"""Which checkout and which Kaggle account a command works with: the options that upload, push and submit share."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.kaggle.client import open_client, owner_of
from sctir_kaggle.types import UserError

POLL = 20.0
"""Seconds between two requests for the state of a version, a run or a submission."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """The options that every command has which sends something to Kaggle."""

    checkout: Path = Path()
    """The folder with kernel-metadata.json."""

    owner: str | None = None
    """The account's name; None takes KAGGLE_USERNAME, else the one that the client is logged in with."""

    poll: float = POLL
    """Seconds between two looks at Kaggle."""

    dry_run: bool = False
    """Check everything, then stop before the first request."""

    def log_in(self) -> tuple[str | None, Any]:
        """Return the account's name, and the client if it had to be opened to learn the name.

        In a dry run the name may stay None. Raises `UserError` if it cannot be a name at Kaggle.
        """
        named = self.owner or os.environ.get("KAGGLE_USERNAME") or None
        if named is not None and not re.fullmatch(r"[a-z0-9_-]+", named):
            raise UserError(f"the owner {named} is no name at Kaggle: write it as in kaggle.com/NAME, in small letters")
        if named is not None or self.dry_run:
            return named, None
        api = open_client()
        return owner_of(api), api


@dataclass(frozen=True, kw_only=True)
class Submission(Account):
    """How a version that ran is submitted."""

    message: str | None = None
    """Its description, to which the version is added; None writes the default one."""

    again: bool = False
    """Push, or submit, although the same version is at Kaggle already."""

    anyway: bool = False
    """Submit although the journal of the run says that it is not worth it."""
