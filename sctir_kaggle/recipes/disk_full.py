"""Tell the errors of writing to a full disk from others: the libraries that write have one each."""

from __future__ import annotations

import errno
from collections.abc import Iterator

FULL = (errno.ENOSPC, errno.EDQUOT)

_SAID = ("No space left on device", "Disk quota exceeded", *(f"os error {number}" for number in FULL))
"""In the texts of safetensors' and pyarrow's errors, which have no number."""

_TORCH = ("inline_container", "PytorchStreamWriter", "file write failed", "basic_ios::clear")
"""In those of `torch.save`, which do not say why a write failed."""

LITTLE = 1 << 20
"""Free bytes below which a failed write of `torch.save` is put down to them."""


def is_disk_full(error: BaseException, free: int | None = None) -> bool:
    """Whether `error`, or one that led to it, comes from a full disk or a quota that is used up.

    `torch.save` says only that a write failed: that counts where `free` bytes, if given, are next to nothing.
    """
    return any(_is(one, free) for one in _chain(error))


def _is(error: BaseException, free: int | None) -> bool:
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    text = str(error)
    if any(said in text for said in _SAID):
        return True
    return free is not None and free < LITTLE and any(said in text for said in _TORCH)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__
