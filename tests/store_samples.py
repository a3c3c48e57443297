"""Documents, records and vectors to fill stores with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from embedmill.core.documents import Chunk, DocumentState, Failure, Record, Replacement, text_hash
from embedmill.core.spaces import Fingerprint, Space
from embedmill.core.vectors import Cause, Vector

DIMENSION = 8


def fingerprint(weights: str = "w", precision: str = "f32", dimension: int = DIMENSION) -> Fingerprint:
    return Fingerprint(Space(weights, "t", "mean", True, "", 256, dimension), precision)


def vector(text: str, dimension: int = DIMENSION) -> Vector:
    """A unit vector that the text decides."""
    seed = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "little")
    numbers = np.random.default_rng(seed).standard_normal(dimension)
    return (numbers / np.linalg.norm(numbers)).astype(np.float32)


def record(document: str, index: int, text: str, context: str = "") -> Record:
    chunk = Chunk(
        text,
        document,
        chunk_index=index,
        token_count=7,
        context=context,
        start=10 * index,
        end=10 * index + len(text),
        line=index + 1,
        end_line=index + 1 + text.count("\n"),
    )
    return Record(chunk, text_hash(context, text), vector(text))


def state(document: str, content: str = "", mtime_ns: int = 1, recipe: str = "recipe") -> DocumentState:
    return DocumentState(
        document, len(content), mtime_ns, hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest(), recipe
    )


def replacement(
    document: str,
    texts: Sequence[str],
    *,
    first: int = 0,
    precision: str = "f32",
    failures: Sequence[Failure] = (),
) -> Replacement:
    """A document of these chunks; the first of them has the index `first`."""
    records = [record(document, index, text) for index, text in enumerate(texts, first)]
    return Replacement(state(document, "".join(texts)), precision, records, failures)


def failure(document: str, index: int, message: str = "worker died") -> Failure:
    return Failure(document, index, 0, 5, 1, Cause("WorkerDied", message))
