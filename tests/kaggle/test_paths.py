"""Where attached things are found, in both of Kaggle's layouts, and what is said where they are not."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sctir_kaggle.competition import inputs
from sctir_kaggle.competition.inputs import NotFound, find_competition, find_model, find_wheels, newest, wheel_folders
from sctir_kaggle.types import UserError

OLD_MODEL = "numina/transformers/gptq/1"
NEW_MODEL = "models/someone/numina/transformers/gptq/1"
SLUG = "ai-mathematical-olympiad-prize"


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).touch()
    return folder


def wheels(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "vllm-0.19.1-cp312-abi3-linux_x86_64.whl").touch()
    return folder


@pytest.mark.parametrize("place", [SLUG, f"competitions/{SLUG}"])
def test_the_competition_is_found_in_both_layouts(tmp_path: Path, place: str) -> None:
    (tmp_path / place).mkdir(parents=True)
    assert find_competition(SLUG, [tmp_path]) == tmp_path / place


@pytest.mark.parametrize(
    "place",
    [OLD_MODEL, NEW_MODEL, "my-model", "my-model/deeper/still", "datasets/someone/my-model", "models/flat", "."],
)
def test_the_only_checkpoint_is_found_wherever_a_layout_puts_it(tmp_path: Path, place: str) -> None:
    expected = checkpoint(tmp_path / "input" / place)
    assert find_model(roots=[tmp_path / "input"]) == expected


@pytest.mark.parametrize(
    "place", ["wheels", "datasets/someone/wheels", "datasets/someone/wheels/cp312", "notebooks/a/b"]
)
def test_the_only_wheels_are_found_wherever_a_layout_puts_them(tmp_path: Path, place: str) -> None:
    expected = wheels(tmp_path / place)
    assert find_wheels([tmp_path]) == expected


def test_of_several_versions_the_newest_counts_and_10_is_newer_than_9(tmp_path: Path) -> None:
    for version in ("9", "10", "2"):
        checkpoint((tmp_path / NEW_MODEL).with_name(version))
    assert find_model(roots=[tmp_path]).name == "10"


def test_other_folders_side_by_side_are_no_versions_of_each_other(tmp_path: Path) -> None:
    found = [tmp_path / name for name in ("1", "2", "final", "best")]
    assert newest(found) == [tmp_path / "2", tmp_path / "final", tmp_path / "best"]


def test_several_checkpoints_are_listed_with_the_way_to_choose(tmp_path: Path) -> None:
    one, other = checkpoint(tmp_path / OLD_MODEL), checkpoint(tmp_path / "models/someone/deepseek/transformers/7b/1")
    with pytest.raises(UserError, match="2 checkpoints are attached") as caught:
        find_model(roots=[tmp_path])
    message = str(caught.value)
    assert "\n" not in message
    assert str(one) in message
    assert str(other) in message
    hint = message.partition("find_model(name=")[2].partition(")")[0].strip("'")
    assert find_model(hint, [tmp_path]) in (one, other)


@pytest.mark.parametrize("name", ["numina", "Numina", "numina/transformers", "someone/numina", "numi"])
def test_a_part_of_the_path_chooses(tmp_path: Path, name: str) -> None:
    expected = checkpoint(tmp_path / NEW_MODEL)
    checkpoint(tmp_path / "models/someone/deepseek/transformers/7b/1")
    assert find_model(name, [tmp_path]) == expected


def test_a_whole_part_of_the_path_goes_before_a_fragment(tmp_path: Path) -> None:
    checkpoint(tmp_path / "numina-7b-gptq")
    expected = checkpoint(tmp_path / "numina-7b")
    assert find_model("numina-7b", [tmp_path]) == expected


def test_a_name_that_nothing_has_is_said_with_what_is_there(tmp_path: Path) -> None:
    checkpoint(tmp_path / NEW_MODEL)
    with pytest.raises(NotFound, match=r"with qwen in its path.*holds models/someone/numina"):
        find_model("qwen", [tmp_path])


def test_nothing_found_lists_what_was_searched_and_seen(tmp_path: Path) -> None:
    (tmp_path / "competitions" / "another").mkdir(parents=True)
    (tmp_path / "some-data").mkdir()
    with pytest.raises(NotFound) as caught:
        find_competition(SLUG, [tmp_path, tmp_path / "missing"])
    message = str(caught.value)
    assert "\n" not in message
    for part in (tmp_path / SLUG, tmp_path / "competitions" / SLUG, "competitions/another, some-data"):
        assert str(part) in message
    assert f"{tmp_path / 'missing'} holds nothing, there is no such folder" in message
    assert "competition_sources" in message


def test_a_config_without_weights_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").touch()
    with pytest.raises(NotFound, match=rf"config.json without \*.safetensors in {tmp_path / 'half'}"):
        find_model(roots=[tmp_path])


def test_a_split_wheelhouse_is_listed_whole_and_not_guessed_at(tmp_path: Path) -> None:
    parts = [wheels(tmp_path / "datasets/someone" / part) for part in ("wheels-1", "wheels-2")]
    assert wheel_folders([tmp_path]) == parts
    with pytest.raises(UserError, match="2 folders of wheels are attached"):
        find_wheels([tmp_path])
    assert find_wheels([tmp_path], name="wheels-2") == parts[1]


def test_many_names_are_cut_short(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"data-{number:02}").mkdir()
    with pytest.raises(NotFound, match="data-07 and 12 more"):
        find_wheels([tmp_path])


def test_the_environment_says_where_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCTIR_KAGGLE_INPUT", f"{tmp_path / 'none'}:{tmp_path / 'here'}")
    expected = checkpoint(tmp_path / "here" / OLD_MODEL)
    assert find_model() == expected


def test_a_large_data_set_hides_no_model_and_costs_no_more_than_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in range(70):
        for below in range(70):
            (tmp_path / "datasets/a/big" / str(folder) / str(below)).mkdir(parents=True)
    expected = checkpoint(tmp_path / NEW_MODEL)
    read: list[Path] = []
    look = inputs._folder

    def count(path: Path) -> inputs._Folder:
        read.append(path)
        return look(path)

    monkeypatch.setattr(inputs, "_folder", count)
    started = time.perf_counter()
    assert find_model(roots=[tmp_path]) == expected
    assert len(read) < 2 * inputs.FOLDERS
    assert time.perf_counter() - started < 60


def test_a_wide_folder_does_not_use_up_what_its_neighbours_need(tmp_path: Path) -> None:
    for number in range(inputs.FOLDERS + 10):
        (tmp_path / "data" / "images" / str(number)).mkdir(parents=True)
    expected = checkpoint(tmp_path / "data" / "model" / "best")
    assert find_model(roots=[tmp_path]) == expected


def test_a_folder_of_very_many_files_is_not_read_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(inputs.ENTRIES + 100):
        (folder / f"{number}.png").touch()
    assert len(inputs._folder(folder).files) == inputs.ENTRIES


def test_a_link_to_its_own_parent_ends(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "again").symlink_to(tmp_path)
    with pytest.raises(NotFound):
        find_model(roots=[tmp_path])


def test_what_may_not_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = checkpoint(tmp_path / OLD_MODEL)
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refuse(path: Path) -> object:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert find_model(roots=[tmp_path]) == expected
