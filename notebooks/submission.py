# The source of submission.ipynb: `python -m sctir_kaggle.kaggle.notebook` builds it.

# %% [markdown]
# # SC-TIR: reason, run the code, vote
#
# Olympiad problems, answered by a language model that may use Python. For each problem N *candidates* reason in words,
# write code, read what it printed and go on until they have an answer; the answer that most of them give is submitted.
# This is self-consistency with tool-integrated reasoning (SC-TIR), with which NuminaMath won the first AI Mathematical
# Olympiad Progress Prize (29 of 50 private problems), as a small library and a notebook that is ready to submit.
#
# * The method: [How NuminaMath Won the 1st AIMO Progress Prize](https://huggingface.co/blog/winning-aimo-progress-prize)
# * The model: [AI-MO/NuminaMath-7B-TIR](https://huggingface.co/AI-MO/NuminaMath-7B-TIR), here in 8 bits
#   ([GPTQ](https://huggingface.co/AI-MO/NuminaMath-7B-TIR-GPTQ)); any other causal language model can be attached
# * The competitions: [AIMO 1](https://www.kaggle.com/competitions/ai-mathematical-olympiad-prize),
#   [AIMO 2](https://www.kaggle.com/competitions/ai-mathematical-olympiad-progress-prize-2),
#   [AIMO 3](https://www.kaggle.com/competitions/ai-mathematical-olympiad-progress-prize-3)
# * Licence: [Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0), the library and this notebook
#
# *Run all*: in the editor it answers the competition's public problems and shows below what it did; once submitted it
# answers the private ones. Internet off; inputs: the competition, the data sets of wheels, the model.

# %% [markdown]
# ## How an answer comes about
#
# ```text
#                +--- the output is appended <--- sandbox runs it <---+
#                v                                                    | yes, up to M times
#  problem --> prompt --> the model writes --> did it write code? ----+
#                                                                     | no
#      most votes win <--- x N candidates <--- \boxed{...}, a vote <--+
# ```
#
# 1. All N candidates of a problem start at once from the same prompt, each with random draws of its own.
# 2. A candidate writes until it opens an output block. Its Python runs in a sandbox (an interpreter of its own, without
#    network and files as far as the kernel permits, with limits on time and memory), and what it printed is appended.
# 3. It goes on from there, M times at most. An integer in range, in a box, is its vote; who has none is asked once more.
# 4. The vote is counted after every candidate. When no outcome of the others can change the winner, they are cancelled.
# 5. A problem gets an equal share of the time that is left; what quick ones save, contested ones may use.
# 6. A problem without a vote gets a default answer: every problem is answered, in time, whatever fails.

# %% [code] {"_kg_hide-input": true, "jupyter": {"source_hidden": true}}
# The library. Its wheel lies in this cell, in base64, or in an attached data set; its files are unpacked into
# a folder, and nothing is installed: a version of this notebook is exactly the code that was tested.
import base64
import hashlib
import io
import os
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = {}  # name, sha256 and base64, by `sctir push`; empty: what is installed, or lies in this checkout
if WHEEL:
    roots = map(Path, os.environ.get("SCTIR_KAGGLE_INPUT", "/kaggle/input").split(os.pathsep))
    patterns = [f"{place}/{WHEEL['name']}" for place in ("*", "datasets/*/*")]
    attached = [path for root in roots for pattern in patterns for path in root.glob(pattern)]
    here = WHEEL.get("base64")
    wheels = [base64.b64decode(here)] if here else [path.read_bytes() for path in attached]
    same = [wheel for wheel in wheels if hashlib.sha256(wheel).hexdigest() == WHEEL["sha256"]]
    assert same, f"attach the data set with this version's {WHEEL['name']}; attached: {attached or 'none'}"
    sys.path.insert(0, tempfile.mkdtemp(prefix="sctir-library-"))
    zipfile.ZipFile(io.BytesIO(same[0])).extractall(sys.path[0])
else:
    beside = [place for place in (Path.cwd(), Path.cwd().parent) if (place / "sctir_kaggle").is_dir()]
    sys.path += map(str, beside)

import sctir_kaggle

print(f"sctir_kaggle {sctir_kaggle.__version__} from {Path(sctir_kaggle.__file__).parent}")

# %% [markdown]
# ## Settings
#
# Take away a `#` to choose a value; what stays behind it is the default, and a preset, or the sampling that the model's
# authors recommend, goes before that. Every other setting can be added by its name: all of them are listed below.

# %%
SETTINGS = {
    "competition": "aimo1",  # whose problems, API, range of answers and hours: aimo1, aimo2, aimo3
    "engine": "vllm",  # who writes the text: vllm; transformers also runs on a CPU
    # "preset": "numina",  # settings with a name: numina (as published), aimo2-nemotron, aimo3-gpt-oss, ...
    # "model": "/kaggle/input/...",  # the checkpoint's folder; without it, the one that is attached
    # "candidates": 48,  # N: attempts a problem
    # "turns": 4,  # M: executions of code a candidate may have; 0 is chain of thought alone
    # "temperature": 0.8,  # 0 is greedy
    # "top_p": 1.0,  # nucleus sampling; there are top_k, min_p and repetition_penalty, too
    # "max_tokens": 2048,  # new tokens a turn
    # "context_length": 4096,  # tokens of prompt and text together; without it, the model's own
    # "code_seconds": 5.0,  # for one block of code
    # "output_chars": 600,  # of an output that are shown to the model
    # "vote": "plain",  # or small, statement, confirmed: what counts less than one vote
    # "stop": "exact",  # when a vote is decided: exact, beta, k=4, margin=3; none waits for all candidates
    # "extra_candidates": 0,  # more of them where the vote is contested in the end and time is left
    # "layout": "auto",  # two GPUs: replicas (an engine on each) or tensor (one over both)
    # "seed": 0,  # of all random draws
}

# %%
from IPython.display import HTML, Image, display

from sctir_kaggle.competition.submission import Submission, in_rerun
from sctir_kaggle.display import setup_logging
from sctir_kaggle.kaggle.clone import settings_here

setup_logging()  # a line a problem
run = settings_here(SETTINGS)
profile, engine, folder = run.profile, run.engine.engine, Path(run.output).resolve()
if not in_rerun():  # what is only to be looked at is left out where the answers count
    from sctir_kaggle.kaggle.outcome import settings_table, write_image

    write_image(folder)
    display(HTML(settings_table(run)))

# %% [markdown]
# ## The source
#
# What makes an answer, to be opened here: prompt, loop, vote. The last line lists all files (sandbox, engines, clock, the
# competitions' APIs) with what each is for, and the folder in which they lie: `%pycat FOLDER/FILE` in a cell shows one.

# %%
if not in_rerun():
    from sctir_kaggle.kaggle.html import heart, tree

    display(HTML(heart() + tree()))

# %% [markdown]
# ## The run
#
# First what the engine lacks is installed from the attached wheels, and the doctor says whether this machine can run it.
# Then the engine is loaded in a thread, because a competition's server must be up at once, and the problems are answered:
# a line each, with the votes, why candidates ended, and the time that is left.

# %%
from sctir_kaggle.kaggle.doctor import examine, report, worst
from sctir_kaggle.kaggle.install import attach

attached = attach(engine, run.engine.model)
print("installed from the attached wheels:", attached.installed or "nothing, all is there")
options = run.engine.engine_options
findings = examine(profile, attached.model, engine=engine, dialect=run.dialect, options=options, folder=folder)
print(report(findings))

# %%
run = run.with_model(attached.model)
problems = Path(run.problems) if run.problems else None  # a CSV of your own, for the editor
submission = Submission(profile, run, folder=folder, problems=problems, faults=attached.faults)
assert submission.rerun or worst(findings) != "fatal", "the doctor says what to do, above; a rerun would go on"
submission.start()

# %%
submission.run()  # where a competition calls us (AIMO 2 and 3), a submission ends with this cell

# %% [markdown]
# ## The votes
#
# In the picture: the seconds of each problem beside its equal share of the time, and what its candidates voted.

# %%
if not submission.rerun:
    from sctir_kaggle.kaggle.outcome import judge, votes_table, worked
    from sctir_kaggle.lab.plots import png, votes_and_times
    from sctir_kaggle.lab.view.page import write_view

    share = 3600 * profile.hours / profile.problems
    display(HTML(votes_table(submission.results)))
    display(Image(png(votes_and_times(submission.results, share=share))))

# %% [markdown]
# ## One problem, worked

# %%
if not submission.rerun:
    display(HTML(worked(submission)))

# %% [markdown]
# ## Is it worth a submission?
#
# A run in which candidates failed by a fault of engine or sandbox on more than a tenth of the problems ends here, in red.

# %%
if not submission.rerun:
    print(f"written: {submission.submission_file}")
    print(
        f"every candidate of every problem, to be opened in a browser: {write_view(submission.journal, submission.results)}"
    )
    judge(submission)

# %% [markdown]
# ## What next
#
# * *Submit*: `Submit to competition` on the right, or `sctir push --submit -m TEXT` from the checkout.
# * *Look closer*: download `view.html` from the output. Each text, output, vote and time is in `journal.jsonl` beside it,
#   from which `sctir score`, `sctir what-if` (other votes, stops and clocks, without a model) and `sctir view` work.
# * *Change it*: the settings above, or another checkpoint as the attached model: its prompt format is recognised. The
#   README of sctir_kaggle and `sctir --help` say the rest.
# * *Imported by the web page?* Then the competition is attached, but not what belongs to an account: add the data sets of
#   wheels and the model under `Add Input`, and choose GPU T4 x2. `sctir push` does both.
