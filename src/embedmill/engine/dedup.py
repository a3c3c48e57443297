"""Which texts need the model: those whose vector is neither known nor on its way."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from embedmill.core.vectors import Cause, Vector
from embedmill.engine.sink import HashedItem, Origin, Sink

RECENT = 8192
"""Vectors of this run that are remembered for equal texts; those further back are in the cache or the store."""

Known = Callable[[Sequence[bytes]], Mapping[bytes, Vector]]
"""The vectors that are known of these hashes."""

H = TypeVar("H", bound=HashedItem)


class Deduplicator(Generic[H]):
    """A sink around another one, which gives equal texts one vector; counts what comes of each item.

    Of equal items only the first is given to the model: what `accept` and `reject` are told of that, the sink is told
    of all.
    """

    def __init__(self, sink: Sink[H], known: Known, counts: Counter[str], *, recent: int | None = RECENT) -> None:
        """`recent` vectors are remembered, or all."""
        self._sink = sink
        self._known = known
        self._counts = counts
        self._most_recent = recent
        self._waiting: dict[bytes, list[H]] = {}  # hash -> the item that is embedded, then its equals
        self._recent: OrderedDict[bytes, Vector] = OrderedDict()
        self._new: dict[bytes, Vector] = {}

    def lookup(self, hashes: Sequence[bytes]) -> Mapping[bytes, Vector]:
        """What is known from before of texts that this run knows nothing of."""
        return self._known([key for key in hashes if key not in self._recent and key not in self._waiting])

    def admit(self, item: H, known: Mapping[bytes, Vector]) -> bool:
        """Take an item; True where it has to be embedded. `known` is what `lookup` has found for it."""
        key = item.hash
        if key in self._waiting:
            self._waiting[key].append(item)
        elif key in self._recent:
            self._give(item, self._recent[key], "duplicates")
        elif key in known:
            self._give(item, known[key], "cached")
        else:
            self._waiting[key] = [item]
            return True
        return False

    def accept(self, item: H, vector: Vector, origin: Origin) -> None:
        """Give an item, and those equal to it, the model's vector."""
        vector = vector.copy()  # a row of its own: a view would keep the whole batch
        self._counts["tokens"] += len(item.ids)
        first, *equals = self._waiting.pop(item.hash)
        self._give(first, vector, origin)
        for same in equals:
            self._give(same, vector, "duplicates")
        self._new[item.hash] = self._recent[item.hash] = vector
        if self._most_recent is not None and len(self._recent) > self._most_recent:
            self._recent.popitem(last=False)

    def reject(self, item: H, cause: Cause) -> None:
        """Let an item, and those equal to it, fail."""
        for same in self._waiting.pop(item.hash):
            self._counts["failed"] += 1
            self._sink.reject(same, cause)

    def take_new(self) -> Mapping[bytes, Vector]:
        """The vectors that the model has given since this was asked last, by hash."""
        new, self._new = self._new, {}
        return new

    def unsettled(self) -> int:
        """How many items still wait."""
        return sum(len(equals) for equals in self._waiting.values())

    def _give(self, item: H, vector: Vector, origin: Origin) -> None:
        self._counts[origin] += 1
        self._sink.accept(item, vector, origin)
