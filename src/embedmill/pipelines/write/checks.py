"""Whether chunks can be stored, and come back as they were given: each is looked at before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from operator import index
from typing import Any, Final

import numpy as np

from embedmill.core.attributes import attributes_of, read_attributes
from embedmill.core.documents import Chunk, Provenance, Record
from embedmill.core.errors import ChunksRefused, SpaceMismatch
from embedmill.core.interfaces.embedder import HasFingerprint
from embedmill.core.spaces import Fingerprint, not_of
from embedmill.core.vectors import Cause, Vector
from embedmill.engine.validation import VectorValidator

_TEXTS: Final = ("text", "source_file", "source_category", "context")
_NUMBERS: Final = ("chunk_index", "token_count", "start", "end", "line", "end_line")
_OPTIONAL_NUMBERS: Final = ("total_chunks", "page")
_LARGEST: Final = 2**31 - 1  # PostgreSQL's integer
_LONGEST_ID: Final = 2048  # bytes: PostgreSQL's indexes take entries of some 2,700

_SHOWN: Final = 20  # numbers of refused chunks in a message; the error has all


@dataclass(frozen=True, slots=True)
class CheckedChunks:
    """The chunks of one call, as they are to be stored, in its order."""

    origin: Provenance | None  # of the call's vectors: what the store is to be bound to; None where there are none
    records: Sequence[tuple[Record, str]]  # with the precision of each vector
    failed: Sequence[Chunk]  # that have a cause, and no vector


def checked_chunks(chunks: Sequence[Chunk], embedder: HasFingerprint | None) -> CheckedChunks:
    """Copies of the chunks. `embedder` is what made the embeddings that have no provenance.

    Raises `ChunksRefused`, which has them all, where some cannot be stored, and `SpaceMismatch` where their vectors
    cannot be compared with one another.
    """
    refused: dict[int, str] = {}
    own: dict[int, Chunk] = {}
    for number, chunk in enumerate(chunks):
        try:
            own[number] = _own(chunk)
        except ValueError as error:
            refused[number] = str(error)
    refused |= dict(_doubled(own))
    embedded = {number: chunks[number] for number in own if chunks[number].embedding is not None}
    for number in own.keys() - embedded.keys():
        if chunks[number].cause is None:
            refused.setdefault(number, "it has no embedding: embed it first")
    origins = {number: _origin(chunk, embedder) for number, chunk in embedded.items()}
    for number, origin in origins.items():
        if origin is None:
            refused.setdefault(number, "nothing says which model its embedding is of: give embedder=, which made it")
        elif origin.hash != own[number].hash:
            refused.setdefault(number, "its embedding is of another text than it has now: embed it again")
    known = {number: origin for number, origin in origins.items() if origin is not None}
    _check_one_space(known)
    first = next(iter(known.values()), None)
    vectors: dict[int, Vector] = {}
    if first is not None:
        vectors = {number: _numbers(embedded[number].embedding) for number in known}
        refused = dict(_unsound(vectors, first.fingerprint)) | refused
    if refused:
        raise _refusal(refused, chunks)
    records = [
        (Record(own[number], known[number].hash, vectors[number]), known[number].fingerprint.precision)
        for number in known
    ]
    failed = [replace(own[number], cause=chunks[number].cause) for number in own if number not in embedded]
    return CheckedChunks(first, records, failed)


def _own(chunk: Chunk) -> Chunk:
    """A copy without a vector, of values that a store gives back as they are. Raises `ValueError`."""
    failed = chunk.embedding is None and chunk.cause is not None
    for name in _TEXTS:
        value = getattr(chunk, name)
        if name == "text" and failed:
            continue  # it is not stored, and may be what the failure is about
        if not isinstance(value, str):
            raise ValueError(f"its {name} is a {type(value).__name__}, not text")
        _check_unicode(name, value)
    if len(chunk.source_file.encode()) > _LONGEST_ID:
        raise ValueError(f"its source_file has more than {_LONGEST_ID:,} bytes: give a shorter one")
    numbers: dict[str, Any] = {name: _number(name, getattr(chunk, name)) for name in _NUMBERS}
    for name in _OPTIONAL_NUMBERS:
        if (value := getattr(chunk, name)) is not None:
            numbers[name] = _number(name, value, least=int(name == "page"))
    if not isinstance(chunk.document_date, str | date | None):
        raise ValueError(f"its document_date is a {type(chunk.document_date).__name__}: give a date, text or None")
    metadata = _json(replace(chunk, **numbers))
    return replace(chunk, embedding=None, provenance=None, cause=None, metadata=metadata, **numbers)


def _check_unicode(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"its {name} is not valid Unicode: it has lone surrogates") from None


def _number(name: str, value: Any, least: int = 0) -> int:
    try:
        number = None if isinstance(value, bool) else index(value)
    except TypeError:
        number = None
    if number is None or not least <= number <= _LARGEST:
        raise ValueError(f"its {name} is {value!r:.100}: give a whole number from {least} to {_LARGEST:,}")
    return number


def _json(chunk: Chunk) -> dict[str, Any]:
    """A copy of the chunk's metadata. Raises `ValueError` where it would not come back as it is."""
    if not isinstance(chunk.metadata, Mapping):
        raise ValueError(f"its metadata is a {type(chunk.metadata).__name__}: give a dictionary")
    given = dict(chunk.metadata)
    try:
        written = attributes_of(chunk)
        found: dict[str, Any] = read_attributes(written).get("metadata", {})
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"its metadata is no JSON: {error}") from None
    _check_unicode("metadata or document_date", written or "")
    if found != given:
        raise ValueError("its metadata is no JSON: use text as keys, and lists instead of tuples")
    return found


def _doubled(chunks: Mapping[int, Chunk]) -> Iterator[tuple[int, str]]:
    """The chunks that are not the only one of their source and index."""
    places: dict[tuple[str, int], list[int]] = {}
    for number, chunk in chunks.items():
        places.setdefault((chunk.source_file, chunk.chunk_index), []).append(number)
    for (source, position), numbers in places.items():
        if len(numbers) > 1:
            same = _listed(numbers)
            for number in numbers:
                yield number, f"chunks {same} are all number {position} of {source!r}: give each a chunk_index"


def _origin(chunk: Chunk, embedder: HasFingerprint | None) -> Provenance | None:
    if chunk.provenance is not None or embedder is None:
        return chunk.provenance
    return Provenance(embedder.fingerprint, embedder.name, chunk.hash)


def _check_one_space(origins: Mapping[int, Provenance]) -> None:
    first: tuple[int, Provenance] | None = None
    for number, origin in origins.items():
        if first is None:
            first = number, origin
        ours, theirs = first[1], origin
        if theirs.fingerprint.space.id != ours.fingerprint.space.id:
            whose = not_of(theirs.model, theirs.fingerprint.space.id, ours.model, ours.fingerprint.space.id)
            raise SpaceMismatch(
                f"chunk {number} is with {whose} as chunk {first[0]} is: write the chunks of each model by themselves, "
                "and into stores of their own; nothing was written"
            )


def _numbers(embedding: object) -> Vector:
    """A copy as float32; of no numbers where these are none, which is of no model's dimension."""
    try:
        given = np.asarray(embedding)
        if given.dtype.kind in "fiu":
            with np.errstate(over="ignore"):
                return np.array(given, np.float32, order="C")
    except (TypeError, ValueError):
        pass
    return np.empty(0, np.float32)


def _unsound(vectors: Mapping[int, Vector], fingerprint: Fingerprint) -> Iterator[tuple[int, str]]:
    space = fingerprint.space
    fitting = []
    for number, vector in vectors.items():
        if vector.shape == (space.dimension,):
            fitting.append(number)
        else:
            yield number, f"its embedding is of shape {vector.shape}, the model's are of ({space.dimension},)"
    if fitting:
        found = VectorValidator.of(space).check(np.stack([vectors[each] for each in fitting]))
        for row, cause in found.items():
            yield fitting[row], f"its embedding is unsound: {cause.message}"


def _refusal(refused: Mapping[int, str], chunks: Sequence[Chunk]) -> ChunksRefused:
    numbers = sorted(refused)
    first = chunks[numbers[0]]
    where = f"chunk {numbers[0]} ({first.source_file!r:.200}, chunk_index {first.chunk_index!r:.50})"
    return ChunksRefused(
        f"{len(numbers):,} of {len(chunks):,} chunks cannot be stored, and nothing was written: {where}: "
        f"{refused[numbers[0]]} (refused: {_listed(numbers)})",
        {number: Cause("ChunksRefused", refused[number]) for number in numbers},
    )


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_SHOWN])) + (" ..." if len(numbers) > _SHOWN else "")
