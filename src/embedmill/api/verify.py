"""Whether a store, or a table, holds what it should: the command ``embedmill verify``.

What is stored can be finite, of length 1 and still the vector of another text; only the model can tell.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Generic, TypeVar

import numpy as np

from embedmill.api.disk_check import compare_with_disk
from embedmill.api.mend import OnStart, mend_store, mend_table
from embedmill.api.recompute import Recomputation, StoredText
from embedmill.api.settings import Settings
from embedmill.api.stores import open_chosen_store, open_chosen_table
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk
from embedmill.core.interfaces.store import Store
from embedmill.core.interfaces.table import Table
from embedmill.core.reports import VerifyProgress
from embedmill.core.rows import Stored, shown
from embedmill.engine.quality import Quality, QualityMeter

T = TypeVar("T")

SAMPLE: Final = 64
"""Vectors computed again where nothing else is said. Where one in twenty is wrong, one of these is, 19 times of 20."""

LARGEST_SAMPLE: Final = 100_000
"""Some 300 MB of texts and vectors."""

MOST_MENDED: Final = 100_000
"""Findings that one repair mends, some 30 MB; of a store with more of them little is left."""

_ROUNDS: Final = 3
"""Times that what is found is mended: what lay beneath damage shows when that is mended."""

_AT_ONCE: Final = 1024  # vectors that are looked at together

_OPAQUE: Final = frozenset({DamageKind.FILE, DamageKind.TYPE, DamageKind.BINDING})
"""With these nothing more is known of a store."""

_BEYOND: Final = frozenset({DamageKind.FILE, DamageKind.BINDING})
"""What cannot be mended, nor anything beside it."""

Say = Callable[[Finding], None]
"""Is told each thing that is wrong."""

OnProgress = Callable[[VerifyProgress], None]


@dataclass(frozen=True, slots=True)
class Extent:
    """What is looked at."""

    sample: int | None = SAMPLE  # vectors that are computed again, chosen at random; None: all
    read_data: bool = False  # documents are read, and not told by size and times alone
    model: str | None = None  # where the model lies, if not where its name leads


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` has found, and left."""

    store: str  # its URL, without a password
    damage: Mapping[str, int]  # what is wrong now, by the names of `DamageKind`: how often
    examples: Mapping[str, Sequence[str]]  # the first of each kind
    documents: int | None  # None where it cannot be told, as of a damaged store; of a table None
    chunks: int | None  # of a table: rows that have a vector
    recomputed: int  # vectors that were computed again
    not_recomputed: str  # why none were; "" where some were, or none were to be
    quality: Quality | None  # of the sound vectors; None where there are none
    vanished: Mapping[str, int] = field(default_factory=dict)  # roots of a store that are gone: path -> documents
    repaired: Mapping[str, int] | None = None  # what was wrong before, and is not now; None where nothing was mended
    interrupted: bool = False  # mending was stopped: the rest of the verdict is what was found before

    @property
    def problems(self) -> int:
        """How much is wrong."""
        return sum(self.damage.values())


def verify_store(
    given: Mapping[str, Any],
    chosen: Settings,
    say: Say,
    extent: Extent = Extent(),
    *,
    repair: bool = False,
    on_start: OnStart = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> Verdict:
    """Check all of a store: itself, the documents on disk against it, and some vectors against its own model.

    `given` are the options that say where the store is, `chosen` the settings of which they are a part. With `repair`
    what is wrong is mended (see `mend_store`), and what is left after that is what the verdict tells. `on_start` is
    given what has a `stop()`, and None when that has ended; `on_progress` is told how far it is. Raises `StoreError`
    where the store cannot be read, and `StoreBusy` where it cannot be mended since a run writes to it.
    """
    with closing(open_chosen_store(chosen, write=repair, create=False)) as store:

        def check(say: Say, extent: Extent) -> _Checked:
            return _check_store(store, given, extent, say, on_progress)

        def mend(found: _Checked) -> bool:
            with Recomputation(store.status, extent.model) as recomputation:
                options = dict(given) | ({"model": extent.model} if extent.model else {})
                return mend_store(store, found.findings, options, chosen, recomputation, on_start=on_start)

        return _verdict(store.url, check, mend if repair else None, say, extent)


def verify_table(
    table: str,
    chosen: Settings,
    say: Say,
    extent: Extent = Extent(),
    *,
    vector: str | None = None,
    repair: bool = False,
    on_start: OnStart = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> Verdict:
    """Check the vectors of a table that `ingest` has filled: ``embedmill verify TABLE``.

    They have to be those that were written, of the rows' present texts, sound, and what the table's own model makes of
    the texts. Arguments and errors are those of `verify_store`; `vector` names the column where there are several.
    """
    store = ""

    def check(say: Say, extent: Extent) -> _Checked:
        nonlocal store
        with open_chosen_table(table, chosen, vector=vector) as opened:
            store = opened.url
            return _check_table(table, opened, extent, say, on_progress)

    def mend(found: _Checked) -> bool:
        with open_chosen_table(table, chosen, vector=vector) as opened:
            return mend_table(opened, found.findings, chosen, extent.model, on_start=on_start)

    return replace(_verdict("", check, mend if repair else None, say, extent), store=store)


def _verdict(
    store: str,
    check: Callable[[Say, Extent], _Checked],
    mend: Callable[[_Checked], bool] | None,
    say: Say,
    extent: Extent,
) -> Verdict:
    """Check, mend and check again, as long as that helps."""
    first = found = check(say, extent)
    interrupted = False
    for _ in range(_ROUNDS if mend else 0):
        if mend is None or not found.counts or found.counts.keys() & _BEYOND:
            break
        interrupted = not mend(found)
        if interrupted:
            break
        # What was compared with the model has been mended with it: some are compared again, not all.
        before, found = (
            found,
            check(lambda _: None, replace(extent, sample=SAMPLE) if extent.sample is None else extent),
        )
        if found.counts == before.counts:
            break
    left = {kind.value: count for kind, count in sorted(found.counts.items())}
    repaired = {kind.value: count - found.counts[kind] for kind, count in sorted(first.counts.items())}
    return Verdict(
        store,
        left,
        {kind.value: examples for kind, examples in found.examples.items()},
        found.documents,
        found.chunks,
        first.recomputed,
        first.not_recomputed,
        found.quality,
        found.vanished,
        {kind: count for kind, count in repaired.items() if count > 0} if mend else None,
        interrupted,
    )


class _Checked:
    """What one look at a store or table has found."""

    EXAMPLES: Final = 10  # of each kind

    def __init__(self, say: Say) -> None:
        self._say = say
        self.counts: Counter[DamageKind] = Counter()
        self.examples: dict[DamageKind, list[str]] = {}
        self.findings: list[Finding] = []
        self.documents: int | None = None
        self.chunks: int | None = None
        self.recomputed = 0
        self.not_recomputed = ""
        self.quality: Quality | None = None
        self.vanished: Mapping[str, int] = {}

    def add(self, found: Finding) -> None:
        """Note one more."""
        self.counts[found.kind] += found.count
        examples = self.examples.setdefault(found.kind, [])
        if len(examples) < self.EXAMPLES:
            examples.append(str(found))
        if len(self.findings) < MOST_MENDED:
            self.findings.append(found)
        self._say(found)


def _check_store(store: Store, given: Mapping[str, Any], extent: Extent, say: Say, on_progress: OnProgress) -> _Checked:
    checked = _Checked(say)
    with Recomputation(store.status, extent.model) as recomputation:
        vectors = _Vectors(checked, recomputation, extent.sample, on_progress)
        for finding in store.verify(lambda chunk: vectors.add(_of_chunk(chunk))):
            checked.add(finding)
        if checked.counts.keys() & _OPAQUE:
            checked.not_recomputed = "the store is not sound" if extent.sample != 0 else ""
            return checked
        held = store.status()
        checked.documents, checked.chunks, checked.vanished = held.documents, held.chunks, store.vanished()
        suspects = [each for each in checked.findings if each.kind is DamageKind.MATRIX and each.index is not None]
        vectors.finish([_of_chunk(chunk) for chunk in store.read_chunks(suspects) if chunk is not None])
    for finding in compare_with_disk(store, given, read_data=extent.read_data):
        checked.add(finding)
    return checked


def _of_chunk(chunk: StoredChunk) -> StoredText:
    return StoredText(chunk.document, chunk.index, chunk.name, chunk.input, chunk.vector, chunk.precision)


def _check_table(name: str, table: Table, extent: Extent, say: Say, on_progress: OnProgress) -> _Checked:
    checked = _Checked(say)
    with Recomputation(table.noted, extent.model) as recomputation:
        vectors = _Vectors(checked, recomputation, extent.sample, on_progress)
        for finding in table.verify(lambda row: vectors.add(_of_row(name, row))):
            checked.add(finding)
        vectors.finish([])
    counts = table.counts()
    checked.chunks = counts.rows - counts.left - counts.failures
    return checked


def _of_row(table: str, row: Stored) -> StoredText:
    return StoredText(f"{table} {shown(row.key)}", None, row.name, row.text, row.vector)


class _Vectors:
    """Takes the sound vectors, one by one: measures all of them together, and compares some, or all, with the model."""

    def __init__(
        self, checked: _Checked, recomputation: Recomputation, sample: int | None, on_progress: OnProgress
    ) -> None:
        self._started = time.perf_counter()
        self._on_progress = on_progress
        self._seen = 0
        self._checked = checked
        self._recomputation = recomputation
        self._sample = None if sample is None else _Reservoir[StoredText](sample)
        self._meter: QualityMeter | None = None
        self._new: list[StoredText] = []  # not measured yet, nor compared where all are

    def add(self, stored: StoredText) -> None:
        """Take one."""
        if self._sample is not None:
            self._sample.offer(stored)
        self._new.append(stored)
        if len(self._new) == _AT_ONCE:
            self._look()

    def finish(self, suspects: Sequence[StoredText]) -> None:
        """Look at the rest, and compare those that are suspected to be wrong in any case."""
        self._look()
        if self._sample is not None:
            chosen = {(each.name, each.index): each for each in (*suspects, *self._sample.items)}
            self._compare(list(chosen.values()))
        self._checked.quality = self._meter.result() if self._meter else None
        self._checked.recomputed = self._recomputation.done
        self._checked.not_recomputed = self._recomputation.reason

    def _look(self) -> None:
        new, self._new = self._new, []
        if not new:
            return
        if self._meter is None:
            self._meter = QualityMeter(len(new[0].vector))
        self._meter.add(np.stack([each.vector for each in new]))
        if self._sample is None:
            self._compare(new)
        self._seen += len(new)
        seconds = time.perf_counter() - self._started
        self._on_progress(VerifyProgress(self._seen, self._recomputation.done, seconds))

    def _compare(self, stored: Sequence[StoredText]) -> None:
        for finding in self._recomputation.compare(stored):
            self._checked.add(finding)


class _Reservoir(Generic[T]):
    """At most so many of the items offered, each as likely as any other."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._offered = 0
        self.items: list[T] = []

    def offer(self, item: T) -> None:
        """Take an item, or leave it."""
        self._offered += 1
        if len(self.items) < self._size:
            self.items.append(item)
        elif (place := random.randrange(self._offered)) < self._size:  # noqa: S311 - a sample, no secret
            self.items[place] = item
