"""The store in PostgreSQL, and its parts."""

from embedmill.storage.postgres.store.store import PostgresStore

__all__ = ["PostgresStore"]
