"""Kaggle on loopback, as the real client sees it: it answers each call as it is told, also badly, and keeps what was asked.

The client's address is fixed but for its environment (KAGGLE_API_ENVIRONMENT=LOCALHOST is http://localhost), so this server
also plays the proxy that leads there. Calls that it is told nothing about get the answer of a day on which all is well.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sctir_kaggle.journal import SCHEMA, result_to_json
from sctir_kaggle.types import Problem, SolveResult, Trace, TraceStatus, Vote

Json = dict[str, Any]
AnyKaggle = TypeVar("AnyKaggle", bound="FakeKaggle")


@dataclass
class Reply:
    """`drop` closes the connection without a word."""

    body: Json | bytes = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False


def refuses(status: int, message: str = "", **headers: str) -> Reply:
    body = {"code": status, "message": message} if message else b""
    return Reply(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


DROP = Reply(drop=True)
LOG = json.dumps([{"stream_name": "stdout", "time": n, "data": f"line {n}\n"} for n in range(40)])


def status(name: str, message: str = "") -> Reply:
    return Reply({"status": name, **({"failureMessage": message} if message else {})})


def scored(ref: int, score: str = "42", **more: Any) -> Reply:
    """A list of submissions with one in it."""
    return Reply({"submissions": [{"ref": ref, "status": "COMPLETE", "publicScore": score, **more}]})


def weights(size: int = 7, filling: bytes = b"w") -> bytes:
    """A whole safetensors file with one tensor of so many bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + filling * size


def journal_of(*, answers: Sequence[int] = (7, 8, 9), votes: bool = True, failed: int = 0) -> bytes:
    """The journal of a run with a result for each answer; without `votes` each is the default.

    On the first `failed` problems the engine failed a candidate.
    """
    results = [_result(number, answer, votes, number < failed) for number, answer in enumerate(answers)]
    header: Json = {"schema": SCHEMA, "config": {"seed": 0}}
    return b"".join(json.dumps(line).encode() + b"\n" for line in (header, *map(result_to_json, results)))


def _result(number: int, answer: int, votes: bool, failed: bool) -> SolveResult:
    vote = Vote(((answer, 1.0),)) if votes else Vote()
    status = TraceStatus.FAILED if failed else TraceStatus.EXHAUSTED
    trace = Trace(0, (), status, detail="the engine died" if failed else "")
    return SolveResult(Problem(f"p{number}", "?"), answer, vote, (trace,), fallback=not votes)


class FakeKaggle:
    """A context manager. `told` holds replies by call (`SaveKernel`), one each; the last one stays.

    `asked` holds every call with its body, `files` the outputs of the run, `uploaded` what was put, by name.
    """

    def __init__(self, **told: list[Reply]) -> None:
        self.told = {
            "SaveKernel": [Reply({"versionNumber": 3, "url": "https://www.kaggle.com/code/alice/sctir-kaggle"})]
        }
        self.told["GetKernelSessionStatus"] = [status("QUEUED"), status("RUNNING"), status("COMPLETE")]
        self.told["GetDatasetStatus"] = [Reply({"status": "READY"})]
        for call in ("CreateDataset", "CreateDatasetVersion"):
            self.told[call] = [Reply({"status": "ok", "url": "https://www.kaggle.com/datasets/alice/sctir-wheels"})]
        self.told["CreateModelInstanceVersion"] = [Reply({"id": 7})]
        self.told["CreateCodeSubmission"] = [Reply({"message": "Successfully submitted", "ref": 9})]
        self.told["ListSubmissions"] = [Reply(), scored(9)]
        self.told["GetKernel"] = [refuses(403, "Permission 'kernels.get' was denied")]
        self.told["GetDataset"] = [Reply({"currentVersionNumber": 1})]
        self.told["ListDatasetFiles"] = self.told["ListModelInstanceVersionFiles"] = [Reply()]
        self.told.update(told)
        self.files: dict[str, bytes] = {"submission.csv": b"id,answer\n000aaa,7\n", "runs/journal.jsonl": journal_of()}
        self.asked: list[tuple[str, Json]] = []
        self.uploaded: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def calls(self, name: str) -> list[Json]:
        return [body for call, body in self.asked if call == name]

    def environment(self, home: Path) -> dict[str, str]:
        """Of a process whose client talks to this server, with made-up credentials and nothing of ours."""
        proxy = f"http://127.0.0.1:{self.port}"
        return {
            **{"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": ""},
            **{"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""},
            **{"HOME": str(home), "KAGGLE_CONFIG_DIR": str(home / "kaggle"), "TMPDIR": str(home)},
            **{"KAGGLE_USERNAME": "alice", "KAGGLE_KEY": "made-up-key-0123"},
        }

    def __enter__(self: AnyKaggle) -> AnyKaggle:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, call: str, body: Json) -> Reply:
        with self._lock:
            self.asked.append((call, body))
            if own := _OWN.get(call if call not in self.told else ""):
                return own(self, body)
            replies = self.told.get(call, [refuses(404, f"no such call: {call}")])
            return replies.pop(0) if len(replies) > 1 else replies[0]

    def get(self, name: str) -> Reply:
        with self._lock:
            self.asked.append(("GET", {"name": name}))
            if replies := self.told.get(name):
                reply = replies.pop(0)
                return reply if reply.status >= 400 or reply.drop else Reply(self.files[name])
            return Reply(self.files[name])

    def put(self, name: str, data: bytes, content_range: str = "") -> Reply:
        with self._lock:
            if name in self.told:
                return self.told[name][0]
            self.uploaded[name] = data
            return Reply()

    def outputs(self, body: Json) -> Reply:
        """A file a page."""
        names = sorted(self.files)
        number = int(body.get("pageToken") or 0)
        files = [{"fileName": n, "url": f"http://127.0.0.1:{self.port}/files/{n}"} for n in names[number : number + 1]]
        more = {"nextPageToken": str(number + 1)} if number + 1 < len(names) else {}
        return Reply({"files": files, "log": LOG, **more})

    def blob(self, body: Json) -> Reply:
        return Reply(
            {"token": f"token of {body['name']}", "createUrl": f"http://127.0.0.1:{self.port}/put/{body['name']}"}
        )

    def versions(self, _: Json) -> Reply:
        """One more than uploads of a version."""
        count = 1 + sum(call == "CreateModelInstanceVersion" for call, _ in self.asked)
        return Reply({"versionList": {"versions": [{"versionNumber": n} for n in range(1, count + 1)]}})


_OWN: dict[str, Callable[[FakeKaggle, Json], Reply]] = {
    "ListKernelSessionOutput": FakeKaggle.outputs,
    "StartBlobUpload": FakeKaggle.blob,
    "ListModelInstanceVersions": FakeKaggle.versions,
}


def _handler(kaggle: FakeKaggle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self._reply(kaggle.answer(self.path.rpartition("/")[2], json.loads(self._body() or b"{}")))

        def do_GET(self) -> None:
            self._reply(kaggle.get(self.path.partition("/files/")[2]))

        def do_PUT(self) -> None:
            self._reply(
                kaggle.put(self.path.partition("/put/")[2], self._body(), self.headers.get("Content-Range", ""))
            )

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            pieces = []
            while size := int(self.rfile.readline(), 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)

        def _reply(self, reply: Reply) -> None:
            if reply.drop:
                self.close_connection = True
                return
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            kind = "application/octet-stream" if isinstance(reply.body, bytes) else "application/json"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
