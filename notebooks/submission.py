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
    pip = [sys.executable, "-m", "pip", "--isolated", "install", "-q", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--target", wheel.parent, wheel], check=True)  # nothing is changed outside this folder
    sys.path.insert(0, str(wheel.parent))

import sctir_kaggle

print(f"sctir_kaggle {sctir_kaggle.__version__} from {Path(sctir_kaggle.__file__).parent}")

# %%
# What is run: any setting (`sctir settings` lists them), a "preset" among them; `sctir push --set NAME=VALUE` fills it in.
# Elsewhere than at Kaggle SCTIR_ENGINE=transformers, SCTIR_CANDIDATES=8, ... go before it, as does the file SCTIR_CONFIG.
SETTINGS = {"competition": "aimo1", "engine": "vllm"}

import logging

from sctir_kaggle.kaggle.settings import notebook_settings
from sctir_kaggle.opening import Setup

run = notebook_settings(SETTINGS)
profile, engine, folder = run.profile, run.engine.engine, Path(run.output).resolve()
logging.basicConfig(stream=sys.stdout, format="%(message)s")
logging.getLogger("sctir_kaggle").setLevel(logging.INFO)  # a line a problem

# %%
# What the engine lacks comes from the attached wheels; then the doctor: can this machine run it?
from sctir_kaggle.kaggle.attached import attach
from sctir_kaggle.kaggle.doctor import examine, report, worst

attached = attach(engine, run.engine.model)
print("installed from the attached wheels:", attached.installed or "nothing, all is there")
findings = examine(profile, attached.model, engine=engine, dialect=run.dialect, folder=folder)
print(report(findings))

# %%
# The engine is loaded in a thread: a competition's server must be up at once.
from sctir_kaggle.competition.submission import Submission

setup = Setup.of(run, folder, model=attached.model)
submission = Submission(profile, setup, problems=run.problems, faults=attached.faults)
assert submission.rerun or worst(findings) != "fatal", "the doctor says what to do, above; a rerun would go on"
submission.start()

# %%
# The problems. Where a competition calls us (AIMO-2 and 3), a submission ends with this cell.
submission.run()

# %%
# What it did: for those who look, so not in a submission, where nothing may fail once the answers are written.
from IPython.display import Image, display

from sctir_kaggle.display import results_table, warnings_of
from sctir_kaggle.plots import png, votes_and_times

if not submission.rerun:
    share = 3600 * profile.hours / profile.problems
    display(results_table(submission.results), Image(png(votes_and_times(submission.results, share=share))))
    print(*warnings_of(submission.results), *submission.faults, f"written: {submission.submission_file}", sep="\n")

# %% [markdown]
# Every text, output, vote and time is in `journal.jsonl` beside the submission. Next: submit this version, or run it at
# home with other settings; `sctir --help` and the README of sctir_kaggle say how.
