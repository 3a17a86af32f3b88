"""Serves the competition's module `aimo` from a Python of its own: run by path under CPython 3.10, asked over a socket.

    python3.10 -I aimo1_child.py FD FOLDER

FD is an inherited stream socket: a request in JSON a line comes in, a reply in JSON a line goes out, in turn, until the other
side closes it. Standard output is the module's own. FOLDER holds `aimo`. Frames cross as columns, dtypes, values and index,
so that both sides may have different versions of pandas. This file needs nothing but pandas and Python 3.10.
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

Sent = dict[str, Any]

END = {"end": True}
"""The reply to `next` once there are no more problems."""


def sent(value: Any) -> Sent:
    """`value` as JSON can hold it: a frame, a sequence of such values, or a plain value. Raises `TypeError`."""
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        return {"frame": sent_frame(value)}
    if isinstance(value, (list, tuple)):
        return {"items": [sent(item) for item in value]}
    return {"value": _plain(value, "a value")}


def received(said: Sent) -> Any:
    """The value that `sent` was given; a sequence comes back as a tuple."""
    if "frame" in said:
        return received_frame(said["frame"])
    if "items" in said:
        return tuple(received(item) for item in said["items"])
    return said["value"]


def sent_frame(frame: DataFrame) -> Sent:
    """Columns with their dtypes and values, and the index. Raises `TypeError` where a value is no text, number or null."""
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


def received_frame(said: Sent) -> DataFrame:
    """The frame that `sent_frame` was given, in this side's pandas."""
    import pandas as pd

    index = pd.Index(said["index"]["values"], dtype=_dtype(said["index"]), name=said["index"]["name"])
    series = [pd.Series(column["values"], index=index, dtype=_dtype(column)) for column in said["columns"]]
    frame: DataFrame = pd.DataFrame(dict(enumerate(series)), index=index)
    frame.columns = pd.Index([column["name"] for column in said["columns"]])
    return frame


def _dtype(said: Sent) -> Any:
    """Texts get this pandas' own dtype for them (None: inferred), which has changed between its versions."""
    name, values = said["dtype"], said["values"]
    if name != "object" and not name.startswith("str"):
        return name
    texts = [value for value in values if isinstance(value, str)]
    others = [value for value in values if not isinstance(value, str) and value is not None and value == value]
    return None if texts and not others and all(map(_is_utf8, texts)) else "object"


def _is_utf8(text: str) -> bool:
    """A lone surrogate is not: where pyarrow is installed, pandas cannot hold it in a column of texts."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: Any, where: str) -> Any:
    """A text, number, truth value or None; numpy's scalars become Python's."""
    import pandas as pd

    if hasattr(value, "item") and callable(value.item):
        value = value.item()
    if value is None or value is pd.NA:
        return None
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{where} holds a {type(value).__name__}, which cannot be sent: only texts, numbers and nulls can")


class Served:
    """The module, and what has been made of it so far."""

    def __init__(self) -> None:
        self._env: Any = None
        self._pairs: Iterator[Any] = iter(())

    def answer(self, request: Sent) -> Sent:
        """The reply to one request; what the module raises is a reply too."""
        try:
            reply: Sent = getattr(self, f"do_{request['do']}")(request)
            return reply
        except BaseException as error:
            args = [arg if isinstance(arg, (str, int, float, type(None))) else repr(arg) for arg in error.args]
            told = {"class": type(error).__name__, "args": args, "text": str(error)}
            return {"error": {**told, "traceback": traceback.format_exc()}}

    def do_open(self, _: Sent) -> Sent:
        module = importlib.import_module("aimo")
        self._env = module.make_env()
        return {"python": platform.python_version(), "file": getattr(module, "__file__", None)}

    def do_iter_test(self, _: Sent) -> Sent:
        self._pairs = iter(self._env.iter_test())
        return {}

    def do_next(self, _: Sent) -> Sent:
        try:
            pair = next(self._pairs)
        except StopIteration:
            return END
        return {"pair": sent(pair)}

    def do_predict(self, request: Sent) -> Sent:
        self._env.predict(received(request["given"]))
        return {}


def main(fd: str, folder: str) -> None:
    """Answers until the other side closes the socket."""
    wire = socket.socket(fileno=int(fd))
    wire.set_inheritable(False)
    sys.path.insert(0, folder)
    served = Served()
    with wire, wire.makefile("r", encoding="utf-8", newline="\n") as requests:
        for line in requests:
            wire.sendall(json.dumps(served.answer(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
