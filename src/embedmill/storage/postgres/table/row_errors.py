"""Which of a PostgreSQL server's errors one row of a batch causes."""

from __future__ import annotations

from typing import Final

from embedmill.core.errors import RowsRefused
from embedmill.storage.postgres.connection import reason
from embedmill.storage.postgres.retry import is_transient

import psycopg  # isort: skip - after the module that says what to install

_REFUSED: Final = ("22", "23", "44", "P0")
"""Classes of errors that one row may cause for all of its batch: data, constraints, views' checks, triggers."""

_SERVER: Final = ("", "08", "53", "57", "58", "XX")
"""Of errors of the server as a whole: connections, resources, administrators, the system, mistakes of its own."""


def as_refusal(cause: BaseException | None) -> RowsRefused | None:
    """The server's error as one of single rows; None where it is not."""
    if not isinstance(cause, psycopg.Error) or is_transient(cause):
        return None
    kind = (cause.sqlstate or "")[:2]
    # A trigger may raise any code, or fail of a mistake of its own: then the server tells the place.
    if kind in _REFUSED or (cause.diag.context and kind not in _SERVER):
        return RowsRefused(reason(cause))
    return None
