"""The story of a run, from a source to a store.

    Source -> Reader: unchanged? read, chunk, tokenise, hash  (a thread)
           -> known vectors: this run's, the cache's, the store's
           -> batches of nearly one length -> Executor -> validate (the executor's threads or processes)
           -> Writer: cache, Store.replace(document)          (a thread)

Everything streams in bounded memory. A document counts as done in the transaction that stores its vectors, so
that a run may be killed at any moment: the next one goes on from there.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress

from embedmill.chunking.options import Chunking
from embedmill.core.checks import whole_number
from embedmill.core.documents import Failure, Record, Replacement
from embedmill.core.errors import Stopped
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import TO_FINISH, Executor
from embedmill.core.interfaces.source import Source
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Progress, Report
from embedmill.core.vectors import Cause, Embedded, Vector
from embedmill.engine.dedup import Matching
from embedmill.pipelines.index.reader import Event, Listed, Pending, Piece, Reader, ReadWhole, Unreadable
from embedmill.pipelines.index.report import progress, report
from embedmill.pipelines.index.writer import STAGE_AT, Writer
from embedmill.runtime.paths import both
from embedmill.runtime.streams import prefetch

_GROUPS_AHEAD = 16
"""Groups of pieces that the reader may be ahead of the model: 1,024 pieces, some 2 MB."""


class IncrementalIndexer:
    """Keeps a store in step with its sources, embedding only what is not known yet."""

    def __init__(
        self,
        store: Store,
        embedder: Embedder,
        executor: Executor,
        *,
        cache: VectorCache | None = None,
        chunking: Chunking | None = None,
        batch_size: int | None = None,
    ) -> None:
        """`batch_size` limits the texts of a batch; by default its tokens alone do."""
        if batch_size is not None:
            whole_number("batch_size", batch_size)
        self._store = store
        self._embedder = embedder
        self._executor = executor
        self._cache = cache
        self._chunking = chunking or Chunking(embedder.max_tokens)
        self._batch_size = batch_size
        self._stopping = threading.Event()
        self._source: Source | None = None

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; an indexer that was stopped stays so.

        What has been embedded is stored, the report says `interrupted`, and the next run goes on from there.
        """
        self._stopping.set()
        self._executor.hurry(TO_FINISH)
        self._store.hurry(TO_FINISH)
        if self._cache is not None:
            self._cache.hurry(TO_FINISH)
        if self._source is not None:
            self._source.hurry(TO_FINISH)

    def run(
        self,
        source: Source,
        *,
        again: Collection[str] = (),
        prune: bool = False,
        force: bool = False,
        missing: Iterable[str] = (),
        remember: str | None = "{}",
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Report:
        """Bring the store up to date with the source.

        Documents named in `again` are embedded even if they have not changed; `force` reads what seems unchanged, too.
        What the source's options leave out stays in the store, if it is still there, unless `prune`, which also takes
        out what lies in roots that are gone, and what is `missing` of what was asked for.
        `remember` is noted, as JSON, of how the source was made, for a retry; None: nothing is noted.
        `on_progress` is called in this
        thread after every batch. Raises `SpaceMismatch` where the store holds vectors of another model,
        `SourceError` where the source cannot be listed, and `StoreError` where the store cannot be written.
        """
        started = time.perf_counter()
        self._source = source
        self._store.bind(self._embedder.fingerprint, self._embedder.name)
        if remember is not None:
            self._store.register(source.scopes, remember)
        reader = Reader(source, self._store, self._embedder, self._chunking, again=again, force=force)
        with (
            Writer(self._store, self._cache, self._embedder.fingerprint) as writer,
            prefetch(reader.events(), depth=_GROUPS_AHEAD) as events,
        ):
            flow = _Flow(self._store, self._embedder, self._cache, writer)

            def tell() -> None:
                seconds = time.perf_counter() - started
                on_progress(progress(reader, flow.counts, flow.finished_bytes, self._executor, seconds))

            self._embed(flow, events, tell)
            if self._stopping.is_set():
                flow.keep_unfinished()
        for folder in source.unlisted():
            cause = Cause("SourceError", f"{folder}: the folder cannot be listed: check its permissions")
            self._store.fail(folder, [Failure(folder, -1, 0, 0, 0, cause)])
        deselected, removed, whole = self._finish(source, flow, list(missing) if prune else None)
        ended = time.perf_counter()
        return report(
            source,
            reader,
            flow.counts,
            self._embedder,
            self._executor,
            stages=reader.seconds | flow.seconds | {"write": writer.seconds},
            seconds=ended - started,
            removed=removed,
            deselected=deselected,
            vanished=self._store.vanished(),
            missing=[] if prune else list(missing),
            store=self._store.url,
            failures=self._store.status().failures,
            interrupted=not whole,
        )

    def _keep_deselected(self, source: Source) -> int:
        """Count as seen what is left out by an option alone; how many documents that are. A stop ends it."""
        number = 0
        for names in self._store.unseen(source.scopes, source.unlisted()):
            if self._stopping.is_set():
                break
            states = self._store.states(names)  # who has none only failed to be read: that is settled by leaving it out
            kept = source.deselected({name: state.size for name, state in states.items()})
            self._store.touch([states[name] for name in kept])
            number += len(kept)
        return number

    def _finish(self, source: Source, flow: _Flow, prune: Sequence[str] | None) -> tuple[int, int, bool]:
        """Do what is done when all is stored; whether that came to its end.

        `prune` are paths that are gone, or None where what is gone or left out is kept. Gives too how many documents an
        option left out, and how many went. Nothing of it is begun after a stop: the next run does it.
        """
        deselected = removed = 0
        stopped = self._stopping.is_set
        with suppress(Stopped):
            if not stopped() and prune is None:
                deselected = self._keep_deselected(source)
            if not stopped():
                removed = self._store.remove_unseen(source.scopes, source.unlisted())
            if not stopped() and prune is not None:
                removed += self._store.forget([*both(prune), *both(self._store.vanished())])
            if not stopped():
                started = time.perf_counter()
                self._store.prepare_search()
                flow.seconds["search"] = time.perf_counter() - started
                return deselected, removed, True
        return deselected, removed, False

    def _embed(self, flow: _Flow, events: Iterable[list[Event]], tell: Callable[[], None]) -> None:
        """Pull the events through the model."""

        def pieces() -> Iterator[Piece]:
            for group in events:
                if self._stopping.is_set():
                    return
                for piece in flow.unknown(group):
                    self._executor.start()
                    yield piece
                tell()

        # What still waits when the run is stopped is not begun.
        calls = flow.matching.calls(pieces(), most=self._batch_size)
        started = time.perf_counter()
        for embedded in self._executor.run(itertools.takewhile(lambda _: not self._stopping.is_set(), calls)):
            flow.settle(embedded)
            tell()
        if not self._stopping.is_set():
            flow.matching.check_complete()
        flow.seconds["embed"] = time.perf_counter() - started


class _Flow:
    """What becomes of the reader's events: which documents are whole, and what is to be written."""

    def __init__(self, store: Store, embedder: Embedder, cache: VectorCache | None, writer: Writer) -> None:
        self._precision = embedder.fingerprint.precision
        self._writer = writer
        self._open: dict[str, Pending] = {}
        self.counts: Counter[str] = Counter()
        self.finished_bytes = 0
        self.seconds = {"lookup": 0.0, "embed": 0.0, "search": 0.0}
        self.matching: Matching[Piece] = Matching(
            embedder.fingerprint.space,
            lambda hashes: known_vectors(hashes, embedder, cache, store),
            self._count_and_record,
            self._fail,
        )

    def unknown(self, group: Sequence[Event]) -> Iterator[Piece]:
        """Take a group of events; yield the pieces whose vectors nothing knows yet."""
        started = time.perf_counter()
        known = self.matching.look_up([event.hash for event in group if isinstance(event, Piece)])
        self.seconds["lookup"] += time.perf_counter() - started
        for event in group:
            match event:
                case Piece():
                    self._open[event.document.state.id] = event.document
                    self.counts["chunks"] += 1
                    if self.matching.needs_model(event, known):
                        yield event
                case ReadWhole(document):
                    self._release(document)
                case Listed(ids, touched):
                    self._writer.listed(ids, touched)
                case Unreadable(failure):
                    self._writer.fail(failure)

    def settle(self, embedded: Embedded) -> None:
        """Give the pieces of a batch, and those equal to them, their vectors or their failures."""
        self._writer.keep(self.matching.settle(embedded))

    def keep_unfinished(self) -> None:
        """Stage what has been embedded of documents that are not whole, so that the next run finds it."""
        for name, document in self._open.items():
            if document.records:
                self._writer.stage(name, document.records)
        self.counts["chunks"] -= self.matching.unsettled()  # the next run counts them

    def _count_and_record(self, name: str, piece: Piece, vector: Vector) -> None:
        self.counts[name] += 1
        if name == "embedded":
            self.counts["tokens"] += len(piece.ids)
        self._advance(piece)
        document = piece.document
        document.records.append(Record(piece.chunk, piece.hash, vector))
        if len(document.records) >= STAGE_AT:
            self._writer.stage(document.state.id, document.records)
            document.records = []
        self._release(document)

    def _fail(self, piece: Piece, cause: Cause) -> None:
        self.counts["failed"] += 1
        self._advance(piece)
        part = piece.chunk
        piece.document.failures.append(Failure(part.document, part.index, part.start, part.end, part.line, cause))
        self._release(piece.document)

    def _advance(self, piece: Piece) -> None:
        # Batches take chunks by length, so that many documents are under way at once and few are whole.
        document = piece.document
        more = min(piece.chunk.end - piece.chunk.start, document.state.size - document.bytes_done)
        document.bytes_done += more
        self.finished_bytes += more

    def _release(self, document: Pending) -> None:
        document.outstanding -= 1
        if document.outstanding:
            return
        self._open.pop(document.state.id, None)
        self.counts["documents"] += 1
        self.finished_bytes += document.state.size - document.bytes_done
        self._writer.replace(Replacement(document.state, self._precision, document.records, document.failures))


def known_vectors(
    hashes: Sequence[bytes], embedder: Embedder, cache: VectorCache | None, store: Store | None
) -> dict[bytes, Vector]:
    """The vectors that cache or store have of these hashes."""
    found = cache.get_many(hashes, embedder.fingerprint) if cache and hashes else {}
    missing = [key for key in hashes if key not in found]
    if store and missing:
        found |= store.vectors(missing, embedder.fingerprint.precision)
    return found
