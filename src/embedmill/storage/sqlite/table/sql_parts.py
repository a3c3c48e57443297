"""What all SQL about an SQLite table is made of.

Every name is quoted, every value is a parameter. Columns are always named with their table: SQLite takes an unknown
name in double quotes for a text, but not such a one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from embedmill.core.rows import Key
from embedmill.runtime.computed import computed_once
from embedmill.storage.columns import quoted
from embedmill.storage.sqlite.table.table_spec import KeyColumn, TableSpec


def bound(key: Key) -> dict[str, Any]:
    """The parameters key1, key2 ... of a statement that was made for this key."""
    return {
        f"key{number}": value.encode("utf-8", "surrogateescape") if damaged(value) else value
        for number, value in enumerate(key, 1)
    }


def damaged(value: object) -> TypeGuard[str]:
    """Whether a value is a text that is not valid UTF-8, and so was read with surrogates."""
    if not isinstance(value, str) or value.isascii():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return True
    return False


def declared(key: KeyColumn) -> str:
    """Type and collation of a column of ours for the values of one of the user's, so that both compare alike."""
    # "INTEGER" alone would make a primary key of whole numbers; a column of this affinity may hold other values too.
    kind = "INT" if key.affinity == "INTEGER" else key.affinity
    return f"{kind} COLLATE {quoted(key.collation)}"


@dataclass(frozen=True)
class SqlParts:
    """Of one table; `marks` and `metrics` are the names of what embedmill knows of its rows."""

    spec: TableSpec
    marks: str
    metrics: str

    @property
    def _numbers(self) -> range:
        return range(1, len(self.spec.keys) + 1)

    def _same(self, others: Iterable[str]) -> str:
        """Whether row t has the key that these columns have; compared as the index on t compares."""
        return " AND ".join(f"{key} = {other}" for key, other in zip(self._ordered, others, strict=True))

    @property
    def _ordered(self) -> list[str]:
        """The key's columns as their index orders them. A COLLATE in vain would keep SQLite from using all of it."""
        return [
            f"t.{quoted(key.name)} COLLATE {quoted(key.collation)}" if self.spec.own_order else f"t.{quoted(key.name)}"
            for key in self.spec.keys
        ]

    @computed_once
    def names(self) -> dict[str, str]:
        """What stands in the braces of a statement."""
        spec = self.spec
        text, keys = f"t.{quoted(spec.text)}", [quoted(key.name) for key in spec.keys]
        return {
            "table": quoted(spec.name),
            # In the order of the key, never sorted: each page would sort all that is behind it.
            "by_key": f"INDEXED BY {quoted(spec.index)}" if spec.index else "NOT INDEXED",
            "marks": quoted(self.marks),
            "held": quoted(f"{self.marks}_held"),
            "failed": quoted(f"{self.marks}_failed"),
            "metrics": quoted(self.metrics),
            "text": text,
            # A number is embedded as it is written; a BLOB is no text, and left as it is.
            "content": f"CASE WHEN typeof({text}) IN ('text', 'blob') THEN {text} ELSE CAST({text} AS TEXT) END",
            "vector": f"t.{quoted(spec.vector)}" if spec.vector and not spec.missing else "NULL",
            "filled": quoted(spec.vector),
            "keys": ", ".join(keys),
            "table_keys": ", ".join(f"t.{key}" for key in keys),
            "mark_keys": ", ".join(f"key{number}" for number in self._numbers),
            "keys_of_marks": ", ".join(f"m.key{number}" for number in self._numbers),
            "ordered": ", ".join(self._ordered),
            # Rows whose key is NULL cannot be told apart.
            "known": " AND ".join(f"t.{quoted(key.name)} IS NOT NULL" for key in spec.keys if key.nullable) or "1",
            "unknown": " OR ".join(f"t.{quoted(key.name)} IS NULL" for key in spec.keys if key.nullable) or "0",
            "table_is_mark": self._same(f"m.key{number}" for number in self._numbers),
            "table_is_metrics": self._same(f"m.{key}" for key in keys),
            "rowid": next(name for name in ("rowid", "oid", "_rowid_") if quoted(name) not in map(str.lower, keys)),
        }

    def fill(self, text: str, **more: str) -> str:
        """A statement with the names it needs in place."""
        return text.format(**self.names, **more)

    def given(self, key: Key) -> str:
        """A key as parameters. Python cannot hand over a text that is not valid UTF-8 as such."""
        return ", ".join(
            f"CAST(:key{number} AS TEXT)" if damaged(value) else f":key{number}" for number, value in enumerate(key, 1)
        )

    def behind(self, after: Key | None) -> str:
        """The condition for the rows behind a key."""
        return "" if after is None else f"AND ({self.names['ordered']}) > ({self.given(after)})"


def filled(text: str) -> computed_once[str]:
    """A statement of a table, put together when it is first asked for."""
    return computed_once(lambda parts: parts.fill(text))
