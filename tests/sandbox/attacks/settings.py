"""The corpus in poorer settings: `python -m tests.sandbox.attacks.settings [FAMILY...]`, as root, prints a table.

A row says what confines the files in a setting, how many attacks ran and how many were not answered as they should be; the
names of those follow. Attacks that wait for something are left out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.sandbox.attacks.corpus import CORPUS
from tests.sandbox.attacks.report import ROOT, Report

SETTINGS = {
    "": "root",
    "--user": "an ordinary user",
    "--container": "root, namespaces refused",
    "--container --user": "an ordinary user, namespaces refused",
    "--no-landlock": "root, no Landlock",
    "--user --no-landlock": "an ordinary user, no Landlock",
    "--few-capabilities --no-landlock": "root with a container's capabilities, no Landlock",
    "--container --no-landlock": "root, namespaces refused, no Landlock",
    "--container --user --no-landlock": "an ordinary user, namespaces refused, no Landlock",
}
_LAYERS = """
import json
from sctir_kaggle.sandbox import layers
print(json.dumps([[layer.name, layer.active, layer.detail] for layer in layers()]))
"""


def main() -> None:
    """Print the table as Markdown, then the failures."""
    families = sys.argv[1:] or list(CORPUS)
    print("| setting | files confined by | attacks | failed |\n|---|---|---|---|", flush=True)
    failures = {}
    for setting, words in SETTINGS.items():
        report = Report(setting)
        report.run_all(families)
        failures[words] = report.failures()
        ran = len(report.ran())
        print(f"| {words} | {confined_by(setting)} | {ran} | {len(failures[words])} |", flush=True)
    for words, found in failures.items():
        for name, wrong in found.items():
            print(f"{words}: {name}: {wrong[0]}")


def confined_by(setting: str) -> str:
    """What confines the files of a child in a setting."""
    command = [sys.executable, "-m", "tests.sandbox.setting", *setting.split(), sys.executable, "-c", _LAYERS]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=True)
    layers = {name: (active, detail) for name, active, detail in json.loads(done.stdout)}
    if layers["landlock"][0]:
        return "Landlock"
    return (
        ("a view by links" if "links" in layers["view"][1] else "a view by mounts") if layers["view"][0] else "nothing"
    )


if __name__ == "__main__":
    main()
