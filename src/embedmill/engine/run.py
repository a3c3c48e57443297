"""The embed loop: from texts with their token ids to vectors, whoever asks and wherever they go.

Results leave by calls of a sink, and not by a generator that the caller would iterate over. Where all is known from
before, as when nothing but names has changed, millions of items have their vectors before the executor is given a
single batch; a generator over the executor's answers could give them out only with such an answer, and until then they
would pile up in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np

from embedmill.core.interfaces.executor import Executor
from embedmill.core.spaces import Space
from embedmill.core.vectors import Batch, Embedded, Vector
from embedmill.engine.batching import PATIENCE, Outstanding, batches
from embedmill.engine.dedup import Deduplicator
from embedmill.engine.sink import HashedItem, Item, Sink
from embedmill.engine.validation import VectorValidator
from embedmill.runtime.stages import Stages

I = TypeVar("I", bound=Item)  # noqa: E741
H = TypeVar("H", bound=HashedItem)

RunBatches = Callable[[Iterable[Batch]], Iterable[Embedded]]
"""An executor's `run`, or what does as one."""

_NO_VECTOR: Vector = np.empty(0, np.float32)


def embed_items(
    items: Iterable[I],
    run: RunBatches,
    sink: Sink[I],
    space: Space,
    *,
    batch_size: int | None = None,
    patience: int = PATIENCE,
    streams: int = 1,
    stopped: Callable[[], bool] = lambda: False,
    on_batch: Callable[[], None] = lambda: None,
    stages: Stages | None = None,
) -> None:
    """Embed the items in batches of nearly one length; the sink accepts each sound vector and rejects all others.

    `batch_size`, `patience` and `streams` are those of `engine.batching.batches`. Once `stopped`, no batch is begun;
    what is not settled then the sink never hears of. `on_batch` is called after each batch. Raises `UsageError` where
    `run` does not answer each batch.
    """
    validator = VectorValidator.of(space)
    stages = Stages() if stages is None else stages
    outstanding: Outstanding[list[I]] = Outstanding()

    def calls() -> Iterator[Batch]:
        for group in batches(items, lambda item: len(item.ids), most=batch_size, patience=patience, streams=streams):
            if stopped():
                return
            batch = Batch(tuple(item.input for item in group), tuple(item.ids for item in group))
            outstanding.add(batch, group)
            yield batch

    with _ended(run(calls())) as answers:
        for embedded in answers:
            group = outstanding.take(embedded)
            vectors = embedded.vectors
            started = time.perf_counter()
            causes = validator.check(vectors) | dict(embedded.causes)
            stages.add("validate", time.perf_counter() - started)
            for row, item in enumerate(group):
                if row in causes:
                    sink.reject(item, causes[row])
                else:
                    sink.accept(item, vectors[row], "embedded")
            on_batch()
    if not stopped():
        outstanding.check()


@contextmanager
def _ended(answers: Iterable[Embedded]) -> Iterator[Iterable[Embedded]]:
    """The executor's answers, whose run is ended where an error leaves it, and not when that is forgotten."""
    try:
        yield answers
    finally:
        if isinstance(answers, Generator):
            answers.close()


def embed_in_turns(groups: Iterable[Sequence[H]], items: Deduplicator[H], embed: Callable[[Iterable[H]], None]) -> None:
    """Have what is unknown of the groups embedded, and then what other runs were to embed and have not.

    `embed` is called with some items at a time, and has put their vectors into the cache, or is about to, when it ends:
    so no two runs wait for each other.
    """
    coming = iter(groups)
    with items.claiming():
        while True:
            embed(items.unknown(coming))
            while items.awaits():
                if undelivered := items.undelivered():
                    embed(undelivered)
            if not items.paused:
                return


def embed_unknown(
    groups: Iterable[Sequence[H]],
    items: Deduplicator[H],
    executor: Executor,
    *,
    batch_size: int | None = None,
    patience: int = PATIENCE,
    on_batch: Callable[[], None] = lambda: None,
) -> None:
    """Embed what is unknown of groups of items. Arguments and errors are those of `embed_items`.

    What has no vector after a stop is not counted: the next run does that.
    """

    def started_for(unknown: Iterable[H]) -> Iterator[H]:
        for item in unknown:
            executor.start()  # to load the model while the first batch is gathered
            yield item

    def embed(unknown: Iterable[H]) -> None:
        embed_items(
            started_for(unknown),
            items.stages.timed("embed", executor.run),
            items,
            items.fingerprint.space,
            batch_size=batch_size,
            patience=patience,
            stopped=items.stopped,
            on_batch=on_batch,
            stages=items.stages,
        )

    started = time.perf_counter()
    embed_in_turns(groups, items, embed)
    items.stages["embed"] = items.stages.get("embed", 0.0) + time.perf_counter() - started  # no call: those are batches
    items.counts["chunks"] -= items.unsettled()


def count_unknown(groups: Iterable[Sequence[H]], items: Deduplicator[H]) -> None:
    """Do as if the groups' items were embedded, for a dry run: what is unknown gets a vector of no numbers at once."""
    for item in items.unknown(groups):
        items.accept(item, _NO_VECTOR, "embedded")
        items.take_new()  # and keep nothing
