"""The store in PostgreSQL, and its parts."""

from embedmill.stores.postgres.store import PostgresStore, open_url

__all__ = ["PostgresStore", "open_url"]
