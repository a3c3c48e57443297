"""What goes over the socket between a pool and a worker: frames of a small header and raw buffers, nothing pickled.

header   24 bytes, see `_HEADER`
facts    a JSON object, a few hundred bytes
body     raw little-endian buffers whose sizes the facts tell
"""

from __future__ import annotations

import enum
import itertools
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from embedmill.core.vectors import Batch, Cause, Embedded

_HEADER: Final = struct.Struct("<4sIIIQ")  # magic, kind, number, bytes of facts, bytes of body
_MAGIC: Final = b"emf1"
_LARGEST_FACTS: Final = 64 << 20  # bytes; more than any worker has to say
_LARGEST_BODY: Final = 4 << 30  # bytes; a body that claims more is no body


class FrameKind(enum.IntEnum):
    """What a frame is."""

    FACTORY = 1  # to the worker: the pickled factory and what is needed to call it
    READY = 2  # from the worker: the model is loaded
    FAILED = 3  # from the worker: it is not, and why; after READY: a call of it has failed
    BATCH = 4  # to the worker
    RESULT = 5  # from the worker: the vectors of the batch of the same number


class ProtocolError(Exception):
    """What came over the socket is no frame, or not the one it has to be."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: FrameKind
    number: int  # of the batch
    facts: Mapping[str, Any]
    body: memoryview


def pack(kind: FrameKind, number: int = 0, facts: Mapping[str, Any] | None = None, body: bytes = b"") -> bytes:
    """A frame as bytes."""
    told = json.dumps(facts or {}).encode()
    return _HEADER.pack(_MAGIC, kind, number, len(told), len(body)) + told + body


class Incoming:
    """Puts frames together from the pieces that a socket gives."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete. Raises `ProtocolError` where they are no frames."""
        self._held += data
        while len(self._held) >= _HEADER.size:
            magic, kind, number, told, size = _HEADER.unpack_from(self._held)
            if magic != _MAGIC or told > _LARGEST_FACTS or size > _LARGEST_BODY:
                raise ProtocolError("what came is no frame")
            end = _HEADER.size + told + size
            if len(self._held) < end:
                return
            frame = bytes(self._held[:end])
            del self._held[:end]
            try:
                facts = json.loads(frame[_HEADER.size : end - size])
                what = FrameKind(kind)
            except ValueError as error:
                raise ProtocolError(f"a frame that cannot be read: {error}") from error
            if not isinstance(facts, dict):
                raise ProtocolError("a frame without facts")
            yield Frame(what, number, facts, memoryview(frame)[end - size :])


def pack_batch(number: int, batch: Batch) -> bytes:
    """A batch: its token ids as int32, its texts as UTF-8 in which lone surrogates are kept."""
    texts = [text.encode("utf-8", "surrogatepass") for text in batch.texts]
    ids = [np.ascontiguousarray(tokens, "<i4").tobytes() for tokens in batch.ids]
    facts = {"tokens": [len(tokens) for tokens in batch.ids], "bytes": [len(text) for text in texts]}
    return pack(FrameKind.BATCH, number, facts, b"".join([*ids, *texts]))


def read_batch(frame: Frame) -> Batch:
    """The batch of a frame. Raises `ProtocolError`."""
    try:
        tokens, sizes = frame.facts["tokens"], frame.facts["bytes"]
        if 4 * sum(tokens) + sum(sizes) != len(frame.body) or len(tokens) != len(sizes):
            raise ValueError("its buffers are not as long as it says")
        ids = np.frombuffer(frame.body[: 4 * sum(tokens)], "<i4").astype(np.int32, copy=False)
        texts = bytes(frame.body[4 * sum(tokens) :])
        ends = np.cumsum([0, *sizes]).tolist()
        parts = [texts[a:b].decode("utf-8", "surrogatepass") for a, b in itertools.pairwise(ends)]
        return Batch(tuple(parts), tuple(np.split(ids, np.cumsum(tokens)[:-1])))
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"no batch: {error}") from error


def pack_result(number: int, embedded: Embedded, retries: int) -> bytes:
    """The vectors of a batch, float32, with the causes of the rows that have none."""
    vectors = np.ascontiguousarray(embedded.vectors, "<f4")
    causes = [[row, cause.type, cause.message, cause.trace] for row, cause in embedded.causes.items()]
    facts = {"shape": vectors.shape, "causes": causes, "retries": retries}
    return pack(FrameKind.RESULT, number, facts, vectors.tobytes())


def read_result(frame: Frame, batch: Batch) -> tuple[Embedded, int]:
    """What a worker made of this batch, and how often it tried parts of it again. Raises `ProtocolError`."""
    try:
        rows, dimension = frame.facts["shape"]
        vectors = np.frombuffer(frame.body, "<f4").astype(np.float32, copy=False).reshape(rows, dimension)
        causes = {int(row): Cause(*map(str, words)) for row, *words in frame.facts["causes"]}
        retries = int(frame.facts["retries"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError(f"no result: {error}") from error
    if rows != len(batch.texts) or not all(0 <= row < rows for row in causes):
        raise ProtocolError(f"{rows} vectors for {len(batch.texts)} texts")
    return Embedded(batch, vectors, causes), retries
