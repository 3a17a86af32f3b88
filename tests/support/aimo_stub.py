"""A compiled stand-in for AIMO-1's module: a C extension for CPython 3.10 that behaves as the mock does, and misbehaves."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

LOGIC = r"""
import os, signal, sys, time
from pathlib import Path

import pandas as pd

assert sys.version_info[:2] == (3, 10)
HOW = os.environ.get("AIMO_STUB", "")
made = []


def make_env():
    print("aimo is here", flush=True)
    if HOW == "hang":
        time.sleep(3600)
    if HOW == "refuse":
        raise PermissionError("not in this session")
    if made:
        raise Exception("make_env() works once")
    made.append(True)
    return Environment(Path(sys.modules["aimo"].__file__).parents[1] / "hidden.csv")


class Odd(Exception):
    pass


class Environment:
    def __init__(self, problems):
        self.problems = pd.read_csv(problems, dtype=str)
        self.answers = []
        self.open = self.iterated = False

    def iter_test(self):
        if self.iterated:
            raise Odd("iter_test() works once")
        self.iterated = True
        return self.pairs()

    def predict(self, frame):
        if not isinstance(frame, pd.DataFrame):
            raise TypeError(f"predict() takes a DataFrame, not {type(frame).__name__}")
        if not self.open:
            raise KeyError("no open problem")
        assert list(frame.columns) == ["id", "answer"] and frame["answer"].dtype == "int64", frame.dtypes
        self.answers.append(frame)
        self.open = False

    def pairs(self):
        for number, row in self.problems.iterrows():
            if HOW == "die" and number == 2:
                print("about to die", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            if HOW == "print":
                for line in range(20_000):
                    print(number, line, "x" * 100)
                os.write(1, b"\xff not UTF-8 \n")
            self.open = True
            yield pd.DataFrame([row], index=[number]), pd.DataFrame({"id": [row["id"]], "answer": [0]}, index=[number])
            while self.open:
                print("You must call `predict()` successfully before you can continue with `iter_test()`")
                yield None
        if HOW != "late":
            self.write()
            return
        import atexit
        atexit.register(lambda: (time.sleep(1), self.write()))

    def write(self):
        pd.concat(self.answers).to_csv("submission.csv", index=False)
"""

C = """
#include <Python.h>

static const char LOGIC[] = {%s, 0};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "competition", NULL, -1, NULL};

PyMODINIT_FUNC PyInit_competition(void) {
    PyObject *module = PyModule_Create(&definition);
    PyObject *names = PyModule_GetDict(module);
    PyDict_SetItemString(names, "__builtins__", PyEval_GetBuiltins());
    return PyRun_String(LOGIC, Py_file_input, names, names) ? module : NULL;
}
"""


def build(competition: Path) -> None:
    """The package `aimo`, with its extension, in the competition's folder. `hidden.csv` beside it holds the problems."""
    python, compiler = cpython310(), shutil.which("cc")
    assert python is not None
    assert compiler is not None
    package = competition / "aimo"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("from .competition import make_env\n")
    source = package / "competition.c"
    source.write_text(C % ", ".join(str(byte) for byte in LOGIC.encode()))
    target = package / f"competition{_of(python, 'EXT_SUFFIX')}"
    include = _of(python, "INCLUDEPY")
    subprocess.run([compiler, "-shared", "-fPIC", f"-I{include}", source, "-o", target], check=True)
    source.unlink()


@cache
def cpython310() -> Path | None:
    """A CPython 3.10 of this machine with its headers: on the path, or pyenv's."""
    found = [shutil.which("python3.10"), *sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python3.10"))]
    for python in [path for path in found if path]:
        try:
            if Path(_of(Path(python), "INCLUDEPY"), "Python.h").is_file():
                return Path(python)
        except (subprocess.CalledProcessError, OSError):
            continue
    return None


def missing() -> str:
    """Why the extension cannot be built and run here; empty where it can."""
    if cpython310() is None:
        return "needs a CPython 3.10 with its headers (python3.10, or pyenv's)"
    return "" if shutil.which("cc") else "needs a C compiler (cc)"


def _of(python: Path, name: str) -> str:
    code = f"import sys, sysconfig; assert sys.version_info[:2] == (3, 10); print(sysconfig.get_config_var('{name}'))"
    return subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout.strip()
