"""Try in the real sandbox what a block may and may not do; print the active layers and what succeeded, as JSON.

`python -m tests.sandbox.permissions`, by itself or in a `setting`. The one process that it tries to create ends at once.
"""

from __future__ import annotations

import asyncio
import json
import os
import time

from sctir_kaggle.sandbox import Sandbox
from sctir_kaggle.types import ExecutionStatus

SECRET = "hunter2"

FORBIDDEN = {
    "read /etc/passwd": "open('/etc/passwd').read(1)",
    "read the host's environment": "b'hunter2' in open('/proc/HOST/environ', 'rb').read() or 1/0",
    "write to /tmp": "import os; os.close(os.open('/tmp/sctir-permissions', os.O_WRONLY | os.O_CREAT)) ",
    "change the mode of a file": "import os; open('f', 'w').close(); os.chmod('f', 0o600)",
    "open a socket": "import socket; socket.socket()",
    "create a process": "import os\npid = os.fork()\nif pid == 0: os._exit(0)\nos.waitpid(pid, 0)",
    "signal the host": "import os; os.kill(HOST, 0)",
    "become root": "import os; os.setuid(0)",
    "start 200 threads": "import threading, time\nfor _ in range(200): threading.Thread(target=time.sleep, args=(1,)).start()",
    "take 2 GB": "x = bytearray(2 << 30)",
}
ALLOWED = {
    "import another module": "import wave, sqlite3, sympy.physics.units",
    "write a file in the folder": "open('note', 'w').write('x')\nopen('note').read()",
    "write to /dev/null": "open('/dev/null', 'w').write('x')",
    "a 300 MB array": "len(np.ones(300 << 17))",
    "start 8 threads": "import threading, time\nfor _ in range(8): threading.Thread(target=time.sleep, args=(.1,)).start()",
    "solve": "sp.solve(sp.Symbol('x') ** 2 - 4)",
}


async def permissions(sandbox: Sandbox) -> dict[str, bool]:
    """Whether each attempt succeeded, by name."""
    done = {}
    for number, (name, code) in enumerate({**FORBIDDEN, **ALLOWED}.items()):
        request_id, code = f"permissions/{number}/0", code.replace("HOST", str(os.getpid()))
        result = await sandbox.execute(code, request_id=request_id, deadline=time.monotonic() + 20)
        sandbox.release(f"permissions/{number}")
        done[name] = result.status is ExecutionStatus.OK
    return done


def main() -> None:
    """Print layers and permissions as JSON."""
    with Sandbox(workers=1, code_seconds=5, memory_mb=1024) as sandbox:
        layers = {layer.name: layer.active for layer in sandbox.layers()}
        print(json.dumps({"layers": layers, "done": asyncio.run(permissions(sandbox))}))


if __name__ == "__main__":
    main()
