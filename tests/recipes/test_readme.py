"""The commands in the recipes' README are commands: their options, files and fields exist."""

from __future__ import annotations

import importlib
import re
import shlex
from argparse import ArgumentParser
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import sctir_kaggle.recipes
from sctir_kaggle.commands import _parser
from sctir_kaggle.recipes.settings import read_settings

FOLDER = Path(sctir_kaggle.recipes.__file__).parent
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", (FOLDER / "README.md").read_text(), flags=re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines()]
RECIPES = [words for words in COMMANDS if "--config" in words]


def named(words: list[str]) -> str:
    return next(word for word in words if word.startswith("sctir_kaggle.recipes."))


def settings_of(module: str) -> Any:
    found = vars(importlib.import_module(module)).values()
    [one] = [kind for kind in found if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == module]
    return one


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] == "sctir"], ids=" ".join)
def test_a_command_of_the_package_parses(words: list[str]) -> None:
    assert _parser().parse_args(words[1:]).name == words[1]


@pytest.mark.parametrize("words", RECIPES, ids=named)
def test_a_recipe_s_file_and_the_fields_that_are_set_are_its_settings(words: list[str]) -> None:
    parser = ArgumentParser()
    parser.add_argument("--config", type=Path)
    parser.add_argument("--set", action="extend", nargs="+", default=[])
    given, _ = parser.parse_known_args(words[words.index(named(words)) + 1 :])
    settings = read_settings(settings_of(named(words)), given.config, given.set)
    assert {change.partition("=")[0] for change in given.set} <= {field.name for field in fields(settings)}


def test_every_file_that_is_named_is_there() -> None:
    named_files = {word for words in COMMANDS for word in words if word.startswith("sctir_kaggle/")}
    assert named_files
    assert [file for file in named_files if not (FOLDER.parents[1] / file).exists()] == []
