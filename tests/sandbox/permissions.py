"""Try in the real sandbox what a block may and may not do; print the active layers and what succeeded, as JSON.

`python -m tests.sandbox.permissions`, by itself or in a `setting`. The one process that it tries to create ends at once.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionStatus

SECRET = "hunter2"

FORBIDDEN = {
    "read /etc/passwd": "open('/etc/passwd').read(1)",
    "read the host's environment": "b'hunter2' in open('/proc/HOST/environ', 'rb').read() or 1/0",
    "read an input": "open('INPUT').read(1)",
    "open a device": "open('/dev/full', 'rb').read(1)",
    "list the folder above": "import os; os.listdir('..')",
    "write to an input": "open('INPUT', 'a')",
    "write to Python": "import os; open(os.__file__, 'r+b')",
    "write to /tmp": "import os; os.close(os.open('/tmp/sctir-permissions', os.O_WRONLY | os.O_CREAT)) ",
    "change the mode of a file": "import os; open('f', 'w').close(); os.chmod('f', 0o600)",
    "open a socket": "import socket; socket.socket()",
    "create a process": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)",
    "signal the host": "import os; os.kill(HOST, 0)",
    "become root": "import os; os.setuid(0)",
    "start 200 threads": "import threading, time\nfor _ in range(200): threading.Thread(target=time.sleep, args=(1,)).start()",
    "take 2 GB": "x = bytearray(2 << 30)",
    "hold 320 MB in deleted files": """
import os, time
kept = []
for _ in range(5):
    kept.append(os.open('f', os.O_CREAT | os.O_RDWR))
    os.unlink('f')
    os.write(kept[-1], bytes(64 << 20))
time.sleep(0.3)
""",
    "raise its priority": "import os; os.nice(-1)",
}
ALLOWED = {
    "import another module": "import wave, sqlite3, sympy.physics.units",
    "write a file in the folder": "open('note', 'w').write('x')\nopen('note').read()",
    "make a temporary file": "import tempfile; tempfile.NamedTemporaryFile('w').write('x'); tempfile.mkdtemp()",
    "write to /dev/null": "open('/dev/null', 'w').write('x')",
    "a 300 MB array": "len(np.ones(300 << 17))",
    "start 8 threads": "import threading, time\nfor _ in range(8): threading.Thread(target=time.sleep, args=(.1,)).start()",
    "read the time zones": "import zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin')",
    "load shared libraries": "import sqlite3, ssl, lzma, bz2, ctypes; sqlite3.connect(':memory:').execute('select 1')",
    "solve": "sp.solve(sp.Symbol('x') ** 2 - 4)",
}
if importlib.util.find_spec("matplotlib"):
    ALLOWED["draw a figure"] = (
        "import matplotlib\nmatplotlib.use('Agg')\nimport matplotlib.pyplot as p\np.plot([1])\np.savefig('f')"
    )


async def permissions(sandbox: Sandbox, readable: str) -> dict[str, bool]:
    """Whether each attempt succeeded, by name. `readable` is a file of this user that everyone may read and write."""
    done = {}
    for number, (name, code) in enumerate({**FORBIDDEN, **ALLOWED}.items()):
        request_id, code = f"permissions/{number}/0", code.replace("HOST", str(os.getpid())).replace("INPUT", readable)
        result = await sandbox.execute(code, request_id=request_id, deadline=time.monotonic() + 60)
        sandbox.release(f"permissions/{number}")
        done[name] = result.status is ExecutionStatus.OK
    return done


def main() -> None:
    """Print layers and permissions as JSON."""
    with tempfile.TemporaryDirectory() as folder, Sandbox(workers=1, code_seconds=30, memory_mb=1024) as sandbox:
        readable = Path(folder, "input.csv")
        readable.write_text("secret")
        readable.chmod(0o666)
        os.chmod(folder, 0o777)
        layers = {layer.name: (layer.active, layer.detail) for layer in sandbox.layers()}
        print(json.dumps({"layers": layers, "done": asyncio.run(permissions(sandbox, str(readable)))}))


if __name__ == "__main__":
    main()
