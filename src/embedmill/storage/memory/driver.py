"""What stores in memory answer to the registry; see `embedmill.storage.driver`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from embedmill.storage.driver import Driver

if TYPE_CHECKING:
    from embedmill.storage.memory.store import MemoryStore


class MemoryDriver(Driver):
    """``memory:NAME``: gone when the process ends, and shared within it by name, which may be empty."""

    def open_store(self, url: str, *, write: bool, create: bool, schema: str, db_timeout: float) -> MemoryStore:
        """`schema` and `db_timeout` mean nothing here."""
        from embedmill.storage.memory.store import MemoryStore

        return MemoryStore(url, write=write, create=create)


DRIVER: Final = MemoryDriver()
