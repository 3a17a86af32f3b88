"""The bounds that pyproject.toml claims are the versions that CI tries (`tests/bounds.py`)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.version import Version

from sctir_kaggle.engines.transformers import OLDEST
from tests.bounds import OF_THIS_PACKAGE, ROWS, check_here, chosen
from tests.test_pins import extras, requirements

ROOT = Path(__file__).parents[1]

OTHER_STACK = {"recipes"}
"""Trained with in CI, in one set of versions: their lower bounds are no claim of the engine's."""


def tried() -> dict[str, list[str]]:
    """The versions of each library, oldest first, by its name in pyproject.toml."""
    found: dict[str, set[str]] = {}
    for row in ROWS:
        for name, pin in row.pins.items():
            found.setdefault(OF_THIS_PACKAGE.get(name, name), set()).add(pin)
    return {name: sorted(pins, key=Version) for name, pins in found.items()}


def bound(specifier: str, operator: str) -> str | None:
    found = re.search(re.escape(operator) + r"([^,;]+)", specifier)
    return found and found[1]


@pytest.mark.parametrize("library", ["torch", "transformers", "vllm", "polars", "grpcio", "kaggle"])
def test_both_bounds_of_every_extra_are_versions_that_ci_tries(library: str) -> None:
    claims = {extra: str(made[library].specifier) for extra, made in extras().items() if library in made}
    assert claims
    for extra, claim in claims.items():
        assert bound(claim, "<=") == tried()[library][-1], extra
        assert bound(claim, ">=") == tried()[library][0] or extra in OTHER_STACK, extra


def test_the_lower_bounds_of_what_always_is_installed_are_tried() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r'"([^"]+)"', text.partition("\ndependencies = [")[2].partition("]\n")[0])
    made = requirements(listed)
    lowest = {name: bound(str(made[name].specifier), ">=") for name in made.keys() - {"tomli"}}
    assert lowest == {name: tried()[name][0] for name in lowest}


def test_the_engine_refuses_what_is_older_than_its_lower_bounds() -> None:
    assert {name: tried()[name][0] for name in OLDEST} == OLDEST


def test_what_the_notebook_pins_is_tried() -> None:
    made = requirements((ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines())
    for name in ("vllm", "transformers", "kaggle"):
        if name in made and str(made[name].specifier).startswith("=="):
            assert str(made[name].specifier).removeprefix("==") in tried()[name]


def test_ci_tries_every_row() -> None:
    """Those that it leaves out of their own environments it tries in one that has the same versions."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    left_out = re.findall(r"--except (\S+)", script)
    here = re.findall(r"tests\.bounds --here (\S+)", script)
    assert "-m tests.bounds" in script
    assert left_out == here


def test_a_row_is_not_tried_with_other_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bounds.version", lambda name: "9.9.9")
    with pytest.raises(SystemExit, match=r"9\.9\.9 is installed, vllm-newest tries"):
        check_here(chosen(["vllm-newest"])[0])


def test_a_row_that_there_is_not_is_refused() -> None:
    with pytest.raises(SystemExit, match="there is no row torch: choose among engine-oldest"):
        chosen(["torch"])
