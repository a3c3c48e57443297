"""The vectors that were used last, in memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

from embedmill.core.vectors import Vector


class RecentVectors:
    """So many vectors by fingerprint and hash. Not for several threads at once.

    Where there are too many, those go that were not used for longest, of the fingerprint that was not used for longest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[str, OrderedDict[bytes, Vector]] = OrderedDict()  # by Fingerprint.key, then by hash
        self._count = 0

    def get(self, fingerprint: str, hashes: Iterable[bytes]) -> dict[bytes, Vector]:
        """Those that are there, which are used by that."""
        held = self._held.get(fingerprint)
        if held is None:
            return {}
        found = {each: held[each] for each in hashes if each in held}
        for each in found:
            held.move_to_end(each)
        self._held.move_to_end(fingerprint)
        return found

    def keep(self, fingerprint: str, vectors: Mapping[bytes, Vector]) -> None:
        """Keep these, in place of others of the same hash."""
        held = self._held.setdefault(fingerprint, OrderedDict())
        self._held.move_to_end(fingerprint)
        self._count -= len(held)
        for each in held.keys() & vectors.keys():
            del held[each]  # to be the last one again
        held.update(vectors)
        self._count += len(held)
        while self._count > self._most:
            oldest, its = next(iter(self._held.items()))
            if its:
                its.popitem(last=False)
                self._count -= 1
            else:
                del self._held[oldest]

    def clear(self) -> None:
        """Let go of all."""
        self._held.clear()
        self._count = 0
