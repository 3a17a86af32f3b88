"""From a checkout to a complete run at Kaggle: build, check, push, follow, fetch, submit.

Covered: everything that can be refused is refused before the first request; what the newest version at Kaggle is already is
not pushed again but followed; a source that is not at Kaggle or was not attached ends the command. Not covered: what it
leaves at Kaggle when it ends.
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
from sctir_kaggle.kaggle import metadata, upload, versions
from sctir_kaggle.kaggle.client import once, open_client
from sctir_kaggle.kaggle.datasets import version_of_dataset
from sctir_kaggle.kaggle.folders import STAGED
from sctir_kaggle.kaggle.models import versions_of
from sctir_kaggle.kaggle.staging import stage
from sctir_kaggle.kaggle.submit import MESSAGE, doubt_of, fetch_run, submit_command, submit_run
from sctir_kaggle.kaggle.versions import differences, newest_version
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What is pushed and how far it goes.

    `checkout` holds kernel-metadata.json and the notebook's source; `folder` takes the pushed files, the log and the
    outputs. `wheels` is what `sctir wheels` made, `model` a checkpoint's folder: both are uploaded first, from `staged`.
    `poll` is in seconds. `again` pushes although the newest version is this already, `anyway` submits in spite of what
    its journal says.
    """

    checkout: Path
    folder: Path
    owner: str | None = None
    wheels: Path | None = None
    model: Path | None = None
    staged: Path = STAGED
    poll: float = 20.0
    follow: bool = True
    again: bool = False
    submit: bool = False
    anyway: bool = False
    message: str | None = None

    settings: Mapping[str, Any] = field(default_factory=dict)
    """For the notebook's cell; its `competition` goes into the metadata too, with the machine that it lends."""

    @property
    def pushed(self) -> Path:
        """The folder that the client is given."""
        return self.folder / "pushed"


def push(plan: Push, *, dry_run: bool = False) -> None:
    """All of it; with `dry_run` up to the first request. Raises `UserError`."""
    if plan.submit and not plan.follow:
        raise UserError("--submit needs a complete run: leave out --no-follow")
    owner, api = upload.who(plan.owner, dry_run=dry_run)
    document = stage(plan.checkout, plan.pushed, owner, plan.settings)
    parcel = upload.check(_upload(plan), owner)
    print(f"checked: {plan.pushed}, {document['machine_shape']}, internet off")
    if dry_run:
        print(f"no request was sent; the client itself would push it too: kaggle kernels push -p {plan.pushed}")
        return
    api = api or open_client()
    if parcel.datasets or parcel.model:
        upload.send(_upload(plan), parcel, api, str(owner))
        document = stage(plan.checkout, plan.pushed, owner, plan.settings)  # what is attached is another now
    _name_sources(plan.pushed / document["code_file"], _attached(api, document, str(owner)))
    _run(plan, api, document)


def new_folder() -> Path:
    """Where a push is kept unless the user says otherwise: below runs/, with the time in its name."""
    return Path("runs") / f"push-{time.strftime('%Y%m%d-%H%M%S')}"


def _upload(plan: Push) -> upload.Upload:
    return upload.Upload(
        checkout=plan.checkout,
        wheels=plan.wheels,
        model=plan.model,
        owner=plan.owner,
        staged=plan.staged,
        poll=plan.poll,
    )


def _run(plan: Push, api: Any, document: metadata.Document) -> None:
    kernel = document["id"]
    version = _version(plan, api, document)
    command = submit_command(document["competition_sources"][0], kernel, version, plan.message or MESSAGE)
    if not plan.follow:
        print(f"when the run is complete: sctir submit, or {command}")
        return
    seconds = versions.follow(api, kernel, poll=plan.poll)
    file = profile_of(document["competition_sources"][0]).submission_file
    fetch_run(api, kernel, plan.folder / "output", file, seconds)
    if not plan.submit and (why := doubt_of(plan.folder / "output")):
        raise versions.NotGreen(f"version {version} ran, and is not worth a submission: {why}")
    if plan.submit:
        submit_run(api, kernel, version, document["competition_sources"][0], plan.folder / "output", plan)
    else:
        print(f"to submit: sctir submit, or {command}")


def _version(plan: Push, api: Any, document: metadata.Document) -> int:
    """The number of the version that is this: the newest one where nothing differs, else a new one."""
    there = newest_version(api, document["id"])
    if there is not None and not plan.again:
        if not (others := differences(there, plan.pushed, document)):
            print(f"version {there.number} of {document['id']} is this already: not pushed again (--again does)")
            return there.number
        log.info("version %d of %s differs in %s", there.number, document["id"], ", ".join(others))
    return _push(api, plan.pushed, document["id"])


def _push(api: Any, folder: Path, kernel: str) -> int:
    """The number of the new version."""
    page = f"https://www.kaggle.com/code/{kernel}"
    check = f"look at {page}, or type the command again: it looks first"
    answer = once(lambda: api.kernels_push(str(folder)), f"pushing {kernel}", check)
    if answer.error:
        raise UserError(f"pushing {kernel}: Kaggle says: {answer.error}")
    version = int(answer.version_number or 0)
    print(f"pushed: version {version} of {answer.url or page}")
    kinds = ("dataset", "competition", "kernel", "model")
    refused = {kind: list(getattr(answer, f"invalid_{kind}_sources") or []) for kind in kinds}
    if any(refused.values()):
        names = "; ".join(f"{kind}_sources {', '.join(names)}" for kind, names in refused.items() if names)
        raise UserError(f"version {version} runs without {names}: Kaggle did not attach them: mend them and push again")
    if not version:
        raise UserError(f"Kaggle did not say which version it made: look at {page}")
    return version


def _attached(api: Any, document: metadata.Document, owner: str) -> list[str]:
    """The data sets and models that are attached, with the versions that a run would see. Raises `UserError`."""
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


def _name_sources(notebook: Path, attached: list[str]) -> None:
    """A last cell that says what the run was attached to: so other wheels make another version."""
    document = json.loads(notebook.read_text(encoding="utf-8"))
    text = "\n".join(["Attached when this version was pushed:", "", *(f"- {each}" for each in attached)])
    cell = {"cell_type": "markdown", "id": "attached", "metadata": {}, "source": text.splitlines(keepends=True)}
    document["cells"] = [*(each for each in document["cells"] if each.get("id") != "attached"), cell]
    notebook.write_text(json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
