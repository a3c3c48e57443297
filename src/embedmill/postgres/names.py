"""Names that hold a percent sign, in statements with parameters."""

from __future__ import annotations

from psycopg import sql
from psycopg.abc import AdaptContext


class Name(sql.Identifier):
    """A name, perhaps of several parts, in a statement that is executed with parameters, be they none.

    psycopg looks for placeholders in such a statement, in the names too (and in no other, where this would be wrong).
    """

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        """The quoted name, its percent signs doubled."""
        return super().as_bytes(context).replace(b"%", b"%%")


def in_sql(text: str) -> sql.SQL:
    """What the server itself has written as SQL, such as a type's name, in a statement with parameters."""
    return sql.SQL(text.replace("%", "%%"))
