"""Which entry of the catalog a PostgreSQL table has, whatever its name and its columns' have become.

A table is known by its oid, a column by its number: both outlive every renaming. They hold in one database only, and
are others after a restore or where a table was made anew. Then it is known by its vectors: each mark has the print of
the one that was written for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from embedmill.storage.catalog import CatalogEntry
from embedmill.storage.postgres.connection import Connection
from embedmill.storage.postgres.identifiers import in_sql, plain
from embedmill.storage.postgres.table.carrying import Evidence
from embedmill.storage.postgres.table.table_spec import TableSpec

from psycopg import sql  # isort: skip - after the module that says what to install
from psycopg.rows import dict_row  # isort: skip

_KNOWN_IN: Final = "(SELECT oid FROM pg_database WHERE datname = current_database()) || '/' || {}::regclass::oid"

_ENTRIES: Final = """
    SELECT t.*, n.nspname AS present_schema, c.relname AS present_name, v.attname AS present_vector,
           x.attname AS present_text,
           EXISTS (SELECT FROM pg_attribute a JOIN pg_class o ON o.oid = a.attrelid
                   JOIN pg_namespace s ON s.oid = o.relnamespace
                   WHERE s.nspname = t.name_schema AND o.relname = t.name AND a.attname = t.vector
                   AND NOT a.attisdropped) AS is_taken,
           (SELECT array_agg(a.attname::text ORDER BY k.place)
            FROM unnest(t.key_numbers) WITH ORDINALITY AS k (number, place)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number AND NOT a.attisdropped) AS present_keys
    FROM {tables} t
    LEFT JOIN pg_class c ON c.oid = t.relation AND t.known_in = {known_in}
    LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute v ON v.attrelid = c.oid AND v.attnum = t.vector_number AND NOT v.attisdropped
    LEFT JOIN pg_attribute x ON x.attrelid = c.oid AND x.attnum = t.text_number AND NOT x.attisdropped
    ORDER BY t.id DESC
"""


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """A row of the catalog, with the names that table and columns have now."""

    row: Mapping[str, Any]

    @property
    def lives(self) -> bool:
        """Whether the very table and column that were filled are there."""
        return bool(self.row.get("present_name") and self.row.get("present_vector"))

    @property
    def is_named(self) -> bool:
        """Whether names are all that was noted of it, by an older version."""
        return self.row.get("relation") is None

    @property
    def is_vanished(self) -> bool:
        """Whether names are all that was noted, and nothing has them now."""
        return self.is_named and not self.row.get("is_taken")

    @property
    def names(self) -> tuple[str, str, str]:
        """Schema, table and vector column: their present names where these are known, else those of the last run."""
        row = self.row
        if self.lives:
            return row["present_schema"], row["present_name"], row["present_vector"]
        return row["name_schema"], row["name"], row["vector"]

    @property
    def text(self) -> str:
        """The column that was read."""
        return str((self.lives and self.row.get("present_text")) or self.row["text"])

    @property
    def keys(self) -> list[str]:
        """The key's columns, by their present names where all of them are there."""
        present = (self.lives and self.row.get("present_keys")) or []
        return list(present if len(present) == len(self.row["keys"]) else self.row["keys"])

    def registered(self, *, fits: bool, own: bool) -> CatalogEntry:
        """What others need to know of it."""
        row = self.row
        before = row["name_schema"], row["name"]
        return CatalogEntry(
            row["id"],
            row["space"],
            row["model"],
            row["filled"],
            self.text,
            self.keys,
            row["fields"],
            row.get("overwriting"),
            fits=fits,
            before=before if before != self.names[:2] else None,
            own=own,
            prints=not self.is_named,
        )


def known_in(tables: sql.Identifier) -> sql.Composed:
    """What oids and numbers hold in: after a restore it is another."""
    return sql.SQL(_KNOWN_IN).format(in_sql(sql.Literal(plain(tables)).as_string(None)))


def entries(connection: Connection, tables: sql.Identifier, *, by_name: bool) -> list[CatalogRow]:
    """All entries, the newest first; `by_name` in a catalog from before anything but names was noted."""
    query = "SELECT * FROM {tables} ORDER BY id DESC" if by_name else _ENTRIES
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(sql.SQL(query).format(tables=tables, known_in=known_in(tables)), {})
        return [CatalogRow(row) for row in cursor.fetchall()]


def find(
    connection: Connection, spec: TableSpec, entries: Sequence[CatalogRow], evidence: Evidence | None
) -> CatalogEntry | None:
    """The entry of a table: whether it is its own, and whether its marks fit the rows by their keys.

    Where it is another's, which is still there, this table has copies of its vectors: also where these were put in
    place of its own. The spec's key need not be chosen yet; then nothing is said of the marks. Without `evidence` the
    names decide alone.
    """
    lost = [entry for entry in entries if not entry.lives]
    by_name = [entry for entry in lost if entry.names == (spec.schema, spec.name, spec.vector)]
    replaced: CatalogRow | None = None
    for entry in entries:
        is_same = entry.lives and (entry.row["relation"], entry.row["vector_number"]) == (spec.oid, spec.number)
        if is_same or (entry in by_name and entry.is_named):
            fits = _has_same_key(entry, spec)
            if not (is_same and fits and evidence and evidence.is_replaced(connection, entry.row["id"])):
                return entry.registered(fits=fits, own=True)
            replaced = entry
            break
    if evidence is None:
        return None
    matches = evidence.matches(connection, [entry.row["id"] for entry in entries])
    found = [entry for entry in entries if matches.get(entry.row["id"])]
    if replaced is not None and (replaced in found or not found):  # by no table's of ours
        return replaced.registered(fits=True, own=True)
    if not found and not by_name:  # of an older version the texts must do
        found = [entry for entry in entries if entry.is_vanished and evidence.has_texts(connection, entry.row["id"])]
        return found[0].registered(fits=_has_same_key(found[0], spec), own=True) if found else None
    if not found:
        return by_name[0].registered(fits=False, own=True)
    best = max(found, key=lambda entry: (matches[entry.row["id"]], entry in by_name, entry in lost))
    own = best in lost
    # Where another table's vectors are here too, only row by row can be told whose mark is whose.
    fits = own and len(found) == 1 and _has_same_key(best, spec) and evidence.fits(connection, best.row["id"])
    return best.registered(fits=fits, own=own)


def _has_same_key(entry: CatalogRow, spec: TableSpec) -> bool:
    return entry.keys == list(spec.keys) and list(entry.row["key_types"]) == list(spec.key_types)
