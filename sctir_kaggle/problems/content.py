"""The content of a file or of standard input: its bytes, unpacked where they are compressed, and their text."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from sctir_kaggle.types import UserError, one_line

STDIN = "-"
"""The name that stands for standard input."""

_UNPACK: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
"""By the first bytes of a compressed file."""

_ZSTD = b"\x28\xb5\x2f\xfd"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks."""


def bytes_of(source: str) -> bytes:
    """The bytes of the file `source`, or of standard input, unpacked. Raises `UserError`."""
    try:
        data = sys.stdin.buffer.read() if source == STDIN else Path(source).read_bytes()
    except (OSError, ValueError) as error:  # a ValueError for a name with a NUL character
        raise UserError(f"cannot read {source}: {getattr(error, 'strerror', None) or one_line(error)}") from None
    return _unpacked(source, data)


def is_workbook(data: bytes) -> bool:
    """True for the zip archive that an .xlsx or .ods file is, and for the older .xls."""
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        return True
    return data.startswith(b"PK\x03\x04") and any(name.startswith(("xl/", "content.xml")) for name in _members(data))


def _unpacked(source: str, data: bytes) -> bytes:
    for start, unpack in _UNPACK.items():
        if data.startswith(start):
            try:
                return unpack(data)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
                raise UserError(f"cannot unpack {source}: {one_line(error)}; copy the file again") from None
    if data.startswith(_ZSTD):
        raise UserError(f"{source} is compressed by zstd, which is not read; unpack it first: zstd -d {source}")
    if data.startswith(b"PK\x03\x04") and not is_workbook(data):
        return _only_member(source, data)
    return data


def _members(data: bytes) -> list[str]:
    """The files in a zip archive; none where it is damaged."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
    except (zipfile.BadZipFile, ValueError):
        return []


def _only_member(source: str, data: bytes) -> bytes:
    """The file in a zip archive that holds one. Raises `UserError` where it holds none or several."""
    names = _members(data)
    if not names:
        raise UserError(f"{source} is an XLSX file or zip archive that is damaged or empty; copy it again")
    if len(names) > 1:
        raise UserError(
            f"{source} is a zip archive of {len(names)} files; unpack it and give the file with the problems"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return archive.read(names[0])
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error) as error:
        raise UserError(f"cannot unpack {source}: {one_line(error)}; unpack it and give the file in it") from None


def text_of(name: str, data: bytes) -> tuple[str, str]:
    """The text of `data` without its byte order mark, and its encoding where that is not UTF-8.

    Without a mark it is UTF-8, UTF-16 where zero bytes alternate, else Windows-1252: the encoding of a CSV that an English or
    Western European Excel writes. Raises `UserError` for what is no text.
    """
    marked = next(((mark, encoding) for mark, encoding in _MARKS if data.startswith(mark)), None)
    encodings = (marked[1],) if marked else _unmarked(data)
    for encoding in encodings:
        try:
            text = data[len(marked[0]) if marked else 0 :].decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text, "" if encoding == "utf-8" else encoding
    raise UserError(f"{name} is not a text in UTF-8, UTF-16 or Windows-1252; give a CSV, JSON, Parquet or XLSX file")


def _unmarked(data: bytes) -> tuple[str, ...]:
    start = data[:400]
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) > len(start) / 8:
        return ("utf-16-le",) if odd > even else ("utf-16-be",)
    return ("utf-8", "cp1252", "latin-1")
