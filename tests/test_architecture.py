"""Who may import whom, what an import loads, and which names are public."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import sctir_kaggle

PACKAGE = Path(sctir_kaggle.__file__).parent

ORDER = [
    ["_version"],
    ["types", "kinds", "streams", "text"],
    ["interrupts", "parser"],
    ["json_values", "jsonlines"],
    ["dialects"],
    ["answers", "voting", "stopping", "budget", "background", "scheduling", "first_requests"],
    ["config"],
    ["rollout"],
    ["solver"],
    ["engines", "sandbox"],
    ["journal", "problems"],
    ["session"],
    ["presets"],
    ["competition/profile", "competition/verdict"],
    ["display", "header", "runtime", "settings"],
    ["options", "outputs", "resume", "effects"],
    ["competition"],
    ["run_command"],
    ["kaggle"],
    ["lab"],
    ["commands"],
    ["cli"],
    ["recipes"],
]
"""Layers from the bottom: a module imports from lower layers and from its own."""

SEES_ONLY_PROTOCOLS = {
    "rollout",
    "solver",
    "voting",
    "stopping",
    "answers",
    "budget",
    "config",
    "journal",
    "session",
}

HEAVY = {
    "torch": {"engines/transformers.py", "engines/slots.py", "recipes"},
    "transformers": {
        "engines/transformers.py",
        "engines/slots.py",
        "dialects/tokenizer.py",
        "dialects/tokenizer_check.py",
        "recipes",
    },
    "tokenizers": {"dialects/control_tokens.py", "dialects/tokenizer_check.py", "recipes"},
    "huggingface_hub": {"dialects/tokenizer_files.py", "kaggle/fetch.py", "recipes"},
    "vllm": {"engines/vllm.py", "engines/vllm_options.py", "engines/vllm_probe.py"},
    "httpx": {"engines/openai_client.py", "recipes"},
    "kaggle": {"kaggle/client.py"},
    "kagglesdk": {
        *("kaggle/datasets.py", "kaggle/versions.py", "kaggle/models.py", "kaggle/submit.py", "kaggle/versions.py"),
    },
    "requests": {"kaggle/client.py", "kaggle/versions.py"},
    "pandas": {"competition", "problems", "recipes"},
    "pyarrow": {"problems/binary.py"},
    "polars": {"competition", "problems/binary.py"},
    "grpc": {"competition"},
    "tomli": {"kinds.py"},
    "rich": {"display.py", "kaggle/doctor.py", "lab", "recipes"},
    "datasets": {"problems/hub.py", "recipes"},
    "trl": {"recipes"},
    "mergekit": {"recipes"},
    "ray": {"lab/replay/cluster.py"},
    "matplotlib": {"lab/plots.py", "lab/score/curves.py", "recipes"},
    "numpy": {
        "engines/transformers.py",
        "engines/slots.py",
        "sandbox/zygote.py",
        "sandbox/cell.py",
        "recipes",
        "lab",
    },
    "yaml": {"recipes"},
    "sentence_transformers": {"recipes/data"},
    "sklearn": {"recipes/data"},
    "pypdfium2": {"recipes/data/cot"},
    "rapidocr": {"recipes/data/cot"},
    "PIL": {"recipes/data/cot"},
    "cv2": {"recipes/data/cot"},
    "sympy": {"sandbox/zygote.py", "sandbox/cell.py", "recipes"},
}
"""Where a library may be named at all."""

MODULES = sorted(set(PACKAGE.rglob("*.py")) - {PACKAGE / "__init__.py", PACKAGE / "__main__.py"})


def imports_of(path: Path) -> set[str]:
    """Every module that the file imports anywhere, type-checking imports too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def layer_of(parts: tuple[str, ...]) -> int | None:
    """Of a module or a name in one; the table's longest entry counts. None for a name of the package itself."""
    layers = {noun: number for number, nouns in enumerate(ORDER) for noun in nouns}
    return next((layers[noun] for size in (2, 1) if (noun := "/".join(parts[:size])) in layers), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_has_a_layer(path: Path) -> None:
    assert layer_of(path.relative_to(PACKAGE).with_suffix("").parts) is not None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_from_its_own_layer_or_below(path: Path) -> None:
    own = layer_of(path.relative_to(PACKAGE).with_suffix("").parts)
    imported = {tuple(name.split(".")[1:]) for name in imports_of(path) if name.startswith("sctir_kaggle.")}
    too_high = {name for name in imported if (layer := layer_of(name)) is not None and own is not None and layer > own}
    assert not too_high


@pytest.mark.parametrize("noun", sorted(SEES_ONLY_PROTOCOLS))
def test_the_core_sees_engines_and_sandbox_through_the_protocols_only(noun: str) -> None:
    file = PACKAGE / f"{noun}.py"
    names = imports_of(file if file.exists() else PACKAGE / noun / "__init__.py")
    assert not {name for name in names if name.startswith(("sctir_kaggle.engines", "sctir_kaggle.sandbox"))}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_heavy_library_is_named_only_where_it_belongs(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    for library in {name.split(".")[0] for name in imports_of(path)} & HEAVY.keys():
        assert any(relative == place or relative.startswith(place + "/") for place in HEAVY[library]), library


@pytest.mark.parametrize("statement", ["import sctir_kaggle", "import sctir_kaggle.cli", "import sctir_kaggle.sandbox"])
def test_importing_loads_the_standard_library_only(statement: str) -> None:
    program = f"import sys, json; {statement}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    command = [sys.executable, "-S", "-c", _with_path(program)]
    loaded = set(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert loaded - set(sys.stdlib_module_names) - {"sctir_kaggle", "__main__"} == set()


def _with_path(program: str) -> str:
    """`-S` keeps the `.pth` files of other packages out of the count; the package itself is put on the path."""
    return f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {program}"


def test_the_public_names_are_these() -> None:
    assert set(sctir_kaggle.__all__) == {
        *(
            "AIMO1",
            "AIMO3",
            "MATH",
            "SolverConfig",
            "Rollout",
            "Solver",
            "__version__",
            "DIALECTS",
            "Dialect",
            "Control",
        ),
        *("Problem", "Prompt", "SamplingParams", "Completion", "ExecutionResult", "ExecutionStatus", "Turn", "Trace"),
        *("TraceStatus", "Vote", "SolveResult", "Engine", "Executor"),
        *("EngineError", "ExecutorError", "PromptTooLong", "UserError"),
    }
    assert all(hasattr(sctir_kaggle, name) for name in sctir_kaggle.__all__)


@pytest.mark.parametrize("command", [["--help"], ["dry-run", "--help"], ["settings"]])
def test_help_and_the_list_of_settings_load_the_standard_library_only(command: list[str]) -> None:
    """So they stay fast: a timed test would not hold on a busy machine."""
    program = (
        "import contextlib, io, json, sys\n"
        "from sctir_kaggle.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        f"    main({command!r})\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", _with_path("") + "\n" + program], capture_output=True, check=True
    )
    loaded = set(json.loads(shown.stdout))
    assert loaded - set(sys.stdlib_module_names) - {"sctir_kaggle", "__main__"} == set()
