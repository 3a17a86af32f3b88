"""The documentation is true: its Python runs, its commands parse, its links and file names exist, every page is in the menu."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

import sctir_kaggle
from sctir_kaggle import DIALECTS, __version__
from sctir_kaggle.commands import _parser
from tests.support.markdown import Block, anchors_of, blocks_of, commands_of, links_of

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md"))]
PAGES += sorted(DOCS.glob("*.md"))

RUNNABLE = [
    pytest.param(block, id=f"{page.name}:{block.line}")
    for page in PAGES
    if page != ROOT / "README.md"  # its example has a test of its own
    for block in blocks_of(page)
    if block.info == "python"
    and re.search(r"^(?:import|from) ", block.text, flags=re.MULTILINE)  # a fragment is only shown
]


@pytest.mark.parametrize("block", RUNNABLE)
def test_a_block_of_python_runs(block: Block, tmp_path: Path) -> None:
    if "TransformersEngine" in block.text:
        pytest.importorskip("torch", reason="the block needs the extra `cpu`: pip install 'sctir-kaggle[cpu]'")
    command = [sys.executable, "-c", block.text]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_parses(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, arguments in commands_of(page, "sctir"):
        if {"--help", "--version"} & set(arguments):
            continue
        try:
            assert _parser().parse_args(arguments).name == arguments[0]
        except SystemExit:
            pytest.fail(f"{page.name}, line {line}: sctir {' '.join(arguments)}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_that_is_run_exists(page: Path) -> None:
    modules = set(re.findall(r"python -m ((?:sctir_kaggle|benchmarks|tests)(?:\.\w+)*)", page.read_text()))
    places = {name: ROOT.joinpath(*name.split(".")) for name in sorted(modules)}
    missing = [
        name
        for name, place in places.items()
        if not (place.with_suffix(".py").exists() or (place / "__main__.py").exists())
    ]
    assert missing == []


def test_every_name_of_the_reference_exists() -> None:
    names = re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(), flags=re.MULTILINE)
    for name in names:
        resolve_name(name)  # raises where there is none
    public = set(sctir_kaggle.__all__) - {"AIMO1", "AIMO3", "MATH", "DIALECTS", "Prompt", "__version__"}  # no classes
    assert public <= {name.rpartition(".")[2] for name in names}


def test_the_readme_shows_commands() -> None:
    assert len(list(commands_of(ROOT / "README.md", "sctir"))) >= 8


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in links_of(page):
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        if not file.exists():
            broken.append(f"{target}: there is no such file")
        elif anchor and file.suffix == ".md" and anchor not in anchors_of(file):
            broken.append(f"{target}: there is no such heading")
    assert not broken, "\n".join(broken)


def test_every_file_of_the_tree_is_there() -> None:
    """In CONTRIBUTING.md: two blanks of indentation a level, a name, what it is for."""
    [tree] = [block for block in blocks_of(ROOT / "CONTRIBUTING.md") if block.text.startswith("sctir_kaggle/")]
    folders: list[str] = []
    missing = []
    for line in tree.text.splitlines():
        found = re.match(r"((?:  )*)(\S+)", line)
        assert found, line
        depth = len(found[1]) // 2
        if depth > len(folders):
            continue  # the description goes on
        folders = [*folders[:depth], found[2]]
        if not ROOT.joinpath(*folders).exists():
            missing.append("/".join(folders))
        if not found[2].endswith("/"):
            folders.pop()
    assert not missing, "\n".join(missing)


def test_every_module_at_the_packages_root_is_in_the_tree() -> None:
    [tree] = [block for block in blocks_of(ROOT / "CONTRIBUTING.md") if block.text.startswith("sctir_kaggle/")]
    listed = set(re.findall(r"^  (\w+\.py)", tree.text, flags=re.MULTILINE))
    assert {path.name for path in (ROOT / "sctir_kaggle").glob("[!_]*.py")} <= listed


def test_the_steps_name_files_that_exist() -> None:
    """In CONTRIBUTING.md, a path in backticks that has a slash and an ending is a file, from the root or from the package."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`([\w.-]+(?:/[\w.-]+)+\.(?:py|md|yml|yaml|csv|toml|json|ipynb))`", text)
    assert len(paths) > 20
    roots = (ROOT, ROOT / "sctir_kaggle")
    missing = [path for path in paths if "NAME" not in path and not any((root / path).exists() for root in roots)]
    assert not missing, "\n".join(missing)


@pytest.mark.skipif(not (DOCS / "dialects.md").exists(), reason="the page of the dialects is not there yet")
def test_every_dialect_that_ships_is_in_the_table() -> None:
    rows = re.findall(r"^\|([^|]*)\|", (DOCS / "dialects.md").read_text(), flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert set(DIALECTS) - {"chat-server"} <= named


def test_every_page_is_in_the_menu() -> None:
    yaml = pytest.importorskip("yaml", reason="mkdocs.yml is read with pyyaml: pip install 'sctir-kaggle[test]'")
    listed = set(_pages(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert {page.name for page in DOCS.glob("*.md")} <= listed


def _pages(menu: Any) -> list[str]:
    if isinstance(menu, str):
        return [menu]
    entries = menu.values() if isinstance(menu, dict) else menu
    return [page for entry in entries for page in _pages(entry)]


def test_the_citation_names_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text()
