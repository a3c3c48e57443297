"""What a store knows each of its vectors by: one that is damaged is told from what was written, without the model.

CRC-32 of what a vector was made of (`Record.hash`), and of its numbers as little-endian float32. It is another one for
each single bit that changes, and for the same vector of another text.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat

import numpy as np

from embedmill.core.vectors import Vector, Vectors


def checksums(keys: Iterable[bytes], blobs: Iterable[bytes | memoryview], start: int = 0) -> Iterator[int]:
    """Those of vectors that are given as bytes, of many at a time: a function call for each would be felt.

    `start` is the CRC-32 of what comes before each key; of nothing by itself.
    """
    return map(zlib.crc32, blobs, map(zlib.crc32, keys, repeat(start)))


def checksum_of(key: bytes, vector: Vector) -> int:
    """That of one."""
    return zlib.crc32(np.ascontiguousarray(vector, "<f4").data, zlib.crc32(key))


def is_altered(checksum: int | None, key: bytes, vector: Vector) -> bool:
    """Whether the vector is known not to be the one that was written; `checksum`: None where none was kept of it."""
    return checksum is not None and checksum != checksum_of(key, vector)


def stacked(vectors: Sequence[Vector], dimension: int) -> Vectors:
    """The vectors as one little-endian array ``(n, dimension)``. Raises `ValueError` for one of another dimension."""
    for vector in vectors:
        if vector.shape != (dimension,):
            raise ValueError(f"a vector of shape {vector.shape} in a store of dimension {dimension}: this is a bug")
    return np.array(vectors, "<f4")


def as_bytes(stack: Vectors) -> list[memoryview]:
    """The numbers of each of these vectors, which are `stacked`."""
    whole, size = stack.data.cast("B"), 4 * stack.shape[1]
    return [whole[first : first + size] for first in range(0, len(whole), size)]
