"""The wheelhouse for Kaggle's Python: whole, and when it is not, what is missing is named.

The tests that download skip where pip reaches no index; the others make their wheels themselves.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from sctir_kaggle.cli import main
from sctir_kaggle.kaggle import wheelhouse, wheels
from sctir_kaggle.types import UserError

pytest.importorskip("packaging", reason="comes with the extra `kaggle`")


def wheel(folder: Path, name: str, *requires: str, version: str = "1.0", tags: str = "py3-none-any") -> Path:
    """A whole wheel of an empty module, so that pip takes it too."""
    path = folder / f"{name}-{version}-{tags}.whl"
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: x\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", head + "".join(f"Requires-Dist: {need}\n" for need in requires))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def required(folder: Path, *lines: str) -> Path:
    path = folder / "requirements.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def lacking(folder: Path, lines: Sequence[str], python: str = "3.12") -> list[str]:
    return [str(lack) for lack in wheelhouse.missing([folder], required(folder, *lines), python)]


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """six and sympy for Python 3.12, whatever Python this is."""
    folder = tmp_path_factory.mktemp("downloaded")
    try:
        wheels.resolve(required(folder, "six"))
    except UserError as error:
        pytest.skip(f"pip reaches no index: {error}")
    assert (
        main(["wheels", "--requirements", str(required(folder, "six", "sympy>=1.12")), "--output", str(folder / "out")])
        == 0
    )
    return folder


def test_what_is_downloaded_is_complete_flat_and_a_dataset(downloaded: Path) -> None:
    [part] = wheels.dataset_folders(downloaded / "out")
    assert {path.name.split("-")[0] for path in part.glob("*.whl")} == {"six", "sympy", "mpmath"}
    assert not [path for path in part.iterdir() if path.is_dir()]
    document = json.loads((part / "dataset-metadata.json").read_text())
    assert document["id"] == "INSERT_OWNER/sctir-wheels"
    assert 6 <= len(document["title"]) <= 50
    wheels.verify([part], downloaded / "requirements.txt")


def test_a_wheel_that_is_gone_is_named(downloaded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [part] = wheels.dataset_folders(downloaded / "out")
    for path in part.glob("s*.whl"):
        (tmp_path / path.name).symlink_to(path)
    arguments = ["wheels", "--check", str(tmp_path), "--requirements", str(downloaded / "requirements.txt")]
    assert main(arguments) == 2
    assert "lacks mpmath<1.4,>=1.1.0 (for sympy-" in capsys.readouterr().err


def test_conditions_are_those_of_kaggles_python_and_not_of_this_one(tmp_path: Path) -> None:
    wheel(
        tmp_path, "a", 'old; python_version < "3.11"', 'new; python_version >= "3.12"', 'win; sys_platform == "win32"'
    )
    assert lacking(tmp_path, ["a"], "3.10") == ["old (for a-1.0-py3-none-any.whl)"]
    assert lacking(tmp_path, ["a"], "3.11") == []
    assert lacking(tmp_path, ["a"], "3.12") == ["new (for a-1.0-py3-none-any.whl)"]


def test_extras_are_followed_to_their_ends(tmp_path: Path) -> None:
    wheel(tmp_path, "a", 'b[x]; extra == "x"')
    wheel(tmp_path, "b", 'c>=2; extra == "x"')
    assert lacking(tmp_path, ["a"]) == []
    assert lacking(tmp_path, ["a[x]"]) == ["c>=2 (for b-1.0-py3-none-any.whl)"]


def test_a_wheel_of_another_version_does_not_count(tmp_path: Path) -> None:
    wheel(tmp_path, "a", version="1.0")
    assert lacking(tmp_path, ["a>=2"]) == ["a>=2 (for requirements.txt)"]
    wheel(tmp_path, "a", version="2.1")
    assert lacking(tmp_path, ["a>=2", "# a comment", "", "-c other.txt"]) == []


def test_packages_that_need_each_other_end(tmp_path: Path) -> None:
    wheel(tmp_path, "a", "b")
    wheel(tmp_path, "b", "a")
    assert lacking(tmp_path, ["a"]) == []


def test_a_wheel_for_another_python_is_found_out_by_pip(tmp_path: Path) -> None:
    wheel(tmp_path, "sctir_test_only", tags="cp311-cp311-manylinux_2_17_x86_64")
    requirements = required(tmp_path, "sctir_test_only")
    wheels.verify([tmp_path], requirements, python="3.11")
    with pytest.raises(UserError, match=r"not complete for Python 3\.12.*sctir_test_only"):
        wheels.verify([tmp_path], requirements, python="3.12")


def test_a_conflict_is_found_out_by_pip(tmp_path: Path) -> None:
    wheel(tmp_path, "sctir_a", "sctir_c<2")
    wheel(tmp_path, "sctir_b", "sctir_c>=2")
    wheel(tmp_path, "sctir_c", version="1.0")
    wheel(tmp_path, "sctir_c", version="2.0")
    with pytest.raises(UserError, match="not complete"):
        wheels.verify([tmp_path], required(tmp_path, "sctir_a", "sctir_b"))


def test_more_wheels_than_a_dataset_holds_become_several(tmp_path: Path) -> None:
    for number in range(wheels.FILES + 3):
        wheel(tmp_path, f"sctir_n{number}")
    parts = wheels.split(tmp_path, owner="alice")
    assert [part.name for part in parts] == ["sctir-wheels", "sctir-wheels-2"]
    assert [len(list(part.glob("*.whl"))) for part in parts] == [wheels.FILES - 1, 4]
    assert json.loads((parts[1] / "dataset-metadata.json").read_text())["id"] == "alice/sctir-wheels-2"
    wheels.verify(parts, required(tmp_path, "sctir_n0", f"sctir_n{wheels.FILES + 2}"))


def test_more_bytes_than_a_dataset_holds_become_several(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = max(wheel(tmp_path, f"n{number}").stat().st_size for number in range(5))
    monkeypatch.setattr(wheels, "BYTES", 2 * size)
    assert [len(list(part.glob("*.whl"))) for part in wheels.split(tmp_path)] == [2, 2, 1]


def test_old_wheels_are_not_mixed_with_new_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wheel(tmp_path, "a")
    requirements = required(tmp_path, "a")
    assert main(["wheels", "--requirements", str(requirements), "--output", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_file_that_is_no_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "a-1.0-py3-none-any.whl").write_bytes(b"half a downl")
    with pytest.raises(UserError, match="cannot be read"):
        lacking(tmp_path, ["a"])
