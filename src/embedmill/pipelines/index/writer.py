"""The last step of a run: everything durable is written here, by one thread, in the order it was handed over."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from embedmill.core.documents import DocumentState, Failure, Record, Replacement
from embedmill.core.interfaces.cache import ClaimingCache, VectorCache
from embedmill.core.interfaces.store import Store
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.runtime.channel import Channel, Closed
from embedmill.runtime.stages import Stages

_WAITING = 32
"""Pieces of work that may wait; with at most `STAGE_AT` records each some 30 MB at 384 dimensions."""

_TOGETHER = 64
"""Documents that share a transaction where many wait."""

STAGE_AT = 512
"""Records of one document that are held in memory before they are staged in the store."""

_Work = Replacement | Callable[[], object]


class Writer:
    """A thread that writes to store and cache. Leaving the context waits until all is written.

    An error in the thread is raised by the next call, and at the latest on leaving; nothing is written after it.
    """

    def __init__(
        self, store: Store, cache: VectorCache | None, fingerprint: Fingerprint, stages: Stages | None = None
    ) -> None:
        self._store = store
        self._cache = cache
        self._fingerprint = fingerprint
        self._unkept: deque[Mapping[bytes, Vector]] = deque()
        self._work: Channel[_Work] = Channel(_WAITING)
        self._thread = threading.Thread(target=self._write, name="embedmill-write", daemon=True)
        self._stages = Stages() if stages is None else stages

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._work.end()
        self._thread.join()
        if isinstance(self._cache, ClaimingCache):
            for vectors in self._unkept:  # after an error
                self._cache.release(list(vectors), self._fingerprint)
        if error is None:
            self._work.drain()

    def replace(self, replacement: Replacement) -> None:
        """Store a whole document."""
        self._work.put(replacement)

    def stage(self, document: str, records: Sequence[Record]) -> None:
        """Store part of a large document, unseen until it is whole."""
        self._work.put(lambda: self._store.stage(document, records, self._fingerprint.precision))

    def listed(self, ids: Sequence[str], touched: Sequence[DocumentState]) -> None:
        """Note documents that exist, and new times of unchanged ones."""
        self._work.put(lambda: self._store.mark_seen(ids))
        if touched:
            self._work.put(lambda: self._store.update_stats(touched))

    def fail(self, failure: Failure) -> None:
        """Note a document that could not be read."""
        self._work.put(lambda: self._store.fail(failure.document, [failure]))

    def keep(self, vectors: Mapping[bytes, Vector]) -> None:
        """Put vectors into the cache."""
        cache = self._cache
        if cache is not None and vectors:
            self._unkept.append(vectors)
            self._work.put(lambda: self._put(cache))

    def _put(self, cache: VectorCache) -> None:
        cache.put_many(self._unkept[0], self._fingerprint)
        self._unkept.popleft()

    def _write(self) -> None:
        try:
            while True:
                taken = self._work.get_together(_TOGETHER, _both_documents)
                started = time.perf_counter()
                documents = [work for work in taken if isinstance(work, Replacement)]
                if documents:
                    self._store.replace(documents)
                for work in taken:
                    if not isinstance(work, Replacement):
                        work()
                self._stages.add("write", time.perf_counter() - started)
                self._work.done(len(taken))
        except Closed:
            pass
        except BaseException as error:  # handed to the thread that gives the work
            self._work.fail(error)


def _both_documents(first: _Work, second: _Work) -> bool:
    """Whether two pieces of work share a transaction."""
    return isinstance(first, Replacement) and isinstance(second, Replacement)
