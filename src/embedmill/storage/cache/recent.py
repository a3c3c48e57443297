"""The vectors that were used last, in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from embedmill.core.vectors import Vector


class RecentVectors:
    """So many vectors by fingerprint and hash. Not for several threads at once.

    Where there are too many, those go that were not used for longest, of the fingerprint that was not used for longest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[str, dict[bytes, Vector]] = {}  # by Fingerprint.key, then by hash; used last, last in both
        self._count = 0

    def get(self, fingerprint: str, hashes: Iterable[bytes]) -> dict[bytes, Vector]:
        """Those that are there, which are used by that."""
        held = self._held.pop(fingerprint, None)
        if held is None:
            return {}
        self._held[fingerprint] = held
        found = {each: held.pop(each) for each in hashes if each in held}
        held.update(found)
        return found

    def keep(self, fingerprint: str, vectors: Mapping[bytes, Vector]) -> None:
        """Keep these, in place of others of the same hash."""
        held = self._held.pop(fingerprint, {})
        self._held[fingerprint] = held
        self._count -= len(held)
        for each in held.keys() & vectors.keys():
            del held[each]  # to be the last one again
        held.update(vectors)
        self._count += len(held)
        self._let_go()

    def _let_go(self) -> None:
        while self._count > self._most:
            oldest, its = next(iter(self._held.items()))
            gone = list(islice(its, self._count - self._most))
            if len(gone) == len(its):
                del self._held[oldest]
            else:
                for each in gone:
                    del its[each]
            self._count -= len(gone)

    def clear(self) -> None:
        """Let go of all."""
        self._held.clear()
        self._count = 0
