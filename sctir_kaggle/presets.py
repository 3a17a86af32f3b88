"""Named settings with a source: what winners and papers published, as far as it can be set here.

A preset sets the loop, the dialect and the engine's limits; `--model` names the weights and `--engine` who serves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sctir_kaggle.config import SolverConfig
from sctir_kaggle.kinds import nearest
from sctir_kaggle.types import UserError


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings by name, checked when they are used.

    `source` is where they were published, `note` what the source does that no setting here does, or that is left to you.
    """

    name: str
    source: str
    values: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


_LOOP = (
    *("candidates", "turns", "temperature", "top_p", "max_tokens", "code_seconds", "output_chars", "output_clip"),
    *("blocks", "restart", "stateful", "force_answer", "stop"),
)

_COMPARISON = "the comparison in 'How NuminaMath Won the 1st AIMO Progress Prize'"

_ROWS = (
    Preset(
        name="numina",
        source="the AIMO-1 winner's notebook (github.com/project-numina/aimo-progress-prize, kaggle-solution.ipynb)",
        values={
            "dialect": "numina",
            "candidates": 48,
            "turns": 4,
            "temperature": 0.8,
            "top_p": 1.0,
            "max_tokens": 2048,
            "code_seconds": 5.0,
            "output_chars": 200,
            "output_clip": "head",
            "blocks": "last",
            "restart": True,
            "stateful": False,
            "force_answer": False,
            "stop": "none",
            "tie_break": "first",
        },
        note="answers are read as everywhere here; its own reader and its barriers: benchmarks/numina_compat.py",
    ),
    Preset(
        name="numina-fixed",
        source="the same with its flaws fixed: the defaults of this package",
        values={"dialect": "numina", **{name: getattr(SolverConfig(), name) for name in _LOOP}},
    ),
    Preset(
        name="aimo2-nemotron",
        source="the AIMO-2 winner's demonstration (github.com/NVIDIA-NeMo/Skills, demo_aimo_inference.ipynb)",
        values={
            "competition": "aimo2",
            "dialect": "openmath-nemotron",
            "candidates": 12,
            "turns": 2,
            "temperature": 0.7,
            "top_p": 0.95,
            "max_tokens": 20_000,
            "code_seconds": 2.0,
            "output_chars": 200,
            "output_clip": "head",
            "stateful": True,
            "stop": "exact",
            "cap": 1.6,
            "draw": 1.0,
            "high": 560.0,
            "context_length": 24_576,
        },
        note="its stop after 10 of 12 has no setting here; 4 that agree: stop = 'k=4'; 350 s and a bank of at most 210 s",
    ),
    Preset(
        name="aimo3-gpt-oss",
        source="the public AIMO-3 notebooks for gpt-oss-120b (github.com/AndreasBis/AIMO3-Solution)",
        values={
            "competition": "aimo3",
            "dialect": "gpt-oss",
            "candidates": 8,
            "turns": 128,
            "temperature": 1.0,
            "top_p": 1.0,
            "min_p": 0.02,
            "max_tokens": 65_536,
            "code_seconds": 6.0,
            "output_chars": 10_000,
            "stateful": True,
            "stop": "exact",
            "draw": 1.0,
            "high": 900.0,
            "context_length": 81_920,
        },
        note="its stop at 4 of 8 that agree is stop = 'k=4'; there an output has no limit, here 10,000 characters",
    ),
    Preset(name="sc-tir", source=f"{_COMPARISON}: SC-TIR, 29 of 50 private"),
    Preset(
        name="single-tir",
        source=f"{_COMPARISON}: a vote over 32 single programs, 16 of 50 public",
        values={"candidates": 32, "turns": 1, "stop": "exact"},
    ),
    Preset(
        name="cot-majority",
        source=f"{_COMPARISON}: a vote over 32 chains of thought, 8 of 50 public",
        values={"candidates": 32, "turns": 0, "stop": "exact"},
    ),
    Preset(
        name="greedy-tir",
        source=f"{_COMPARISON}: one candidate with tools, MATH 68.2 %",
        values={"candidates": 1, "temperature": 0.0},
    ),
    Preset(
        name="greedy-cot",
        source=f"{_COMPARISON}: one chain of thought, MATH 56.3 %",
        values={"candidates": 1, "temperature": 0.0, "turns": 0},
    ),
)

PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ROWS}
"""The presets by name. To add one, add a row."""


def preset_of(name: str) -> Preset:
    """The preset of this name. Raises `UserError`, which names the nearest one, where there is none."""
    if name in PRESETS:
        return PRESETS[name]
    raise UserError(f"there is no preset {name!r}{nearest(name, PRESETS) or '; take one of ' + ', '.join(PRESETS)}")
