"""An account at Kaggle that remembers: data sets, models, notebooks with versions and runs, submissions with scores.

It refuses as Kaggle does: 403 or 404 for what is not there, an error for making a thing twice. A request may kill the client:
before it is handled (of an upload, half the bytes have come by then) or after, when the answer is on its way.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.fake_kaggle import DROP, FakeKaggle, Json, Reply, journal_of, refuses

When = Literal["before", "after"]

GONE = refuses(404, "not found")
DENIED = refuses(403, "Permission was denied")
FRAMEWORK = "MODEL_FRAMEWORK_"


@dataclass
class Blob:
    name: str
    size: int
    data: bytes = b""


@dataclass
class State:
    """Versions, oldest first: a data set's and a variation's are files with their sizes, a notebook's what was sent."""

    datasets: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    models: dict[str, dict[str, list[dict[str, int]]]] = field(default_factory=dict)
    kernels: dict[str, list[Json]] = field(default_factory=dict)
    submissions: list[Json] = field(default_factory=list)
    blobs: dict[str, Blob] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)

    def things(self) -> Json:
        """What a user sees; blobs and looks are not of it."""
        return {name: deepcopy(getattr(self, name)) for name in ("datasets", "models", "kernels", "submissions")}


class KaggleAccount(FakeKaggle):
    """Alice's. `run` says what the runs leave; `fatal` kills the process `pid` at that request, `count` counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.told = {}
        self.state = State()
        self.files = {"submission.csv": b"id,answer\np0,7\n", "journal.jsonl": journal_of()}
        self.count = 0
        self.fatal: tuple[int, When] | None = None
        self.pid = 0

    def answer(self, call: str, body: Json) -> Reply:
        self.asked.append((call, body))
        act = getattr(self, f"on_{call}", None)
        if act is None:
            return refuses(404, f"no such call: {call}")
        return self._mortal(lambda: act(body))

    def get(self, name: str) -> Reply:
        return self._mortal(lambda: Reply(self.files[name]))

    def put(self, name: str, data: bytes, content_range: str = "") -> Reply:
        half = data[: len(data) // 2]
        return self._mortal(lambda: self._received(name, data, content_range), lambda: self._keep(name, half))

    def _mortal(self, act: Callable[[], Reply], before: Callable[[], None] = lambda: None) -> Reply:
        with self._lock:
            self.count += 1
            if self.fatal == (self.count, "before"):
                before()
                return self._kill()
            reply = act()
            return self._kill() if self.fatal == (self.count, "after") else reply

    def _kill(self) -> Reply:
        os.kill(self.pid, signal.SIGKILL)
        return DROP

    def _keep(self, token: str, data: bytes) -> None:
        self.state.blobs[token].data += data

    def _received(self, token: str, data: bytes, content_range: str) -> Reply:
        """Resumable, as the storage behind Kaggle is: a question `bytes */N` is answered with what is there."""
        blob = self.state.blobs.get(token)
        if blob is None:
            return refuses(404)
        self._keep(token, data)
        if len(blob.data) == blob.size:
            return Reply()
        there = {"Range": f"bytes=0-{len(blob.data) - 1}"} if blob.data else {}
        return Reply(b"", 308, there)

    def on_StartBlobUpload(self, body: Json) -> Reply:
        token = f"blob-{len(self.state.blobs)}"
        self.state.blobs[token] = Blob(body["name"], body["contentLength"])
        return Reply({"token": token, "createUrl": f"http://127.0.0.1:{self.port}/put/{token}"})

    def on_GetDatasetStatus(self, body: Json) -> Reply:
        """Not ready at the first look at a new version."""
        ref = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if ref not in self.state.datasets:
            return DENIED
        looked = self._look(f"{ref}/{len(self.state.datasets[ref])}")
        return Reply({"status": "READY" if looked > 1 else "BLOBS_RECEIVED"})

    def on_GetDataset(self, body: Json) -> Reply:
        ref = f"{body['ownerSlug']}/{body['datasetSlug']}"
        versions = self.state.datasets.get(ref)
        return Reply({"ref": ref, "currentVersionNumber": len(versions)}) if versions else DENIED

    def on_ListDatasetFiles(self, body: Json) -> Reply:
        versions = self.state.datasets.get(f"{body['ownerSlug']}/{body['datasetSlug']}")
        if not versions:
            return DENIED
        page, more = self._page(body, list(versions[-1].items()))
        return Reply({"datasetFiles": [{"name": name, "totalBytes": size} for name, size in page], **more})

    def on_CreateDataset(self, body: Json) -> Reply:
        ref = f"{body['ownerSlug']}/{body['slug']}"
        if ref in self.state.datasets:
            return Reply({"status": "error", "error": f"the slug {body['slug']} is already in use"})
        assert body["isPrivate"] is True
        self.state.datasets[ref] = [self._sent(body["files"])]
        return Reply({"status": "ok", "ref": ref})

    def on_CreateDatasetVersion(self, body: Json) -> Reply:
        versions = self.state.datasets.get(f"{body['ownerSlug']}/{body['datasetSlug']}")
        if not versions:
            return DENIED
        versions.append(self._sent(body["body"]["files"]))
        return Reply({"status": "ok"})

    def on_GetModel(self, body: Json) -> Reply:
        ref = f"{body['ownerSlug']}/{body['modelSlug']}"
        return Reply({"id": 1, "ref": ref}) if ref in self.state.models else GONE

    def on_CreateModel(self, body: Json) -> Reply:
        ref = f"{body['ownerSlug']}/{body['slug']}"
        if ref in self.state.models:
            return refuses(409, "a model with this slug exists")
        assert body["isPrivate"] is True
        self.state.models[ref] = {}
        return Reply({"id": 1, "ref": ref})

    def on_CreateModelInstance(self, body: Json) -> Reply:
        variations = self.state.models.get(f"{body['ownerSlug']}/{body['modelSlug']}")
        about = body["body"]
        name = f"{about['framework'].removeprefix(FRAMEWORK).lower()}/{about['instanceSlug']}"
        if variations is None:
            return GONE
        if name in variations:
            return refuses(409, "a variation with this slug exists")
        assert about["licenseName"] == "Apache 2.0"
        variations[name] = [self._sent(about["files"])]
        return Reply({"id": 2})

    def on_CreateModelInstanceVersion(self, body: Json) -> Reply:
        if (versions := self._versions(body)) is None:
            return GONE
        versions.append(self._sent(body["body"]["files"]))
        return Reply({"id": 3})

    def on_ListModelInstanceVersions(self, body: Json) -> Reply:
        if (versions := self._versions(body)) is None:
            return GONE
        numbers = [{"versionNumber": number} for number in range(1, len(versions) + 1)]
        return Reply({"versionList": {"versions": numbers}})

    def on_ListModelInstanceVersionFiles(self, body: Json) -> Reply:
        if (versions := self._versions(body)) is None:
            return GONE
        page, more = self._page(body, list(versions[body["versionNumber"] - 1].items()))
        return Reply({"files": [{"name": name, "size": size} for name, size in page], **more})

    def on_SaveKernel(self, body: Json) -> Reply:
        owned = [f"{each.partition('/')[0]}/{each.split('/')[1]}" for each in body.get("datasetDataSources", [])]
        refused = [ref for ref in owned if ref not in self.state.datasets]
        versions = self.state.kernels.setdefault(body["slug"], [])
        versions.append(body)
        return Reply({"versionNumber": len(versions), "ref": body["slug"], "invalidDatasetSources": refused})

    def on_GetKernel(self, body: Json) -> Reply:
        """As Kaggle writes it: its own notes in the notebook's metadata, frameworks with a capital letter."""
        ref = f"{body['userName']}/{body['kernelSlug']}"
        if not (versions := self.state.kernels.get(ref)):
            return DENIED
        sent = versions[-1]
        same = ("language", "kernelType", "isPrivate", "enableGpu", "enableTpu", "enableInternet", "machineShape")
        sources = ("datasetDataSources", "competitionDataSources", "kernelDataSources")
        said = {**{name: sent.get(name) for name in same}, **{name: sent.get(name, []) for name in sources}}
        models = [source.replace("/transformers/", "/Transformers/") for source in sent.get("modelDataSources", [])]
        number = {"ref": ref, "title": sent["newTitle"], "currentVersionNumber": len(versions)}
        return Reply(
            {
                "metadata": {
                    **said,
                    **number,
                    "modelDataSources": models,
                    "dockerImage": "gcr.io/kaggle-images/python",
                },
                "blob": {"source": sent["text"], "slug": body["kernelSlug"], "kernelType": "notebook"},
            }
        )

    def on_GetKernelSessionStatus(self, body: Json) -> Reply:
        ref = f"{body['userName']}/{body['kernelSlug']}"
        if not (versions := self.state.kernels.get(ref)):
            return DENIED
        looked = self._look(f"{ref}/{body.get('versionLabel') or f'v{len(versions)}'}")
        return Reply({"status": ("QUEUED", "RUNNING", "COMPLETE")[min(looked, 3) - 1]})

    def on_ListKernelSessionOutput(self, body: Json) -> Reply:
        ref = f"{body['userName']}/{body['kernelSlug']}"
        return self.outputs(body) if ref in self.state.kernels else DENIED

    def on_CreateCodeSubmission(self, body: Json) -> Reply:
        number = len(self.state.submissions) + 1
        self.state.submissions.insert(
            0, {"ref": number, "description": body.get("submissionDescription"), "version": body["kernelVersion"]}
        )
        return Reply({"message": "Successfully submitted", "ref": number})

    def on_ListSubmissions(self, body: Json) -> Reply:
        """Scored at the second look that finds them."""
        page, more = self._page(body, [{**each, **self._score(each)} for each in self.state.submissions])
        return Reply({"submissions": page, **more})

    def _score(self, submission: Json) -> Json:
        scored = self._look(f"submission {submission['ref']}") > 1
        return {"status": "COMPLETE", "publicScore": "27"} if scored else {"status": "PENDING"}

    def _look(self, name: str) -> int:
        self.state.looks[name] = self.state.looks.get(name, 0) + 1
        return self.state.looks[name]

    def _page(self, body: Json, items: list[Any], size: int = 2) -> tuple[list[Any], Json]:
        start = int(body.get("pageToken") or 0)
        more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
        return items[start : start + size], more

    def _versions(self, body: Json) -> list[dict[str, int]] | None:
        variations = self.state.models.get(f"{body['ownerSlug']}/{body['modelSlug']}", {})
        return variations.get(f"{body['framework'].removeprefix(FRAMEWORK).lower()}/{body['instanceSlug']}")

    def _sent(self, files: list[Json]) -> dict[str, int]:
        """Name and size of each blob, which must be whole."""
        blobs = [self.state.blobs[file["token"]] for file in files]
        assert all(len(blob.data) == blob.size for blob in blobs)
        return {blob.name: blob.size for blob in blobs}
