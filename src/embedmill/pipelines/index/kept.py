"""Documents of which a store has the chunks, on their way into another space: nothing of them is read or cut."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from embedmill.core.documents import DocumentState, Failure
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.reembedding import ReembeddableStore
from embedmill.pipelines.index.reader import GROUP, Event, Pending, PieceReader
from embedmill.runtime.stages import Stages

_PAGE: Final = 1000  # documents

Keeps = Callable[[Mapping[str, DocumentState]], Collection[str]]
"""Which of these documents of the first store are wanted in the second."""


def pages(ledger: Iterator[DocumentState]) -> Iterator[dict[str, DocumentState]]:
    """A ledger in parts, by the documents' ids."""
    while page := list(itertools.islice(ledger, _PAGE)):
        yield {state.id: state for state in page}


class KeptReader(PieceReader):
    """Makes pieces of the chunks that the first store has, as they were cut."""

    def __init__(self, first: ReembeddableStore, embedder: TokenEmbedder, keeps: Keeps, stages: Stages) -> None:
        super().__init__(embedder, stages)
        self._first = first
        self._keeps = keeps
        self._key = embedder.fingerprint.key
        self._failures: dict[str, list[Failure]] = {}  # of chunks
        self.kept = 0

    def events(self) -> Iterator[list[Event]]:
        """In the first store's order."""
        for failure in self._first.failures():
            if failure.index >= 0:
                self._failures.setdefault(failure.document, []).append(failure)
        for states in pages(self._first.ledger()):
            for document in sorted(self._keeps(states)):
                self.kept += 1
                yield from self._document(states[document])

    def _document(self, state: DocumentState) -> Iterator[list[Event]]:
        # How it was cut stays in the recipe: where this model cuts otherwise, a run that finds the file reads it.
        cut = state.recipe.partition("/")[2]
        pending = Pending(replace(state, recipe=f"{self._key}/{cut}"), failures=self._failures.get(state.id, []))
        chunks = self._first.chunks_of(state.id)
        while True:
            started = time.perf_counter()
            parts = list(itertools.islice(chunks, GROUP))
            tokens = self._measure([part.input for part in parts]) if parts else []
            group: list[Event] = [
                self._piece(replace(part, token_count=count), pending)
                for part, count in zip(parts, tokens, strict=True)
            ]
            self.stages.add("read", time.perf_counter() - started)
            if len(parts) < GROUP:
                yield [*group, pending]
                self._ids.clear()
                return
            yield group
