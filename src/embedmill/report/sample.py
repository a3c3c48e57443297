"""A sample of a store's chunks: each as likely as any other, in bounded memory."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.core.documents import StoredChunk
from embedmill.core.vectors import Vectors
from embedmill.runtime.sampling import Reservoir

SAMPLE: Final = 20_000
"""Chunks that are kept: as many points as a browser draws at once without a pause."""

SHOWN: Final = 240
"""Characters of a chunk's text that are kept."""

_BYTES: Final = 256 << 20
"""Of vectors: of those with more than 3,355 numbers fewer are kept."""


@dataclass(frozen=True, slots=True)
class SampledChunk:
    """A chunk without its vector."""

    document: str
    line: int
    text: str  # the first `SHOWN` characters
    content: int  # equal for equal texts


class Sample:
    """The chunks that were kept of all that were offered."""

    def __init__(self, dimension: int) -> None:
        self._size = min(SAMPLE, max(_BYTES // (4 * dimension), 2))
        self._places = Reservoir(self._size, random.Random(0))  # noqa: S311 - the same page each time
        self._rows = np.empty((0, dimension), np.float32)
        self.chunks: list[SampledChunk] = []

    @property
    def offered(self) -> int:
        """How many chunks there were."""
        return self._places.offered

    @property
    def vectors(self) -> Vectors:
        """Those of `chunks`, ``(n, dimension)``."""
        return self._rows[: len(self.chunks)]

    def offer(self, chunk: StoredChunk) -> None:
        """Keep a chunk, or do not."""
        place = self._places.place()
        if place is None:
            return
        kept = SampledChunk(chunk.document, chunk.line, chunk.input[:SHOWN], hash(chunk.input))
        if place < len(self.chunks):
            self.chunks[place] = kept
        else:
            self.chunks.append(kept)
            self._grow()
        self._rows[place] = chunk.vector

    def _grow(self) -> None:
        if len(self.chunks) > len(self._rows):
            room = min(max(2 * len(self._rows), 1024), self._size)
            grown = np.empty((room, self._rows.shape[1]), np.float32)
            grown[: len(self._rows)] = self._rows
            self._rows = grown
