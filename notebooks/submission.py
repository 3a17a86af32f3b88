# The source of submission.ipynb: `python -m sctir_kaggle.kaggle.notebook` builds it.

# %% [markdown]
# # SC-TIR: tool-integrated reasoning, and a vote
#
# For each problem N candidates write their reasoning and Python, read what the Python printed, and go on until they have an
# answer; the answer that most of them give wins. This is the system that won the first AIMO Progress Prize, as a small
# library. Run all cells: in the editor they answer the competition's public problems, in a submission its private ones.

# %% [code] {"_kg_hide-input": true, "jupyter": {"source_hidden": true}}
# The library itself. `sctir push` puts its wheel in here, so that a version is exactly the code that was tested.
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

WHEEL = {}  # file name: base64; as long as it is empty the installed sctir_kaggle runs
for name, payload in WHEEL.items():
    wheel = Path(tempfile.mkdtemp(prefix="sctir-"), name)
    wheel.write_bytes(base64.b64decode(payload))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", wheel.parent, wheel], check=True)
    sys.path.insert(0, str(wheel.parent))

# %%
# What is run. Elsewhere than at Kaggle the variables SCTIR_COMPETITION, SCTIR_ENGINE, ... choose something else.
from dataclasses import replace

from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.kaggle.settings import setting

profile = profile_of(setting("competition", "aimo1"))
engine = setting("engine", "vllm")
config = replace(profile.config, candidates=setting("candidates", 48), turns=setting("turns", 4))
