"""The story of a run that embeds a store anew with another model, while searches go on from what it has.

    source -> the second store              (as any run does; what an earlier one has stored there is not done again)
    what else the first store has -> the second, from its chunks
    index for searches -> swap

A run that is killed is gone on with by the next; the swap is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from embedmill.core.documents import DocumentState, Failure
from embedmill.core.errors import Stopped, StoreError
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.reembedding import MOST_FAILED, ReembeddableStore
from embedmill.core.interfaces.source import Source
from embedmill.core.reports import Progress, Report
from embedmill.pipelines.index.indexer import Indexer
from embedmill.pipelines.index.kept import KeptReader, pages
from embedmill.pipelines.index.soundness import mended, refuse_unsound
from embedmill.pipelines.reports import counted
from embedmill.runtime.paths import both, within

OnProgress = Callable[[Progress], None]


class Reembedding:
    """Fills a second store beside the first and puts it in its place."""

    def __init__(
        self,
        first: ReembeddableStore,
        second: ReembeddableStore,
        embedder: TokenEmbedder,
        make_indexer: Callable[[ReembeddableStore], Indexer],
    ) -> None:
        """`make_indexer` gives what fills a store with this embedder's vectors."""
        self._first, self._second = first, second
        self._embedder = embedder
        self._indexer = make_indexer(second)
        self._unsound: set[str] = set()  # what an interrupted run has left and is to be stored again
        self._unread: dict[str, Failure] = {}  # why documents could not be read that were embedded all the same

    def stop(self) -> None:
        """As `Indexer.stop`: the store stays as it is, and the next run goes on."""
        self._indexer.stop()

    def run(
        self,
        source: Source,
        *,
        prune: bool = False,
        force: bool = False,
        missing: Iterable[str] = (),
        remember: str | None = "{}",
        on_progress: OnProgress = lambda _: None,
    ) -> Report:
        """Embed what the source has, and what else the store has, and change to it; arguments are those of an indexer.

        What a run over the same source would keep in the store is kept, and embedded from the chunks that are stored.
        Documents that failed in an earlier run of this kind are tried again. Raises what `Indexer.run`
        raises, and `StoreError` where too many chunks have no vector, or what was embedded is not sound and cannot be
        mended: then the store stays as it is.
        """
        last: list[Progress] = []

        def watch(progress: Progress) -> None:
            last[:] = [progress]
            on_progress(progress)

        missing = list(missing)
        if self._second.status().space is not None:  # an interrupted run has been here
            self._unsound = mended(self._second, self._indexer.embed)
        report = self._indexer.run(
            source,
            again=frozenset([*self._second.failed_documents(), *self._unsound]),
            prune=prune,
            force=force,
            missing=missing,
            remember=remember,
            on_progress=watch,
        )
        if not report.interrupted:
            gone = [*both(missing), *both(self._first.vanished())] if prune else []
            report = self._keep(
                source, gone, report, lambda progress: on_progress(_sum([*last, progress])), prune=prune
            )
        if not report.interrupted:
            self._check_failures()
            refuse_unsound(self._first.url, self._second, self._indexer.embed)
        if swapped := not (report.interrupted or self._indexer.stopped):
            self._second.close()
            self._first.swap()
        return replace(report, store=self._first.url, swapped=swapped, interrupted=not swapped)

    def _keep(
        self, source: Source, gone: Sequence[str], report: Report, on_progress: OnProgress, *, prune: bool
    ) -> Report:
        """Embed what the first store has beside what was read; the report with that."""
        started = time.perf_counter()
        reader = KeptReader(
            self._first,
            self._embedder,
            lambda states: self._wanted(source, gone, states, prune=prune),
            self._indexer.begin_stages(),
        )
        pieces = self._indexer.take(reader, started, on_progress)
        counts = {name: getattr(report, name) + value for name, value in counted(pieces.counts).items()}
        stages = {name: round(value + reader.stages[name], 3) for name, value in report.stages.items()}
        interrupted = self._indexer.stopped
        if not interrupted:
            self._keep_failures(source.scopes, gone)
            self._forget(source.scopes)
            try:
                self._second.prepare_search()
            except Stopped:
                interrupted = True
        return replace(
            report,
            **counts,
            kept=reader.kept,
            truncated=report.truncated + reader.truncated,
            unknown=report.unknown + reader.unknown,
            seconds=round(report.seconds + time.perf_counter() - started, 3),
            stages=stages,
            failures=self._second.status().failures,
            interrupted=interrupted,
        )

    def _wanted(
        self, source: Source, gone: Sequence[str], states: Mapping[str, DocumentState], *, prune: bool
    ) -> list[str]:
        """Those that a run over the source would keep in the store, though it has not read them.

        Without those that the second store has already, as the first has them now.
        """
        if self._indexer.stopped:
            return []
        held = self._second.states(list(states))
        inside = {name: state.size for name, state in states.items() if within(name, source.scopes)}
        outside = [
            name
            for name, state in states.items()
            if name not in inside
            and not within(name, gone)
            and (name not in held or name in self._unsound or held[name].content_hash != state.content_hash)
        ]
        missing = {name: size for name, size in inside.items() if name not in held}
        left_out = set() if prune or not missing else set(source.deselected(missing))
        unread = {each.document: each for each in self._second.failures() if each.index < 0} if missing else {}
        self._unread |= {name: unread[name] for name in missing if name in unread}
        kept = (name for name in missing if name in left_out | unread.keys() or within(name, source.unlisted()))
        return [*outside, *kept]

    def _keep_failures(self, scopes: Sequence[str], gone: Sequence[str]) -> None:
        """Keep on record what could not be read, by this run or of what it has not looked at."""
        for document, failure in self._unread.items():
            self._second.fail(document, [failure])
        known = {failure.document for failure in self._second.failures()}
        for failure in self._first.failures():
            elsewhere = not within(failure.document, [*scopes, *gone])
            if failure.index < 0 and failure.document not in known and elsewhere:
                self._second.fail(failure.document, [failure])

    def _forget(self, scopes: Sequence[str]) -> None:
        """Remove what was taken out of the first store since the second was begun."""
        for page in pages(self._second.ledger()):
            held = self._first.states(list(page))
            if gone := [name for name in page if name not in held and not within(name, scopes)]:
                self._second.forget(gone)

    def _check_failures(self) -> None:
        before = {(failure.document, failure.index, failure.cause) for failure in self._first.failures()}
        causes = [
            failure.cause
            for failure in self._second.failures()
            if failure.index >= 0 and (failure.document, failure.index, failure.cause) not in before
        ]
        chunks = len(causes) + self._second.status().chunks
        if len(causes) > MOST_FAILED * chunks:
            raise StoreError(
                f"store {self._first.url} stays as it is: {len(causes):,} of {chunks:,} chunks have no vector of "
                f"{self._embedder.name} ({causes[0].type}: {causes[0].message}): --re-embed tries them again, "
                "`embedmill forget --re-embed` gives it up"
            )


def _sum(parts: Sequence[Progress]) -> Progress:
    """Of runs that come after one another."""
    fields = ("documents", "bytes", "unchanged", "chunks", "embedded", "cached", "duplicates", "failed", "tokens")
    sums = {name: sum(getattr(part, name) for part in parts) for name in fields}
    return replace(parts[-1], **sums, seconds=sum(part.seconds for part in parts))
