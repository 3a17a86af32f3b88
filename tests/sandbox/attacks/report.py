"""Runs families of the corpus in jails, in a setting of choice, and keeps what was said of each block."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.sandbox.attacks.attack import Attack
from tests.sandbox.attacks.corpus import CORPUS
from tests.sandbox.attacks.host import code_seconds
from tests.sandbox.attacks.verdict import Record, faults, too_slow

ROOT = Path(__file__).parents[3]
JAIL_SECONDS = 1800


@dataclass
class Report:
    """What the jails said, by family. `setting` is what `tests.sandbox.setting` makes; "" is this machine as it is."""

    setting: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, Record]] = field(default_factory=dict)
    grown_kib: dict[str, int] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    last_words: str = ""

    def run_all(self, families: list[str]) -> None:
        """Run them, in one jail for each time limit; then again and alone what the machine was too busy for."""
        for seconds in sorted({code_seconds(family) for family in families}):
            self.run([family for family in families if code_seconds(family) == seconds])
        slow = [
            (family, attack.id) for family, attack in self.ran() if too_slow(attack, self.records[family][attack.id])
        ]
        for line in self._jail([f"{family}/{attack}" for family, attack in slow], "--again") if slow else []:
            self._add(line, sorted({family for family, _ in slow}))

    def run(self, families: list[str]) -> None:
        """Run them in one jail; those that it did not come to since it broke, in another."""
        while families:
            lines = self._jail(families)
            for line in lines:
                self._add(line, families)
            reached = {line["family"] for line in lines if "family" in line} | self.skipped.keys()
            families = [family for family in families if family not in reached] if reached else []

    def _jail(self, chosen: list[str], *options: str) -> list[Record]:
        setting = [f"--setting={self.setting}"] if self.setting else []
        command = [sys.executable, "-m", "tests.sandbox.attacks.jail", *setting, *options, *chosen]
        jail = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            lines, errors = jail.communicate(timeout=JAIL_SECONDS)
        except subprocess.TimeoutExpired:
            jail.terminate()  # it removes its cgroup
            lines, errors = jail.communicate()
        self.last_words += errors[-3000:]
        return [json.loads(line) for line in lines.splitlines()]

    def _add(self, line: Record, families: list[str]) -> None:
        if "skip" in line:
            self.skipped.update(dict.fromkeys(line["families"], line["skip"]))
        if "attack" in line:
            self.records.setdefault(line["family"], {})[line["attack"]] = line
        if "grown_kib" in line:
            self.grown_kib[line["family"]] = max(line["grown_kib"], self.grown_kib.get(line["family"], 0))
        if "closed" in line:
            for family in families:
                self.left[family] = [*self.left.get(family, ()), *line["closed"]]

    def failures(self) -> dict[str, list[str]]:
        """By the attack's name, what was wrong with those that the machine has all for."""
        found: dict[str, list[str]] = {}
        for family, attack in self.ran():
            if wrong := faults(attack, self.records[family][attack.id]):
                found[f"{family}: {attack.id}"] = wrong
        return found

    def ran(self) -> list[tuple[str, Attack]]:
        """The attacks that ran and mean something on this machine."""
        return [
            (family, attack)
            for family, records in self.records.items()
            for attack in CORPUS[family]
            if attack.id in records and not lacking(attack)
        ]


def lacking(attack: Attack) -> list[str]:
    """What the machine has not of what the block needs."""
    machine = platform.machine()
    return [name for name in attack.needs if name != machine and importlib.util.find_spec(name) is None]
