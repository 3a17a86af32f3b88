"""The zygote that new children come from, and those that only the children that they still have keep alive."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Collection, Iterable
from functools import cache

from sctir_kaggle.sandbox.launcher import Zygote
from sctir_kaggle.sandbox.memory import SharedMemory
from sctir_kaggle.sandbox.protocol import Layer
from sctir_kaggle.types import ExecutorError

log = logging.getLogger(__name__)

MOST_RETIRED = 2
"""Zygotes at a time that are kept for the children that they still have."""


class Zygotes:
    """Start a zygote where there is none. Thread-safe.

    `memory_mb` are the MiB of a child, `memory` counts those of all, `spares` children are forked ahead. `without`: layers
    that are switched off; with `strict`, another one that is missing is an error.
    """

    def __init__(
        self, python: str, *, memory_mb: int, memory: SharedMemory, without: Collection[str], spares: int, strict: bool
    ) -> None:
        self._python, self._memory_mb, self._memory = python, memory_mb, memory
        self._without, self._spares, self._strict = tuple(without), spares, strict
        self._lock = threading.Lock()  # held for seconds while a zygote starts: never take it on an event loop
        self.current: Zygote | None = None
        self._retired: list[Zygote] = []
        self._removals: list[threading.Thread] = []
        self._closed = False

    def living(self) -> Zygote:
        """The zygote, a new one where there is none or it has died. Raises `ExecutorError` where none starts,
        and once this is closed."""
        with self._lock:
            if self._closed:
                raise ExecutorError("the sandbox is closed")
            for retired in [zygote for zygote in self._retired if not zygote.children]:
                self._retired.remove(retired)
                self._bury(retired)
            if self.current and not self.current.alive:
                self._bury(self.current)
                self.current = None
            if self.current is None:
                zygote = Zygote(
                    self._python,
                    memory_mb=self._memory_mb,
                    memory=self._memory,
                    without=self._without,
                    spares=self._spares,
                )
                self._check_layers(zygote)
                self.current = zygote
            return self.current

    def retire(self, zygote: Zygote) -> None:
        """Keep a zygote that does not answer for the children that it has, and start the next child in a new one."""
        with self._lock:
            if self.current is zygote and len(self._retired) < MOST_RETIRED:
                self._retired.append(zygote)
                self.current = None

    def close(self) -> None:
        """End them all, and wait until nothing is left of those that were replaced."""
        with self._lock:
            self._closed = True
            for zygote in filter(None, (self.current, *self._retired)):
                zygote.close()
            self.current, self._retired = None, []
        for removal in self._removals:
            removal.join()

    def _bury(self, zygote: Zygote) -> None:
        """Kill a zygote that is of no use any more, and remove what it leaves: the disk may take its time for that."""
        zygote.kill()
        removal = threading.Thread(target=zygote.close, name="sandbox-removal", daemon=True)
        removal.start()
        self._removals = [other for other in self._removals if other.is_alive()] + [removal]

    def _check_layers(self, zygote: Zygote) -> None:
        """Warn once of layers that are missing and were not switched off; if `strict`, raise `ExecutorError`."""
        missing = [layer for layer in zygote.layers if layer.active is False]
        if self._strict and missing:
            zygote.close()
            raise ExecutorError(f"the sandbox is strict, and {_names(missing)}")
        if unasked := [layer for layer in missing if layer.name not in self._without]:
            _warn_once(f"the sandbox does what it can without all of its layers: {_names(unasked)}")


def layers(*, python: str = sys.executable) -> tuple[Layer, ...]:
    """The layers of confinement on this machine, each tried out, in a fraction of a second.

    Raises `ExecutorError` where Python does not start, or where a layer fails its self-test.
    """
    zygote = Zygote(python, memory_mb=1024, memory=SharedMemory(1, each_mb=1), without=(), spares=0, warm=False)
    zygote.close()
    return zygote.layers


@cache
def _warn_once(text: str) -> None:
    log.warning(text)


def _names(layers: Iterable[Layer]) -> str:
    return ", ".join(f"{layer.name} is missing ({layer.detail})" for layer in layers)
