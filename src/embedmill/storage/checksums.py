"""What a store knows each of its vectors by: one that is damaged is told from what was written, without the model."""

from __future__ import annotations

import zlib

import numpy as np

from embedmill.core.vectors import Vector


def checksum_of_bytes(key: bytes, numbers: bytes | memoryview) -> int:
    """CRC-32 of what a vector was made of (`Record.hash`), and of its numbers as little-endian float32.

    It is another one for each single bit that changes, and for the same vector of another text.
    """
    return zlib.crc32(numbers, zlib.crc32(key))


def checksum_of(key: bytes, vector: Vector) -> int:
    """The same of an array."""
    return checksum_of_bytes(key, np.ascontiguousarray(vector, "<f4").data)


def is_altered(checksum: int | None, key: bytes, vector: Vector) -> bool:
    """Whether the vector is known not to be the one that was written; `checksum`: None where none was kept of it."""
    return checksum is not None and checksum != checksum_of(key, vector)
