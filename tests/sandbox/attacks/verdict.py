"""What was wrong with a run of an attack, in words; nothing is what is hoped for."""

from __future__ import annotations

import re
from typing import Any

from sctir_kaggle.sandbox.outcome import VARIABLES_GONE
from sctir_kaggle.types import ExecutionStatus
from tests.sandbox.attacks.attack import Attack
from tests.sandbox.attacks.host import RAISED
from tests.sandbox.attacks.planted import PREFIX, SECRET_LENGTH

GRACE_SECONDS, PARTING_SECONDS = 1.5, 1.0
"""What a block may take beyond its limit, and its release; where it takes more it runs again."""
AGAIN_GRACE_SECONDS = 30.0
"""The same for a block that runs again, alone: what is busy may be the machine, not the sandbox."""
OUTPUT_LIMIT_CHARACTERS = 40_000
"""Head and tail of 16 KiB each, a traceback, a note."""

_TOLD = {
    ExecutionStatus.TIMEOUT: r"TimeoutError: .*(ran for more than|no time was left)",
    ExecutionStatus.MEMORY: r"MemoryError: the code needed more than \d+ MB",
    ExecutionStatus.OUTPUT_LIMIT: r"Error: the code (printed more than \d+ MB|filled its working folder)",
    ExecutionStatus.CRASH: r"Error: the code (ended Python|was stopped|.* stopped)",
}
_STOPPED = (ExecutionStatus.MEMORY, ExecutionStatus.OUTPUT_LIMIT, ExecutionStatus.CRASH)
_HARMFUL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")

Record = dict[str, Any]


def faults(attack: Attack, record: Record) -> list[str]:
    """Everything that is not as it should be."""
    status = ExecutionStatus(record["status"])
    return [
        *_of_the_status(attack, status, record["output"]),
        *_of_the_output(attack, status, record["output"]),
        *_of_the_time(record),
        *_of_the_host(record),
        *_of_the_next_turn(attack, record),
    ]


def too_slow(attack: Attack, record: Record) -> bool:
    """Whether what was wrong may be the machine's fault: a time limit was met, by whichever block, or exceeded."""
    said = [record["output"], record["later"], record["sibling"], *map(str, record["next"])]
    met = bool(_of_the_time(record)) or any("TimeoutError" in text for text in said)
    return met and bool(faults(attack, record))


def _of_the_status(attack: Attack, status: ExecutionStatus, output: str) -> list[str]:
    found = []
    if status not in attack.statuses:
        found.append(f"the status is {status.value}, not {'/'.join(s.value for s in attack.statuses)}")
    if status in _TOLD and not re.search(_TOLD[status], output):
        found.append(f"the model is not told of {status.value}")
    return found


def _of_the_output(attack: Attack, status: ExecutionStatus, output: str) -> list[str]:
    never = () if attack.watched and status in _STOPPED else attack.never
    found = [f"the output has {text!r}" for text in (*never, RAISED) if text in output]
    if attack.exactly is not None and output != attack.exactly:
        found.append(f"the output is not {attack.exactly!r}")
    if not re.search(attack.says, output, re.MULTILINE):
        found.append(f"the output lacks {attack.says!r}")
    if len(output) > OUTPUT_LIMIT_CHARACTERS:
        found.append(f"the output has {len(output)} characters")
    if harmful := _HARMFUL.search(output):
        found.append(f"the output has the character {harmful[0]!r}")
    return found


def _of_the_time(record: Record) -> list[str]:
    grace, parting = (AGAIN_GRACE_SECONDS,) * 2 if record["again"] else (GRACE_SECONDS, PARTING_SECONDS)
    limits = {"wall": record["limit"] + grace, "later_wall": record["later_limit"] + grace, "parting": parting}
    return [f"{name} took {record[name]:.2f} s" for name, limit in limits.items() if record[name] > limit]


def _of_the_host(record: Record) -> list[str]:
    found = [f"the secret of {name} is in the output" for name in record["leaks"]]
    found += [f"the host has changed: {text}" for text in record["changed"]]
    found += [f"the next candidate is not clean: {text}" for text in record["next"]]
    if record["sibling"] != f"{len(PREFIX) + SECRET_LENGTH} True\n":
        found.append(f"another candidate was told {record['sibling']!r}")
    return found


def _of_the_next_turn(attack: Attack, record: Record) -> list[str]:
    later = record["later"]
    if attack.then:
        return [] if re.search(attack.then[1], later, re.MULTILINE) else [f"its next turn printed {later!r}"]
    if attack.ruins or later in ("kept\n", VARIABLES_GONE + "lost\n"):
        return []
    return [f"its next turn printed {later!r}"]
