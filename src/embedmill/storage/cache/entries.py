"""What the cache's file keeps of a vector: its numbers as bytes, and a checksum that tells one which is damaged."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from typing import Any, Final

import numpy as np

from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.checksums import checksums

SCHEMA_VERSION: Final = 2
"""2: versions before wrote vectors of other texts where memory was short (docs/openvino-swallowed-error.md). What they
have written is removed, and never read: a process of theirs may still be writing into the same file."""

Entry = tuple[int, bytes, Any, Any, Any]
"""Id, hash, day of the last use, checksum, numbers. Of one that is damaged the last three may be of any kind."""

_NUMBERS: Final = np.dtype("<f4")


def packed(
    hashes: Sequence[bytes], vectors: Mapping[bytes, Vector], fingerprint: Fingerprint
) -> Iterator[tuple[bytes, int, bytes]]:
    """Hash, checksum and numbers of the vectors of these hashes."""
    blobs = [vectors[each].astype(_NUMBERS, copy=False).tobytes() for each in hashes]
    return zip(hashes, checksums(hashes, blobs, _start(fingerprint)), blobs, strict=True)


def whole(entries: Sequence[Entry], fingerprint: Fingerprint) -> list[Entry]:
    """Those that are as they were put, for this fingerprint and under these hashes."""
    size = _NUMBERS.itemsize * fingerprint.space.dimension
    _, hashes, days, sums, blobs = zip(*entries, strict=True) if entries else ((),) * 5
    # Of all at once: to look at each by itself takes as long as to compute its checksum.
    formed = set(map(type, days)) <= {int} and set(map(type, blobs)) <= {bytes} and set(map(len, blobs)) <= {size}
    if formed and tuple(checksums(hashes, blobs, _start(fingerprint))) == sums:
        return list(entries)
    if len(entries) <= 1:
        return []
    half = len(entries) // 2
    return whole(entries[:half], fingerprint) + whole(entries[half:], fingerprint)


def unpacked(entries: Sequence[Entry]) -> dict[bytes, Vector]:
    """Their vectors by hash, each read-only and in memory of its own."""
    vectors = map(np.frombuffer, (each[4] for each in entries), repeat(_NUMBERS))
    return dict(zip((each[1] for each in entries), vectors, strict=True))


def _start(fingerprint: Fingerprint) -> int:
    """CRC-32 of what all checksums begin with: the version too, for what an earlier one writes counts as damaged."""
    return zlib.crc32(f"{SCHEMA_VERSION} {fingerprint.key}".encode())
