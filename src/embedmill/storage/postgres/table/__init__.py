"""Tables in PostgreSQL."""

from embedmill.storage.postgres.table.table import PostgresTable

__all__ = ["PostgresTable"]
