"""Tables in SQLite files."""

from embedmill.tables.sqlite.table import SqliteTable

__all__ = ["SqliteTable"]
