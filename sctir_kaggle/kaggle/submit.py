"""`sctir submit`: a notebook version that ran is submitted once, and its score followed.

Kaggle's list of submissions does not say which version of a notebook each one is, so the description says it: `[owner/slug
v3]`. A submission with that mark is followed, not made again. A run whose journal says that it is not worth a submission is
refused. Not covered: submissions made by hand without the mark, and those of a team member under another notebook's name.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sctir_kaggle.competition.health import health_of
from sctir_kaggle.competition.profile import profile_of
from sctir_kaggle.journal import JOURNAL, read_journal
from sctir_kaggle.kaggle import metadata
from sctir_kaggle.kaggle.account import Submission
from sctir_kaggle.kaggle.client import RUN_AGAIN, Sleep, call_once, open_client, retry
from sctir_kaggle.kaggle.versions import NotGreen, StateLine, fetch_run, follow, newest_version
from sctir_kaggle.types import UserError

MESSAGE = "sctir"
"""The default description of a submission."""

PAGE = 100
"""Submissions in one answer of Kaggle's list."""


@dataclass(frozen=True, kw_only=True)
class Submit(Submission):
    """The options of `sctir submit`."""

    version: int | None = None
    """The notebook's version; None is the newest one."""

    folder: Path | None = None
    """Takes the log and the outputs of the run; None is a folder below runs/."""


def submit(options: Submit) -> None:
    """Wait for the version's run, check its journal, submit it, and follow the score.

    A dry run ends before the first request. Raises `UserError`, and `NotGreen` if the run is not worth it.
    """
    if options.version is not None and options.version < 1:
        raise UserError(f"--kernel-version is {options.version}: versions count from 1")
    path = options.checkout / metadata.FILE
    document = metadata.read(path)
    owner, api = options.log_in()
    if owner is not None:
        document = metadata.with_owner(document, owner)
    metadata.check(document, path)
    kernel = document["id"]
    if options.dry_run:
        what = f"version {options.version}" if options.version else "the newest version"
        print(f"checked: {what} of {kernel} would be submitted once its run is complete; no request was sent")
        return
    api = api or open_client()
    newest = newest_version(api, kernel)
    if newest is None:
        raise UserError(f"Kaggle has no notebook {kernel}: `sctir push` makes it")
    version = options.version or newest.number
    if version > newest.number:
        raise UserError(f"{kernel} has no version {version}: its versions are 1 to {newest.number}")
    output = (options.folder or Path("runs", f"{kernel.partition('/')[2]}-v{version}")) / "output"
    if options.again or _find(api, newest.competition, kernel, version) is None:
        label = None if version == newest.number else version
        seconds = follow(api, kernel, poll=options.poll, version=label)
        fetch_run(api, kernel, output, profile_of(newest.competition).submission_file, seconds, version=label)
    submit_run(api, kernel, version, newest.competition, output, options)


def submit_run(api: Any, kernel: str, version: int, competition: str, output: Path, options: Submission) -> None:
    """Submit the run whose outputs lie in `output`, unless that was done before, and follow the score."""
    earlier = None if options.again else _find(api, competition, kernel, version)
    if earlier is not None:
        print(f"version {version} of {kernel} was submitted already: submission {earlier.ref}")
        ref = int(earlier.ref)
    else:
        if doubt := doubt_about(output):
            if not options.anyway:
                raise NotGreen(f"not submitted: {doubt}; --submit-anyway does it all the same")
            print(f"submitted all the same: {doubt}")
        print(f"submitting version {version} of {kernel}: what was edited since it was pushed is not in it")
        ref = _submit_version(api, kernel, version, competition, options.message or MESSAGE)
    print(f"following its score; Ctrl-C ends only that: https://www.kaggle.com/competitions/{competition}/submissions")
    follow_score(api, competition, ref, poll=options.poll)


def submit_command(competition: str, kernel: str, version: int, message: str) -> str:
    """Return the client's command that submits this version by hand: it needs all of -k, -v and -f."""
    parts = ["kaggle", "competitions", "submit", competition, "-k", kernel, "-v", str(version)]
    file = profile_of(competition).submission_file
    return shlex.join([*parts, "-f", file, "-m", f"{message} {_mark(kernel, version)}"])


def doubt_about(output: Path) -> str:
    """Return in one line why the run with these outputs should not be submitted; empty if nothing speaks against it."""
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


def follow_score(api: Any, competition: str, ref: int, *, poll: float, sleep: Sleep = time.sleep) -> None:
    """Wait until submission `ref` is scored and print the score. Raises `NotGreen` if scoring failed."""
    started, line = time.monotonic(), StateLine()
    while True:
        found = next((each for each in _submissions(api, competition) if int(each.ref) == ref), None)
        state = "pending" if found is None else str(found.status.name).lower()
        line.show(f"scoring: {state}", time.monotonic() - started, end=state in ("complete", "error"))
        if found is not None and state in ("complete", "error"):
            break
        sleep(poll)
    if state == "error":
        why = " ".join((found.error_description or "Kaggle gives no reason").split())
        raise NotGreen(
            f"submission {ref} has no score: {why}: fix the cause, push and submit; --again submits this version"
        )
    print(f"submission {ref}: public score {found.public_score or 'not published'}")


def _submit_version(api: Any, kernel: str, version: int, competition: str, message: str) -> int:
    """Return the number of the new submission."""
    file, text = profile_of(competition).submission_file, f"{message} {_mark(kernel, version)}"
    page = f"https://www.kaggle.com/competitions/{competition}/submissions"
    answer = call_once(
        lambda: api.competition_submit_code(file, text, competition, kernel, version, quiet=True),
        f"submitting version {version} to {competition}",
        f"look at {page}, or {RUN_AGAIN}",
    )
    said, ref = answer.message or "nothing", answer.ref
    # Some answers have no number although the submission was made: then the list has it.
    if not ref and (found := _find(api, competition, kernel, version)) is not None:
        ref = found.ref
    if not ref:
        raise UserError(f"version {version} is not among the submissions, Kaggle says: {said}: look at {page}")
    print(f"submitted: Kaggle says: {said}")
    return int(ref)


def _find(api: Any, competition: str, kernel: str, version: int) -> Any:
    """The newest submission that is marked as this version; None if there is none."""
    mark = _mark(kernel, version)
    return next((each for each in _submissions(api, competition) if mark in str(each.description or "")), None)


def _mark(kernel: str, version: int) -> str:
    return f"[{kernel} v{version}]"


def _submissions(api: Any, competition: str) -> Iterator[Any]:
    """All submissions, newest first, page by page."""
    from kagglesdk.competitions.types.competition_api_service import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
        ApiListSubmissionsRequest,
    )

    request = ApiListSubmissionsRequest()
    request.competition_name, request.page_size = competition, PAGE
    with api.build_kaggle_client() as kaggle:
        ask = kaggle.competitions.competition_api_client.list_submissions
        while True:
            page = retry(lambda: ask(request), f"listing the submissions to {competition}")
            yield from page.submissions or []
            # A server that repeats the token would make this an endless loop.
            if not page.next_page_token or page.next_page_token == request.page_token:
                return
            request.page_token = page.next_page_token
