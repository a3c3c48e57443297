"""The table of claims in the cache's file: which texts are being embedded, and by whom."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from embedmill.storage.cache.lookups import is_there, rows_of
from embedmill.storage.cache.owner import Owner, is_alive, remove_dead
from embedmill.storage.sqlite.connection import Connection

_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS claims (
        fingerprint INTEGER NOT NULL,
        hash        BLOB    NOT NULL,  -- of a text that has no vector as yet
        owner       INTEGER NOT NULL,  -- see storage.cache.owner
        wanted      INTEGER NOT NULL,  -- whether another run waits for it
        PRIMARY KEY (fingerprint, hash)
    ) WITHOUT ROWID
"""

_OF: Final = "SELECT hash, owner FROM claims WHERE fingerprint = ? AND hash IN ({})"

_TAKE: Final = """INSERT INTO claims (fingerprint, hash, owner, wanted) VALUES (?, ?, ?, 0)
                  ON CONFLICT DO UPDATE SET owner = excluded.owner, wanted = 0"""


class ClaimTable:
    """Claims by fingerprint and hash, beside the vectors. Raises what `sqlite3` raises.

    What changes it is called in a transaction. The table is made by the first claim, and the file's version stays as it
    is: an earlier embedmill leaves the table alone, and what is lost by that is a text that is embedded twice.
    """

    def __init__(self, path: Path, db: Connection) -> None:
        self._path = path
        self._db = db
        self._owner: Owner | None = None
        self._made = False  # what is made in a transaction may be rolled back: see `forget`
        self._possible = True

    def claim(self, number: int, hashes: Sequence[bytes], overdue: Collection[int]) -> dict[bytes, int]:
        """Claim what is not held by an owner that lives and is not overdue; what is, with its owner."""
        if not self._own():
            return {}
        held = self.held(number, hashes, overdue)
        mine = self._mine
        self._db.executemany(_TAKE, [(number, key, mine) for key in hashes if key not in held])
        return held

    def held(self, number: int, hashes: Sequence[bytes], overdue: Collection[int] = ()) -> dict[bytes, int]:
        """Of these the claimed ones with their owners: those that live and are not overdue."""
        if not self._is_there():
            return {}
        claimed: dict[bytes, int] = dict(rows_of(self._db, _OF, hashes, number))
        living = {owner for owner in set(claimed.values()).difference(overdue) if is_alive(self._path, owner)}
        return {key: owner for key, owner in claimed.items() if owner in living}

    def settle(self, number: int, hashes: Sequence[bytes]) -> None:
        """Remove the claims of texts that have their vector now, whoever's they are."""
        if self._is_there():
            keys = [(number, key) for key in hashes]
            self._db.executemany("DELETE FROM claims WHERE fingerprint = ? AND hash = ?", keys)

    def release(self, number: int, hashes: Sequence[bytes]) -> None:
        """Remove own claims."""
        if self._owner is not None and self._is_there():
            keys = [(number, key, self._mine) for key in hashes]
            self._db.executemany("DELETE FROM claims WHERE fingerprint = ? AND hash = ? AND owner = ?", keys)

    def want(self, number: int, hashes: Sequence[bytes]) -> None:
        """Note that somebody waits for these."""
        if self._is_there():
            keys = [(number, key) for key in hashes]
            self._db.executemany("UPDATE claims SET wanted = 1 WHERE fingerprint = ? AND hash = ?", keys)

    def wanted(self) -> bool:
        """Whether somebody waits for own claims."""
        if self._owner is None or not self._is_there():
            return False
        return bool(self._db.execute("SELECT 1 FROM claims WHERE owner = ? AND wanted", (self._mine,)).fetchone())

    def forget(self) -> None:
        """Look anew whether the table is there: a transaction was rolled back."""
        self._made = False

    def close(self) -> None:
        """Let go of all own claims at once."""
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.close()

    @property
    def _mine(self) -> int:
        assert self._owner is not None
        return self._owner.number

    def _own(self) -> bool:
        """Become an owner; False where there can be none, as in a file system without locks."""
        if self._owner is None and self._possible:
            self._db.execute(_SCHEMA)
            try:
                self._owner = Owner(self._path)
            except OSError:
                self._possible = False
            else:
                remove_dead(self._path)
                owners = self._db.execute("SELECT DISTINCT owner FROM claims").fetchall()
                dead = [owner for owner in owners if not is_alive(self._path, owner[0])]
                self._db.executemany("DELETE FROM claims WHERE owner = ?", dead)
        return self._owner is not None

    def _is_there(self) -> bool:
        if not self._made:
            self._made = is_there(self._db, "claims")
        return self._made
