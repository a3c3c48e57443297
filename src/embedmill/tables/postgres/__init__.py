"""Tables in PostgreSQL."""

from embedmill.tables.postgres.table import PostgresTable

__all__ = ["PostgresTable"]
