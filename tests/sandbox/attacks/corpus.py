"""All snippets, by family. A family shares a sandbox; a class is what the sandbox promises something about."""

from __future__ import annotations

from tests.sandbox.attacks import (
    crashes,
    kernel,
    loops,
    memory,
    network,
    ordinary,
    output,
    processes,
    secrets,
    sources,
    state,
    view,
    writes,
)
from tests.sandbox.attacks.attack import Attack

CORPUS: dict[str, list[Attack]] = {
    module.__name__.rpartition(".")[2]: module.ATTACKS
    for module in (
        crashes,
        kernel,
        loops,
        memory,
        network,
        ordinary,
        output,
        processes,
        secrets,
        sources,
        state,
        view,
        writes,
    )
}
