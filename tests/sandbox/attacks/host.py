"""The process that runs families of the corpus through a real sandbox and reports what each block did to whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from sctir_kaggle.sandbox import Sandbox, child, executor
from sctir_kaggle.types import ExecutionResult, ExecutionStatus
from tests.sandbox.attacks.attack import Attack
from tests.sandbox.attacks.corpus import CORPUS
from tests.sandbox.attacks.doors import Doors
from tests.sandbox.attacks.facts import Host, differences, resident_kib, sweep
from tests.sandbox.attacks.planted import Planted
from tests.sandbox.attacks.portrait import PORTRAIT

CODE_SECONDS = 1.0
PATIENT = {"ordinary": 5.0, "memory": 5.0, "sources": 5.0, "output": 5.0}
"""Families whose blocks need some time to come to their point on a machine that may be busy."""
AGAIN_SECONDS = 30.0
"""The limit of a block that runs again, alone, since the machine may have been too busy for it."""
HANG_SECONDS = 8.0
"""The same for a block that may run into its limit: many of them take `AGAIN_SECONDS` each otherwise."""
PATIENCE = 60.0
"""Seconds that the host waits for a child or the zygote: on a busy machine neither is given up."""
MEMORY_MB = 512
WORKERS = 4
RAISED = "the sandbox raised"
SECRET_VARIABLE = "KAGGLE_USER_SECRETS_TOKEN"
KEPT = "import os\nos.write(1, b'kept\\n' if 'kept' in globals() else b'lost\\n') and None"
PLANT = """
import os
try:
    with open('secret', 'w') as file: file.write(token)
except OSError: pass  # where nothing can be written
"""
SIBLING = "print(len(token), not os.path.exists('secret') or open('secret').read() == token)"
SETTLE_SECONDS = 30.0
_LARGEST = "# " + "c" * 8_000_000 + "\nprint('x' * 10**7)"
"""Warms the host up: what a large source and a flood need is not growth later."""


def main(chosen: list[str], folder: Path, *, jailed: bool, again: bool) -> int:
    """Plant what can be lost, run families (`FAMILY`) or single blocks (`FAMILY/ID`) in one sandbox, report line by line."""
    corpus: dict[str, list[Attack]] = {}
    for family, _, attack_id in (word.partition("/") for word in chosen):
        corpus.setdefault(family, []).extend(attack for attack in CORPUS[family] if attack_id in ("", attack.id))
    child.CODE_SECONDS = child.KILL_SECONDS = executor.READY_SECONDS = executor.ANSWER_SECONDS = PATIENCE
    planted = Planted(folder)
    os.environ.update({SECRET_VARIABLE: planted.in_environment, "HOME": str(planted.home)})
    os.environ["TMPDIR"] = tempfile.tempdir = str(planted.scratch)
    os.chdir(planted.work)
    asyncio.run(_run(corpus, planted, jailed=jailed, again=again))
    return 0


def code_seconds(family: str) -> float:
    """How long a block of this family may run."""
    return PATIENT.get(family, CODE_SECONDS)


def report(**facts: object) -> None:
    """One line of the report; at once, so that it survives the host's death."""
    print(json.dumps(facts), flush=True)


async def _run(corpus: dict[str, list[Attack]], planted: Planted, *, jailed: bool, again: bool) -> None:
    doors = Doors(planted.scratch.parent)
    host = Host(planted, doors, jailed=jailed)
    bare = host.facts()
    seconds = AGAIN_SECONDS if again else max(map(code_seconds, corpus))
    with Sandbox(workers=WORKERS, code_seconds=seconds, memory_mb=MEMORY_MB) as sandbox:
        run = _Run(sandbox, host, planted, {**planted.placeholders(), **doors.placeholders()}, again=again)
        await run.begin()
        for family, attacks in corpus.items():
            await run.family(family, attacks, alone=again)
    report(closed=await _settled(host, bare))


def batches(attacks: list[Attack], *, alone: bool) -> Iterator[list[Attack]]:
    """As many at a time as there are workers, but for those that must be alone, or all with `alone`."""
    together = [attack for attack in attacks if not (alone or attack.alone)]
    for start in range(0, len(together), WORKERS):
        yield together[start : start + WORKERS]
    for attack in attacks:
        if alone or attack.alone:
            yield [attack]


async def _settled(host: Host, before: dict[str, object]) -> list[str]:
    """The differences that remain after the time that a killed process may take to be gone."""
    end = time.monotonic() + SETTLE_SECONDS
    while (found := differences(before, host.facts())) and time.monotonic() < end:
        await asyncio.sleep(0.02)
    sweep()
    return found


class _Run:
    """One sandbox, a candidate that lives through all of it, and one candidate for each attack."""

    def __init__(
        self, sandbox: Sandbox, host: Host, planted: Planted, placeholders: dict[str, str], *, again: bool
    ) -> None:
        self._sandbox, self._host, self._planted, self._placeholders = sandbox, host, planted, placeholders
        self._again, self._limit = again, sandbox.code_seconds
        self._turns = 0

    async def begin(self) -> None:
        """What is true before the first attack. The descriptors of both workers are open by then."""
        await asyncio.gather(*(self._turn(f"warm/{n}", _LARGEST) for n in range(WORKERS)))
        for number in range(WORKERS):
            self._sandbox.release(f"warm/{number}")
        secret = self._planted.in_memory
        await self._turn("sibling/0", f"token = {secret!r}\n{PLANT}")
        self._fresh = await self._portrait()
        await asyncio.sleep(0.5)
        self._before = self._host.facts()

    async def family(self, family: str, attacks: list[Attack], *, alone: bool) -> None:
        """All of its attacks, and by how much the host has grown over them."""
        resident = resident_kib()
        for batch in batches(attacks, alone=alone):
            report(family=family, begins=[attack.id for attack in batch])
            await self._batch(family, batch)
        report(family=family, grown_kib=resident_kib() - resident)

    async def _batch(self, family: str, attacks: list[Attack]) -> None:
        """Some attacks at once, then what became of the host, of a sibling, and of the next candidate."""
        results = await asyncio.gather(*map(self._attack, attacks))
        changed = await _settled(self._host, self._before)
        sibling = await self._turn("sibling/0", SIBLING)
        portrait = await self._portrait()
        after = {"changed": changed, "sibling": sibling.output, "next": differences(self._fresh, portrait)}
        for attack, result in zip(attacks, results, strict=True):
            report(family=family, attack=attack.id, **result, **after)
        if changed or after["next"]:  # the blame is theirs alone
            self._before, self._fresh = self._host.facts(), portrait

    async def _attack(self, attack: Attack) -> dict[str, object]:
        candidate = f"attack/{attack.id}"
        await self._turn(candidate, "kept = 41")
        if self._again and ExecutionStatus.TIMEOUT in attack.statuses:  # it runs alone
            self._sandbox.code_seconds = HANG_SECONDS
        limit, started = self._sandbox.code_seconds, time.monotonic()
        result = await self._turn(candidate, self._filled(attack.code))
        self._sandbox.code_seconds = self._limit
        taken = time.monotonic() - started
        later = await self._turn(candidate, self._filled(attack.then[0]) if attack.then else KEPT)
        ended = time.monotonic()
        self._sandbox.release(candidate)
        times = {"wall": taken, "later_wall": ended - started - taken, "parting": time.monotonic() - ended}
        leaks = [name for name, secret in self._secrets().items() if secret in result.output + later.output]
        return {
            "output": result.output,
            "status": result.status.value,
            "later": later.output,
            "leaks": leaks,
            "limit": limit,
            "later_limit": self._limit,
            "again": self._again,
            **times,
        }

    def _secrets(self) -> dict[str, str]:
        names = ("submission", "journal", "input", "home", "environment", "memory of another")
        return dict(zip(names, self._planted.secrets, strict=True))

    def _filled(self, code: str) -> str:
        return re.sub("@[A-Z]+@", lambda found: self._placeholders.get(found[0], found[0]), code)

    async def _turn(self, candidate: str, code: str) -> ExecutionResult:
        self._turns += 1
        request_id = f"{candidate}/{self._turns}"
        try:
            return await self._sandbox.execute(
                code, request_id=request_id, deadline=time.monotonic() + 4 * AGAIN_SECONDS
            )
        except Exception as error:  # the promise is that whatever the code does is a result
            traceback.print_exc()
            return ExecutionResult(f"{RAISED} {error!r}", ExecutionStatus.CRASH)

    async def _portrait(self) -> dict[str, object]:
        output = (await self._turn("next/0", PORTRAIT)).output
        self._sandbox.release("next/0")
        with contextlib.suppress(ValueError):
            portrait: dict[str, object] = json.loads(output.partition("PORTRAIT ")[2])
            return portrait
        return {"output": output}


if __name__ == "__main__":
    said = sys.argv[2].split("+")
    sys.exit(main(sys.argv[3:], Path(sys.argv[1]), jailed="jailed" in said, again="again" in said))
