"""A checkpoint that is really quantized here, on the CPU: in transformers and, where both are installed, in vLLM."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from sctir_kaggle import Solver, SolverConfig
from sctir_kaggle.engines.vllm_options import engine_arguments, quantization_of
from sctir_kaggle.problems import HELD_OUT, read_problems
from sctir_kaggle.recipes.quantize.__main__ import quantize
from sctir_kaggle.recipes.quantize.card import CARD
from sctir_kaggle.recipes.quantize.check import main
from sctir_kaggle.sandbox import Sandbox
from tests.support.quantize_support import MODEL, PACKED, edit, settings_for
from tests.support.vllm_support import GREEDY, Engines, ask_all, inner, needs_vllm, prompts, run

CAN_QUANTIZE = find_spec("gptqmodel") is not None

needs_gptqmodel = pytest.mark.skipif(
    not CAN_QUANTIZE,
    reason="gptqmodel is not installed: pip install -r sctir_kaggle/recipes/requirements-gptqmodel.txt",
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, quantized now with a small calibration."""
    settings = settings_for(tmp_path_factory.mktemp("quantize"), rows=32, samples=16)
    here = set(Path.cwd().iterdir())
    quantize(settings)
    assert set(Path.cwd().iterdir()) == here, "the library left something where it was started"
    return settings.output


@pytest.mark.recipes
@needs_gptqmodel
def test_it_is_in_the_one_format_and_names_no_folder_of_the_machine(fresh: Path) -> None:
    assert quantization_of(str(fresh)) == quantization_of(str(PACKED))
    assert {file.name for file in fresh.iterdir()} == {CARD, *(file.name for file in PACKED.iterdir())}
    everything = b"".join(file.read_bytes() for file in fresh.iterdir())
    assert str(fresh.parent).encode() not in everything
    assert str(MODEL).encode() not in everything
    assert str(Path.home()).encode() not in everything


@pytest.mark.recipes
@needs_gptqmodel
def test_the_transformers_engine_writes_with_it_what_the_original_writes(fresh: Path) -> None:
    from sctir_kaggle.engines.transformers import TransformersEngine

    said = []
    for folder in (MODEL, fresh):
        engine = TransformersEngine.load(folder, slots=10, device="cpu")
        try:
            said.append(ask_all(engine, [(prompt, GREEDY) for prompt in prompts(10)]))
        finally:
            engine.close()
    agreeing = sum(ours.text == theirs.text for ours, theirs in zip(*said, strict=True))
    assert agreeing >= 8, f"{agreeing} of 10 greedy completions are the float model's"


@pytest.mark.recipes
@needs_gptqmodel
def test_the_check_writes_its_table_into_the_card(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {
        "model": MODEL,
        "quantized": fresh,
        "data": fresh.parent / "rows.jsonl",
        "problems": HELD_OUT,
        "runs": tmp_path / "runs",
        "engine": "transformers",
        "candidates": 4,
        "limit": 4,
        "seeds": 2,
    }
    typed = [f"{name}={value}" for name, value in changes.items()]
    monkeypatch.setattr("sys.argv", ["check_quantized", "--config", "check_quantized.yaml", "--set", *typed])
    main()
    card = (fresh / CARD).read_text()
    rows = {line.split("|")[1].strip(): line.split("|")[2:5] for line in card.splitlines() if line.startswith("| ")}
    agreement, divergence, ratio = (
        next(cells[2] for name, cells in rows.items() if name.startswith(begins))
        for begins in ("same top token", "KL divergence", "perplexity")
    )
    assert float(agreement.split("±")[0]) > 98
    assert float(ratio.split("±")[0]) == pytest.approx(1, rel=0.01)
    assert "±" in divergence
    assert any(name.startswith("right (%): problems, 4 candidates") for name in rows)
    assert "Not compared yet" not in card
    assert "mean ± sd of 2 seeds" in capsys.readouterr().out


@pytest.fixture(scope="module")
def served(request: pytest.FixtureRequest) -> Path:
    """Quantized now where vLLM and gptqmodel share an environment (on a CPU they do), else the embedded twin."""
    made: Path = request.getfixturevalue("fresh") if CAN_QUANTIZE else PACKED
    return made


@needs_vllm
def test_vllm_takes_its_config_and_solves_a_problem_with_it(served: Path, sandbox: Sandbox, engines: Engines) -> None:
    from tests.support.vllm_cpu import gptq_kernel

    gptq_kernel.register()
    engine = engines.load(served, slots=16)
    quantization = inner(engine).vllm_config.quant_config
    assert (quantization.weight_bits, quantization.group_size, quantization.desc_act) == (8, 128, False)
    config = SolverConfig(candidates=16)
    results = [run(Solver(engine, sandbox, config).solve(problem)) for problem in read_problems(HELD_OUT)[:4]]
    assert sum(result.correct is True for result in results) >= 3


@needs_vllm
def test_vllm_itself_refuses_the_activation_order_that_we_refuse(served: Path, tmp_path: Path) -> None:
    import vllm  # type: ignore[import-not-found,unused-ignore]

    ordered = tmp_path / "ordered"
    shutil.copytree(served, ordered)
    arguments = engine_arguments(str(ordered), slots=1, dtype=None, context_length=None, memory=0.5)
    assert arguments.create_engine_config().quant_config.desc_act is False
    edit(ordered / "config.json", lambda config: config["quantization_config"].update(desc_act=True))
    if tuple(map(int, vllm.__version__.split(".")[:2])) < (0, 30):
        pytest.skip(f"vLLM {vllm.__version__} serves it")
    with pytest.raises(ValueError, match="desc_act"):
        arguments.create_engine_config()
