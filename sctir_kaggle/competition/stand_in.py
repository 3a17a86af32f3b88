"""A stand-in for the notebook's side of the push API: `InferenceServer(predict, ...)` for `AIMO2InferenceServer(predict)`.

Real gRPC over loopback; the gateway that asks is another process (`gateway.py`). `predict` runs in a gRPC worker thread.
Not covered: on Kaggle, a thread that holds the interpreter lock for over about a minute can lose the connection. Here it
does not: current gRPC answers keep-alive pings from threads that need no lock (tried with one ping per second).
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from sctir_kaggle.competition import gateway
from sctir_kaggle.competition.gateway import ANY_LENGTH, SERVICE, Session
from sctir_kaggle.competition.verdict import ERRORS, GatewayFailed, Version, rules_of
from sctir_kaggle.competition.wire import pack, unpack
from sctir_kaggle.types import UserError

if TYPE_CHECKING:
    import grpc

PORT = 50051
"""The port where a gateway looks for `serve()`, unless the environment variable SCTIR_GATEWAY_PORT names another."""

Predict = Callable[..., Any]


class InferenceServer:
    """Serve `predict`, once: by `serve()` in a rerun, or by `run_local_gateway((csv,))` in the editor.

    The options are the local gateway's, see `gateway.Session`; `runs` 2 asks everything twice, as AIMO-3's private set
    does. Raises TypeError for a `predict` that the version does not accept, `UserError` where polars or gRPC is missing.
    """

    def __init__(
        self,
        predict: Predict,
        *,
        version: Version,
        submission: Path,
        seed: int | None = 0,
        start_seconds: float = 900.0,
        answer_seconds: float | None = None,
        runs: int | None = None,
    ) -> None:
        check_installed()
        if rules_of(version).plain_function:
            _check_plain(version, predict)
        self._predict = predict
        self._session = Session(version, "", str(submission), 0, seed, start_seconds, answer_seconds, runs or 1)

    def serve(self) -> NoReturn:
        """Answer a gateway that is started elsewhere, and exit (status 0) when it is gone: nothing after this call runs.

        Kaggle goes further and kills the notebook. Raises `UserError` where the port is taken.
        """
        with Listener(self._predict, gateway_port()) as listener:
            listener.gateway_gone.wait()
        raise SystemExit(0)

    def run_local_gateway(self, data_paths: tuple[str | Path, ...]) -> None:
        """Ask `predict` for every problem of the CSV; returns when the submission is written.

        Raises the gateway's `GatewayError`; then there is no submission.
        """
        with Listener(self._predict, 0) as listener:
            session = replace(self._session, problems=str(data_paths[0]), port=listener.port)
            with GatewayProcess(session) as gateway:
                gateway.wait()


class Listener:
    """A gRPC server on loopback with two workers: one calls `predict`, the gateway's open call holds the other."""

    def __init__(self, predict: Predict, port: int) -> None:
        import grpc

        self.gateway_gone = threading.Event()
        self._predict = predict
        self._workers = ThreadPoolExecutor(2, thread_name_prefix="sctir-predict")
        self._server = grpc.server(self._workers, options=[*ANY_LENGTH, ("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self._handler(),))
        self.port = _bound(self._server, port)
        self._server.start()

    def close(self) -> None:
        """Stop the server. A `predict` that is still running is not waited for, except by the interpreter's exit."""
        self._server.stop(None).wait()
        self._workers.shutdown(wait=False)

    def _handler(self) -> grpc.GenericRpcHandler:
        import grpc

        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "predict": grpc.unary_unary_rpc_method_handler(self._answer),
            "attend": grpc.unary_unary_rpc_method_handler(self._attend),
        }
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _answer(self, request: bytes, _: grpc.ServicerContext) -> bytes:
        """Call `predict`. gRPC sends the text of an exception to the gateway."""
        return pack([self._predict(*unpack(request))])

    def _attend(self, _: bytes, context: grpc.ServicerContext) -> bytes:
        """A call that stays open while the gateway lives; its end, of whatever kind, sets `gateway_gone`."""
        if context.add_callback(self.gateway_gone.set):
            self.gateway_gone.wait()
        self.gateway_gone.set()
        return b""

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class GatewayProcess:
    """The gateway in a process of its own. As a context manager, it kills the process at its end."""

    def __init__(self, session: gateway.Session) -> None:
        self.session = session
        self._process = subprocess.Popen(
            [sys.executable, "-m", gateway.__name__, json.dumps(asdict(session))],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Wait until the submission is written. Raises the gateway's `GatewayError` if it is not."""
        out, err = self._process.communicate()
        if self._process.returncode == 0:
            return
        if out.startswith("{"):
            report = json.loads(out)
            raise ERRORS[report["error"]](report["text"])
        last = (err.strip().splitlines() or ["no output"])[-1]
        raise GatewayFailed(f"the gateway ended with status {self._process.returncode}: {last}")

    def close(self) -> None:
        """Kill the process if it is still running."""
        self._process.kill()
        self._process.communicate()

    def __enter__(self) -> GatewayProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def gateway_port() -> int:
    """The port where `serve()` listens: SCTIR_GATEWAY_PORT, or `PORT`."""
    return int(os.environ.get("SCTIR_GATEWAY_PORT", PORT))


def _bound(server: grpc.Server, port: int) -> int:
    try:
        return int(server.add_insecure_port(f"127.0.0.1:{port}"))
    except RuntimeError:
        raise UserError(f"port {port} is taken; end the server there or set SCTIR_GATEWAY_PORT to a free one") from None


def check_installed() -> None:
    """Raise `UserError` where a library of the push API is not installed."""
    missing = [library for library in ("polars", "grpc") if importlib.util.find_spec(library) is None]
    if missing:
        raise UserError(f"not installed: {', '.join(missing)}; pip install 'sctir-kaggle[competition]'")


def _check_plain(version: Version, predict: Predict) -> None:
    """Raise TypeError unless `predict` is a plain function of that name: from 0.9.0 on the server checks that."""
    if not inspect.isfunction(predict) or predict.__name__ != "predict":
        name = getattr(predict, "__name__", type(predict).__name__)
        raise TypeError(
            f"{version} takes a plain function named predict, not {name}; write def predict(id_, problem, answer=None)"
        )
