"""A notebook version's run submitted once, and its score followed.

Kaggle's list of submissions does not say which version of a notebook each is, so its description says it: a submission that
says this version is followed, not made again. Refused where the run's journal says that it is not worth a submission. Not
covered: submissions by hand whose description says another version or none, or of another member of a team under another
notebook's name.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sctir_kaggle.competition.health import health_of
from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.display import clock_face
from sctir_kaggle.journal import JOURNAL, read_journal
from sctir_kaggle.kaggle import metadata, upload, versions
from sctir_kaggle.kaggle.client import once, open_client, patiently
from sctir_kaggle.kaggle.transfer import Sleep
from sctir_kaggle.kaggle.versions import NotGreen, StateLine, newest_version
from sctir_kaggle.types import UserError

MESSAGE = "sctir"
"""Of a submission for which the user says none."""

PAGE = 100
"""Submissions that are asked for at once."""


class Asked(Protocol):
    """What a submission needs to know of what the user typed."""

    @property
    def message(self) -> str | None: ...
    @property
    def anyway(self) -> bool: ...
    @property
    def again(self) -> bool: ...
    @property
    def poll(self) -> float: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """A submission of version `version`, or of the newest. `folder` takes log and outputs of its run, `poll` in seconds.

    `anyway` submits in spite of what the journal says, `again` although this version was submitted.
    """

    checkout: Path
    folder: Path | None = None
    owner: str | None = None
    version: int | None = None
    message: str | None = None
    anyway: bool = False
    again: bool = False
    poll: float = 20.0


def submit(plan: Submit, *, dry_run: bool = False) -> None:
    """All of it; with `dry_run` up to the first request. Raises `UserError`, `NotGreen` where the run is not worth it."""
    if plan.version is not None and plan.version < 1:
        raise UserError(f"--kernel-version is {plan.version}: versions count from 1")
    path = plan.checkout / metadata.FILE
    document = metadata.read(path)
    owner, api = upload.who(plan.owner, dry_run=dry_run)
    if owner is not None:
        document = metadata.filled(document, owner)
    metadata.check(document, path)
    kernel = document["id"]
    if dry_run:
        what = f"version {plan.version}" if plan.version else "the newest version"
        print(f"checked: {what} of {kernel} would be submitted once its run is complete; no request was sent")
        return
    api = api or open_client()
    newest = newest_version(api, kernel)
    version = _number(kernel, plan.version, newest.number if newest else 0)
    assert newest is not None
    output = (plan.folder or Path("runs", f"{kernel.partition('/')[2]}-v{version}")) / "output"
    if plan.again or _find(api, newest.competition, kernel, version) is None:
        label = None if version == newest.number else version
        seconds = versions.follow(api, kernel, poll=plan.poll, version=label)
        file = profile_of(newest.competition).submission_file
        fetch_run(api, kernel, output, file, seconds, version=label)
    submit_run(api, kernel, version, newest.competition, output, plan)


def submit_run(api: Any, kernel: str, version: int, competition: str, output: Path, asked: Asked) -> None:
    """Submits a run whose outputs lie in `output`, unless that was done, and follows the score."""
    there = None if asked.again else _find(api, competition, kernel, version)
    if there is not None:
        print(f"version {version} of {kernel} was submitted already: submission {there.ref}")
        ref = int(there.ref)
    else:
        _check_health(output, anyway=asked.anyway)
        print(f"submitting version {version} of {kernel}: what was edited since it was pushed is not in it")
        ref = _send(api, kernel, version, competition, asked.message or MESSAGE)
    print(f"following its score; Ctrl-C ends only that: https://www.kaggle.com/competitions/{competition}/submissions")
    follow_score(api, competition, ref, poll=asked.poll)


def fetch_run(api: Any, kernel: str, output: Path, wanted: str, seconds: float, *, version: int | None = None) -> None:
    """Log and outputs; a run without the submission file is of no use."""
    output.mkdir(parents=True, exist_ok=True)
    (output / "log.txt").write_text(versions.read_log(api, kernel, version=version), encoding="utf-8")
    files = versions.fetch_outputs(api, kernel, output, version=version)
    print(f"complete after {clock_face(seconds)}: {len(files)} files and log.txt in {output}")
    if fault := _fault_of_file(output / wanted):
        raise NotGreen(f"the run left {fault}: see {output / 'log.txt'}, mend the notebook and push again")


def _fault_of_file(path: Path) -> str:
    """What is wrong with a submission's file, as far as its form says it; empty where nothing is."""
    if not path.is_file():
        return f"no {path.name}"
    content = path.read_bytes()
    if path.suffix == ".parquet":
        whole = content[:4] == content[-4:] == b"PAR1"
        return "" if whole else f"a {path.name} of {len(content)} bytes that is none"
    return "" if len(content.splitlines()) > 1 else f"a {path.name} without an answer"


def submit_command(competition: str, kernel: str, version: int, message: str) -> str:
    """What submits this version by hand: all of -k, -v and -f are needed."""
    parts = ["kaggle", "competitions", "submit", competition, "-k", kernel, "-v", str(version)]
    file = profile_of(competition).submission_file
    return shlex.join([*parts, "-f", file, "-m", described(message, kernel, version)])


def described(message: str, kernel: str, version: int) -> str:
    """The description by which the submission is found again."""
    return f"{message} {_mark(kernel, version)}"


def follow_score(api: Any, competition: str, ref: int, *, poll: float, sleep: Sleep = time.sleep) -> None:
    """Waits until the submission is scored, and prints the score. Raises `NotGreen` where it failed."""
    started, line = time.monotonic(), StateLine()
    while True:
        found = _submission(api, competition, ref)
        state = "pending" if found is None else str(found.status.name).lower()
        line.show(f"scoring: {state}", time.monotonic() - started, end=state in ("complete", "error"))
        if state in ("complete", "error"):
            break
        sleep(poll)
    if state == "error":
        why = " ".join((found.error_description or "Kaggle gives no reason").split())
        raise NotGreen(
            f"submission {ref} has no score: {why}: mend the cause, push and submit; --again submits this version"
        )
    print(f"submission {ref}: public score {found.public_score or 'not published'}")


def _number(kernel: str, asked: int | None, newest: int) -> int:
    if not newest:
        raise UserError(f"Kaggle knows no notebook {kernel}: `sctir push` makes it")
    if asked is not None and not 1 <= asked <= newest:
        raise UserError(f"{kernel} has no version {asked}: its versions are 1 to {newest}")
    return asked or newest


def _check_health(output: Path, *, anyway: bool) -> None:
    """Raises `NotGreen` where the journal says why the run should not be submitted, or says nothing."""
    if not (why := doubt_of(output)):
        return
    if not anyway:
        raise NotGreen(f"not submitted: {why}; --submit-anyway does it all the same")
    print(f"submitted all the same: {why}")


def doubt_of(output: Path) -> str:
    """Why the run whose outputs these are should not be submitted, in a line; empty where nothing speaks against it."""
    journals = sorted(output.rglob(JOURNAL), key=lambda path: (len(path.parts), path))
    if not journals:
        return f"the run left no {JOURNAL} in {output}, so it is not known what it did"
    try:
        _, results = read_journal(journals[0])
    except UserError as error:
        return f"its journal cannot be read ({error})"
    if not results:
        return f"{journals[0]} holds no result: not one problem was solved"
    health = health_of(results)
    return health.fault or health.doubt


def _send(api: Any, kernel: str, version: int, competition: str, message: str) -> int:
    """The number of the new submission."""
    file, text = profile_of(competition).submission_file, described(message, kernel, version)
    page = f"https://www.kaggle.com/competitions/{competition}/submissions"
    answer = once(
        lambda: api.competition_submit_code(file, text, competition, kernel, version, quiet=True),
        f"submitting version {version} to {competition}",
        f"look at {page}, or type the command again: it looks first",
    )
    said, ref = answer.message or "nothing", answer.ref
    if not ref and (found := _find(api, competition, kernel, version)) is not None:
        ref = found.ref
    if not ref:
        raise UserError(f"version {version} is not among the submissions, Kaggle says: {said}: look at {page}")
    print(f"submitted: Kaggle says: {said}")
    return int(ref)


def _find(api: Any, competition: str, kernel: str, version: int) -> Any:
    """The newest submission that says it is this version; None where there is none."""
    mark = _mark(kernel, version)
    return next((each for each in _submissions(api, competition) if mark in str(each.description or "")), None)


def _submission(api: Any, competition: str, ref: int) -> Any:
    return next((each for each in _submissions(api, competition) if int(each.ref) == ref), None)


def _submissions(api: Any, competition: str) -> Iterator[Any]:
    """Newest first, over all pages."""
    from kagglesdk.competitions.types.competition_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiListSubmissionsRequest,
    )

    request = ApiListSubmissionsRequest()
    request.competition_name, request.page_size = competition, PAGE
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.competitions.competition_api_client.list_submissions
        while True:
            page = patiently(lambda: ask(request), f"listing the submissions to {competition}")
            yield from page.submissions or []
            if not page.next_page_token or page.next_page_token == request.page_token:
                return
            request.page_token = page.next_page_token


def _mark(kernel: str, version: int) -> str:
    return f"[{kernel} v{version}]"
