"""Vectors of a list of texts, whatever computes them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

import numpy as np

from embedmill.core.checks import callables, one_of, whole_number
from embedmill.core.errors import EmbeddingError
from embedmill.core.interfaces.embedder import TASKS, Task, TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.spaces import Space
from embedmill.core.vectors import EMPTY_TEXT, Batch, Cause, Embedded, TokenIds, Vector, Vectors
from embedmill.engine.run import RunBatches, embed_items
from embedmill.engine.sink import Origin

OnProgress = Callable[[int], None]
"""Told how many texts are done."""

OnFailure = Callable[[int, Cause], None]
"""Told which text has no vector, counted from 0, and why."""

AT_ONCE = 4096
"""Texts that are held at once where they come without end: half a minute's work of two cores, some 8 MB."""

_CHARACTERS_AT_ONCE = 4_000_000

LOOK_UP_AT_ONCE = 512
"""Texts; few, so that the first ones are with the model while the others are looked up."""

ENCODE_AT_ONCE = 64
"""Texts. Small, so that tokenising the next ones runs beside the model rather than before it."""

NO_IDS: TokenIds = np.empty(0, np.int32)
"""Of a text that is not tokenised, and need not be where its vector is known."""


BLANK: Final = Cause(EMPTY_TEXT, "the text is empty or blank")
"""Why a text has no vector that says nothing."""


def checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list. Raises `TypeError` for what is no row of texts, as a single text."""
    if isinstance(texts, str | bytes | Mapping | Set) or not isinstance(texts, Iterable):
        raise TypeError(f"expected a list of texts, got a {type(texts).__name__}: put a single text into a list")
    listed = list(texts)
    for row, text in enumerate(listed):
        if not isinstance(text, str):
            raise TypeError(f"expected a list of texts: number {row} is a {type(text).__name__}")
    return listed


def some_texts(texts: Iterable[str]) -> list[str]:
    """As `checked`, of a list that has to have texts. Raises `ValueError` where it has none."""
    listed = checked(texts)
    if not listed:
        raise ValueError("there are no texts: give one or more")
    return listed


def run_late(batches: Iterable[Batch], begin: Callable[[], RunBatches]) -> Iterator[Embedded]:
    """As the run that `begin` gives, which is asked for when there is a batch: where all is known nothing is loaded."""
    for first in (coming := iter(batches)):
        yield from begin()(itertools.chain([first], coming))


def embed_each(
    texts: Iterable[str],
    embed: Callable[..., Vectors],
    *,
    task: Task,
    at_once: int,
    on_progress: OnProgress | None = None,
    on_failure: OnFailure | None = None,
) -> Iterator[Vector]:
    """The vectors of texts without end, ``(dimension,)`` each, in their order, in bounded memory.

    `embed` is called with the task and at most `at_once` texts, of 4 million characters together, or one that is
    longer. Raises what it raises, with the text's number in all; where `on_failure` is given it is told of texts that
    fail, whose vectors are NaN. Raises `TypeError` for what gives no texts, and `UsageError` for a task that there is
    not, an `at_once` below 1, and what is told and no function.
    """
    one_of("task", task, TASKS)
    if isinstance(texts, str | bytes | Mapping | Set) or not isinstance(texts, Iterable):
        raise TypeError(f"expected texts, got a {type(texts).__name__}: put a single text into a list")
    whole_number("at_once", at_once)
    callables(on_progress=on_progress, on_failure=on_failure)
    windows = _windows(iter(texts), at_once)

    def each() -> Iterator[Vector]:
        first = 0
        for window in windows:
            try:
                vectors = embed(window, task=task)
            except EmbeddingError as error:
                if on_failure is None:
                    raise failed(len(window), error.vectors, error.causes, first) from error
                vectors = error.vectors
                for row, cause in sorted(error.causes.items()):
                    on_failure(first + row, cause)
            first += len(window)
            if on_progress is not None:
                on_progress(first)
            yield from vectors

    return each()


def _windows(texts: Iterator[str], at_once: int) -> Iterator[list[str]]:
    window: list[str] = []
    characters = 0
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected texts: number {number} is a {type(text).__name__}")
        if window and (len(window) == at_once or characters + len(text) > _CHARACTERS_AT_ONCE):
            yield window
            window, characters = [], 0
        window.append(text)
        characters += len(text)
    if window:
        yield window


def failed(total: int, vectors: Vectors, causes: Mapping[int, Cause], first: int = 0) -> EmbeddingError:
    """The error of a list some of whose texts have no vector; the first row is that of text number `first`."""
    row = min(causes)
    return EmbeddingError(
        f"{len(causes):,} of {total:,} texts have no vector, the first of them text {first + row:,}: "
        f"{causes[row].type}: {causes[row].message}",
        vectors,
        causes,
        first,
    )


@dataclass(slots=True)
class ListedText:
    """A text of a list, as the embed loop takes it."""

    row: int
    input: str
    ids: TokenIds
    hash: bytes = b""  # where it may have a vector already


class Array:
    """A sink that is an array; the rows of what is rejected are NaN."""

    def __init__(self, rows: int, dimension: int) -> None:
        self.vectors: Vectors = np.full((rows, dimension), np.nan, np.float32)
        self.causes: dict[int, Cause] = {}
        self.done = 0

    def accept(self, item: ListedText, vector: Vector, origin: Origin) -> None:
        """Put the vector into its row."""
        self.vectors[item.row] = vector
        self.done += 1

    def reject(self, item: ListedText, cause: Cause) -> None:
        """Note the cause."""
        self.causes[item.row] = cause
        self.done += 1


def embed_list(
    texts: Sequence[str],
    space: Space,
    encode: Callable[[Sequence[str]], Sequence[TokenIds]],
    run: RunBatches,
    *,
    batch_size: int | None = None,
    streams: int = 1,
    on_progress: OnProgress | None = None,
) -> tuple[Vectors, dict[int, Cause]]:
    """Vectors of ``(len(texts), dimension)`` in the texts' order; NaN in the rows that have a cause.

    `run` is an executor's, or does as one, of so many `streams`. `on_progress` is told after every batch how many texts
    are done. Raises `UsageError` where `run` does not answer each batch.
    """
    array = Array(len(texts), space.dimension)

    def items() -> Iterator[ListedText]:
        for first in range(0, len(texts), ENCODE_AT_ONCE):
            window = texts[first : first + ENCODE_AT_ONCE]
            yield from map(ListedText, itertools.count(first), window, encode(window))

    def on_batch() -> None:
        if on_progress is not None:
            on_progress(array.done)

    embed_items(items(), run, array, space, batch_size=batch_size, streams=streams, on_batch=on_batch)
    return array.vectors, array.causes


def seconds_for(
    tokens: int,
    sample: Sequence[tuple[str, TokenIds]],
    embedder: TokenEmbedder,
    executor: Executor,
    batch_size: int | None = None,
) -> float:
    """How long embedding so many tokens will take, from embedding the sample; loading the model counts too.

    `batch_size` limits the texts of a batch; by default its tokens alone do.
    """
    if not sample:
        return 0.0
    items = [ListedText(row, text, ids) for row, (text, ids) in enumerate(sample)]
    loading = time.perf_counter()
    embedder.load()
    started = time.perf_counter()
    space = embedder.fingerprint.space
    embed_items(items, executor.run, Array(len(items), space.dimension), space, batch_size=batch_size)
    speed = sum(len(item.ids) for item in items) / (time.perf_counter() - started)
    return started - loading + tokens / speed
