"""What a store holds, in numbers: all chunks are counted and measured, a sample of them is looked at closely."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.documents import StoredChunk, StoreStatus
from embedmill.core.errors import StoreError
from embedmill.core.interfaces.store import Store
from embedmill.engine.quality import NEAR, Quality, QualityMeter
from embedmill.report.folders import Folder, by_folder
from embedmill.report.geometry import Neighbours, Spread, nearest_neighbours, spread
from embedmill.report.sample import Sample, SampledChunk

_PAGE: Final = 1024  # chunks measured at once
_ASKED: Final = 4096  # chunks whose nearest neighbour is looked for
_LISTED: Final = 10  # duplicates of each kind


@dataclass(frozen=True, slots=True)
class ExactDuplicate:
    """A text that several chunks have."""

    chunks: Sequence[SampledChunk]  # some of them
    count: int


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two chunks of different texts and nearly one vector."""

    chunks: tuple[SampledChunk, SampledChunk]
    cosine: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a store's vectors; of a store without any nothing is."""

    quality: Quality
    norms: NDArray[np.float32]  # (chunks,)
    sample: Sample
    neighbours: Neighbours | None  # rows are those of the sample; None where there is but one chunk
    spread: Spread
    exact: Sequence[ExactDuplicate]  # in the sample, the most frequent first
    near: Sequence[NearDuplicate]  # among those whose neighbours were looked for, the nearest first


@dataclass(frozen=True, slots=True)
class StoreContents:
    """What a store holds."""

    url: str
    status: StoreStatus
    folders: Sequence[Folder]
    tokens: NDArray[np.int64]  # (chunks,): how long each chunk is
    measured: Measured | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found: dict[str, Any] = {"store": self.url} | asdict(self.status)
        found["folders"] = [
            {"path": each.path, "documents": each.documents, "chunks": each.chunks} for each in self.folders
        ]
        found["tokens"] = _summary(self.tokens)
        measured = self.measured
        found["quality"] = None if measured is None else measured.quality.to_dict()
        if measured is not None:
            found["sampled"] = len(measured.sample.chunks)
            found["components"] = {f"{share:.0%}": measured.spread.components_for(share) for share in (0.5, 0.9, 0.99)}
            found["nearest_cosines"] = None if measured.neighbours is None else _summary(measured.neighbours.cosines)
        return found


def read_contents(store: Store) -> StoreContents:
    """Read all of a store. Raises `StoreError`, also where a vector is not sound."""
    status = store.status()
    counts: Counter[str] = Counter()
    tokens: list[int] = []
    measured = None
    if status.dimension is not None:
        meter, sample = QualityMeter(status.dimension), Sample(status.dimension)
        norms: list[NDArray[np.float32]] = []
        for page in _pages(store):
            vectors = _vectors_of(page, status.dimension, store.url)
            try:
                meter.add(vectors)
            except ValueError as error:
                raise _unsound(store.url, str(error)) from error
            norms.append(np.linalg.norm(vectors, axis=1))
            for chunk in page:
                counts[chunk.document] += 1
                tokens.append(chunk.tokens)
                sample.offer(chunk)
        if (quality := meter.result()) is not None:
            measured = _measured(quality, np.concatenate(norms), sample)
    return StoreContents(store.url, status, by_folder(counts), np.array(tokens, np.int64), measured)


def _pages(store: Store) -> Iterator[list[StoredChunk]]:
    chunks = store.chunks()
    while page := list(islice(chunks, _PAGE)):
        yield page


def _vectors_of(page: Sequence[StoredChunk], dimension: int, url: str) -> NDArray[np.float32]:
    for chunk in page:
        if chunk.vector.shape != (dimension,):
            raise _unsound(url, f"a vector of {chunk.document} has {chunk.vector.size} numbers, not {dimension}")
    return np.stack([chunk.vector for chunk in page])


def _unsound(url: str, what: str) -> StoreError:
    return StoreError(f"store {url} is damaged ({what}): `embedmill verify` names all that is")


def _measured(quality: Quality, norms: NDArray[np.float32], sample: Sample) -> Measured:
    vectors, neighbours = sample.vectors, None
    if len(vectors) > 1:
        rows = np.arange(len(vectors))
        if len(rows) > _ASKED:
            rows = np.sort(np.random.default_rng(0).choice(rows, _ASKED, replace=False))
        neighbours = nearest_neighbours(vectors, rows)
    near = [] if neighbours is None else _near(sample.chunks, neighbours)
    return Measured(quality, norms, sample, neighbours, spread(vectors), _exact(sample.chunks), near)


def _exact(chunks: Sequence[SampledChunk]) -> list[ExactDuplicate]:
    equal: dict[int, list[SampledChunk]] = defaultdict(list)
    for chunk in chunks:
        equal[chunk.content].append(chunk)
    found = [ExactDuplicate(same, len(same)) for same in equal.values() if len(same) > 1]
    return sorted(found, key=lambda each: -each.count)[:_LISTED]


def _near(chunks: Sequence[SampledChunk], neighbours: Neighbours) -> list[NearDuplicate]:
    found: dict[frozenset[int], NearDuplicate] = {}
    for place in np.argsort(-neighbours.cosines):
        row, other, cosine = (int(neighbours.rows[place]), int(neighbours.nearest[place]), neighbours.cosines[place])
        if cosine < NEAR or len(found) == _LISTED:
            break
        if chunks[row].content != chunks[other].content:
            found.setdefault(
                frozenset((row, other)), NearDuplicate((chunks[row], chunks[other]), min(float(cosine), 1.0))
            )
    return list(found.values())


def _summary(numbers: NDArray[Any]) -> dict[str, float] | None:
    if not len(numbers):
        return None
    few, middle, many = np.percentile(numbers, (5, 50, 95))
    facts = {
        "min": numbers.min(),
        "p5": few,
        "median": middle,
        "mean": numbers.mean(),
        "p95": many,
        "max": numbers.max(),
    }
    return {name: round(float(value), 4) for name, value in facts.items()}
