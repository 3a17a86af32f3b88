"""Names of data sets on the Hub, and copies of them in a folder, by the library `datasets`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from sctir_kaggle import Problem, UserError
from sctir_kaggle.problems import read_file
from sctir_kaggle.problems.hub import HubName, hub_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("org/name", HubName("org/name")),
        ("org/name:test", HubName("org/name", None, "test")),
        ("org/name/main", HubName("org/name", "main")),
        ("openai/gsm8k/main:test", HubName("openai/gsm8k", "main", "test")),
        ("HuggingFaceH4/MATH-500", HubName("HuggingFaceH4/MATH-500")),
        ("Org/AIME_2024.v1:train", HubName("Org/AIME_2024.v1", None, "train")),
        ("https://huggingface.co/datasets/org/name", HubName("org/name")),
        ("hf://datasets/org/name:test", HubName("org/name", None, "test")),
        ("aime", None),
        ("data/set.csv", None),
        ("data/set.jsonl.gz", None),
        ("/data/set", None),
        ("../shared/set", None),
        ("there/set", None),
        ("a/b/c/d", None),
    ],
)
def test_a_name_is_told_from_the_path_of_a_missing_file(
    text: str, name: HubName | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    assert hub_name(text) == name


def test_without_the_library_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'sctir-kaggle\[hub\]'; there is no such file"):
        read_file("org/name:test")


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The `datasets` library, its cache in the test's folder and the Hub out of reach."""
    library = pytest.importorskip("datasets", reason="needs the extra `hub`: pip install 'sctir-kaggle[hub]'")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return library


@pytest.mark.hub
def test_a_folder_of_parquet_files_and_a_saved_set_are_read(library: Any, tmp_path: Path) -> None:
    made = library.Dataset.from_dict({"unique_id": ["a"], "problem": ["P"], "answer": ["3"]})
    made.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "clone" / "data").mkdir(parents=True)
    made.to_parquet(str(tmp_path / "clone" / "data" / "test-00000-of-00001.parquet"))
    for folder in ("saved", "clone"):
        assert read_file(tmp_path / folder).problems == [Problem("a", "P", 3)]


@pytest.mark.hub
def test_of_several_splits_the_test_split_is_read_and_said(library: Any, tmp_path: Path) -> None:
    splits = {name: library.Dataset.from_dict({"question": [name], "answer": ["#### 3"]}) for name in ("train", "test")}
    library.DatasetDict(splits).save_to_disk(str(tmp_path / "both"))
    read = read_file(tmp_path / "both")
    assert read.problems == [Problem("1", "test", 3)]
    assert "split test" in read.summary
    library.DatasetDict(dict.fromkeys(("a", "b"), splits["test"])).save_to_disk(str(tmp_path / "other"))
    with pytest.raises(UserError, match=r"has the splits a, b; name one"):
        read_file(tmp_path / "other")


@pytest.mark.hub
def test_a_hub_that_cannot_be_reached_is_said_in_one_line(library: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"^cannot load org/name: .*; there is no such file; a data set of the Hub is org"
    ) as error:
        read_file("org/name:test")
    assert "\n" not in str(error.value)
