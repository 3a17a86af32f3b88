"""Values on the wire between gateway and notebook: polars frames and series, texts and numbers, as bytes.

A list of values is JSON; a frame in it is Arrow IPC. The bytes are not those of Kaggle's protocol; the values that reach
`predict` are. A pandas frame arrives as a polars frame of the same columns, without its index.
"""

from __future__ import annotations

import io
import json
import numbers
import sys
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

Packed = tuple[str, Any]

WIDE = ("Int128", "UInt128", "Object")
"""The types that polars gives to integers beyond 64 bits."""


def pack(values: Sequence[object]) -> bytes:
    """Encode values. Raises TypeError for one of another type, OverflowError for an integer beyond 64 bits."""
    return json.dumps([_pack(value) for value in values]).encode()


def unpack(data: bytes) -> list[Any]:
    """The inverse of `pack`."""
    return [_unpack(kind, content) for kind, content in json.loads(data)]


def _pack(value: object) -> Packed:
    import polars as pl

    if isinstance(value, pl.DataFrame):
        return "frame", _ipc(value)
    if isinstance(value, pl.Series):
        return "series", _ipc(value.to_frame())
    if _is_pandas(value):
        return "frame", _ipc(_polars_of(value))
    return "plain", _plain(value)


def _plain(value: object) -> object:
    """A value that JSON can hold. numpy's scalars are registered as Python's numbers."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, numbers.Integral):
        if not -(2**63) <= int(value) < 2**63:
            raise OverflowError(f"an answer of {int(value).bit_length()} bits does not fit into 64")
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    raise TypeError(f"predict() returned a {type(value).__name__}, which cannot be sent; return a polars DataFrame")


def _unpack(kind: str, content: Any) -> Any:
    import polars as pl

    if kind == "plain":
        return content
    frame = pl.read_ipc(io.BytesIO(b64decode(content)))
    return frame if kind == "frame" else frame.to_series()


def _ipc(frame: pl.DataFrame) -> str:
    for column, dtype in frame.schema.items():
        if str(dtype) in WIDE:
            raise OverflowError(f"the column {column} holds what does not fit into 64 bits ({dtype})")
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    return b64encode(buffer.getvalue()).decode()


def _is_pandas(value: object) -> bool:
    pandas = sys.modules.get("pandas")  # a frame of pandas exists only where pandas was imported
    return pandas is not None and isinstance(value, pandas.DataFrame)


def _polars_of(frame: Any) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({str(column): frame[column].tolist() for column in frame.columns})
