"""SC-TIR for Kaggle: N candidates x M turns of tool-integrated reasoning, a sandbox, a vote and a clock.

Importing this loads the standard library only; an engine loads what it needs when it is used.
"""

from sctir_kaggle._version import __version__
from sctir_kaggle.config import AIMO1, AIMO3, MATH, SolverConfig
from sctir_kaggle.dialects import DIALECTS, Dialect
from sctir_kaggle.rollout import Rollout
from sctir_kaggle.solver import Solver
from sctir_kaggle.types import (
    Completion,
    Control,
    Engine,
    EngineError,
    ExecutionResult,
    ExecutionStatus,
    Executor,
    ExecutorError,
    Problem,
    Prompt,
    PromptTooLong,
    SamplingParams,
    SolveResult,
    Trace,
    TraceStatus,
    Turn,
    UserError,
    Vote,
)

__all__ = [
    "AIMO1",
    "AIMO3",
    "DIALECTS",
    "MATH",
    "Completion",
    "Control",
    "Dialect",
    "Engine",
    "EngineError",
    "ExecutionResult",
    "ExecutionStatus",
    "Executor",
    "ExecutorError",
    "Problem",
    "Prompt",
    "PromptTooLong",
    "Rollout",
    "SamplingParams",
    "SolveResult",
    "Solver",
    "SolverConfig",
    "Trace",
    "TraceStatus",
    "Turn",
    "UserError",
    "Vote",
    "__version__",
]
