"""What the cache's file keeps of a vector: its numbers as bytes, and a checksum that tells one which is damaged."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from operator import attrgetter
from typing import Any, Final, NamedTuple

import numpy as np

from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.cache.keys import keys_of
from embedmill.storage.checksums import checksums

SCHEMA_VERSION: Final = 3
"""2: versions before wrote vectors of other texts where memory was short (docs/openvino-swallowed-error.md). What they
have written is removed, and never read: a process of theirs may still be writing into the same file.
3: other tables, see `storage.cache.opening`."""

Entry = tuple[int, int, Any, Any, Any]
"""Key, id, day of the last use, checksum, numbers. Of one that is damaged the last three may be of any kind."""

_NUMBERS: Final = np.dtype("<f4")


class Packed(NamedTuple):
    """Vectors as the file keeps them, in the order of their keys: whoever asks for them again finds them in a row."""

    keys: list[int]
    hashes: list[bytes]
    sums: list[int]
    blobs: list[bytes]

    def part(self, first: int, count: int) -> Packed:
        """So many of them from there on."""
        return Packed(*(column[first : first + count] for column in self))  # type: ignore[arg-type]


def as_bytes(vectors: Mapping[bytes, Vector], dimension: int) -> dict[bytes, bytes]:
    """The numbers of each, by hash; raises `ValueError` for a vector that is not ``(dimension,)``."""
    shape = (dimension,)
    for other in set(map(attrgetter("shape"), vectors.values())) - {shape}:
        raise ValueError(f"a vector of shape {other}, where the model's have {shape}: this is a bug")
    return {each: np.asarray(vector, _NUMBERS).tobytes() for each, vector in vectors.items()}


def as_vectors(hashes: Iterable[bytes], blobs: Iterable[bytes]) -> dict[bytes, Vector]:
    """The vectors of these numbers by hash, each read-only and in memory of its own."""
    return dict(zip(hashes, map(np.frombuffer, blobs, repeat(_NUMBERS)), strict=True))


def packed(blobs: Mapping[bytes, bytes], fingerprint: Fingerprint) -> Packed:
    """Numbers by hash, as the file keeps them."""
    keys = keys_of(blobs, fingerprint)
    order, given = np.argsort(keys), list(blobs)
    hashes = [given[at] for at in order.tolist()]
    numbers = [blobs[each] for each in hashes]
    return Packed(keys[order].tolist(), hashes, list(checksums(hashes, numbers, _start(fingerprint))), numbers)


def whole(entries: Sequence[Entry], hashes: Mapping[int, bytes], fingerprint: Fingerprint) -> list[Entry]:
    """Those that are as they were put, for this fingerprint and under these hashes, which are by key."""
    size = _NUMBERS.itemsize * fingerprint.space.dimension
    keys, _, days, sums, blobs = zip(*entries, strict=True) if entries else ((),) * 5
    # Of all at once: to look at each by itself takes as long as to compute its checksum.
    formed = set(map(type, days)) <= {int} and set(map(type, blobs)) <= {bytes} and set(map(len, blobs)) <= {size}
    if formed and tuple(checksums(map(hashes.__getitem__, keys), blobs, _start(fingerprint))) == sums:
        return list(entries)
    if len(entries) <= 1:
        return []
    half = len(entries) // 2
    return whole(entries[:half], hashes, fingerprint) + whole(entries[half:], hashes, fingerprint)


def _start(fingerprint: Fingerprint) -> int:
    """CRC-32 of what all checksums begin with: the version too, for what an earlier one writes counts as damaged."""
    return zlib.crc32(f"{SCHEMA_VERSION} {fingerprint.key}".encode())
