"""What all SQL about a PostgreSQL table is made of.

All is to be executed with parameters, be they none: every name comes through `Name`, every value as a parameter.
Keys are compared in their own types and leave and come as text, so that any type and any number of columns will do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg import sql

from embedmill.core.rows import Key
from embedmill.runtime.computed import computed_once
from embedmill.storage import columns as naming
from embedmill.storage.postgres.identifiers import Name, in_sql
from embedmill.storage.postgres.table.table_spec import TableSpec

_OF_THE_SERVER: Final = "pg_catalog"

STAGING: Final = sql.Identifier("pg_temp", "embedmill_staging")
MEASURED: Final = sql.Identifier("pg_temp", "embedmill_measured")


def place(after: Key | None) -> dict[str, object]:
    """The parameters that name the key which rows are looked for behind."""
    return {f"key{number}": value for number, value in enumerate(after or (), 1)}


@dataclass(frozen=True)
class SqlParts:
    """Of one table; `marks` are what embedmill knows of its rows."""

    spec: TableSpec
    marks: sql.Composable

    @property
    def _mark_keys(self) -> list[sql.Identifier]:
        return [Name(f"key{number}") for number, _ in enumerate(self.spec.keys, 1)]

    @property
    def _keys(self) -> list[sql.Identifier]:
        return [Name(name) for name in self.spec.keys]

    @property
    def _hash(self) -> sql.Composed:
        encoding = sql.SQL("'SQL_ASCII'" if self.spec.raw else "'UTF8'")
        return sql.SQL("sha256(convert_to(t.{}::text, {}))").format(Name(self.spec.text), encoding)

    @property
    def _content(self) -> sql.Composed:
        """A row's text; its bytes where nobody has seen to it that they are a text."""
        pattern = "convert_to(t.{}::text, 'SQL_ASCII')" if self.spec.raw else "t.{}::text"
        return sql.SQL(pattern).format(Name(self.spec.text))

    @property
    def _print(self) -> sql.Composable:
        """What a row's vector is known by: a hash of what pgvector sends of it.

        The one that hash partitions are made by: of 64 bits, and 7 times faster than SHA-256, which would be felt.
        """
        spec = self.spec
        if not spec.vector or spec.missing or not spec.extension:
            return sql.SQL("NULL::bytea")
        send = Name(spec.extension, f"{spec.kind}_send")
        return sql.SQL("int8send(hashbyteaextended({}(t.{}), 0))").format(send, Name(spec.vector))

    def _same(
        self, left: str, lefts: Sequence[sql.Identifier], right: str, rights: Sequence[sql.Identifier]
    ) -> sql.Composable:
        return sql.SQL(" AND ").join(
            sql.SQL("{}.{} {} {}.{}").format(sql.SQL(left), one, _operator("=", schema), sql.SQL(right), other)
            for one, other, schema in zip(lefts, rights, self.spec.key_operators, strict=True)
        )

    def _behind(self, after: bool) -> sql.Composable:
        """A condition: only rows behind the key that the parameters key1, key2 ... name; or, not `after` it, none."""
        if not after:
            return sql.SQL("")
        keys, schemas = self._keys, self.spec.key_operators
        given = [
            sql.SQL("{}::{}").format(sql.Placeholder(f"key{number}"), in_sql(kind))  # as format_type wrote it
            for number, kind in enumerate(self.spec.key_types, 1)
        ]
        if all(schema == _OF_THE_SERVER for schema in schemas):
            return sql.SQL("AND ({}) > ({})").format(listed("t.{}", keys), sql.SQL(", ").join(given))

        # Rows can be compared with the operators of one schema only.
        def compared(number: int, sign: str) -> sql.Composed:
            operator = _operator(sign, schemas[number])
            return sql.SQL("t.{} {} {}").format(keys[number], operator, given[number])

        *_, last = range(len(keys))
        behind = compared(last, ">")
        for number in reversed(range(last)):
            behind = sql.SQL("({} OR ({} AND {}))").format(compared(number, ">"), compared(number, "="), behind)
        return sql.SQL("AND {} AND {}").format(compared(0, ">="), behind)  # the first is what an index can begin at

    def _columns(self, names: Sequence[sql.Identifier]) -> list[sql.Composed]:
        """The key's columns, as a table of ours has them under these names."""
        return [
            sql.SQL("{} {} NOT NULL").format(name, in_sql(kind))
            for name, kind in zip(names, self.spec.key_types, strict=True)
        ]

    def _fill(self, text: str, **more: sql.Composable) -> sql.Composed:
        """A statement with the names it needs in place."""
        return sql.SQL(text).format(**self._in_place, **more)

    @computed_once
    def _in_place(self) -> dict[str, sql.Composable]:
        return self._names()

    def _names(self) -> dict[str, sql.Composable]:
        """What stands in the braces of a statement."""
        spec = self.spec
        return {
            "table": spec.rows,
            "marks": self.marks,
            "metrics": Name(spec.schema, naming.metrics_name(spec.name)),
            "staging": STAGING,
            "measured": MEASURED,
            "text": Name(spec.text),
            "vector": Name(spec.vector),
            "hash": self._hash,
            "content": self._content,
            "print": self._print,
            "key_columns": sql.SQL(", ").join(self._columns(self._keys)),
            "mark_columns": sql.SQL(", ").join(self._columns(self._mark_keys)),
            "measured_keys": listed("{} text", self._mark_keys),
            "keys": listed("{}", self._keys),
            "table_keys": listed("t.{}", self._keys),
            "keys_as_text": listed("t.{}::text", self._keys),
            "page_keys": listed("p.{}", self._mark_keys),
            "page_keys_as_text": listed("p.{}::text", self._mark_keys),
            "mark_keys": listed("{}", self._mark_keys),
            "keys_of_marks": listed("m.{}", self._mark_keys),
            "keys_of_marks_as_text": listed("m.{}::text", self._mark_keys),
            "table_as_marks": sql.SQL(", ").join(
                sql.SQL("t.{} AS {}").format(key, name) for key, name in zip(self._keys, self._mark_keys, strict=True)
            ),
            "given_keys": sql.SQL(", ").join(
                sql.SQL("s.{}::{}").format(name, in_sql(kind))
                for name, kind in zip(self._mark_keys, self.spec.key_types, strict=True)
            ),
            "table_is_mark": self._same("t", self._keys, "m", self._mark_keys),
            "table_is_metrics": self._same("t", self._keys, "m", self._keys),
            "claimed_is_page": self._same("c", self._mark_keys, "p", self._mark_keys),
        }


def filled(text: str) -> computed_once[sql.Composed]:
    """A statement of a table, put together when it is first asked for."""
    return computed_once(lambda parts: parts._fill(text))  # noqa: SLF001


def decoded(content: str | bytes | None) -> str | None:
    """A row's text; None for what is none, in a database whose encoding is SQL_ASCII."""
    try:
        return content.decode() if isinstance(content, bytes) else content
    except UnicodeDecodeError:
        return None


def _operator(sign: str, schema: str) -> sql.Composable:
    """An operator, wherever one looks from: without its schema that of another type may be meant, as of text."""
    plain = sql.SQL(sign)
    return plain if schema == _OF_THE_SERVER else sql.SQL("OPERATOR({}.{})").format(Name(schema), plain)


def listed(pattern: str, names: Sequence[sql.Identifier]) -> sql.Composed:
    """The names, each in its place in the pattern, with commas between."""
    return sql.SQL(", ").join(sql.SQL(pattern).format(name) for name in names)
