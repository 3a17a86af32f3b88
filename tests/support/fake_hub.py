"""A Hugging Face Hub on loopback, as the real huggingface_hub sees it: one model, whose transfers may break or be wrong."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "AI-MO/NuminaMath-7B-TIR-GPTQ"


class FakeHub:
    """A context manager. `files` by name; those in `large` are LFS files.

    `broken` says after how many bytes the next transfer of a file breaks off, `wrong` which files come with other bytes of
    the same length, `refused` which code and status every call gets. `asked` holds each request, `sent` the bytes by file.
    """

    def __init__(self, files: dict[str, bytes], *, large: tuple[str, ...] = ()) -> None:
        self.files, self.large = files, large
        self.broken: dict[str, int] = {}
        self.wrong: set[str] = set()
        self.refused: tuple[int, str] | None = None
        self.reached = threading.Event()
        self.hold: threading.Event | None = None
        """Where it is set, a broken transfer stays open until it is set too; `reached` says that it is there."""

        self.asked: list[str] = []
        self.sent: dict[str, int] = {}

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> FakeHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self.hold is not None:
            self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    def info(self) -> dict[str, Any]:
        siblings = [self._sibling(name, data) for name, data in self.files.items()]
        return {"_id": "1", "id": REPO, "modelId": REPO, "sha": COMMIT, "private": False, "siblings": siblings}

    def etag(self, name: str) -> str:
        data = self.files[name]
        return hashlib.sha256(data).hexdigest() if name in self.large else blob_id(data)

    def _sibling(self, name: str, data: bytes) -> dict[str, Any]:
        lfs = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return {
            "rfilename": name,
            "size": len(data),
            "blobId": blob_id(data),
            **({"lfs": lfs} if name in self.large else {}),
        }


def blob_id(data: bytes) -> str:
    """What git calls these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._file(body=False)

        def do_GET(self) -> None:
            hub.asked.append(f"GET {self.path}")
            if hub.refused is not None:
                return self._refuse(*hub.refused)
            path = self.path.partition("?")[0]
            if path in (f"/api/models/{REPO}", f"/api/models/{REPO}/revision/main"):
                return self._send(200, json.dumps(hub.info()).encode(), {"Content-Type": "application/json"})
            if path.startswith("/api/models/"):
                return self._refuse(404, "RevisionNotFound" if "/revision/" in path else "RepoNotFound")
            return self._file(body=True)

        def _file(self, *, body: bool) -> None:
            name = self.path.partition(f"/{REPO}/resolve/{COMMIT}/")[2]
            if name not in hub.files:
                return self._refuse(404, "EntryNotFound")
            data, etag = hub.files[name], hub.etag(name)
            linked = {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(data))} if name in hub.large else {}
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes", **linked}
            if not body:
                return self._send(200, b"", {**headers, "Content-Length": str(len(data))})
            if name in hub.wrong:
                data = bytes(255 - byte for byte in data)
            start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            return self._stream(name, data[start:], headers, 206 if start else 200)

        def _stream(self, name: str, data: bytes, headers: dict[str, str], status: int) -> None:
            cut = hub.broken.pop(name, None)
            hub.sent[name] = hub.sent.get(name, 0) + (len(data) if cut is None else cut)
            self._send(status, data[:cut], {**headers, "Content-Length": str(len(data))})
            if cut is not None:
                self.wfile.flush()
                hub.reached.set()
                if hub.hold is not None:
                    hub.hold.wait(120)
                self.close_connection = True

        def _refuse(self, status: int, code: str) -> None:
            self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
