"""Rows of a PostgreSQL store: the statements that change them. Names and texts are written as `text.write` does."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from operator import attrgetter
from typing import Any, Final

import numpy as np

from embedmill.core.attributes import attributes_of
from embedmill.core.documents import DocumentState, Failure, Record, Replacement
from embedmill.core.errors import StoreError
from embedmill.core.spaces import Space
from embedmill.storage.checksums import as_bytes, checksums, stacked
from embedmill.storage.postgres.blocking import BRIEFLY
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.copy_format import copy_buffer
from embedmill.storage.postgres.store import text

_COPIED: Final = 2048
"""Rows sent at a time: some 5 MB at 384 dimensions."""

_PAGE: Final = 10_000  # names read at once

_LARGEST_INLINE: Final = 1900
"""Dimensions up to which a vector fits into a page of 8 kB with the rest of its row."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a store is bound to."""

    space: str
    fields: dict[str, Any]
    dimension: int
    model: str


def bound(db: Connection) -> Bound | None:
    """What the store is bound to; None as long as it is to nothing."""
    row = db.execute("SELECT space, fields, dimension, model FROM meta").fetchone()
    if row is None:
        return None
    if not isinstance(row[1], dict):
        raise StoreError(
            "the store is damaged (the fields of its space are none): put back a backup, or index into another --store"
        )
    return Bound(row[0], row[1], row[2], text.read(row[3]))


def has_chunks(db: Connection) -> bool:
    """Whether there is any vector, staged ones included."""
    return bool(db.scalar("SELECT EXISTS (SELECT FROM chunks)"))


def bind(db: Connection, space: Space, model: str) -> None:
    """Bind the store, which has no chunks. Searches are not made to wait behind it for long."""
    db.set_local(lock_timeout=BRIEFLY)
    db.execute("DROP INDEX IF EXISTS chunks_by_vector")  # of another dimension, or of what is gone
    db.execute(f"ALTER TABLE chunks ALTER COLUMN vector TYPE vector({int(space.dimension)})")
    # In its row as long as it fits there: a scan of 20,000 vectors of 768 numbers took 18 ms so, and 54 ms where the
    # server moved each to another table.
    storage = "MAIN" if space.dimension <= _LARGEST_INLINE else "EXTERNAL"
    db.execute(f"ALTER TABLE chunks ALTER COLUMN vector SET STORAGE {storage}")
    db.execute("DELETE FROM meta")
    db.execute(
        "INSERT INTO meta (space, fields, dimension, model) VALUES (%s, %s, %s, %s)",
        [space.id, json.dumps(asdict(space), sort_keys=True), space.dimension, text.write(model)],
    )


def note_fields(db: Connection, space: Space) -> None:
    """Note what the space is made of anew: another prompt for queries makes no other space."""
    db.execute("UPDATE meta SET fields = %s", [json.dumps(asdict(space), sort_keys=True)])


def rename(db: Connection, before: str, space: Space, model: str) -> None:
    """Bind the store to another name of the model, and of the space that its vectors are of: recipes have it too."""
    note_fields(db, space)
    db.execute("UPDATE meta SET space = %s, model = %s", [space.id, text.write(model)])
    db.execute(
        "UPDATE documents SET recipe = %s || substr(recipe, %s) WHERE starts_with(recipe, %s)",
        [f"{space.id}-", len(before) + 2, f"{before}-"],
    )


_STATE: Final = "SELECT name, size, mtime_ns, content_hash, recipe, ctime_ns, inode FROM documents WHERE complete"


def states(db: Connection, ids: Sequence[str]) -> list[DocumentState]:
    """The ledger's entries of these documents, as far as it has any."""
    return db.records(_state, f"{_STATE} AND name = ANY(%b::text[])", [[text.write(name) for name in ids]])


def ledger_page(db: Connection, after: str) -> list[DocumentState]:
    """A page of the ledger, behind this name."""
    return db.records(_state, f"{_STATE} AND name > %s ORDER BY name LIMIT %s", [text.write(after), _PAGE])


def _state(
    name: str, size: int, mtime_ns: int, content_hash: bytes | None, recipe: str | None, ctime_ns: int, inode: int
) -> DocumentState:
    # What is missing `verify` tells: the document is not what is on disk then.
    known = bytes(content_hash or b""), text.read(recipe or "")
    return DocumentState(text.read(name), size, mtime_ns, *known, ctime_ns, inode)


def begin_staged(db: Connection, name: str, precision: str) -> int:
    """A new version of a document that nobody sees yet; returns its `documents.id`."""
    query = "INSERT INTO documents (name, precision, complete) VALUES (%s, %s, false) RETURNING id"
    return int(db.scalar(query, [text.write(name), precision]))


def complete(db: Connection, replacements: Sequence[Replacement], staged: Sequence[int | None]) -> list[int]:
    """Remove all versions of the documents but the staged ones; make those, or new ones, their visible versions.

    The replacements' records are counted, and still to be added. Returns the versions' `documents.id`.
    """
    names = [text.write(new.state.id) for new in replacements]
    kept = [number for number in staged if number is not None]
    db.execute("DELETE FROM documents WHERE name = ANY(%s) AND (complete OR id <> ALL(%s))", [names, kept])
    for new, number in zip(replacements, staged, strict=True):
        if number is not None:
            _complete_staged(db, new, number)
    fresh = [(name, new) for name, new, number in zip(names, replacements, staged, strict=True) if number is None]
    states = [new.state for _, new in fresh]
    numbers: dict[str, int] = dict(
        db.execute(
            """INSERT INTO documents
                   (name, precision, complete, size, mtime_ns, ctime_ns, inode, content_hash, recipe, chunks)
               SELECT name, precision, true, size, mtime_ns, ctime_ns, inode, content_hash, recipe, chunks
               FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[],
                       %b::bytea[], %b::text[], %b::bigint[])
                   AS new (name, precision, size, mtime_ns, ctime_ns, inode, content_hash, recipe, chunks)
               RETURNING name, id""",
            [
                [name for name, _ in fresh],
                [new.precision for _, new in fresh],
                *_columns(states, _STAT),
                [text.write(state.recipe) for state in states],
                [len(new.records) for _, new in fresh],
            ],
        ).fetchall()
    )
    return [numbers[name] if number is None else number for name, number in zip(names, staged, strict=True)]


def _complete_staged(db: Connection, new: Replacement, number: int) -> None:
    state = new.state
    completed = db.execute(
        """UPDATE documents SET complete = true, size = %s, mtime_ns = %s, ctime_ns = %s, inode = %s,
               content_hash = %s, recipe = %s,
               chunks = %s + (SELECT count(*) FROM chunks WHERE document = documents.id)
           WHERE id = %s AND precision = %s""",
        [*attrgetter(*_STAT)(state), text.write(state.recipe), len(new.records), number, new.precision],
    )
    if completed.rowcount != 1:
        raise ValueError(f"{state.id} was staged in another precision: this is a bug")


_STAT: Final = ("size", "mtime_ns", "ctime_ns", "inode", "content_hash")


def _columns(rows: Collection[object], names: Sequence[str]) -> list[list[Any]]:
    """What the rows have by these names, as `unnest` takes it."""
    return [[getattr(row, name) for row in rows] for name in names]


def add(db: Connection, documents: Iterable[tuple[int, Sequence[Record]]], dimension: int | None) -> None:
    """Add the records of these versions of documents."""
    left = ((owner, record) for owner, records in documents for record in records)
    while some := list(islice(left, _COPIED)):
        if dimension is None:
            raise StoreError("the store is not bound to a model: call bind first")
        attributes = [attributes_of(record.chunk) for _, record in some]
        more = {"attributes": attributes} if any(attributes) else {}
        with db.cursor().copy(_COPY_WITH_ATTRIBUTES if more else _COPY) as copy:
            copy.write(_rows(some, dimension, more))


_COLUMNS: Final = 'document, idx, start, "end", line, end_line, tokens, page, hash, vector, checksum, context, text'
_COPY: Final = f"COPY chunks ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COPY_WITH_ATTRIBUTES: Final = f"COPY chunks ({_COLUMNS}, attributes) FROM STDIN (FORMAT BINARY)"


_PLACE: Final = ("chunk_index", "start", "end", "line", "end_line", "token_count")


def _rows(owned: Sequence[tuple[int, Record]], dimension: int, more: Mapping[str, Sequence[str | None]]) -> bytes:
    hashes = [record.hash for _, record in owned]
    vectors = stacked([record.vector for _, record in owned], dimension)
    chunks = [record.chunk for _, record in owned]
    return copy_buffer(
        {
            "document": np.array([owner for owner, _ in owned], np.int64),
            **dict(zip(_PLACE, np.array(list(map(attrgetter(*_PLACE), chunks)), np.int32).T, strict=True)),
            "page": np.array([chunk.page or 0 for chunk in chunks], np.int32),
            "hash": np.array(hashes, "S32"),
            "vector": vectors,
            "checksum": np.fromiter(checksums(hashes, as_bytes(vectors)), np.int64),
        },
        {
            "context": [text.write(chunk.context) for chunk in chunks],
            "text": [text.write(chunk.text) for chunk in chunks],
            **more,
        },
    )


def record_failures(db: Connection, failures: Iterable[tuple[str, Failure]]) -> None:
    """Put failures of documents on record, adding the attempts that there were."""
    latest = {(text.write(name), failure.index): failure for name, failure in failures}
    if not latest:
        return
    given = latest.values()
    db.execute(
        """INSERT INTO failures (document, idx, start, "end", line, type, message, attempts)
           SELECT * FROM unnest(%b::text[], %b::int[], %b::int[], %b::int[], %b::int[], %b::text[], %b::text[],
               %b::int[])
           ON CONFLICT (document, idx) DO UPDATE SET
               start = excluded.start, "end" = excluded."end", line = excluded.line,
               type = excluded.type, message = excluded.message,
               attempts = failures.attempts + excluded.attempts, at = excluded.at""",
        [
            [name for name, _ in latest],
            [index for _, index in latest],
            *_columns(given, ("start", "end", "line")),
            [text.write(failure.cause.type) for failure in given],
            [text.write(failure.cause.message) for failure in given],
            [failure.attempts for failure in given],
        ],
    )


def forget_failures(db: Connection, names: Iterable[str], but: Iterable[tuple[str, int]]) -> None:
    """Remove the failures of these documents, except for some of their chunks, as (name, index)."""
    kept = [(text.write(name), index) for name, index in but]
    db.execute(
        """DELETE FROM failures WHERE document = ANY(%b::text[])
           AND (document, idx) NOT IN (SELECT * FROM unnest(%b::text[], %b::int[]))""",
        [[text.write(name) for name in names], [name for name, _ in kept], [index for _, index in kept]],
    )


def update_stats(db: Connection, states: Sequence[DocumentState]) -> None:
    """Note new sizes and times of documents whose content is as before; forget that they could not be read."""
    names = [text.write(state.id) for state in states]
    db.execute(
        """UPDATE documents d SET size = new.size, mtime_ns = new.mtime_ns, ctime_ns = new.ctime_ns, inode = new.inode
           FROM unnest(%b::text[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bigint[], %b::bytea[])
               AS new (name, size, mtime_ns, ctime_ns, inode, content_hash)
           WHERE d.complete AND d.name = new.name AND d.content_hash = new.content_hash""",
        [names, *_columns(states, _STAT)],
    )
    db.execute("DELETE FROM failures WHERE document = ANY(%b::text[]) AND idx = -1", [names])


def mark_seen(db: Connection, run: int, names: Iterable[str]) -> None:
    """Note that these documents exist."""
    db.execute(
        "INSERT INTO seen SELECT %b::bigint, * FROM unnest(%b::text[]) ON CONFLICT DO NOTHING",
        [run, [text.write(name) for name in names]],
    )


def forget_seen(db: Connection, run: int) -> None:
    """Forget what exists, but not that this run notes it (see `saw_all`)."""
    db.execute("DELETE FROM seen WHERE run = %s AND name <> ''", [run])


def saw_all(db: Connection, run: int) -> bool:
    """Whether all that the run has noted is still there: a server that crashes forgets it."""
    return bool(db.scalar("SELECT EXISTS (SELECT FROM seen WHERE run = %s AND name = '')", [run]))


def unseen(db: Connection, run: int, scopes: Sequence[str], keep: Sequence[str], after: str) -> list[str]:
    """Some of what the scopes hold unseen, in order, behind this name."""
    return [text.read(name) for name in db.scalars(_UNSEEN, [*_ranges(scopes, keep), run, text.write(after), _PAGE])]


def remove_unseen(db: Connection, run: int, scopes: Sequence[str], keep: Sequence[str], staged: Iterable[int]) -> int:
    """Remove what the scopes hold unseen, and all staged versions but these; how many documents went."""
    values = _ranges(scopes, keep)
    gone = db.scalar(_REMOVE, [*values, run])
    db.execute(_REMOVE_STAGED, [*values, list(staged)])
    return int(gone)


def _ranges(scopes: Sequence[str], keep: Sequence[str]) -> list[Any]:
    """What `_SCOPES` is given."""
    ranges = [(*name_range(scope), kept) for kept, listed in ((False, scopes), (True, keep)) for scope in listed]
    return [list(column) for column in zip(*ranges, strict=True)] or [[], [], []]


_SCOPES: Final = """
    scopes AS MATERIALIZED (
        SELECT low COLLATE "C" AS low, high COLLATE "C" AS high, keep
        FROM unnest(%b::text[], %b::text[], %b::boolean[]) AS given (low, high, keep)
    )
"""

_GONE: Final = f"""
    WITH {_SCOPES},
    known AS (
        SELECT name FROM scopes JOIN documents ON name >= low AND name < high WHERE complete AND NOT keep
        UNION
        SELECT document FROM scopes JOIN failures ON document >= low AND document < high WHERE NOT keep
    ),
    gone AS MATERIALIZED (
        SELECT name FROM known
        WHERE NOT EXISTS (SELECT FROM seen WHERE run = %s AND seen.name = known.name)
        AND NOT EXISTS (SELECT FROM scopes WHERE keep AND name >= low AND name < high)
    )
"""  # noqa: S608 - its parts are those above

_UNSEEN: Final = f"{_GONE} SELECT name FROM gone WHERE name > %s ORDER BY name LIMIT %s"  # noqa: S608

_REMOVE: Final = f"""
    {_GONE},
    removed AS (DELETE FROM documents USING gone WHERE complete AND documents.name = gone.name),
    forgotten AS (DELETE FROM failures USING gone WHERE document = gone.name)
    SELECT count(*) FROM gone
"""  # noqa: S608

_REMOVE_STAGED: Final = f"""
    WITH {_SCOPES}
    DELETE FROM documents USING scopes
    WHERE NOT complete AND NOT keep AND name >= low AND name < high AND id <> ALL(%s)
    AND NOT EXISTS (SELECT FROM scopes WHERE keep AND documents.name >= low AND documents.name < high)
"""  # noqa: S608


def name_range(scope: str) -> tuple[str, str]:
    """The names of a scope as ``low <= name < high``: all that begin with "folder/", or the one name."""
    low = text.write(scope)
    return (low, low[:-1] + chr(ord("/") + 1)) if scope.endswith("/") else (low, low + "\1")
