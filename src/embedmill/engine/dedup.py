"""Which texts need the model: those whose vector is neither known nor on its way."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector
from embedmill.engine.sink import HashedItem, Origin, Sink
from embedmill.engine.validation import VectorValidator
from embedmill.runtime.stages import Stages

RECENT = 8192
"""Vectors of this run that are remembered for equal texts; those further back are in the cache or the store."""

KEPT_AT_ONCE = 256
"""Vectors in a transaction of the cache: some milliseconds for a second's work of the model."""

H = TypeVar("H", bound=HashedItem)


class Deduplicator(Generic[H]):
    """A sink around another one, which gives equal texts one vector, known ones theirs; counts what comes of each item.

    Of equal items only the first is given to the model: what `accept` and `reject` are told of that, the sink is told
    of all. `counts` has chunks, and of these embedded, cached, duplicates and failed, and tokens of the embedded ones.
    """

    def __init__(
        self,
        sink: Sink[H],
        fingerprint: Fingerprint,
        *,
        cache: VectorCache | None = None,
        store: Store | None = None,
        counts: Counter[str] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        recent: int | None = RECENT,
        stages: Stages | None = None,
    ) -> None:
        """Vectors that cache and store have of this fingerprint are known. Once `stopped`, no more is looked up.

        So many `recent` vectors of this run are remembered; None: all.
        """
        self.fingerprint = fingerprint
        self.counts: Counter[str] = Counter() if counts is None else counts
        self.stages = Stages() if stages is None else stages
        self.stopped = stopped
        self._sink = sink
        self._validator = VectorValidator.of(fingerprint.space)
        self._most_recent = recent
        self._cache = cache
        self._store = store
        self._waiting: dict[bytes, list[H]] = {}  # hash -> the item that is embedded, then its equals
        self._recent: OrderedDict[bytes, Vector] = OrderedDict()
        self._new: dict[bytes, Vector] = {}

    def unknown(self, groups: Iterable[Sequence[H]]) -> Iterator[H]:
        """The items that need the model; the sink gets the vectors of those that do not.

        The next group is asked for when all of one are seen to.
        """
        for group in groups:
            if self.stopped():
                return
            started = time.perf_counter()
            known = self.lookup([item.hash for item in group])
            self.stages.add("lookup", time.perf_counter() - started)
            for item in group:
                self.counts["chunks"] += 1
                if self.admit(item, known):
                    yield item

    def lookup(self, hashes: Sequence[bytes]) -> Mapping[bytes, Vector]:
        """What cache and store have of texts that this run knows nothing of, unsound vectors left out."""
        missing = [key for key in hashes if key not in self._recent and key not in self._waiting]
        found: dict[bytes, Vector] = {}
        if self._cache and missing:
            found = self._validator.sound(self._cache.get_many(missing, self.fingerprint))
            missing = [key for key in missing if key not in found]
        if self._store and missing:
            found |= self._validator.sound(self._store.vectors(missing, self.fingerprint.precision))
        return found

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
        self.counts["tokens"] += len(item.ids)
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
            self.counts["failed"] += 1
            self._sink.reject(same, cause)

    def take_new(self) -> Mapping[bytes, Vector]:
        """The vectors that the model has given since this was asked last, by hash."""
        new, self._new = self._new, {}
        return new

    def keep_new(self, least: int = 1) -> None:
        """Put into the cache, if there is one, what the model has given and `take_new` has not, once it is so many."""
        if len(self._new) >= least:
            new = self.take_new()
            if self._cache is not None:
                self._cache.put_many(new, self.fingerprint)

    def unsettled(self) -> int:
        """How many items still wait."""
        return sum(len(equals) for equals in self._waiting.values())

    def _give(self, item: H, vector: Vector, origin: Origin) -> None:
        self.counts[origin] += 1
        self._sink.accept(item, vector, origin)
