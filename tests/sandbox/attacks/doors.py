"""Sockets of the host on which no block may ever knock, one a family."""

from __future__ import annotations

import os
import secrets
import select
import socket
from pathlib import Path


class Doors:
    """Listens on TCP, UDP, a UNIX path and an abstract UNIX name."""

    def __init__(self, folder: Path) -> None:
        self.path, self.name = str(folder / "door"), f"door-{secrets.token_hex(8)}"
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self._unix = [self._listen(address) for address in (self.path, "\0" + self.name)]
        os.chmod(self.path, 0o777)

    @staticmethod
    def _listen(address: str) -> socket.socket:
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        door.bind(address)
        door.listen()
        return door

    def knocks(self) -> int:
        """How many of them have a connection or a datagram waiting."""
        return len(select.select([self.tcp, self.udp, *self._unix], [], [], 0)[0])

    def placeholders(self) -> dict[str, str]:
        """What the snippets call the addresses by."""
        ports = {"@TCP@": str(self.tcp.getsockname()[1]), "@UDP@": str(self.udp.getsockname()[1])}
        return {**ports, "@UNIX@": self.path, "@ABSTRACT@": self.name}
