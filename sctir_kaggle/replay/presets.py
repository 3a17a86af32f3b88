"""Ways to solve that have a name, so that each row of the published comparison is one command.

The published figures: 8/50 for a vote over 32 chains of thought, 16/50 for a vote over 32 single programs, 29/50 for
SC-TIR; MATH greedily with one candidate, 56.3 % by chain of thought and 68.2 % with tools. Each with a checkpoint of its
own: a preset sets the loop, `--model` the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "sc-tir": {},
    "greedy-tir": {"candidates": 1, "temperature": 0.0},
    "greedy-cot": {"candidates": 1, "temperature": 0.0, "turns": 0},
    "cot-majority": {"candidates": 32, "turns": 0},
    "single-tir": {"candidates": 32, "turns": 1},
}
"""By name, what differs from `SolverConfig()`. `single-tir` runs one program and reads the answer from its output."""
