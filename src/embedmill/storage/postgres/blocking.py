"""Who is in the way: the sessions that others wait for, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from embedmill.storage.postgres.connection import Connection

from psycopg import sql  # isort: skip - after the module that says what to install

BRIEFLY: Final = "200ms"
"""How long a statement that changes a table's definition waits for its lock: all that come after it wait behind it."""

_SHOWN: Final = 3

# A transaction that is prepared holds its locks without a process.
_HOLDERS: Final = """
    SELECT DISTINCT a.pid, a.application_name, a.backend_type, a.xact_start, a.query_start, x.gid
    FROM pg_locks l
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_prepared_xacts x ON l.virtualtransaction = '-1/' || x.transaction
    WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND EXISTS (SELECT FROM unnest(%s::text[]) name WHERE l.relation = to_regclass(name)::oid
                OR l.relation IN (SELECT relid FROM pg_partition_tree(to_regclass(name))))
    ORDER BY a.xact_start, a.pid
"""

_RUNS: Final = """
    SELECT a.pid, a.application_name, a.backend_type, a.xact_start, a.query_start, NULL
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2 AND l.classid::bigint = %s
    AND l.pid <> pg_backend_pid()
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    ORDER BY a.backend_start
"""

_SESSIONS: Final = """
    SELECT pid, application_name, backend_type, xact_start, query_start, NULL FROM pg_stat_activity
    WHERE pid = ANY (%s) ORDER BY xact_start, pid
"""


def holders(connection: Connection, tables: Sequence[sql.Identifier]) -> str:
    """The sessions that hold a lock on one of these tables; "" for none."""
    return _told(connection, _HOLDERS, [table.as_string(connection) for table in tables])


def runs(connection: Connection, lock: int) -> str:
    """The sessions of other runs, which hold an advisory lock whose key begins so; "" for none."""
    return _told(connection, _RUNS, lock)


def sessions(connection: Connection, processes: Sequence[int]) -> str:
    """The sessions of these processes of the server; "" where there are none."""
    return _told(connection, _SESSIONS, list(processes))


def _told(connection: Connection, query: str, which: object) -> str:
    found = connection.execute(query, [which]).fetchall()
    told = []
    for pid, application, kind, began, asked, gid in found[:_SHOWN]:
        if pid is None:
            told.append(f"the prepared transaction {gid}" if gid else "another")
            continue
        name = application or (kind if kind != "client backend" else "") or "no application_name"
        # Of other users' sessions the server tells no more than that they are there.
        times = [f"in a transaction since {began:%Y-%m-%d %H:%M:%S}"] if began else []
        times += [f"its last statement of {asked:%H:%M:%S}"] if asked else []
        told.append(f"process {pid} of the server ({', '.join([name, *times])})")
    more = len(found) - _SHOWN
    return ", ".join(told) + (f" and {more} more" if more > 0 else "")
