"""Wheels that tests make themselves, an index of them on loopback, and the Pythons of this machine."""

from __future__ import annotations

import hashlib
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


def wheel(
    folder: Path,
    name: str,
    *requires: str,
    version: str = "1.0",
    tags: str = "py3-none-any",
    python: str = "",
    padding: int = 0,
) -> Path:
    """A whole wheel of an empty module, so that pip and uv take it too; `padding` are bytes that do not compress."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tags}.whl"
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: x\n"
    head += f"Requires-Python: {python}\n" if python else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{name}_data.bin", b"x" * padding)
        archive.writestr(f"{info}/METADATA", head + "".join(f"Requires-Dist: {need}\n" for need in requires))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def required(folder: Path, *lines: str) -> Path:
    """A file of requirements."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "requirements.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def python_of(version: str) -> str:
    """The interpreter of this version on this machine, on the path or pyenv's; empty where there is none."""
    ours = [path for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/python") if path.is_file()]
    return str(ours[0]) if ours else shutil.which(f"python{version}") or ""


class Index:
    """A simple index over HTTP. With `stop_after` a download of more bytes hangs there until `go_on` is set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stop_after: int | None = None
        self.go_on = threading.Event()
        self.downloads: list[tuple[str, int]] = []
        """File, and the byte from which on it was asked for."""

        self.url = ""


@contextmanager
def served(folder: Path) -> Iterator[Index]:
    """The index, while it is open."""
    index = Index(folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
    index.url = f"http://127.0.0.1:{server.server_address[1]}/simple"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        index.go_on.set()
        server.shutdown()
        server.server_close()


def _handler(index: Index) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = unquote(self.path).strip("/").split("/")
            if parts[0] == "simple" and len(parts) > 1:
                self._page(parts[1])
            elif parts[0] == "files" and (index.folder / parts[1]).is_file():
                self._file(index.folder / parts[1])
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _page(self, name: str) -> None:
            paths = [p for p in sorted(index.folder.glob("*.whl")) if p.name.split("-")[0].replace("_", "-") == name]
            links = [
                f'<a href="/files/{p.name}#sha256={hashlib.sha256(p.read_bytes()).hexdigest()}">{p.name}</a>'
                for p in paths
            ]
            if not links:
                self.send_error(404)
                return
            body = f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>".encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def _file(self, path: Path) -> None:
            data = path.read_bytes()
            first, last = self._range(len(data))
            self.send_response(200 if (first, last) == (0, len(data) - 1) else 206)
            self.send_header("Content-Length", str(last - first + 1))
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            if "urllib" not in self.headers.get("User-Agent", ""):  # uv reads the metadata
                self.wfile.write(data[first : last + 1])
                return
            index.downloads.append((path.name, first))
            stop = index.stop_after
            if stop is not None and len(data) > stop and not index.go_on.is_set():
                self.wfile.write(data[first:stop])
                self.wfile.flush()
                index.go_on.wait(120)
                return
            self.wfile.write(data[first : last + 1])

        def _range(self, size: int) -> tuple[int, int]:
            said = self.headers.get("Range", "").removeprefix("bytes=")
            first, _, last = said.partition("-")
            if said.startswith("-"):
                return max(0, size - int(last)), size - 1
            return int(first or 0), min(size - 1, int(last or size - 1))

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
