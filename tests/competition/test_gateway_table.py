"""docs/gateways.md says what the gateways do today: the stand-ins always, the real ones where their folders are at hand."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from sctir_kaggle.competition.push_server import VARIABLE
from tests.support.gateway_table import COMPETITIONS, committed, made_with, real_cells

pytest.importorskip("polars", reason='needs polars: pip install "sctir-kaggle[competition]"')
pytest.importorskip("grpc", reason='needs gRPC: pip install "sctir-kaggle[competition]"')

from tests.support.gateway_scenarios import SCENARIOS, outcome

pytestmark = pytest.mark.slow

STRICTER = {"a frame without answer", "a frame with a third column"}

each_version = pytest.mark.parametrize("version", COMPETITIONS)


@each_version
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_stand_in_does_what_the_table_says(name: str, version: str) -> None:
    assert outcome(name, version, real=False) == committed()[version, "stand-in"][name]


@each_version
def test_the_stand_in_differs_from_the_real_gateway_where_it_is_said_and_nowhere_else(version: str) -> None:
    real, ours = committed()[version, "real"], committed()[version, "stand-in"]
    assert {name for name in SCENARIOS if real[name] != ours[name]} == STRICTER


def test_the_table_has_all_scenarios_and_names_the_versions() -> None:
    assert all(list(cells) == list(SCENARIOS) for cells in committed().values())
    assert all(version in made_with() for version in COMPETITIONS)


@each_version
def test_the_real_gateway_does_what_the_table_says(version: str) -> None:
    missing = [library for library in ("pyarrow", "google.protobuf") if not _is_installed(library)]
    if missing:
        pytest.skip(f"the competition's own gateway needs {', '.join(missing)}")
    found = real_cells(version)
    if found is None:
        pytest.skip(f"opt-in: {VARIABLE} names no folder with the kaggle_evaluation of {COMPETITIONS[version]}")
    assert found == (version, committed()[version, "real"])


def _is_installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False
