"""Runs `sctir` commands in processes of their own, forked from one that has imported the client: a second less for each.

Reads a JSON list of arguments and the working folder from each line, forks, writes the child's id, and its exit code and output
when it has ended.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys


def child(folder: str, arguments: list[str], output: int) -> None:
    """The command itself; never returns."""
    os.chdir(folder)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from sctir_kaggle.cli import main

    code = 99
    try:
        code = main(arguments)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Until the input ends."""
    with contextlib.redirect_stdout(io.StringIO()):
        importlib.import_module("kaggle")
    for line in sys.stdin:
        folder, arguments, kept = json.loads(line)
        output = os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if (pid := os.fork()) == 0:
            child(folder, arguments, output)
        os.close(output)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
