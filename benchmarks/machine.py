"""The line under every table: which commit was measured, on what machine, by which command."""

from __future__ import annotations

import os
import platform
import subprocess


def machine(benchmark: str, *details: str, options: str = "") -> str:
    """Commit, cores, `details`, Python, and how `benchmarks.<benchmark>` was called."""
    facts = [f"Commit {commit()}", f"{os.cpu_count()} x {platform.machine()} cores", *details]
    command = f"python -m benchmarks.{benchmark} {options}".rstrip()
    return f"{', '.join(facts)}, Python {platform.python_version()}: `{command}`."


def commit() -> str:
    """The short hash of the commit in this folder, and whether tracked files differ from it."""
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + (
        " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    )


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=False).stdout.strip()
