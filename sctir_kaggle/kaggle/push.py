"""`sctir push`: from a checkout to a complete run at Kaggle. Build, check, upload, push, follow, fetch, submit.

Everything that can be refused is refused before the first request. If the newest version at Kaggle is the same, it is
followed instead of pushed again. A source that is not at Kaggle, or that Kaggle did not attach, ends the command. Not
covered: versions and uploads that are at Kaggle when the command ends with an error stay there.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.account import Submission
from sctir_kaggle.kaggle.client import RUN_AGAIN, call_once, open_client
from sctir_kaggle.kaggle.datasets import version_of_dataset
from sctir_kaggle.kaggle.kernel import stage_kernel
from sctir_kaggle.kaggle.models import versions_of
from sctir_kaggle.kaggle.submit import MESSAGE, doubt_about, submit_command, submit_run
from sctir_kaggle.kaggle.upload import Upload, check_upload, send
from sctir_kaggle.kaggle.versions import NotGreen, differences, fetch_run, follow, newest_version
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, kw_only=True)
class Push(Upload, Submission):
    """The options of `sctir push`: those of an upload, which comes first, and of a submission, which may follow."""

    folder: Path
    """Takes the pushed files, the log and the outputs of the run."""

    follow: bool = True
    """Wait for the run and fetch its outputs."""

    submit: bool = False
    """Submit the version after its run."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """For the notebook's cell. `competition` also decides the metadata and the machine."""


def push(options: Push) -> None:
    """Run all steps; a dry run ends before the first request.

    Raises `UserError`, and `NotGreen` if the run failed or is not worth a submission.
    """
    if options.submit and not options.follow:
        raise UserError("--submit needs a complete run: leave out --no-follow")
    owner, api = options.log_in()
    pushed = options.folder / "pushed"
    document = stage_kernel(options.checkout, pushed, owner, options.settings)
    checked = check_upload(options, owner)
    print(f"checked: {pushed}, {document['machine_shape']}, internet off")
    if options.dry_run:
        print(f"no request was sent; the client itself would push it too: kaggle kernels push -p {pushed}")
        return
    api = api or open_client()
    if checked.datasets or checked.model:
        send(options, checked, api, str(owner))
        document = stage_kernel(options.checkout, pushed, owner, options.settings)  # with the new sources
    _add_sources_cell(pushed / document["code_file"], _attached_sources(api, document, str(owner)))
    version = _push_unless_there(api, pushed, document, again=options.again)
    _follow_and_submit(options, api, document, version)


def new_folder() -> Path:
    """Return the default folder of a push: below runs/, with the time in its name."""
    return Path("runs") / f"push-{time.strftime('%Y%m%d-%H%M%S')}"


def _attached_sources(api: Any, document: metadata.Document, owner: str) -> list[str]:
    """Return the attached data sets and models with the versions that a run would see now.

    Raises `UserError` if one of the owner's is not at Kaggle.
    """
    found, lacking = [], []
    for source in document["dataset_sources"]:
        ref = "/".join(source.split("/")[:2])
        version = version_of_dataset(api, ref)
        if version is None and ref.startswith(f"{owner}/"):
            lacking.append(ref)
        found.append(f"{ref}, version {version}" if version else ref)
    for source in document["model_sources"]:
        variation, _, number = source.rpartition("/")
        if source.startswith(f"{owner}/") and int(number) not in (versions_of(api, variation) or []):
            lacking.append(source)
        found.append(f"{variation}, version {number}")
    if lacking:
        what = "sctir upload --wheels DIR --model DIR brings them there"
        raise UserError(f"{', '.join(lacking)} is not at Kaggle: {what}; or take it out of {metadata.FILE}")
    return found


def _add_sources_cell(notebook: Path, attached: list[str]) -> None:
    """Add a last cell that names the attached versions: with other wheels it is another notebook, and so pushed again."""
    document = json.loads(notebook.read_text(encoding="utf-8"))
    text = "\n".join(["Attached when this version was pushed:", "", *(f"- {each}" for each in attached)])
    cell = {"cell_type": "markdown", "id": "attached", "metadata": {}, "source": text.splitlines(keepends=True)}
    document["cells"] = [*(each for each in document["cells"] if each.get("id") != "attached"), cell]
    notebook.write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def _push_unless_there(api: Any, pushed: Path, document: metadata.Document, *, again: bool) -> int:
    """Return the version's number: of the newest one at Kaggle if it does not differ, else of a new one."""
    newest = newest_version(api, document["id"])
    if newest is not None and not again:
        if not (differing := differences(newest, pushed, document)):
            print(f"version {newest.number} of {document['id']} is this already: not pushed again (--again does)")
            return newest.number
        log.info("version %d of %s differs in %s", newest.number, document["id"], ", ".join(differing))
    return _push_version(api, pushed, document["id"])


def _push_version(api: Any, pushed: Path, kernel: str) -> int:
    page = f"https://www.kaggle.com/code/{kernel}"
    check = f"look at {page}, or {RUN_AGAIN}"
    answer = call_once(lambda: api.kernels_push(str(pushed)), f"pushing {kernel}", check)
    if answer.error:
        raise UserError(f"pushing {kernel}: Kaggle says: {answer.error}")
    version = int(answer.version_number or 0)
    print(f"pushed: version {version} of {answer.url or page}")
    # Kaggle makes the version without a source that it does not know or may not attach; such a run would find nothing.
    kinds = ("dataset", "competition", "kernel", "model")
    refused = {kind: list(getattr(answer, f"invalid_{kind}_sources") or []) for kind in kinds}
    if any(refused.values()):
        names = "; ".join(f"{kind}_sources {', '.join(names)}" for kind, names in refused.items() if names)
        raise UserError(f"version {version} runs without {names}: Kaggle did not attach them: fix them and push again")
    if not version:
        raise UserError(f"Kaggle did not say which version it made: look at {page}")
    return version


def _follow_and_submit(options: Push, api: Any, document: metadata.Document, version: int) -> None:
    kernel, competition = document["id"], document["competition_sources"][0]
    command = submit_command(competition, kernel, version, options.message or MESSAGE)
    if not options.follow:
        print(f"when the run is complete: sctir submit, or {command}")
        return
    output = options.folder / "output"
    seconds = follow(api, kernel, poll=options.poll)
    fetch_run(api, kernel, output, profile_of(competition).submission_file, seconds)
    if options.submit:
        submit_run(api, kernel, version, competition, output, options)
    elif doubt := doubt_about(output):
        raise NotGreen(f"version {version} ran, and is not worth a submission: {doubt}")
    else:
        print(f"to submit: sctir submit, or {command}")
