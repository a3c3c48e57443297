"""What a user must be allowed in a PostgreSQL database, found out before the work instead of in the midst of it."""

from __future__ import annotations

from embedmill.core.errors import StoreError
from embedmill.storage.postgres.connection import Connection, redact_url
from embedmill.storage.postgres.table.table_spec import TableSpec

from psycopg import sql  # isort: skip - after the module that says what to install


def check_rights(connection: Connection, url: str, spec: TableSpec) -> None:
    """Raise `StoreError` where this user may not read or fill the table; it says what would grant that."""
    read = list(dict.fromkeys([*spec.keys, spec.text, spec.vector]))
    unread, written, temporary, user, database = connection.execute(
        """SELECT ARRAY(SELECT name FROM unnest(%(read)s::text[]) name
                        WHERE NOT has_column_privilege(%(table)s::regclass, name, 'SELECT')),
                  has_column_privilege(%(table)s::regclass, %(vector)s, 'UPDATE'),
                  has_database_privilege(current_database(), 'TEMP'), current_user, current_database()""",
        {"read": read, "vector": spec.vector, "table": spec.table.as_string(connection)},
    ).fetchone() or ([], True, True, "", "")
    lacking = []
    if unread:
        lacking.append(sql.SQL("SELECT ({})").format(sql.SQL(", ").join(map(sql.Identifier, unread))))
    if not written:
        lacking.append(sql.SQL("UPDATE ({})").format(sql.Identifier(spec.vector)))
    to = sql.Identifier(user)
    if lacking:
        grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(", ").join(lacking), spec.table, to)
        what = "read" if unread else "write"
        raise StoreError(
            f"{redact_url(url)}: this user may not {what} {', '.join(unread or [spec.vector])} of {spec.title}: "
            f"let its owner run {grant.as_string(connection)}"
        )
    if not temporary:
        grant = sql.SQL("GRANT TEMP ON DATABASE {} TO {}").format(sql.Identifier(database), to)
        raise StoreError(
            f"{redact_url(url)}: this user may not create temporary tables, which vectors are written through: let an "
            f"administrator run {grant.as_string(connection)}"
        )
