"""What PostgreSQL answers to the registry; see `embedmill.storage.driver`.

psycopg is an extra, and slow to import: each method imports what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from embedmill.storage.driver import ScratchTable, TableDriver, TableRequest
from embedmill.storage.postgres import urls

if TYPE_CHECKING:
    from embedmill.core.interfaces.table import Table
    from embedmill.storage.catalog import ListedTable
    from embedmill.storage.postgres.store import PostgresStore


class PostgresDriver(TableDriver):
    """The schema of embedmill's own tables is named by ``?schema=NAME`` in the URL, or beside it."""

    def open_store(self, url: str, *, write: bool, create: bool, schema: str, db_timeout: float) -> PostgresStore:
        """See `Driver`."""
        from embedmill.storage.postgres.store import PostgresStore

        url, schema = urls.split_schema(url, schema)
        return PostgresStore(url, schema, write=write, create=create, db_timeout=db_timeout)

    def redact_url(self, url: str) -> str:
        """See `Driver`."""
        from embedmill.storage.postgres.connection import redact_url

        return redact_url(urls.split_schema(url)[0])

    def identity(self, url: str, schema: str) -> str:
        """See `Driver`."""
        _, schema = urls.split_schema(url, schema)
        return f"{self.redact_url(url)} {schema}"

    def open_table(self, url: str, name: str, asked: TableRequest) -> Table:
        """See `TableDriver`."""
        from embedmill.storage.postgres.table import PostgresTable

        url, schema = urls.split_schema(url, asked.schema)
        return PostgresTable(url, name, replace(asked, schema=schema))

    def list_tables(self, url: str, *, schema: str, lock_timeout: float) -> list[ListedTable]:
        """See `TableDriver`."""
        from embedmill.storage.postgres.connection import connect
        from embedmill.storage.postgres.server_errors import translate_errors
        from embedmill.storage.postgres.table.catalog import Catalog

        url, schema = urls.split_schema(url, schema)
        catalog = Catalog(schema)  # says first what is wrong with the name
        with connect(url) as connection, translate_errors(url):
            return catalog.entries(connection)

    def user_tables(self, url: str, *, schema: str, lock_timeout: float) -> list[tuple[str | None, str]]:
        """See `TableDriver`."""
        from embedmill.storage.postgres.connection import connect
        from embedmill.storage.postgres.server_errors import translate_errors
        from embedmill.storage.postgres.table.table_spec import OTHERS
        from embedmill.storage.second_space import SECOND

        url, schema = urls.split_schema(url, schema)
        with connect(url) as connection, translate_errors(url):
            return [(row[0], row[1]) for row in connection.execute(OTHERS) if row[0] not in (schema, schema + SECOND)]

    def scratch_table(self, url: str, texts: Sequence[str]) -> AbstractContextManager[ScratchTable]:
        """In a schema of its own; see `TableDriver`."""
        from embedmill.storage.postgres.scratch import scratch_table

        return scratch_table(urls.split_schema(url)[0], texts)


DRIVER: Final = PostgresDriver()
