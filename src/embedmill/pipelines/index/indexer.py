"""The story of a run, from a source to a store.

    Source -> Reader: unchanged? read, chunk, tokenise, hash  (a thread)
           -> known vectors: this run's, the cache's, the store's
           -> batches of nearly one length -> Executor -> validate (the executor's threads or processes)
           -> Writer: cache, Store.replace(document)          (a thread)

Everything streams in bounded memory. A document counts as done in the transaction that stores its vectors, so
that a run may be killed at any moment: the next one goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress

from embedmill.chunking.options import Chunking
from embedmill.core.checks import whole_number
from embedmill.core.documents import Failure
from embedmill.core.errors import Stopped
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.interfaces.source import Source
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Progress, Report
from embedmill.core.vectors import Cause, Vectors
from embedmill.engine.dedup import Deduplicator
from embedmill.engine.lists import embed_list
from embedmill.engine.run import embed_unknown
from embedmill.engine.stopping import Stopping
from embedmill.pipelines.index.documents import OpenDocuments
from embedmill.pipelines.index.reader import Event, Piece, PieceReader, Reader
from embedmill.pipelines.index.report import progress, report
from embedmill.pipelines.index.writer import Writer
from embedmill.runtime.paths import both
from embedmill.runtime.stages import Stages
from embedmill.runtime.streams import prefetch

_STAGES = ("read", "chunk", "lookup", "embed", "validate", "search", "write")
"""All that a report tells of; looking at vectors is a part of embedding them."""

_GROUPS_AHEAD = 16
"""Groups of pieces that the reader may be ahead of the model: 1,024 pieces, some 2 MB."""


class Indexer:
    """Keeps a store in step with its sources, embedding only what is not known yet."""

    def __init__(
        self,
        store: Store,
        embedder: TokenEmbedder,
        executor: Executor,
        *,
        cache: VectorCache | None = None,
        chunking: Chunking | None = None,
        batch_size: int | None = None,
        stages: Callable[[], Stages] = Stages,
    ) -> None:
        """`batch_size` limits the texts of a batch; by default its tokens alone do.

        `stages` gives what a run counts its seconds in.
        """
        if batch_size is not None:
            whole_number("batch_size", batch_size)
        self._store = store
        self._embedder = embedder
        self._executor = executor
        self._cache = cache
        self._chunking = chunking or Chunking(embedder.max_tokens)
        self._batch_size = batch_size
        self._stages = stages
        self._stopping = Stopping(executor, store, cache)

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; an indexer that was stopped stays so.

        What has been embedded is stored, the report says `interrupted`, and the next run goes on from there.
        """
        self._stopping.stop()

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
        out what lies in roots that are gone, and what is `missing` of what was asked for. `remember` is noted, as JSON,
        of how the source was made, for a retry; None: nothing is noted. `on_progress` is called in this thread after
        every batch.

        Raises `SpaceMismatch` where the store holds vectors of another model, `SourceError` where the source cannot be
        listed, and `StoreError` where the store cannot be written.
        """
        started = time.perf_counter()
        with self._stopping.also(source):
            self._store.bind(self._embedder.fingerprint, self._embedder.name)
            if remember is not None:
                self._store.register(source.scopes, remember)
            stages = self.begin_stages()
            reader = Reader(
                source, self._store, self._embedder, self._chunking, again=again, force=force, stages=stages
            )
            pieces = self.take(reader, started, on_progress)
            for folder in source.unlisted():
                cause = Cause("SourceError", f"{folder}: the folder cannot be listed: check its permissions")
                self._store.fail(folder, [Failure(folder, -1, 0, 0, 0, cause)])
            deselected, removed, whole = self._finish(source, stages, list(missing) if prune else None)
        ended = time.perf_counter()
        return report(
            source,
            reader,
            pieces.counts,
            self._embedder,
            self._executor,
            stages=stages,
            seconds=ended - started,
            removed=removed,
            deselected=deselected,
            vanished=self._store.vanished(),
            missing=[] if prune else list(missing),
            store=self._store.url,
            failures=self._store.status().failures,
            interrupted=not whole,
        )

    def begin_stages(self) -> Stages:
        """What a run counts its seconds in: of all stages none yet."""
        stages = self._stages()
        stages |= dict.fromkeys(_STAGES, 0.0)
        return stages

    def take(self, reader: PieceReader, started: float, on_progress: Callable[[Progress], None]) -> Deduplicator[Piece]:
        """Store what the reader gives; the pieces with their counts. What that took the reader's stages have."""
        with (
            Writer(self._store, self._cache, self._embedder.fingerprint, reader.stages) as writer,
            prefetch(reader.events(), depth=_GROUPS_AHEAD) as events,
        ):
            return self._embed(reader, events, writer, started, on_progress)

    def embed(self, texts: Sequence[str]) -> tuple[Vectors, dict[int, Cause]]:
        """Vectors of texts, ``(len(texts), dimension)``, and why some have none; nothing is stored."""
        space = self._embedder.fingerprint.space
        return embed_list(texts, space, self._embedder.encode, self._executor.run, batch_size=self._batch_size)

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.asked()

    def _embed(
        self,
        reader: PieceReader,
        events: Iterable[Sequence[Event]],
        writer: Writer,
        started: float,
        on_progress: Callable[[Progress], None],
    ) -> Deduplicator[Piece]:
        """Take what was read through the model to the writer."""
        documents = OpenDocuments(writer, self._embedder.fingerprint.precision)
        pieces = Deduplicator(
            documents,
            self._embedder.fingerprint,
            model=self._embedder.name,
            cache=self._cache,
            store=self._store,
            stopped=self._stopping.asked,
            stages=reader.stages,
        )

        def tell() -> None:
            done = documents.finished, documents.finished_bytes
            on_progress(progress(reader, pieces.counts, *done, self._executor, time.perf_counter() - started))

        def on_batch() -> None:
            writer.keep(pieces.take_new())
            tell()

        groups = documents.pieces(events, tell)
        embed_unknown(groups, pieces, self._executor, batch_size=self._batch_size, on_batch=on_batch)
        if self._stopping.asked():
            documents.stage_unfinished()
        return pieces

    def _keep_deselected(self, source: Source) -> int:
        """Count as seen what is left out by an option alone; how many documents that are. A stop ends it."""
        number = 0
        for names in self._store.unseen(source.scopes, source.unlisted()):
            if self._stopping.asked():
                break
            states = self._store.states(names)  # who has none only failed to be read: that is settled by leaving it out
            kept = source.deselected({name: state.size for name, state in states.items()})
            self._store.update_stats([states[name] for name in kept])
            number += len(kept)
        return number

    def _finish(self, source: Source, stages: Stages, prune: Sequence[str] | None) -> tuple[int, int, bool]:
        """Do what is done when all is stored; whether that came to its end.

        `prune` are paths that are gone, or None where what is gone or left out is kept. Gives too how many documents an
        option left out, and how many went. Nothing of it is begun after a stop: the next run does it.
        """
        deselected = removed = 0
        stopped = self._stopping.asked
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
                stages.add("search", time.perf_counter() - started)
                return deselected, removed, True
        return deselected, removed, False
