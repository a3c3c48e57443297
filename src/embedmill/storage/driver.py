"""What a backend answers for its URLs: how stores are opened and, where there are such, tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

if TYPE_CHECKING:
    from embedmill.core.interfaces.table import Table
    from embedmill.core.rows import IndexOptions
    from embedmill.storage.catalog import ListedTable
    from embedmill.storage.rooted import Backend

DEFAULT_SCHEMA: Final = "embedmill"
"""Where embedmill's own tables lie in a PostgreSQL database."""

DB_TIMEOUT: Final = 60.0
"""Seconds that a lost connection or a lock is borne; a server's restart takes some ten, a failover some thirty."""

LONGEST_TEXT: Final = 100_000
"""Characters of a row's text: some eighty times what the default model reads. A vector of its beginning would not stand
for a longer one, which is rather a file than a row."""

SCRATCH: Final = "texts"
"""The name of a scratch table, which has the columns ``id`` and ``text``."""


@dataclass(frozen=True, slots=True)
class ScratchTable:
    """A table to try things on."""

    url: str
    name: str
    schema: str  # for what embedmill notes


@dataclass(frozen=True, slots=True)
class TableRequest:
    """What is asked of a table, as commands have it; columns that are not given are chosen."""

    id: Sequence[str] = ()  # the columns that tell rows apart
    text: str | None = None  # the column that is read
    vector: str | None = None  # the column that is filled
    option: str = "--vector"  # by which that is named, for messages; the column of --into is added without --create
    beside: str | None = None  # a column that is not the one meant, where none is named
    create: bool = False  # that column, where it is not there
    halfvec: bool = False  # it holds, or is to hold, numbers of 16 bits
    schema: str = DEFAULT_SCHEMA  # of what embedmill notes, where there are schemas
    longest: int = LONGEST_TEXT  # texts of more characters fail, and are not read
    db_timeout: float = DB_TIMEOUT
    index: IndexOptions | None = None
    metrics_only: bool = False  # then no column of vectors is needed


class Driver(Protocol):
    """A kind of store. All but `open_store` has an answer that fits most."""

    def open_store(self, url: str, *, write: bool, create: bool, schema: str, db_timeout: float) -> Backend:
        """Open the store of a URL; see `embedmill.storage.registry.open_store`."""

    def local_files(self, url: str) -> list[str]:
        """The files of this machine that hold a store, absolute: those there are and those there may be."""
        return []

    def redact_url(self, url: str) -> str:
        """The URL without a password and what may hide one."""
        return url

    def identity(self, url: str, schema: str) -> str | None:
        """What tells the store from others, for this machine; None for one that ends with its process."""
        return next(iter(self.local_files(url)), None)

    def find_damage(self, url: str) -> str:
        """What is damaged in a store, in one line that names it; "" where nothing is known to be."""
        return ""


@runtime_checkable
class TableDriver(Driver, Protocol):
    """A kind of store whose databases may also have tables to fill."""

    def open_table(self, url: str, name: str, asked: TableRequest) -> Table:
        """Find a table and choose its columns; see `embedmill.storage.registry.open_table`."""

    def list_tables(self, url: str, *, schema: str, lock_timeout: float) -> list[ListedTable]:
        """The tables that have been filled; see `embedmill.storage.registry.list_tables`."""

    def user_tables(self, url: str, *, schema: str, lock_timeout: float) -> list[tuple[str | None, str]]:
        """Schema, None where it need not be named, and name of all tables that are not embedmill's."""

    def scratch_table(self, url: str, texts: Sequence[str]) -> AbstractContextManager[ScratchTable]:
        """A new table with these texts in the same kind of database, gone at the end of the context.

        Raises `StoreError` where this user may not create it.
        """
