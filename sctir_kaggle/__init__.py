"""SC-TIR for Kaggle: N candidates x M turns of tool-integrated reasoning, a sandbox, a vote and a clock.

Importing this loads nothing; a name loads its module when it is first used, which needs the standard library only. An
engine loads what it needs when it is used.
"""

from importlib import import_module

from sctir_kaggle._version import __version__

TYPE_CHECKING = False  # as a type checker sees it; `typing` itself would take longer to import than all else here
if TYPE_CHECKING:
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

_PLACES = {
    **dict.fromkeys(("AIMO1", "AIMO3", "MATH", "SolverConfig"), "config"),
    **dict.fromkeys(("DIALECTS", "Dialect"), "dialects"),
    "Rollout": "rollout",
    "Solver": "solver",
}
"""The module of each public name that is not in `types`."""


def __getattr__(name: str) -> object:
    """Import a public name when it is used: the command `sctir` handles signals before anything else is imported."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'types')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
