"""Names in statements that come with parameters."""

from __future__ import annotations

import embedmill.storage.postgres.connection  # noqa: F401 - says what to install

from psycopg import sql  # isort: skip
from psycopg.abc import AdaptContext  # isort: skip


class Name(sql.Identifier):
    r"""An identifier that may have a "%", which psycopg would take for the sign of a parameter.

    It is written as PostgreSQL's documentation says («Lexical Structure», 4.1.1): ``U&"50\0025"``.
    """

    def as_bytes(self, context: AdaptContext | None = None) -> bytes:
        """As `sql.Identifier`, but for names with a "%"."""
        return b".".join(
            sql.Identifier(part).as_bytes(context) if "%" not in part else _escaped(part) for part in self._obj
        )


def _escaped(part: str) -> bytes:
    plain = part.replace("\\", "\\\\").replace('"', '""').replace("%", "\\0025")
    return f'U&"{plain}"'.encode()


def plain(name: sql.Identifier) -> str:
    """A name as `to_regclass` and the like read it, which do not know how `Name` writes a "%"."""
    return sql.Identifier(*name._obj).as_string(None)  # noqa: SLF001 - as Name does


def in_sql(text: str) -> sql.SQL:
    """What the server itself has written as SQL, such as a type's name, for a statement with parameters (or none)."""
    return sql.SQL(text.replace("%", "%%"))
