"""Random state that repeats for a turn and differs between candidates: forks would otherwise draw the same numbers."""

from __future__ import annotations

import hashlib
import random
import sys


def seed_all(request_id: str) -> None:
    """Seed what a fork would otherwise share; `os.urandom` and `secrets` stay random."""
    seed = int.from_bytes(hashlib.blake2b(request_id.encode("utf-8", "replace"), digest_size=4).digest(), "big")
    random.seed(seed)
    if "numpy.random.bit_generator" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
        vars(sys.modules["numpy.random.bit_generator"])["randbits"] = random.Random(seed).getrandbits  # of default_rng
    if "sympy.core.random" in sys.modules:
        sys.modules["sympy.core.random"].seed(seed)
