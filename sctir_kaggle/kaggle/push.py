"""From a checkout to a complete run at Kaggle: build, check, upload, push, follow, fetch, submit.

Covered: everything that can be refused is refused before the first request; an upload that leaves out a file, a source that
Kaggle did not attach and a push whose fate is unknown end the command. Not covered: what it leaves at Kaggle when it ends.
"""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.display import clock_face
from sctir_kaggle.kaggle import follow, metadata, upload
from sctir_kaggle.kaggle.client import once, open_client, owner_of
from sctir_kaggle.kaggle.staging import stage, write
from sctir_kaggle.types import UserError

log = logging.getLogger("sctir_kaggle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What is pushed and how far it goes.

    `checkout` holds kernel-metadata.json and the notebook's source; `folder` takes the pushed files, the log and the
    outputs. `wheels` is what `sctir wheels` made, `model` a checkpoint's folder. `poll` is in seconds.
    """

    checkout: Path
    folder: Path
    owner: str | None = None
    wheels: Path | None = None
    model: Path | None = None
    poll: float = 20.0
    follow: bool = True
    submit: bool = False
    message: str | None = None

    settings: Mapping[str, Any] = field(default_factory=dict)
    """For the notebook's cell; its `competition` goes into the metadata too, with the machine that it lends."""


def push(plan: Push, *, dry_run: bool = False) -> None:
    """All of it; with `dry_run` up to the first request. Raises `UserError`."""
    if plan.submit and not (plan.message and plan.follow):
        raise UserError("--submit needs a message and a complete run: add -m TEXT, and leave out --no-follow")
    owner = plan.owner or os.environ.get("KAGGLE_USERNAME") or None
    api = None
    if owner is None and not dry_run:
        api = open_client()
        owner = owner_of(api)
    document = stage(plan.checkout, plan.folder / "pushed", owner, plan.settings)
    datasets = upload.stage_datasets(plan.wheels, plan.folder / "wheels", owner, document) if plan.wheels else []
    if plan.model:
        upload.check_model(plan.model, document)
    print(f"checked: {plan.folder / 'pushed'}, {document['machine_shape']}, internet off")
    if dry_run:
        print(
            f"no request was sent; the client itself would push it too: kaggle kernels push -p {plan.folder / 'pushed'}"
        )
        return
    _send(plan, api or open_client(), document, datasets)


def submit_command(document: metadata.Document, version: int, message: str) -> str:
    """What submits this version by hand: all of -k, -v and -f are needed."""
    competition = document["competition_sources"][0]
    parts = ["kaggle", "competitions", "submit", competition, "-k", document["id"], "-v", str(version)]
    return shlex.join([*parts, "-f", profile_of(competition).submission_file, "-m", message])


def _send(plan: Push, api: Any, document: metadata.Document, datasets: list[upload.Dataset]) -> None:
    for dataset in datasets:
        upload.send_dataset(api, dataset, poll=plan.poll)
    if plan.model:
        upload.send_model(api, plan.model, document, poll=plan.poll)
        write(plan.folder / "pushed", document)
    version = _push(api, plan.folder / "pushed", document["id"])
    command = submit_command(document, version, plan.message or f"{document['title']} version {version}")
    if not plan.follow:
        print(f"when the run is complete: {command}")
        return
    seconds = follow.follow(api, document["id"], poll=plan.poll)
    _fetch(plan, api, document, seconds)
    if plan.submit:
        _submit(api, document, version, str(plan.message))
    else:
        print(f"to submit: {command}")


def _push(api: Any, folder: Path, kernel: str) -> int:
    """The number of the new version."""
    page = f"https://www.kaggle.com/code/{kernel}"
    answer = once(lambda: api.kernels_push(str(folder)), f"pushing {kernel}", f"look at {page} before you push again")
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


def _fetch(plan: Push, api: Any, document: metadata.Document, seconds: float) -> None:
    """Log and outputs; a run without the submission file is of no use."""
    output = plan.folder / "output"
    output.mkdir(parents=True, exist_ok=True)
    (output / "log.txt").write_text(follow.read_log(api, document["id"]), encoding="utf-8")
    files = follow.fetch_outputs(api, document["id"], output)
    print(f"complete after {clock_face(seconds)}: {len(files)} files and log.txt in {output}")
    wanted = profile_of(document["competition_sources"][0]).submission_file
    if not (output / wanted).is_file():
        raise UserError(f"the run left no {wanted}: see {output / 'log.txt'}, mend the notebook and push again")


def _submit(api: Any, document: metadata.Document, version: int, message: str) -> None:
    competition = document["competition_sources"][0]
    file = profile_of(competition).submission_file
    page = f"https://www.kaggle.com/competitions/{competition}/submissions"
    answer = once(
        lambda: api.competition_submit_code(file, message, competition, document["id"], version, quiet=True),
        f"submitting version {version} to {competition}",
        f"look at {page} before you submit again",
    )
    print(f"submitted: {answer.message or 'Kaggle says nothing'}: {page}")


def new_folder() -> Path:
    """Where a push is kept unless the user says otherwise: below runs/, with the time in its name."""
    return Path("runs") / f"push-{time.strftime('%Y%m%d-%H%M%S')}"
