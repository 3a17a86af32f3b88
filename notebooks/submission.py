# The source of submission.ipynb: `python -m sctir_kaggle.kaggle.notebook` builds it.

# %% [markdown]
# # SC-TIR: reason, run the code, vote
#
# For each problem N candidates write their reasoning and Python, read what the Python printed, and go on until they have an
# answer; the answer that most of them give wins. It is the system that won the first AIMO Progress Prize, as a small
# library. *Run all*: in the editor it answers the competition's public problems, once submitted its private ones.

# %% [code] {"_kg_hide-input": true, "jupyter": {"source_hidden": true}}
# The library. `sctir push` puts its wheel in here: a version of this notebook is exactly the code that was tested.
import base64
import subprocess
import sys
import tempfile
from pathlib import Path

WHEEL = {}  # the file's name: the file in base64; while this is empty, the sctir_kaggle that is installed runs
for name, payload in WHEEL.items():
    wheel = Path(tempfile.mkdtemp(prefix="sctir-library-"), name)
    wheel.write_bytes(base64.b64decode(payload))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", wheel.parent, wheel], check=True)
    sys.path.insert(0, str(wheel.parent))

# %%
# What is run. Elsewhere than at Kaggle SCTIR_COMPETITION=aimo3, SCTIR_ENGINE=transformers, ... choose something else.
from dataclasses import replace

from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.kaggle.settings import setting

profile = profile_of(setting("competition", "aimo1"))
engine = setting("engine", "vllm")
config = replace(profile.config, candidates=setting("candidates", 48), turns=setting("turns", 4))

# %%
# What the engine needs, from the attached wheels; then whether this machine can run it.
from sctir_kaggle.kaggle.install import install_missing
from sctir_kaggle.kaggle.paths import find_model

print("installed from the attached wheels:", *install_missing(engine) or ["nothing, all is there"])
model = find_model()
