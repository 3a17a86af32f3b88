"""The library's wheel for a notebook: small, the same every time, without the models, and a package that works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from sctir_kaggle.journal import Journal
from sctir_kaggle.kaggle import bundle
from sctir_kaggle.kaggle.bundle import CHECKOUT, FONTS, LIMIT, build_wheel, packed
from sctir_kaggle.types import UserError
from tests.support.pages import Page, chromium
from tests.support.solved import solved, trace, turn

pytestmark = pytest.mark.slow

PARENT_PACKAGES = [path for path in sys.path if path.endswith("site-packages")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the wheel is built from, with other times, another place and other modes."""
    copy = tmp_path / "checkout"
    shutil.copytree(CHECKOUT / "sctir_kaggle", copy / "sctir_kaggle", copy_function=shutil.copyfile)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(CHECKOUT / name, copy / name)
    return copy


OF_THE_LAB = tuple(f"sctir_kaggle/lab/{part}/" for part in ("replay", "score", "whatif"))


def names(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def test_it_is_small_enough_for_a_notebook(wheel: Path) -> None:
    assert len(packed(wheel)) <= LIMIT == 680_000


def test_it_has_every_module_but_recipes_and_studies_and_the_problems_and_no_model(wheel: Path) -> None:
    modules = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "sctir_kaggle").rglob("*.py")}
    inside = set(names(wheel))
    left_out = {name for name in modules if name.split("/")[1] == "recipes" or name.startswith(OF_THE_LAB)}
    assert modules - inside == left_out
    assert "sctir_kaggle/assets/problems.csv" in inside
    assert not [name for name in inside if name.endswith((".safetensors", "tokenizer.json", ".pyc"))]


PAGE = """
import sys

sys.path.insert(0, "library")
from pathlib import Path
from sctir_kaggle.journal import read_journal
from sctir_kaggle.lab.view import page

assert page.__file__.startswith(str(Path("library").resolve())), page.__file__
header, results = read_journal(Path("journal.jsonl"))
page.write_page(results, [header], Path("view.html"))
"""
"""Writes a run's page with the library that was unpacked, as the notebook does."""


@pytest.fixture
def view(wheel: Path, tmp_path: Path) -> Path:
    """The page of a problem with formulas, plain, bold and rare, by the wheel's own viewer."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "library")
    text = "Let $x^2 \\in \\mathbb{Z}$, \\[\\sum_{k=1}^{n} \\binom{n}{k}\\] and $\\mathbf{v}$, $\\mathfrak{p}$."
    with Journal.create(tmp_path / "journal.jsonl", {"config": {}}) as journal:
        journal.append(solved("p", traces=(trace(0, 7, turn(text)),), reference=7))
    done = subprocess.run([sys.executable, "-c", PAGE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tmp_path / "view.html"


def test_its_viewer_writes_a_page_with_the_fonts_of_plain_formulas(view: Path) -> None:
    text = view.read_text()
    assert text.count("url(data:font/woff2;base64,") == len(FONTS) == 7
    assert "url(fonts/" not in text


@pytest.mark.browser
def test_that_page_draws_formulas_and_asks_for_nothing(view: Path) -> None:
    with chromium() as browser:
        page = Page(browser, view, width=1280, scheme="light", address="")
        page.open("p")
        assert len(page.texts("#candidate .math .katex-html")) == 4
        assert page.texts(".bad-math") == []
        page.until("document.fonts.status === 'loaded'")
        assert page.js("document.fonts.check('16px KaTeX_Main')")
        assert page.console() == []
        assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == []


def test_the_same_tree_gives_the_same_bytes_wherever_and_whenever_it_lies(wheel: Path, checkout: Path) -> None:
    for path in checkout.rglob("*.py"):
        path.chmod(0o666)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = os.umask(0o077)
    try:
        again = build_wheel(checkout.parent, checkout=checkout)
    finally:
        os.umask(before)
    assert again.read_bytes() == wheel.read_bytes()


def test_what_a_build_leaves_in_a_tree_does_not_get_in(wheel: Path, checkout: Path) -> None:
    (checkout / "build/lib/sctir_kaggle").mkdir(parents=True)
    (checkout / "build/lib/sctir_kaggle/stale.py").write_text("")
    (checkout / "sctir_kaggle/__pycache__/stale.cpython-311.pyc").parent.mkdir(exist_ok=True)
    (checkout / "sctir_kaggle/__pycache__/stale.cpython-311.pyc").write_bytes(b"")
    assert names(build_wheel(checkout.parent, checkout=checkout)) == names(wheel)


def test_the_checkout_is_left_as_it_was(checkout: Path) -> None:
    before = sorted(checkout.rglob("*"))
    build_wheel(checkout.parent, checkout=checkout)
    assert sorted(checkout.rglob("*")) == before


def test_an_installed_package_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no pyproject\.toml: run this in a checkout"):
        build_wheel(tmp_path, checkout=tmp_path)


def test_a_wheel_that_a_notebook_cannot_carry_is_refused(checkout: Path) -> None:
    (checkout / "sctir_kaggle/assets/problems.csv").write_bytes(os.urandom(300_000))
    with pytest.raises(UserError, match=r"has [789]\d\d,\d{3} bytes when it is packed, 680,000 at most"):
        build_wheel(checkout.parent, checkout=checkout)
    assert not list(checkout.parent.glob("*.whl"))


def test_a_build_that_fails_says_why_in_one_line(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text("[project")
    with pytest.raises(UserError, match=r"^the wheel cannot be built: [^\n]+$"):
        build_wheel(checkout.parent, checkout=checkout)


def test_a_setuptools_that_is_too_old_is_not_used(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip then makes an environment of its own; here it has no index to fetch from."""
    monkeypatch.setattr(bundle, "version", lambda name: "65.5.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(UserError, match="setuptools>=77"):
        build_wheel(checkout.parent, checkout=checkout)


def test_installed_without_an_index_in_a_fresh_environment_it_runs_the_dry_run(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the embedded model needs the extra `cpu`")
    binaries = fresh_environment(tmp_path / "environment") / "bin"
    output(tmp_path, f"{binaries}/python -m pip install -q --no-index --no-deps {wheel}")
    assert str(binaries.parent) in output(
        tmp_path, f"{binaries}/python -c 'import sctir_kaggle as s; print(s.__file__)'"
    )
    assert "dry-run" in output(tmp_path, f"{binaries}/sctir --help")
    model = CHECKOUT / "sctir_kaggle" / "assets" / "model"
    shown = output(tmp_path, f"{binaries}/sctir dry-run --model {model} -n 8 --limit 3 --output run")
    assert re.search("[123]/3 right", shown), shown
    assert len((tmp_path / "run/submission.csv").read_text().splitlines()) == 1 + 3


def output(folder: Path, command: str) -> str:
    """Of a command that runs in `folder`, where nothing of this checkout is on Python's path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def fresh_environment(folder: Path) -> Path:
    """A Python of its own for what is installed. The dependencies, torch among them, are this environment's."""
    venv.create(folder, symlinks=True, with_pip=False)
    [packages] = folder.glob("lib/python*/site-packages")
    (packages / "parent.pth").write_text("\n".join(PARENT_PACKAGES))
    return folder
