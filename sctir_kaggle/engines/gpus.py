"""GPUs visible to this process, from `nvidia-smi`: CUDA must not be initialised in a process that forks others.

Not covered: MIG slices, and GPUs of other vendors (none is found: pass the layout and the number of GPUs yourself).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_QUERY = (
    "nvidia-smi",
    "--query-gpu=index,uuid,memory.total,compute_cap,memory.free,name",
    "--format=csv,noheader,nounits",
)
_SECONDS = 20  # nvidia-smi takes seconds where the driver is not kept loaded
_MIB = 1 << 20

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class GPU:
    """One GPU. `memory` and `free` are in bytes, `free` as of the query and None where the driver did not say.

    `name` is what CUDA_VISIBLE_DEVICES calls it (an index or a UUID), `product` the maker's name of the card.
    """

    memory: int
    capability: tuple[int, int] = (7, 5)
    name: str = ""
    free: int | None = field(default=None, compare=False)
    product: str = field(default="", compare=False)


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[GPU]:
    """Return the GPUs in CUDA's order, as limited by CUDA_VISIBLE_DEVICES; none where there is no driver."""
    try:
        ran = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return chosen_of(ran.stdout, environment.get(VISIBLE))


def chosen_of(listing: str, visible: str | None) -> list[GPU]:
    """Parse lines "index, uuid, MiB, capability, MiB free, product" (the last two optional) into GPUs.

    `visible` is the value of CUDA_VISIBLE_DEVICES: its order counts and, as in CUDA, an unknown entry ends the list.

    >>> [gpu.name for gpu in chosen_of("0, GPU-aa, 15360, 7.5\\n1, GPU-bb, 15360, 7.5", "1,0")]
    ['1', '0']
    """
    found: dict[str, GPU] = {}
    for line in filter(None, map(str.strip, listing.splitlines())):
        index, uuid, memory, capability, *more = (part.strip() for part in line.split(",", 5))
        free, product = [*more, "", ""][:2]
        major, minor = map(int, capability.split("."))
        for name in (index, uuid):
            gpu = GPU(int(memory) * _MIB, (major, minor), name, product=product)
            found[name] = replace(gpu, free=int(free) * _MIB) if free.isdecimal() else gpu
    if visible is None:
        return [gpu for name, gpu in found.items() if name.isdecimal()]
    chosen: list[GPU] = []
    for name in (name.strip() for name in visible.split(",")):
        if name not in found:
            break
        chosen.append(found[name])
    return chosen
