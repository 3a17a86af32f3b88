"""Which transformers each set of requirements takes: versions 5.3 to 5.21 read DeepSeek's files without white space."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]

WRONG = ("5.3.0", "5.5.1", "5.17.0", "5.19.0", "5.21.0")
RIGHT = ("4.57.6", "5.0.0", "5.22.0", "5.24.0")

PINNED = {
    "requirements.txt": "4.57.6",
    "sctir_kaggle/recipes/requirements-gptqmodel.txt": "5.24.0",
    "sctir_kaggle/recipes/requirements-auto-gptq.txt": "4.41.2",
    "sctir_kaggle/recipes/requirements-mergekit.txt": None,
    "sctir_kaggle/recipes/requirements-llm-compressor.txt": "5.17.0",
}
"""The version that each file pins; None where it takes what is there."""

PINNED_WRONG = {"sctir_kaggle/recipes/requirements-llm-compressor.txt"}
"""Files whose library takes no right version. `tests/recipes/quantize/test_compressed.py` shows with DeepSeek's tokenizer that
no token and no file of the result comes from transformers' reading."""

EXTRAS = {"cpu": "<=5.24.0,>=4.57.6", "openai": "<=5.24.0,>=4.57.6", "recipes": "<=5.24.0,>=5.5.1"}
"""The bounds of each extra: see `tests/bounds.py` for what was tried; training was tried with 5 alone."""


def requirements(lines: list[str]) -> dict[str, Requirement]:
    """By name, of lines as pip reads them."""
    bare = (line.split("#")[0].strip() for line in lines)
    return {made.name: made for made in map(Requirement, filter(None, bare))}


def extras() -> dict[str, dict[str, Requirement]]:
    """Of pyproject.toml, which Python 3.10 cannot parse by itself."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    rows = re.findall(r"^(\w+) = \[(.*)\]$", table, re.MULTILINE)
    return {name: requirements(re.findall(r'"([^"]+)"', listed)) for name, listed in rows}


def test_every_file_of_requirements_is_in_the_table() -> None:
    found = {str(path.relative_to(ROOT)) for path in ROOT.rglob("requirements*.txt") if ".git" not in path.parts}
    assert found == PINNED.keys()


@pytest.mark.parametrize("name", PINNED)
def test_a_pinned_transformers_reads_tokenizers_rightly_or_is_not_asked_to(name: str) -> None:
    found = requirements((ROOT / name).read_text(encoding="utf-8").splitlines()).get("transformers")
    assert (found and str(found.specifier)) == (PINNED[name] and f"=={PINNED[name]}")
    wrong = [version for version in WRONG if found and found.specifier.contains(version)]
    assert bool(wrong) == (name in PINNED_WRONG)


def test_extras_have_these_bounds_and_each_takes_a_version_that_is_right() -> None:
    found = {name: made["transformers"] for name, made in extras().items() if "transformers" in made}
    assert {name: str(one.specifier) for name, one in found.items()} == EXTRAS
    assert all(any(one.specifier.contains(version) for version in RIGHT) for one in found.values())


def test_quantization_resolves_with_what_gptqmodel_wants() -> None:
    """gptqmodel 7.6.0 wants 5.14 or later; its pin here is the only one that may be a wrong version by that."""
    made = requirements((ROOT / "sctir_kaggle/recipes/requirements-gptqmodel.txt").read_text("utf-8").splitlines())
    assert str(made["gptqmodel"].specifier) == "==7.6.0"
    assert Requirement("transformers>=5.14.0").specifier.contains(str(made["transformers"].specifier).lstrip("="))


def test_the_versions_that_are_said_to_be_right_are_these() -> None:
    from sctir_kaggle.dialects.tokenizer_check import RIGHT as said

    assert said == "4.57.6, 5.0.0, 5.22 or later"
