"""Whether the vectors of a user's table are sound: the checks that every database shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.rows import Key, Stored, shown
from embedmill.core.spaces import Space
from embedmill.core.vectors import Vector
from embedmill.engine.validation import VectorValidator
from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.integrity import ROWS, check_vectors

_WAITING: Final = frozenset({DamageKind.ROW_CHANGED, DamageKind.ROW_GONE, DamageKind.ROW_MISSING})
"""What a run that is at work may be about to mend."""


@dataclass(frozen=True, slots=True)
class TrackedRow:
    """A row that no run holds, and what is known of it."""

    key: Key
    tracking_id: int | None  # None where nothing is known of it
    text: str | None  # None where it has none, or none that can be embedded
    has_text: bool
    has_vector: bool
    vector: Vector | None = None  # of any shape; None where what the row has is none
    written: bool = False  # by embedmill, and of the space that the table is bound to
    failed: bool = False
    unchanged: bool = False  # its text is the one that was embedded, or has failed
    altered: bool = False  # its vector is known not to be the one that was written


def check_binding(table: str, entry: CatalogEntry) -> Space | Finding:
    """The space of the table's vectors, or what is wrong with what is noted of it: then no row can be judged."""
    try:
        space = Space(**(entry.fields or {}))
    except TypeError:
        detail = f"it is bound to space {entry.space}, whose fields are not those of a space"
        return Finding(DamageKind.BINDING, detail, table)
    if space.id != entry.space:
        detail = f"it is bound to space {entry.space}, but its fields are those of {space.id}"
        return Finding(DamageKind.BINDING, detail, table)
    return space


def check_rows(
    table: str,
    rows: Iterable[TrackedRow],
    space: Space,
    look: Callable[[Stored], None],
    *,
    running: Callable[[], bool],
) -> Iterator[Finding]:
    """What is wrong with these rows of a table whose vectors are of this space.

    `look` is given those that nothing is wrong with, and those whose vector is of unknown origin. While a run is
    `running` no row waits in vain.
    """
    dimension = space.dimension
    validator = VectorValidator(dimension, space.normalize)
    left = iter(rows)
    while some := list(islice(left, ROWS)):
        unsound = check_vectors(validator, [row.vector if row.written else None for row in some])
        found = [(row, _of_row(row, unsound.get(place), dimension)) for place, row in enumerate(some)]
        busy = any(damage is not None and damage[0] in _WAITING for _, damage in found) and running()
        for row, damage in found:
            if damage is not None and not (busy and damage[0] in _WAITING):
                yield finding(table, row.key, row.tracking_id, *damage)
            elif damage is None and row.text is not None and row.vector is not None:
                if row.written:
                    look(Stored(row.key, row.text, row.vector, name=str(row.tracking_id)))
                elif row.tracking_id is None:
                    look(Stored(row.key, row.text, row.vector, written=False))


def finding(table: str, key: Key, tracking_id: int | None, kind: DamageKind, detail: str) -> Finding:
    """What is wrong with a row."""
    return Finding(kind, detail, f"{table} {shown(key)}", name="" if tracking_id is None else str(tracking_id))


def _of_row(row: TrackedRow, unsound: tuple[DamageKind, str] | None, dimension: int) -> tuple[DamageKind, str] | None:
    """What is wrong with a row, the first that is; `unsound`: what is with its vector's numbers."""
    if row.tracking_id is None:
        waits = row.has_text and not row.has_vector  # a vector that others have written is theirs
        return (DamageKind.ROW_MISSING, "it has a text, and neither a vector nor a failure") if waits else None
    if not row.has_text:
        if row.has_vector:
            return DamageKind.VECTOR_ORPHAN, "it has a vector, and its text is NULL"
        return DamageKind.ROW_GONE, "it was embedded, and its text is NULL now"
    if not row.unchanged:
        return DamageKind.ROW_CHANGED, "its text has changed since it was embedded, or has failed"
    if row.failed:
        stray = "it has a failure on record, and a vector all the same"
        return (DamageKind.FAILURE_STRAY, stray) if row.has_vector else None
    if not row.written:
        return DamageKind.ROW_MISSING, "it waits for a vector of the table's model"
    if not row.has_vector:
        return DamageKind.VECTOR_MISSING, "it has no vector, though one was written"
    if row.vector is None or row.vector.shape != (dimension,):
        size = "is none" if row.vector is None else f"has {row.vector.size} numbers"
        return DamageKind.VECTOR_DIMENSION, f"its vector {size}, the others have {dimension}"
    if unsound is not None:
        return unsound
    if row.altered:
        return DamageKind.VECTOR_ALTERED, "its vector is not the one that was written"
    return None
