"""A recipe's settings: from a file, with changes, and every mistake on one line with the nearest known name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import pytest

from sctir_kaggle.recipes.settings import read_settings, run_recipe, settings_of_command
from sctir_kaggle.types import UserError

pytest.importorskip("yaml", reason="settings need the extra `recipes`: pip install 'sctir-kaggle[recipes]'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    model: str
    rate: float = 2e-5
    epochs: int = 3
    packing: bool = True
    output: Path | None = None
    sets: tuple[str, ...] = ()
    scheme: Literal["bfd", "wrapped"] = "bfd"

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; it must be at least 1")


def read(tmp_path: Path, text: str, *changes: str) -> Example:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return read_settings(Example, file, changes)


def test_a_file_fills_the_fields(tmp_path: Path) -> None:
    text = "model: m\nrate: 1e-3\noutput: runs/x\nsets: [amc, aime]\nscheme: wrapped\npacking: false\n"
    expected = Example(
        model="m", rate=1e-3, output=Path("runs/x"), sets=("amc", "aime"), scheme="wrapped", packing=False
    )
    assert read(tmp_path, text) == expected


def test_changes_come_after_the_file_and_the_last_counts(tmp_path: Path) -> None:
    changed = read(tmp_path, "model: m\nepochs: 2", "epochs=4", "epochs=5", "output=null", "rate=1", "model=a=b")
    assert changed == Example(model="a=b", epochs=5, rate=1.0)
    assert type(changed.rate) is float


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        ("model: m\nepoch: 1", [], "x.yaml, epoch: no such field; did you mean epochs?"),
        ("model: m", ["zzz=1"], "--set zzz=1: no such field; known: model, rate, epochs"),
        ("model: m", ["epochs"], "--set epochs: no value; write --set FIELD=VALUE"),
        ("model: m\nepochs: 1.5", [], "x.yaml, epochs: '1.5' is not int"),
        ("model: m\nepochs: true", [], "x.yaml, epochs: 'True' is not int"),
        ("model: m", ["rate=fast"], "--set rate=fast: 'fast' is not float"),
        ("model: m", ["packing=1"], "--set packing=1: '1' is not bool"),
        ("model: m", ["output=3"], "--set output=3: '3' is not Path or null"),
        ("model: m", ["scheme=x"], "--set scheme=x: 'x' is not one of bfd, wrapped"),
        ("model: m\nsets: [1]", [], "x.yaml, sets: '[1]' is not a list of str"),
        ("rate: 1", [], "the field model has no value; put it into the file, or --set model=VALUE"),
        ("model: m", ["epochs=0"], "epochs is 0; it must be at least 1"),
        ("- model", [], "x.yaml holds \"['model']\"; fields with values are needed"),
        ("model: [", [], "x.yaml is not YAML: "),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, changes: Sequence[str], said: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, text, *changes)
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert message.startswith(said)
    assert "\n" not in message


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"cannot read none\.yaml: No such file or directory"):
        read_settings(Example, Path("none.yaml"))


def test_a_command_line_is_a_file_and_changes(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("model: m")
    arguments = ["--config", str(tmp_path / "x.yaml"), "--set", "epochs=7", "rate=1e-6"]
    assert settings_of_command(Example, None, arguments) == Example(model="m", epochs=7, rate=1e-6)


def test_what_the_user_can_mend_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> Any:
        raise UserError("epochs is 0; it must be at least 1")

    with pytest.raises(SystemExit, match=re.escape("2")):
        run_recipe(main)
    assert capsys.readouterr().err == "error: epochs is 0; it must be at least 1\n"


def test_a_missing_library_is_named_with_what_installs_it(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        import_module("no_such_library")

    with pytest.raises(SystemExit, match="2"):
        run_recipe(main)
    assert capsys.readouterr().err == ("error: no_such_library is not installed: pip install 'sctir-kaggle[recipes]'\n")
