# The source of submission.ipynb: `python -m sctir_kaggle.kaggle.notebook` builds it.

# %% [markdown]
# # SC-TIR: reason, run the code, vote
#
# A language model that can use Python answers olympiad problems. For each problem N *candidates* reason in words, write
# code, read its output and continue until they reach an answer; the most frequent answer is submitted. This is
# self-consistency with tool-integrated reasoning (SC-TIR), with which NuminaMath won the first AI Mathematical Olympiad
# Progress Prize (29 of 50 private problems), as a small library and a notebook that is ready to submit.
#
# * The method: [How NuminaMath Won the 1st AIMO Progress Prize](https://huggingface.co/blog/winning-aimo-progress-prize)
# * The model: [AI-MO/NuminaMath-7B-TIR](https://huggingface.co/AI-MO/NuminaMath-7B-TIR), here in 8 bits
#   ([GPTQ](https://huggingface.co/AI-MO/NuminaMath-7B-TIR-GPTQ)); you can attach any other causal language model
# * The competitions: [AIMO 1](https://www.kaggle.com/competitions/ai-mathematical-olympiad-prize),
#   [AIMO 2](https://www.kaggle.com/competitions/ai-mathematical-olympiad-progress-prize-2),
#   [AIMO 3](https://www.kaggle.com/competitions/ai-mathematical-olympiad-progress-prize-3)
# * License: [Apache-2.0](https://www.apache.org/licenses/LICENSE-2.0), the library and this notebook
#
# *Run all*: in the editor the notebook answers the competition's public problems and shows what it did; once submitted, it
# answers the private ones. Internet is off. Inputs: the competition, the data sets of wheels, the model.

# %% [markdown]
# ## How an answer is found
#
# ```text
#                +--- the output is appended <--- sandbox runs it <---+
#                v                                                    | yes, up to M times
#  problem --> prompt --> the model writes --> did it write code? ----+
#                                                                     | no
#      most votes win <--- x N candidates <--- \boxed{...}, a vote <--+
# ```
#
# 1. All N candidates of a problem start at once, from the same prompt but with different random draws.
# 2. A candidate writes until it opens an output block. Its Python code runs in a sandbox: its own interpreter, with limits
#    on time and memory and, as far as the kernel permits, without network and file access. The output is appended.
# 3. The candidate continues from there, M times at most. A boxed integer in range is its vote; a candidate without one
#    is asked once more.
# 4. Votes are counted after every candidate. Once the remaining candidates cannot change the winner, they are cancelled.
# 5. Each problem gets an equal share of the remaining time; what quick problems save, contested ones may use.
# 6. A problem without a vote gets a default answer: every problem is answered in time, whatever fails.

# %% [code] {"_kg_hide-input": true, "jupyter": {"source_hidden": true}}
# The library. Its wheel is in this cell (xz, base64) or in an attached data set. It is unpacked into a folder,
# not installed, so a version of this notebook runs exactly the code that was tested.
import base64
import hashlib
import io
import lzma
import os
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = {}  # name, sha256 and base64, filled in by `sctir push`; empty: import the checkout, or as installed
if WHEEL:
    roots = map(Path, os.environ.get("SCTIR_KAGGLE_INPUT", "/kaggle/input").split(os.pathsep))
    patterns = [f"{place}/{WHEEL['name']}" for place in ("*", "datasets/*/*")]
    attached = [path for root in roots for pattern in patterns for path in root.glob(pattern)]
    here = WHEEL.get("base64")
    wheels = [lzma.decompress(base64.b64decode(here))] if here else [path.read_bytes() for path in attached]
    same = [wheel for wheel in wheels if hashlib.sha256(wheel).hexdigest() == WHEEL["sha256"]]
    assert same, f"attach the data set with this version's {WHEEL['name']}; attached: {attached or 'none'}"
    sys.path.insert(0, tempfile.mkdtemp(prefix="sctir-library-"))
    zipfile.ZipFile(io.BytesIO(same[0])).extractall(sys.path[0])
else:
    sys.path += [str(at) for at in (Path.cwd(), Path.cwd().parent) if (at / "sctir_kaggle").is_dir()]

import sctir_kaggle

print(f"sctir_kaggle {sctir_kaggle.__version__} from {Path(sctir_kaggle.__file__).parent}")

# %% [markdown]
# ## Settings
#
# To change a setting, remove the `#` in front of it. A commented value is the default, which a preset, or the sampling
# that the model's authors recommend, overrides. You can add any other setting by its name; the table below lists them all.

# %%
SETTINGS = {
    "competition": "aimo1",  # decides problems, API, answer range and time limit: aimo1, aimo2, aimo3
    "engine": "vllm",  # generates the text: vllm; transformers also runs on a CPU
    # "preset": "numina",  # a named set of settings: numina (as published), aimo2-nemotron, aimo3-gpt-oss, ...
    # "model": "/kaggle/input/...",  # the checkpoint's folder; default: the attached one
    # "candidates": 48,  # N: attempts a problem
    # "turns": 4,  # M: code executions a candidate may have; 0 is chain of thought alone
    # "temperature": 0.8,  # 0 is greedy
    # "top_p": 1.0,  # nucleus sampling; top_k, min_p and repetition_penalty exist, too
    # "max_tokens": 2048,  # new tokens a turn
    # "context_length": 4096,  # tokens of prompt and text together; default: the model's own
    # "code_seconds": 5.0,  # time limit of one code block
    # "output_chars": 600,  # characters of an output that the model sees
    # "vote": "plain",  # or small, statement, confirmed: which votes count less than one
    # "stop": "exact",  # when a vote is decided: exact, beta, k=4, margin=3; none waits for all candidates
    # "extra_candidates": 0,  # how many more to start if the vote is still contested and time is left
    # "layout": "auto",  # several GPUs: replicas (an engine on each) or tensor (one engine over all)
    # "seed": 0,  # of all random draws
}

# %%
from IPython.display import HTML, Image, display

from sctir_kaggle.competition.submission import Submission, in_rerun
from sctir_kaggle.display import setup_logging
from sctir_kaggle.kaggle.settings_cell import settings_here

setup_logging()  # a line a problem
run = settings_here(SETTINGS)
profile, engine, folder = run.profile, run.engine.engine, Path(run.output).resolve()
if not in_rerun():  # nothing is displayed where the answers count
    from sctir_kaggle.kaggle.notebook_output import settings_table, write_image

    write_image(folder)
    display(HTML(settings_table(run)))

# %% [markdown]
# ## The source code
#
# The parts that produce an answer: prompt, loop, vote. Click to open them. The last entry lists all modules (sandbox,
# engines, clock, the competitions' APIs) and the folder that they are in; `%pycat FOLDER/FILE` in a cell shows one.

# %%
if not in_rerun():
    from sctir_kaggle.kaggle.notebook_output import key_sources, module_list

    display(HTML(key_sources() + module_list()))

# %% [markdown]
# ## The run
#
# First, the libraries that the engine lacks are installed from the attached wheels, and the doctor checks this machine.
# Then the engine loads in a thread, because the competition's server must be up at once, while the problems are answered:
# one log line each, with the votes, why candidates ended, and the remaining time.

# %%
from sctir_kaggle.kaggle.doctor import examine, report, worst
from sctir_kaggle.kaggle.install import attach

attached = attach(engine, run.engine.model)
print("installed from the attached wheels:", attached.installed or "nothing was missing")
options = run.engine.engine_options
findings = examine(profile, attached.model, engine=engine, dialect=run.dialect, options=options, folder=folder)
print(report(findings))

# %%
run = run.with_model(attached.model)
problems = Path(run.problems) if run.problems else None  # a CSV of your own, in the editor only
submission = Submission(profile, run, folder=folder, problems=problems, faults=attached.faults)
assert submission.rerun or worst(findings) != "fatal", "see the doctor's fatal findings above"
submission.start()

# %%
submission.run()  # in AIMO 2 and 3, where the competition calls the notebook, a submission ends with this cell

# %% [markdown]
# ## The votes
#
# The picture shows each problem's seconds against its equal share of the time, and the votes of its candidates.

# %%
if not submission.rerun:
    from sctir_kaggle.kaggle.notebook_output import judge, votes_table, worked
    from sctir_kaggle.lab.plots import png, votes_and_times
    from sctir_kaggle.lab.view.page import write_view

    share = 3600 * profile.hours / profile.problems
    display(HTML(votes_table(submission.results)))
    display(Image(png(votes_and_times(submission.results, share=share))))

# %% [markdown]
# ## One problem in detail

# %%
if not submission.rerun:
    display(HTML(worked(submission)))

# %% [markdown]
# ## Is it worth a submission?
#
# This cell fails, in red, if engine or sandbox errors ended candidates on more than a tenth of the problems.

# %%
if not submission.rerun:
    print(f"submission file: {submission.submission_file}")
    page = write_view(submission.journal, submission.results)
    print(f"every candidate of every problem, to open in a browser: {page}")
    judge(submission)

# %% [markdown]
# ## Next steps
#
# * *Submit*: `Submit to competition` on the right, or `sctir push --submit -m TEXT` from the checkout.
# * *Look closer*: download `view.html` from the output. `journal.jsonl` beside it holds each text, output, vote and time;
#   `sctir score`, `sctir what-if` (other votes, stops and clocks, without a model) and `sctir view` read it.
# * *Change it*: the settings above, or another attached checkpoint, whose prompt format is recognised. The README of
#   sctir_kaggle and `sctir --help` explain the rest.
# * *Imported on the web page?* Then the competition is attached, but nothing that belongs to an account: add the data sets
#   of wheels and the model under `Add Input`, and choose GPU T4 x2. `sctir push` does both.
