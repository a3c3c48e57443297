"""One look at a store, or a table: what is wrong with it, and what its vectors are like together.

What is stored can be finite, of length 1 and still the vector of another text; only the model can tell.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from embedmill.api.disk_check import compare_with_disk
from embedmill.api.recompute import Recomputation, StoredText
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk
from embedmill.core.interfaces.store import Store
from embedmill.core.interfaces.table import Table
from embedmill.core.reports import VerifyProgress
from embedmill.core.rows import Stored, shown
from embedmill.engine.quality import Quality, QualityMeter
from embedmill.runtime.sampling import Reservoir

SAMPLE: Final = 64
"""Vectors computed again where nothing else is said. Where one in twenty is wrong, one of these is, 19 times of 20."""

LARGEST_SAMPLE: Final = 100_000
"""Some 300 MB of texts and vectors."""

MOST_MENDED: Final = 100_000
"""Findings that one repair mends, some 30 MB; of a store with more of them little is left."""

_AT_ONCE: Final = 1024  # vectors that are looked at together

_OPAQUE: Final = frozenset({DamageKind.FILE, DamageKind.TYPE, DamageKind.BINDING})
"""With these nothing more is known of a store."""

Say = Callable[[Finding], None]
"""Is told each thing that is wrong."""

OnProgress = Callable[[VerifyProgress], None]


@dataclass(frozen=True, slots=True)
class Extent:
    """What is looked at."""

    sample: int | None = SAMPLE  # vectors that are computed again, chosen at random; None: all
    read_data: bool = False  # documents are read, and not told by size and times alone
    model: str | None = None  # where the model lies, if not where its name leads


class Checked:
    """What one look at a store or table has found."""

    EXAMPLES: Final = 10  # of each kind

    def __init__(self, say: Say) -> None:
        self._say = say
        self.counts: Counter[DamageKind] = Counter()
        self.examples: dict[DamageKind, list[str]] = {}
        self.findings: list[Finding] = []
        self.documents: int | None = None
        self.chunks: int | None = None
        self.unknown = 0
        self.unknown_recomputed = 0
        self.recomputed = 0
        self.not_recomputed = ""
        self.quality: Quality | None = None
        self.vanished: Mapping[str, int] = {}

    @property
    def is_opaque(self) -> bool:
        """Whether what is wrong hides all the rest."""
        return bool(self.counts.keys() & _OPAQUE)

    def add(self, found: Finding) -> None:
        """Note one more."""
        self.counts[found.kind] += found.count
        examples = self.examples.setdefault(found.kind, [])
        if len(examples) < self.EXAMPLES:
            examples.append(str(found))
        if len(self.findings) < MOST_MENDED:
            self.findings.append(found)
        self._say(found)


def check_store(store: Store, given: Mapping[str, Any], extent: Extent, say: Say, on_progress: OnProgress) -> Checked:
    """Look at all of a store; `given` are the options that say where it is."""
    checked = Checked(say)
    with Recomputation(store.status, extent.model) as recomputation:
        vectors = _Vectors(checked, recomputation, extent.sample, on_progress)
        for finding in store.verify(lambda chunk: vectors.add(_of_chunk(chunk))):
            checked.add(finding)
        if checked.is_opaque:
            checked.not_recomputed = "the store is not sound" if extent.sample != 0 else ""
            return checked
        held = store.status()
        checked.documents, checked.chunks, checked.vanished = held.documents, held.chunks, store.vanished()
        suspects = [each for each in checked.findings if each.kind is DamageKind.MATRIX and each.index is not None]
        vectors.finish([_of_chunk(chunk) for chunk in store.read_chunks(suspects) if chunk is not None])
    told = {each.document for each in checked.findings}
    for finding in compare_with_disk(store, given, read_data=extent.read_data, told=told):
        checked.add(finding)
    return checked


def _of_chunk(chunk: StoredChunk) -> StoredText:
    return StoredText(chunk.document, chunk.index, chunk.name, chunk.input, chunk.vector, chunk.precision)


def check_table(name: str, table: Table, extent: Extent, say: Say, on_progress: OnProgress) -> Checked:
    """Look at the rows of a table that `ingest` has filled; `name` is what it was called.

    Vectors that others have written are counted; where the model is given they are compared with it as well.
    """
    checked = Checked(say)
    with Recomputation(table.noted, extent.model) as recomputation:
        vectors = _Vectors(checked, recomputation, extent.sample, on_progress)
        unknown = _Compared(checked, recomputation, 0 if extent.model is None else extent.sample)

        def look(row: Stored) -> None:
            (vectors if row.written else unknown).add(_of_row(name, row))

        for finding in table.verify(look):
            checked.add(finding)
        unknown.finish([])
        vectors.finish([])
    if checked.is_opaque:
        checked.not_recomputed = "the table is not sound" if extent.sample != 0 else ""
    counts = table.counts()
    checked.chunks, checked.unknown, checked.unknown_recomputed = counts.unchanged, counts.foreign, unknown.done
    return checked


def _of_row(table: str, row: Stored) -> StoredText:
    return StoredText(f"{table} {shown(row.key)}", None, row.name, row.text, row.vector)


class _Compared:
    """Takes vectors, one by one, and compares some, or all, with the model."""

    def __init__(self, checked: Checked, recomputation: Recomputation, sample: int | None) -> None:
        self._checked = checked
        self._recomputation = recomputation
        # None where all are compared.
        self._sample = None if sample is None else Reservoir(sample, random.Random())  # noqa: S311 - no secret
        self._chosen: dict[int, StoredText] = {}  # by their places in the sample
        self._new: list[StoredText] = []  # not compared yet, where all are
        self.done = 0

    def add(self, stored: StoredText) -> None:
        """Take one."""
        if self._sample is not None:
            if (place := self._sample.place()) is not None:
                self._chosen[place] = stored
            return
        self._new.append(stored)
        if len(self._new) == _AT_ONCE:
            self._compare(self._new)
            self._new = []

    def finish(self, suspects: Sequence[StoredText]) -> None:
        """Compare the rest, and those that are suspected to be wrong in any case."""
        if self._sample is None:
            self._compare(self._new)
            return
        chosen = {(each.document, each.name, each.index): each for each in (*suspects, *self._chosen.values())}
        self._compare(list(chosen.values()))

    def _compare(self, stored: Sequence[StoredText]) -> None:
        before = self._recomputation.done
        for finding in self._recomputation.compare(stored):
            self._checked.add(finding)
        self.done += self._recomputation.done - before


class _Vectors:
    """Takes the sound vectors, one by one: measures all of them together, and compares some, or all, with the model."""

    def __init__(
        self, checked: Checked, recomputation: Recomputation, sample: int | None, on_progress: OnProgress
    ) -> None:
        self._started = time.perf_counter()
        self._on_progress = on_progress
        self._seen = 0
        self._checked = checked
        self._recomputation = recomputation
        self._compared = _Compared(checked, recomputation, sample)
        self._meter: QualityMeter | None = None
        self._new: list[StoredText] = []  # not measured yet

    def add(self, stored: StoredText) -> None:
        """Take one."""
        self._compared.add(stored)
        self._new.append(stored)
        if len(self._new) == _AT_ONCE:
            self._look()

    def finish(self, suspects: Sequence[StoredText]) -> None:
        """Look at the rest, and compare those that are suspected to be wrong in any case."""
        self._look()
        self._compared.finish(suspects)
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
        self._seen += len(new)
        seconds = time.perf_counter() - self._started
        self._on_progress(VerifyProgress(self._seen, self._recomputation.done, seconds))
