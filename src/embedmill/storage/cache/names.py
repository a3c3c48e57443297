"""By which names people know the models whose vectors a cache has."""

from __future__ import annotations

from typing import Final

from embedmill.storage.cache.lookups import is_there
from embedmill.storage.sqlite.connection import Connection

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS models (fingerprint INTEGER PRIMARY KEY, name TEXT NOT NULL)"


class ModelNames:
    """The table of names in the cache's file; files of earlier versions have none. Raises what `sqlite3` raises."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._noted: dict[int, str] = {}

    def note(self, number: int, name: str) -> None:
        """Note the name of a fingerprint's model, in the transaction of the caller; of several the last one stays."""
        if self._noted.get(number) != name:
            self._db.execute(_SCHEMA)
            self._db.execute("INSERT OR REPLACE INTO models (fingerprint, name) VALUES (?, ?)", (number, name))
            self._noted[number] = name

    def by_key(self) -> dict[str, str]:
        """Fingerprint key -> name, of those that have one."""
        if not is_there(self._db, "models"):
            return {}
        return dict(self._db.execute("SELECT key, name FROM models m JOIN fingerprints f ON f.id = m.fingerprint"))

    def forget(self) -> None:
        """Note all anew: a transaction was rolled back."""
        self._noted.clear()
