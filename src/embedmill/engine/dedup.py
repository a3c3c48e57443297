"""Which texts need the model: those whose vector is neither known nor on its way."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Generic, NamedTuple, TypeVar

from embedmill.core.interfaces.cache import NamingCache, VectorCache
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Cause, Vector
from embedmill.engine.claims import Claims
from embedmill.engine.sink import HashedItem, Origin, Sink
from embedmill.engine.validation import VectorValidator
from embedmill.runtime.stages import Stages

RECENT = 8192
"""Vectors of this run that are remembered for equal texts; those further back are in the cache or the store."""

KEPT_AT_ONCE = 256
"""Vectors in a transaction of the cache: some milliseconds for a second's work of the model."""

KEPT_EVERY: Final = 1.0
"""Seconds after which fewer are kept too: another run may wait for them."""

MOST_AWAITED: Final = 4096
"""Items that may wait for other runs before this one goes on: as many as may wait for others of their length."""

H = TypeVar("H", bound=HashedItem)


class FoundTexts(NamedTuple):
    """What is found of some texts."""

    vectors: Mapping[bytes, Vector]
    """Of the cache and the store, by hash."""
    elsewhere: Collection[bytes]
    """Hashes of those that another run embeds."""


class Deduplicator(Generic[H]):
    """A sink around another one, which gives equal texts one vector, known ones theirs; counts what comes of each item.

    Of equal items only the first is given to the model: what `accept` and `reject` are told of that, the sink is told
    of all. What another run embeds at this moment is waited for, and then cached. `counts` has chunks, and of these
    embedded, cached, duplicates and failed, and tokens of the embedded ones.
    """

    def __init__(
        self,
        sink: Sink[H],
        fingerprint: Fingerprint,
        *,
        model: str = "",
        cache: VectorCache | None = None,
        store: Store | None = None,
        counts: Counter[str] | None = None,
        stopped: Callable[[], bool] = lambda: False,
        recent: int | None = RECENT,
        stages: Stages | None = None,
    ) -> None:
        """Vectors that cache and store have of this fingerprint are known; `model` is its name, for who looks there.

        Once `stopped`, no more is looked up.

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
        if model and isinstance(cache, NamingCache):
            cache.name(fingerprint, model)
        self._waiting: dict[bytes, list[H]] = {}  # hash -> the item that is embedded, then its equals
        self._claims = Claims(cache, fingerprint)
        self._unadmitted: set[bytes] = set()  # what was claimed for items that are not admitted yet
        self._awaited: dict[bytes, list[H]] = {}  # hash -> the items whose text another run embeds
        self._number_awaited = 0  # items
        self.paused = False
        self._recent: OrderedDict[bytes, Vector] = OrderedDict()
        self._new: dict[bytes, Vector] = {}
        self._kept = time.monotonic()

    @contextmanager
    def claiming(self) -> Iterator[None]:
        """Within this context no other run embeds what this one does; at its end, what it has not embedded is free."""
        self._claims.begin()
        try:
            yield
        finally:
            self._claims.release([*self._waiting, *self._new, *self._unadmitted])

    def unknown(self, groups: Iterable[Sequence[H]]) -> Iterator[H]:
        """The items that need the model; the sink gets the vectors of those that do not.

        The next group is asked for when all of one are seen to. Ends early, `paused`, where too many items wait for
        other runs, or these for what this one has claimed: what was given out is to be embedded before it is called
        anew, with what is left.
        """
        self.paused = False
        for group in groups:
            if self.stopped():
                return
            started = time.perf_counter()
            known = self._look_up([item.hash for item in group if item.hash not in self._awaited])
            self.stages.add("lookup", time.perf_counter() - started)
            for item in group:
                self.counts["chunks"] += 1
                if self._admit(item, known):
                    yield item
            if self._awaited and self._claims.is_time_to_look:
                yield from self._undelivered()
            if self._number_awaited > MOST_AWAITED or (self._waiting and self._claims.are_wanted()):
                self.paused = True
                return

    def awaits(self) -> bool:
        """Whether other runs are to be waited for, before anything else is done."""
        most = MOST_AWAITED // 2 if self.paused else 0
        return self._number_awaited > most and not self.stopped()

    def undelivered(self) -> list[H]:
        """Wait a little for other runs; the items that this one has to embed in their place.

        Not to be called before what was given out to be embedded is embedded and in the cache: others may wait for it.
        """
        self._claims.wait()
        return list(self._undelivered())

    def _undelivered(self) -> Iterator[H]:
        """Give what others have embedded to the sink; what they have not, and nobody does, is to be embedded here."""
        keys = self._claims.settled(list(self._awaited))
        known = self._look_up(keys)
        for key in keys:
            if key in known.elsewhere:
                continue
            items = self._awaited.pop(key)
            self._number_awaited -= len(items)
            if key in known.vectors:
                for item in items:
                    self._give(item, known.vectors[key], "cached")
            else:
                self._begin(key, items)
                yield items[0]

    def _look_up(self, hashes: Sequence[bytes]) -> FoundTexts:
        """What cache and store have of texts that this run knows nothing of, unsound vectors left out.

        The rest is claimed: what this run has claimed before must not be among them.
        """
        missing = [key for key in dict.fromkeys(hashes) if key not in self._recent and key not in self._waiting]
        found: dict[bytes, Vector] = {}
        if self._cache and missing:
            found = self._validator.sound(self._cache.get_many(missing, self.fingerprint))
            missing = [key for key in missing if key not in found]
        if self._store and missing:
            found |= self._validator.sound(self._store.vectors(missing, self.fingerprint.precision))
            missing = [key for key in missing if key not in found]
        claimed = self._claims.claim(missing)
        self._unadmitted.update(key for key in missing if key not in claimed.others)
        if self._cache and claimed.put:
            put = self._validator.sound(self._cache.get_many(claimed.put, self.fingerprint))
            self._claims.release(list(put))
            self._unadmitted -= put.keys()
            found |= put
        return FoundTexts(found, claimed.others)

    def _admit(self, item: H, known: FoundTexts) -> bool:
        """Take an item; True where it has to be embedded. `known` is what was found for it."""
        key = item.hash
        if key in self._waiting:
            self._waiting[key].append(item)
        elif key in self._awaited or key in known.elsewhere:
            self._awaited.setdefault(key, []).append(item)
            self._number_awaited += 1
        elif key in self._recent:
            self._give(item, self._recent[key], "duplicates")
        elif key in known.vectors:
            self._give(item, known.vectors[key], "cached")
        else:
            self._begin(key, [item])
            return True
        return False

    def _begin(self, key: bytes, items: list[H]) -> None:
        """Note what is embedded from now on: the first of these items, for all of them."""
        self._waiting[key] = items
        self._unadmitted.discard(key)

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
        self._claims.release([item.hash])
        for same in self._waiting.pop(item.hash):
            self.counts["failed"] += 1
            self._sink.reject(same, cause)

    def take_new(self) -> Mapping[bytes, Vector]:
        """The vectors that the model has given since this was asked last, by hash."""
        new, self._new = self._new, {}
        return new

    def keep_new(self, least: int = 1) -> None:
        """Put into the cache, if there is one, what the model has given and `take_new` has not.

        Once it is so many, or some wait for long.
        """
        if self._new and (len(self._new) >= least or time.monotonic() >= self._kept + KEPT_EVERY):
            self._kept = time.monotonic()
            new = self.take_new()
            if self._cache is not None:
                self._cache.put_many(new, self.fingerprint)

    def unsettled(self) -> int:
        """How many items still wait."""
        return sum(len(equals) for equals in self._waiting.values()) + self._number_awaited

    def _give(self, item: H, vector: Vector, origin: Origin) -> None:
        self.counts[origin] += 1
        self._sink.accept(item, vector, origin)
