"""Whether a store, or a table, holds what it should: the command ``embedmill verify``."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any, Final

from embedmill.api.checking import SAMPLE, Checked, Extent, OnProgress, Say, check_store, check_table
from embedmill.api.mend import OnStart, mend_store, mend_table
from embedmill.api.recompute import Recomputation
from embedmill.api.settings import Settings
from embedmill.api.stores import open_chosen_store, open_chosen_table
from embedmill.core.damage import DamageKind
from embedmill.core.errors import StoreError
from embedmill.core.interfaces.table import Table
from embedmill.engine.quality import Quality
from embedmill.storage.registry import is_server

_ROUNDS: Final = 3
"""Times that what is found is mended: what lay beneath damage shows when that is mended."""

_BEYOND: Final = frozenset({DamageKind.FILE, DamageKind.BINDING})
"""What cannot be mended of a store, nor anything beside it. What a table is bound to each run notes anew."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` has found, and left."""

    store: str  # its URL, without a password
    damage: Mapping[str, int]  # what is wrong now, by the names of `DamageKind`: how often
    examples: Mapping[str, Sequence[str]]  # the first of each kind
    documents: int | None  # None where it cannot be told, as of a damaged store; of a table None
    chunks: int | None  # of a table: rows that have a vector that embedmill has written
    recomputed: int  # vectors that were computed again
    not_recomputed: str  # why none were; "" where some were, or none were to be
    quality: Quality | None  # of the sound vectors; None where there are none
    vanished: Mapping[str, int] = field(default_factory=dict)  # roots of a store that are gone: path -> documents
    repaired: Mapping[str, int] | None = None  # what was wrong before, and is not now; None where nothing was mended
    interrupted: bool = False  # mending was stopped: the rest of the verdict is what was found before
    unknown: int = 0  # vectors of a table that embedmill did not write
    unknown_recomputed: int = 0  # of these, computed again, which is done where the model is given

    @property
    def problems(self) -> int:
        """How much is wrong."""
        return sum(self.damage.values())

    @property
    def unproven(self) -> int:
        """Vectors of unknown origin, where none of them was computed again: whether they are sound nobody knows."""
        return 0 if self.unknown_recomputed else self.unknown

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, as far as was looked, and all vectors are of known origin, or like the model's."""
        return not self.problems and not self.unproven


def verify_store(
    given: Mapping[str, Any],
    chosen: Settings,
    say: Say,
    extent: Extent,
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

        def check(say: Say, extent: Extent) -> Checked:
            return check_store(store, given, extent, say, on_progress)

        def mend(found: Checked) -> bool:
            with Recomputation(store.status, extent.model) as recomputation:
                options = dict(given) | ({"model": extent.model} if extent.model else {})
                return mend_store(store, found.findings, options, chosen, recomputation, on_start=on_start)

        return _verdict(store.url, check, mend if repair else None, say, extent, _BEYOND)


def verify_table(
    table: str,
    chosen: Settings,
    say: Say,
    extent: Extent,
    *,
    vector: str | None = None,
    repair: bool = False,
    on_start: OnStart = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> Verdict:
    """Check the vectors of a table that `ingest` has filled: ``embedmill verify TABLE``.

    They have to be those that were written, of the rows' present texts, sound, and what the table's own model makes of
    the texts. Arguments and errors are those of `verify_store`; `vector` names the column where there are several.
    Raises `StoreError` where embedmill knows of no vectors in the column.
    """
    store = ""

    def check(say: Say, extent: Extent) -> Checked:
        nonlocal store
        with open_chosen_table(table, chosen, vector=vector) as opened:
            store = opened.url
            _check_known(opened, chosen)
            return check_table(table, opened, extent, say, on_progress)

    def mend(found: Checked) -> bool:
        with open_chosen_table(table, chosen, vector=vector) as opened:
            return mend_table(table, opened, found.findings, chosen, extent.model, on_start=on_start)

    return replace(_verdict("", check, mend if repair else None, say, extent, frozenset()), store=store)


def _check_known(table: Table, chosen: Settings) -> None:
    """Raise `StoreError` where `ingest` has filled nothing there, or what was noted of it is gone."""
    if table.noted().space is None:
        place = f" by the schema {chosen.schema}" if is_server(chosen.store) else ""
        other = ", --schema names another schema" if place else ""
        raise StoreError(
            f"{table.url}: nothing is known of {table.name}.{table.columns[1]}{place}: `embedmill status` lists the "
            f"tables that are filled, `embedmill ingest {shlex.quote(table.name)}` fills this one{other}"
        )


def _verdict(
    store: str,
    check: Callable[[Say, Extent], Checked],
    mend: Callable[[Checked], bool] | None,
    say: Say,
    extent: Extent,
    beyond: frozenset[DamageKind],
) -> Verdict:
    """Check, mend and check again, as long as that helps; nothing is mended where something `beyond` that is found."""
    first = found = looked = check(say, extent)
    interrupted = False
    for _ in range(_ROUNDS if mend else 0):
        if mend is None or not found.counts or found.counts.keys() & beyond:
            break
        interrupted = not mend(found)
        if interrupted:
            break
        # What was compared with the model has been mended with it: some are compared again, not all.
        some = replace(extent, sample=SAMPLE) if extent.sample is None and not looked.is_opaque else extent
        before, found = found, check(lambda _: None, some)
        if looked.is_opaque:  # what it hid is seen for the first time
            looked = found
        if found.counts == before.counts:
            break
    left = {kind.value: count for kind, count in sorted(found.counts.items())}
    was = first.counts | looked.counts
    repaired = {kind.value: count - found.counts[kind] for kind, count in sorted(was.items())}
    return Verdict(
        store,
        left,
        {kind.value: examples for kind, examples in found.examples.items()},
        found.documents,
        found.chunks,
        looked.recomputed,
        looked.not_recomputed,
        found.quality,
        found.vanished,
        {kind: count for kind, count in repaired.items() if count > 0} if mend else None,
        interrupted,
        found.unknown,
        found.unknown_recomputed,
    )
