"""A server on loopback that answers each POST with JSON as a function of the body says, and serves the model `m`.

A thread a connection.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

Answers = Callable[[Any], Any]
"""A body -> what is answered with status 200, or (status, answer), or (status, answer, headers)."""


class JsonServer:
    """A context manager. `bodies` are those it was sent, `paths` where to, `headers` with what, their names in lower case."""

    def __init__(self, answers: Answers) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, answers))
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> JsonServer:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()


def _handler(server: JsonServer, answers: Answers) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, {"data": [{"id": "m"}]} if self.path == "/v1/models" else {}, {})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.bodies.append(body)
            server.paths.append(self.path)
            server.headers.append({name.lower(): value for name, value in self.headers.items()})
            answered = answers(body)
            self._send(*((*answered, {})[:3] if isinstance(answered, tuple) else (200, answered, {})))

        def _send(self, status: int, answer: Any, headers: dict[str, Any]) -> None:
            sent = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"content-type": "application/json", "content-length": len(sent), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
