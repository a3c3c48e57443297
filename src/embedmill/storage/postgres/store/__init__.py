"""The store in PostgreSQL, and its parts."""

from embedmill.storage.postgres.store.store import PostgresStore, open_url

__all__ = ["PostgresStore", "open_url"]
