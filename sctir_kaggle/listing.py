"""The settings of a run as a list: each with its value, where that comes from, and what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator

from sctir_kaggle.kinds import shown
from sctir_kaggle.opening import without_secrets
from sctir_kaggle.presets import preset_of
from sctir_kaggle.settings import DEFAULT, RunConfig, known

WIDTH = 120


def as_text(run: RunConfig) -> str:
    """A line a setting, below what the preset is."""
    rows = [(name, shown(without_secrets(run.value(name))), run.sources.get(name, DEFAULT)) for name in known()]
    first, second, third = (max(len(row[place]) for row in rows) for place in range(3))
    second = min(second, 24)
    lines = (
        f"{name:{first}}  {value:{second}}  {source:{third}}  {known()[name].help}".rstrip()
        for name, value, source in rows
    )
    return "\n".join([*_preset(run), *lines, *_dialect(run)])


def as_json(run: RunConfig) -> str:
    """The preset with its source, and of each setting `name`, `value`, `source`, `help`."""
    rows = [
        {
            "name": name,
            "value": without_secrets(run.value(name)),
            "source": run.sources.get(name, DEFAULT),
            "help": known()[name].help,
        }
        for name in known()
    ]
    preset = preset_of(run.preset) if run.preset else None
    about = preset and {"name": preset.name, "source": preset.source, "note": preset.note}
    return json.dumps({"preset": about, "settings": rows}, indent=2)


def _preset(run: RunConfig) -> Iterator[str]:
    if run.preset:
        preset = preset_of(run.preset)
        yield f"preset {preset.name}: {preset.source}"
        if preset.note:
            yield f"  {preset.note}"
        yield ""


def _dialect(run: RunConfig) -> Iterator[str]:
    if run.dialect == "auto":
        yield ""
        yield "The dialect is recognised when the checkpoint is opened; its sampling then replaces these defaults."
