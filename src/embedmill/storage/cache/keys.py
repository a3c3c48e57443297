"""By which numbers the cache's file finds its vectors: a whole number for a text's hash and a fingerprint together.

Whole numbers are what SQLite finds fastest and keeps in the least room. Two texts may have the same one, by a chance of
1 to 2^64 for any two; that is told by the checksum, which is over all of both (see `storage.cache.entries`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache
from typing import Final

import numpy as np

from embedmill.core.spaces import Fingerprint

_HASH: Final = 32  # bytes of a SHA-256
_START: Final = np.dtype("<i8")  # of a hash: the signed whole numbers are those that SQLite has


def check_hashes(hashes: Collection[bytes]) -> None:
    """Raises `ValueError` where one is no SHA-256: the bytes that make its key need not tell it from others."""
    if not set(map(len, hashes)) <= {_HASH}:
        wrong = next(len(each) for each in hashes if len(each) != _HASH)
        raise ValueError(f"a hash of {wrong} bytes: the cache takes the SHA-256 of texts, which has {_HASH}")


def keys_of(hashes: Collection[bytes], fingerprint: Fingerprint) -> np.ndarray:
    """The keys of these hashes as an array ``(n,)`` of int64: the first 8 bytes of each, with the fingerprint's."""
    starts = np.frombuffer(b"".join(hashes), _START).reshape(-1, _HASH // _START.itemsize)[:, 0]
    return starts ^ _number(fingerprint.key)


@lru_cache(maxsize=64)
def _number(fingerprint: str) -> int:
    return int.from_bytes(hashlib.sha256(fingerprint.encode()).digest()[: _START.itemsize], "little", signed=True)
