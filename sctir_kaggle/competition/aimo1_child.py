"""Serve the competition's module `aimo` from another interpreter: run by path under CPython 3.10.

    python3.10 -I aimo1_child.py FD FOLDER

FD is an inherited stream socket. A request is a line of JSON, and so is its reply, until the other side closes the socket.
Standard output is the module's own. FOLDER holds `aimo`. Frames are sent as columns, dtypes, values and index, since the two
sides may have different versions of pandas. This file must run with nothing but pandas and Python 3.10.
"""

from __future__ import annotations

import importlib
import json
import platform
import socket
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

Json = dict[str, Any]

END = {"end": True}
"""The reply to `next` once there are no more problems."""


def encode(value: Any) -> Json:
    """Convert a DataFrame, a plain value or a sequence of such to JSON. Raises `TypeError` for anything else."""
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return {"frame": encode_frame(value)}
    if isinstance(value, (list, tuple)):
        return {"items": [encode(item) for item in value]}
    return {"value": _plain(value, "a value")}


def decode(message: Json) -> Any:
    """The inverse of `encode`; a sequence comes back as a tuple."""
    if "frame" in message:
        return decode_frame(message["frame"])
    if "items" in message:
        return tuple(decode(item) for item in message["items"])
    return message["value"]


def encode_frame(frame: DataFrame) -> Json:
    """Columns with their dtypes and values, and the index. Raises `TypeError` for a value that is no text, number or null."""
    columns = [
        {
            "name": _plain(name, "a column's name"),
            "dtype": str(frame.dtypes.iloc[number]),
            "values": [_plain(value, f"column {name!r}") for value in frame.iloc[:, number].tolist()],
        }
        for number, name in enumerate(frame.columns)
    ]
    index = {
        "name": _plain(frame.index.name, "the index's name"),
        "dtype": str(frame.index.dtype),
        "values": [_plain(value, "the index") for value in frame.index.tolist()],
    }
    return {"columns": columns, "index": index}


def decode_frame(message: Json) -> DataFrame:
    """The inverse of `encode_frame`, with this side's pandas."""
    import pandas as pd

    index = pd.Index(message["index"]["values"], dtype=_dtype(message["index"]), name=message["index"]["name"])
    series = [pd.Series(column["values"], index=index, dtype=_dtype(column)) for column in message["columns"]]
    frame: DataFrame = pd.DataFrame(dict(enumerate(series)), index=index)
    frame.columns = pd.Index([column["name"] for column in message["columns"]])
    return frame


def _dtype(message: Json) -> Any:
    """The dtype for a column. For text, None: this pandas infers its own, which differs between versions."""
    name, values = message["dtype"], message["values"]
    if name != "object" and not name.startswith("str"):
        return name
    texts = [value for value in values if isinstance(value, str)]
    others = [value for value in values if not isinstance(value, str) and value is not None and value == value]
    return None if texts and not others and all(map(_is_utf8, texts)) else "object"


def _is_utf8(text: str) -> bool:
    """False for a lone surrogate, which pandas with pyarrow cannot hold in a column of texts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any, where: str) -> Any:
    """A str, number, bool or None; numpy scalars become Python's. `where` names the place in an error message."""
    import pandas as pd

    if hasattr(value, "item") and callable(value.item):
        value = value.item()
    if value is None or value is pd.NA:
        return None
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{where} holds a {type(value).__name__}, which cannot be sent: only texts, numbers and nulls can")


class ModuleServer:
    """The module, its environment and the iterator over the problems, driven by requests."""

    def __init__(self) -> None:
        self._env: Any = None
        self._pairs: Iterator[Any] = iter(())

    def answer(self, request: Json) -> Json:
        """The reply to one request. An exception of the module becomes a reply as well."""
        try:
            reply: Json = getattr(self, f"do_{request['do']}")(request)
            return reply
        except BaseException as error:
            args = [arg if isinstance(arg, (str, int, float, type(None))) else repr(arg) for arg in error.args]
            fields = {"class": type(error).__name__, "args": args, "text": str(error)}
            return {"error": {**fields, "traceback": traceback.format_exc()}}

    def do_open(self, _: Json) -> Json:
        module = importlib.import_module("aimo")
        self._env = module.make_env()
        return {"python": platform.python_version(), "file": getattr(module, "__file__", None)}

    def do_iter_test(self, _: Json) -> Json:
        self._pairs = iter(self._env.iter_test())
        return {}

    def do_next(self, _: Json) -> Json:
        try:
            pair = next(self._pairs)
        except StopIteration:
            return END
        return {"pair": encode(pair)}

    def do_predict(self, request: Json) -> Json:
        self._env.predict(decode(request["given"]))
        return {}


def main(fd: str, folder: str) -> None:
    """Answer requests until the other side closes the socket."""
    wire = socket.socket(fileno=int(fd))
    wire.set_inheritable(False)
    sys.path.insert(0, folder)
    server = ModuleServer()
    with wire, wire.makefile("r", encoding="utf-8", newline="\n") as requests:
        for line in requests:
            wire.sendall(json.dumps(server.answer(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
