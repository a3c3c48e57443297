"""The room that the cache's file takes."""

from __future__ import annotations

from embedmill.storage.sqlite.connection import Connection


def used_bytes(db: Connection) -> int:
    """What the tables take, without the room that removed rows left."""
    return (_pages(db, "page_count") - _pages(db, "freelist_count")) * _pages(db, "page_size")


def give_back(db: Connection, max_bytes: int) -> None:
    """Make the file smaller, as far as it is larger than that and has room to spare."""
    while _pages(db, "freelist_count") and _pages(db, "page_count") * _pages(db, "page_size") > max_bytes:
        # Some pages at a time, since each that moves is written to the log first. Python's execute would
        # stop after one page.
        db.executescript("PRAGMA incremental_vacuum(1000)")


def _pages(db: Connection, what: str) -> int:
    return int(db.execute(f"PRAGMA {what}").fetchone()[0])
