"""File paths as document ids, and back (see `embedmill.paths`)."""

from embedmill.paths import file_id, file_path, shown

__all__ = ["file_id", "file_path", "shown"]
