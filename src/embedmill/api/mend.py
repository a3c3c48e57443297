"""Mending what `embedmill verify` has found: only what is wrong is embedded again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from embedmill.api.assemble import build_components, embedder_of, with_prompts_of
from embedmill.api.embedders import native_precision
from embedmill.api.ingest import make_ingestor
from embedmill.api.recompute import Recomputation
from embedmill.api.retry import store_again
from embedmill.api.run_logs import remembered
from embedmill.api.settings import Settings
from embedmill.core.damage import NOT_TRUSTED, READ_ANEW, RECOMPUTABLE, USELESS, DamageKind, Finding
from embedmill.core.documents import WRITTEN
from embedmill.core.interfaces.executor import Stoppable
from embedmill.core.interfaces.store import Store
from embedmill.core.interfaces.table import Table
from embedmill.core.vectors import Vector
from embedmill.embedders.testing import is_test_model
from embedmill.runtime.paths import file_path

OnStart = Callable[[Stoppable | None], object]
"""Is given what can be stopped, and None when that has ended."""

_AT_ONCE: Final = 512  # vectors that are computed, and written, together


def mend_store(
    store: Store,
    found: Sequence[Finding],
    given: Mapping[str, Any],
    chosen: Settings,
    recomputation: Recomputation,
    *,
    on_start: OnStart = lambda _: None,
) -> bool:
    """Mend what can be; whether that came to its end.

    `store` is open for writing; `given` are the options of this command, which say where it is.

    A vector is computed from the text that is stored where that has its hash; a document whose chunks are not
    those of its text is read from disk, where it is. Neither takes anything from the cache. What is of a document that
    is not there stays as it is.
    """
    again = {each.document for each in found if each.kind in READ_ANEW and _has_file(each)}
    again |= {each.document for each in found if each.kind is DamageKind.DOCUMENT_GONE}
    again |= {each.document for each in found if each.kind is DamageKind.FAILURE_STRAY and each.index is None}
    dropped = [each for each in found if each.kind in NOT_TRUSTED and _has_file(each)]
    not_trusted = {(each.name, each.index) for each in found if each.kind in NOT_TRUSTED}
    vectors = [each for each in found if each.kind in RECOMPUTABLE and (each.name, each.index) not in not_trusted]
    again |= {each.document for each in _rewrite(store, vectors, recomputation) if _has_file(each)}
    useless = [each for each in found if each.kind in USELESS]
    if useless or dropped:
        store.discard([*useless, *dropped])
    if again:
        options = {**given, "cache": False, **_as_stored(store)}
        with remembered(chosen, "verify") as run_log:
            report = store_again(store, sorted(again), options, run_log, on_start=on_start)
        on_start(None)
        if report.interrupted:
            return False
    store.prepare_search()
    return True


def _as_stored(store: Store) -> dict[str, Any]:
    """Settings by which vectors are made as those of the store were, so that what is sound of a document is kept."""
    held = store.status()
    known = [each for each in held.precision if each in ("f32", native_precision())]
    told: dict[str, Any] = {"precision": known[0]} if len(known) == 1 else {}
    return told | ({"allow_test_model": True} if is_test_model(held.model or "") else {})


def _has_file(found: Finding) -> bool:
    """Whether the document can be read anew: what users have written themselves is in no file, whatever its name."""
    document = found.document
    return document.startswith("/") and not found.name.startswith(WRITTEN) and os.path.lexists(file_path(document))


def _rewrite(store: Store, found: Sequence[Finding], recomputation: Recomputation) -> Iterator[Finding]:
    """Compute these vectors from their texts; gives the findings of texts that the model has no vector for."""
    left = iter(dict.fromkeys(found))
    while some := list(islice(left, _AT_ONCE)):
        chunks = store.read_chunks(some)
        known = [(each, chunk) for each, chunk in zip(some, chunks, strict=True) if chunk is not None]
        new: list[tuple[Finding, Vector]] = []
        for precision in sorted({chunk.precision for _, chunk in known}):
            alike = [(each, chunk) for each, chunk in known if chunk.precision == precision]
            computed = recomputation.embed([chunk.input for _, chunk in alike], precision)
            if computed is None:
                return
            vectors, causes = computed
            new += [(each, vectors[row]) for row, (each, _) in enumerate(alike) if row not in causes]
            yield from (alike[row][0] for row in causes)
        store.rewrite(new)


def mend_table(
    name: str,
    table: Table,
    found: Sequence[Finding],
    chosen: Settings,
    model: str | None,
    *,
    on_start: OnStart = lambda _: None,
) -> bool:
    """Have these rows embedded anew, and whatever else waits, with the table's model; whether that came to its end.

    `name` is what the table was called, `model` is where that lies, if not where its name leads.
    """
    table.put_back(found)
    noted = table.noted()
    with ExitStack() as stack:
        chosen = replace(chosen, cache=False, model=model or noted.model or chosen.model)
        chosen, embedder = with_prompts_of(noted, chosen, embedder_of(chosen))
        parts = build_components(chosen, embedder, stack)
        ingestor = make_ingestor(table, parts, chosen, metrics=False)
        on_start(ingestor)
        with remembered(chosen, "verify", name) as run_log:
            report = run_log.finish(ingestor.run(on_progress=run_log.watch(lambda _: None, parts.executor.stats)))
        on_start(None)
    return not report.interrupted
