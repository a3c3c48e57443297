"""Tables in SQLite files."""

from embedmill.storage.sqlite.table.table import SqliteTable

__all__ = ["SqliteTable"]
