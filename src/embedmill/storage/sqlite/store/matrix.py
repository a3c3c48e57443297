"""A store's vectors as one file that is mapped into memory, and the exact search over it.

The file is derived: it can be removed at any time. It is never changed, only replaced whole, so that whoever
has it mapped keeps what he has. Layout, all little-endian:

    header       64 bytes, see `_HEADER`
    vectors      float32 (rows, dimension): the documents' chunks, one document after the other
    chunks       int64 (rows,): the chunk's id in the store
    documents    int64 (documents, 3): id, uid and number of rows
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedmill.core.vectors import Vectors
from embedmill.storage.scores import Block, Ids, Mask

log = logging.getLogger(__name__)

Documents = NDArray[np.int64]
"""Shape ``(n, 3)``: id, uid and number of rows of each document, by id."""

MAGIC: Final = b"EMBMAT\x00\x01"  # the last byte is the layout's version

_HEADER: Final = struct.Struct("<8s16sQQI")  # magic, generation, rows, documents, dimension; then its CRC-32
_HEADER_BYTES: Final = 64  # keeps the vectors aligned to a cache line

BLOCK_ROWS: Final = 131_072
"""Rows scored at a time: 0.5 MB of scores. On two idle cores a scan of 100,000 x 384 took the same 4.5 ms in
blocks of 2,048 rows and all at once; on busy ones each block costs, as the threads wait for each other."""

_ABANDONED: Final = 3600.0  # seconds after which a temporary file can only be that of a killed process


class Matrix:
    """The file, mapped; read-only."""

    def __init__(self, path: Path) -> None:
        """Map the file. Reads the header only: what is opened costs the same for every size.

        Raises `OSError` where it cannot be read, `ValueError` where it is not a whole matrix of this layout.
        """
        self.file = path.open("rb")
        try:
            header = self.file.read(_HEADER_BYTES)
            if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
                raise ValueError("no matrix of this version")
            _, self.generation, rows, documents, self.dimension = _HEADER.unpack_from(header)
            (checksum,) = struct.unpack_from("<I", header, _HEADER.size)
            size = _HEADER_BYTES + rows * (4 * self.dimension + 8) + documents * 24
            if checksum != zlib.crc32(header[: _HEADER.size]) or os.fstat(self.file.fileno()).st_size != size:
                raise ValueError("damaged")
            mapped = np.memmap(self.file, np.uint8, "r").view(np.ndarray)
        except BaseException:
            self.file.close()
            raise
        ids = _HEADER_BYTES + rows * 4 * self.dimension
        self.vectors: Vectors = (
            mapped[_HEADER_BYTES:ids].view("<f4").astype(np.float32, copy=False).reshape(rows, self.dimension)
        )
        self.chunks: Ids = _int64(mapped[ids : ids + 8 * rows])
        self.documents: Documents = _int64(mapped[ids + 8 * rows :]).reshape(documents, 3)

    def __len__(self) -> int:
        return len(self.chunks)

    @property
    def first_rows(self) -> Ids:
        """Shape ``(documents + 1,)``: the row that each document begins at; at last the number of rows."""
        return np.concatenate([[0], np.cumsum(self.documents[:, 2])])

    def blocks(self, mask: Mask | None = None) -> Iterator[Block]:
        """All rows, without those blocks of which the mask leaves nothing."""
        for first in range(0, len(self), BLOCK_ROWS):
            rows = slice(first, first + BLOCK_ROWS)
            if mask is None:
                yield Block(self.chunks[rows], self.vectors[rows])
            elif mask[rows].any():
                yield Block(self.chunks[rows], self.vectors[rows], mask[rows])

    def close(self) -> None:
        """Close the file; the mapping goes with its last array."""
        self.file.close()


def _int64(mapped: NDArray[np.uint8]) -> NDArray[np.int64]:
    # The vectors are 4 bytes each, so what follows them may not be aligned: then this is a copy.
    numbers = np.frombuffer(mapped, "<i8")
    return np.require(numbers, np.int64, "A")


def open_matrix(path: Path, dimension: int) -> Matrix | None:
    """The matrix, where there is one that can be trusted."""
    try:
        matrix = Matrix(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s cannot be used and is made anew: %s", path, str(error))
        return None
    if matrix.dimension != dimension:
        matrix.close()
        return None
    return matrix


class Copy(NamedTuple):
    """Rows to take over from the old file."""

    file: IO[bytes]
    first: int
    last: int  # exclusive
    chunks: Ids


def write_matrix(
    path: Path, generation: bytes, dimension: int, documents: Documents, parts: Iterable[Block | Copy]
) -> None:
    """Put a new file in place of the old one, all at once, in memory of a few blocks.

    The parts hold the rows of the documents, in their order. Raises `OSError` where it cannot be written and
    `ValueError` where there are more or fewer rows than the documents say; the old file then stays.
    """
    _remove_abandoned(path)
    temporary = path.with_name(f"{path.name}.new-{os.getpid()}-{time.monotonic_ns()}")
    try:
        with temporary.open("xb") as file:
            file.write(bytes(_HEADER_BYTES))
            chunks = [_write_rows(file, part, dimension) for part in parts]
            rows = sum(map(len, chunks))
            if rows != documents[:, 2].sum():
                raise ValueError(f"{rows} rows, but the documents have {documents[:, 2].sum()}")
            for ids in (*chunks, documents):
                file.write(ids.astype("<i8", copy=False).tobytes())
            header = _HEADER.pack(MAGIC, generation, rows, len(documents), dimension)
            file.seek(0)
            file.write(header + struct.pack("<I", zlib.crc32(header)))
            file.flush()
            # Synced before it gets its name: no power cut leaves the right size without the content.
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write_rows(file: IO[bytes], part: Block | Copy, dimension: int) -> Ids:
    if isinstance(part, Block):
        file.write(part.vectors.astype("<f4", copy=False).tobytes())
        return part.chunks
    # Read, not mapped: pages of a mapping would count as this process's memory.
    part.file.seek(_HEADER_BYTES + part.first * 4 * dimension)
    left = (part.last - part.first) * 4 * dimension
    while left:
        data = part.file.read(min(left, 1 << 20))
        if not data:
            raise ValueError("the old matrix is cut off")
        file.write(data)
        left -= len(data)
    return part.chunks


def _remove_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):
        for file in path.parent.glob(f"{path.name}.new-*"):
            if time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink()


class DamagedMatrix(Exception):
    """The matrix holds what the store never wrote: it is to be made anew."""
