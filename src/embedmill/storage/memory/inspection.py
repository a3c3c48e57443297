"""What may be wrong with a store in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import chain

from embedmill.core.damage import Finding
from embedmill.core.documents import Record, StoredChunk
from embedmill.storage.integrity import (
    Held,
    Shown,
    check_binding,
    check_chunks,
    check_failures,
    check_options,
    check_roots,
)
from embedmill.storage.memory.contents import Contents, Version
from embedmill.storage.roots import of_no_root


def problems(held: Contents, look: Callable[[StoredChunk], None], shown: Shown) -> Iterator[Finding]:
    """All that is wrong with the contents as they are when this is called. `look` is given the sound chunks."""
    space = held.bound[0] if held.bound else None
    fields, dimension = (asdict(space), space.dimension) if space else (None, None)
    rows = [(name, version, row) for name, version in held.documents.items() for row in version.records]
    stored = {(name, row.chunk.chunk_index) for name, _, row in rows}
    stray = [
        (name, index, (name, index) in stored)
        for name, index in held.failures
        if index >= 0 and (name not in held.documents or (name, index) in stored)
    ]
    lost = sorted(name for name in held.names() if of_no_root(name, held.roots))
    return chain(
        check_binding(space.id if space else None, fields, dimension, bool(rows)),
        check_failures(stray, shown),
        check_roots(lost, shown),
        check_options(list(held.given.items()), shown),
        check_chunks((_held(*each) for each in rows), dimension, bool(space and space.normalize), look, shown),
    )


def _held(name: str, version: Version, row: Record) -> Held:
    chunk = row.chunk
    checksum = version.checksums.get(chunk.chunk_index)
    place = chunk.start, chunk.end, chunk.line, chunk.end_line, chunk.token_count, chunk.page or 0
    return Held(
        name, chunk.chunk_index, row.hash, chunk.context, chunk.text, row.vector, checksum, version.precision, place
    )
