"""A notebook's own metadata, as Kaggle exports and imports it: the machine, the internet, the competition's files.

Covered: what is the same for everybody. Not covered: data sets and models of an account, for which Kaggle's export has the
numbers of their versions; no public address tells these, so that a notebook imported by the web page gets its wheels and
its checkpoint by `Add Input`. `sctir push` attaches them by name (kernel-metadata.json).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sctir_kaggle.competition.profile import PROFILES, profile_of

SOURCE_IDS: Mapping[str, int] = {
    "ai-mathematical-olympiad-prize": 73231,
    "ai-mathematical-olympiad-progress-prize-2": 86023,
    "ai-mathematical-olympiad-progress-prize-3": 118448,
}
"""Kaggle's numbers of the competitions' files, from notebooks that their authors exported and published."""

JUPYTER: Mapping[str, Any] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python"},
}


def metadata_for(competition: str | None = None) -> dict[str, Any]:
    """The metadata of a notebook for `competition`, a short name or a slug; the default one where none is named."""
    profile = profile_of(competition) if competition else next(iter(PROFILES.values()))
    source = SOURCE_IDS.get(profile.slug)
    kaggle = {
        "accelerator": profile.machine[:1].lower() + profile.machine[1:],
        "dataSources": [{"sourceId": source, "sourceType": "competition"}] if source else [],
        "isGpuEnabled": True,
        "isInternetEnabled": False,
        "language": "python",
        "sourceType": "notebook",
    }
    return {**JUPYTER, "kaggle": kaggle}
