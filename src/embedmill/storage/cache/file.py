"""The file behind the cache of vectors: SQLite, read and written by any number of processes at once."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Final

import numpy as np

from embedmill.core.interfaces.cache import Claimed
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.cache.claims import ClaimTable
from embedmill.storage.cache.entries import as_vectors, packed, whole
from embedmill.storage.cache.keys import keys_of
from embedmill.storage.cache.names import ModelNames
from embedmill.storage.cache.opening import open_file
from embedmill.storage.cache.room import give_back, used_bytes
from embedmill.storage.cache.table import Damaged, VectorTable

_TRANSACTION_ROWS: Final = 1000  # few, so that other processes need not wait for long
_CHOSEN: Final = 100_000  # rows to be removed that are chosen at once: 20 MB of memory
_TOUCHED: Final = 5000  # times of use that may wait in memory

_KEY, _BLOB = itemgetter(0), itemgetter(4)  # of an entry

_FOR_EVER: Final = 1 << 62  # a day that no vector was used after


class CacheFile:
    """Vectors by fingerprint and hash. Not for several threads at once. Raises what `sqlite3` raises."""

    def __init__(self, path: Path) -> None:
        """Open the file, creating it where there is none; raises `CacheError` for one of a newer version."""
        self.path = path
        self._fingerprints: dict[str, int] = {}
        self._damaged: list[Damaged] = []
        self._touched: list[int] = []  # keys of vectors that were used today and are not marked so yet
        self._db = open_file(path)
        self._vectors = VectorTable(self._db)
        self._claims = ClaimTable(path, self._db)
        self._names = ModelNames(self._db)

    def finish_within(self, seconds: float) -> None:
        """From now on other processes are waited for no longer than this. For signal handlers."""
        self._db.finish_within(seconds)

    def get(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there and whole."""
        keys = keys_of(hashes, fingerprint)
        by_key = dict(zip(keys.tolist(), hashes, strict=True))
        found = self._vectors.get(np.sort(keys).tolist())
        sound = whole(found, by_key, fingerprint)
        if len(sound) < len(found):
            sound_keys = {key for key, *_ in sound}
            self._damaged += [(key, row, crc) for key, row, _, crc, _ in found if key not in sound_keys]
        today = _today()
        self._touched += [key for key, _, used, _, _ in sound if used < today]
        return as_vectors(map(by_key.__getitem__, map(_KEY, sound)), map(_BLOB, sound))

    @property
    def has_pending(self) -> bool:
        """Whether there is enough for `write_pending`."""
        return bool(self._damaged) or len(self._touched) > _TOUCHED

    def put(self, blobs: Mapping[bytes, bytes], fingerprint: Fingerprint, model: str = "") -> None:
        """Keep these numbers, in place of others of the same hash; who has claimed them has no claim any more.

        `model` is its name, if that is known.
        """
        new, today = packed(blobs, fingerprint), _today()
        for first in range(0, len(blobs), _TRANSACTION_ROWS):
            some = new.part(first, _TRANSACTION_ROWS)
            with self._transaction():
                number = self._own_number(fingerprint)
                if model:
                    self._names.note(number, model)
                self._vectors.put(number, today, some)
                self._claims.settle(number, some.hashes)

    def claim(self, hashes: Sequence[bytes], fingerprint: Fingerprint, overdue: Collection[int]) -> Claimed:
        """See `ClaimingCache.claim`."""
        with self._transaction():
            number = self._own_number(fingerprint)
            others = self._claims.claim(number, hashes, overdue)
            own = [each for each in hashes if each not in others]
            by_key = dict(zip(keys_of(own, fingerprint).tolist(), own, strict=True))
            return Claimed(others, [by_key[key] for key in self._vectors.held(list(by_key))])

    def claimed(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, int]:
        """See `ClaimingCache.claimed`."""
        number = self._number(fingerprint)
        return {} if number is None else self._claims.held(number, hashes)

    def release(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """See `ClaimingCache.release`."""
        with self._transaction():
            self._claims.release(self._own_number(fingerprint), hashes)

    def want(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """See `ClaimingCache.want`."""
        with self._transaction():
            self._claims.want(self._own_number(fingerprint), hashes)

    def wanted(self) -> bool:
        """See `ClaimingCache.wanted`."""
        return self._claims.wanted()

    def give_up_claims(self) -> None:
        """Let go of all own claims at once, where the file cannot be written."""
        self._claims.close()

    def write_pending(self) -> None:
        """Remove what reads have found damaged, and note the use of the rest."""
        today = _today()
        damaged, self._damaged = self._damaged, []
        if damaged:
            with self._transaction():
                self._vectors.remove_damaged(damaged)
        touched, self._touched = sorted(self._touched), []
        for first in range(0, len(touched), _TRANSACTION_ROWS):
            with self._transaction():
                self._vectors.use(touched[first : first + _TRANSACTION_ROWS], today)

    def remove_older(self, days: int) -> int:
        """Remove what was not used in these last days; returns how many vectors went."""
        return self._remove(_today() - days, 0, 0)

    def shrink(self, max_bytes: int, keep_bytes: int) -> int:
        """Remove what was not used for longest, down to `keep_bytes`; returns how many vectors went.

        The file keeps the room of what went, up to `max_bytes`: where the cache is full, it is soon used.
        """
        return self._remove(_FOR_EVER, keep_bytes, max_bytes)

    def clear(self) -> int:
        """Remove everything; returns how many vectors went."""
        removed = self._remove(_FOR_EVER, 0, 0)
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # the log too, unless others read just now
        return removed

    def _remove(self, last_day: int, keep_bytes: int, max_bytes: int) -> int:
        removed = 0
        while gone := self._remove_some(last_day, keep_bytes):
            removed += gone
        give_back(self._db, max_bytes)
        if removed:
            self._db.execute("PRAGMA wal_checkpoint").fetchall()  # only this makes the file smaller
        return removed

    def _remove_some(self, last_day: int, keep_bytes: int) -> int:
        """Remove as many as are chosen at once, which takes a look at all keys: too long for each transaction."""
        removed = 0
        chosen = self._vectors.unused(last_day, _CHOSEN) if self.used_bytes() > keep_bytes else []
        for first in range(0, len(chosen), _TRANSACTION_ROWS):
            if self.used_bytes() <= keep_bytes:
                break
            with self._transaction():
                removed += self._vectors.remove(chosen[first : first + _TRANSACTION_ROWS])
        return removed

    def used_bytes(self) -> int:
        """What the vectors and their keys take, without the room that removed ones left."""
        return used_bytes(self._db)

    def counts(self) -> dict[str, int]:
        """Vectors by fingerprint key."""
        return dict(self._vectors.counts())

    def names(self) -> dict[str, str]:
        """Names of models by fingerprint key, as far as they are known."""
        return self._names.by_key()

    def close(self) -> None:
        """Close the file as it is, without what is pending; nothing is claimed any more."""
        self._claims.close()
        self._db.close()

    def _number(self, fingerprint: Fingerprint) -> int | None:
        key = fingerprint.key
        if key not in self._fingerprints:
            row = self._db.execute("SELECT id FROM fingerprints WHERE key = ?", (key,)).fetchone()
            if row is None:
                return None
            self._fingerprints[key] = row[0]
        return self._fingerprints[key]

    def _own_number(self, fingerprint: Fingerprint) -> int:
        """As `_number`, in a transaction: a new fingerprint gets one."""
        number = self._number(fingerprint)
        if number is None:
            self._db.execute("INSERT INTO fingerprints (key) VALUES (?)", (fingerprint.key,))
            number = self._number(fingerprint)
            assert number is not None
        return number

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            with self._db.transaction():
                yield
        except BaseException:
            self._fingerprints.clear()  # the number of one that was new may not be there
            self._claims.forget()
            self._names.forget()
            raise


def _today() -> int:
    return int(time.time() // 86_400)
