"""Another model for a store or a table: the same vectors are taken over, others fill a second space."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedmill.core.errors import EmbedmillError, ModelNotFound, SpaceMismatch, UsageError
from embedmill.core.interfaces.reembedding import ReembeddableStore, ReembeddableTable
from embedmill.core.interfaces.store import Store
from embedmill.core.interfaces.table import Table
from embedmill.core.spaces import other_prompt
from embedmill.core.vectors import Vector
from embedmill.embedders.testing import is_test_model
from embedmill.engine.same_model import SAMPLE, agree
from embedmill.models import locate

if TYPE_CHECKING:
    from embedmill.embedders.local import LocalEmbedder

log = logging.getLogger("embedmill")


def take_over(store: Store, embedder: LocalEmbedder) -> None:
    """Bind the store to this model where its vectors are those that the store has: nothing is embedded anew then.

    That is so where the model's files lie elsewhere, or are laid out otherwise: some stored chunks are computed again
    (see `embedmill.engine.same_model`). A store that was bound by a name which leads nowhere gets the new one.
    """
    status, space, name = store.status(), embedder.fingerprint.space, embedder.name
    if status.model is None or not isinstance(store, ReembeddableStore):
        return
    if status.space == space.id:
        if status.model != name and not _leads_somewhere(status.model):
            store.rebind(embedder.fingerprint, name)
            log.warning("store %s is known as filled with %s now: %s leads nowhere", store.url, name, status.model)
        return
    if not status.chunks or status.dimension != space.dimension or status.document_prompt != space.prompt:
        return
    sample = store.sample_chunks(SAMPLE)
    in_f32 = {chunk.precision for chunk in sample} == {"f32"}
    if same_vectors([chunk.input for chunk in sample], [chunk.vector for chunk in sample], embedder, in_f32=in_f32):
        try:
            store.rebind(embedder.fingerprint, name)
        except SpaceMismatch:  # it reads texts of another length, or the like: who binds says that
            return
        log.warning(
            "store %s is taken over from %s: %s gives the same vectors (%d computed again), nothing is embedded anew",
            *(store.url, status.model, name, len(sample)),
        )


def take_over_table(table: Table, embedder: LocalEmbedder) -> None:
    """The same for the column of a table that `ingest` has filled; not while other runs are at work on it."""
    noted, space, name = table.noted(), embedder.fingerprint.space, embedder.name
    if noted.model is None or not isinstance(table, ReembeddableTable) or noted.document_prompt != space.prompt:
        return
    where = f"{table.name}.{table.columns[1]}"
    if noted.space == space.id:
        if noted.model != name and not _leads_somewhere(noted.model):
            table.rebind(embedder.fingerprint, name)
            log.warning("%s is known as filled with %s now: %s leads nowhere", where, name, noted.model)
        return
    rows = table.sample_rows(SAMPLE)
    if not same_vectors([row.text for row in rows], [row.vector for row in rows], embedder, in_f32=False):
        return
    if table.lockers(runs=True) or table.claimed_by_others():
        return
    try:
        table.rebind(embedder.fingerprint, name)
    except SpaceMismatch:
        return
    log.warning(
        "%s is taken over from %s: %s gives the same vectors (%d computed again), nothing is embedded anew",
        *(where, noted.model, name, len(rows)),
    )


def same_vectors(texts: Sequence[str], stored: Sequence[Vector], embedder: LocalEmbedder, *, in_f32: bool) -> bool:
    """Whether the embedder gives these texts the vectors that are stored; `in_f32`: these were computed in it."""
    from embedmill.engine.lists import embed_list
    from embedmill.executors.threads import ThreadExecutor

    if not texts or any(vector.shape != (embedder.dimension,) for vector in stored):
        return False
    run = ThreadExecutor(embedder).run
    computed, causes = embed_list(texts, embedder.fingerprint.space, embedder.encode, run)
    f32 = in_f32 and embedder.fingerprint.precision == "f32"
    return not causes and agree(np.stack(stored), computed, f32=f32)


def _leads_somewhere(model: str) -> bool:
    if is_test_model(model):
        return True
    try:
        locate(model, fetch=False)
    except ModelNotFound:
        return False
    except EmbedmillError:  # there is something
        return True
    return True


def begin_second(store: Store, embedder: LocalEmbedder) -> ReembeddableStore | None:
    """The store that `--re-embed` fills, to be closed; None where the store has vectors of this model, or none at all.

    Raises `UsageError` for a kind of store that cannot, `SpaceMismatch` where one with another model was begun.
    """
    status, space = store.status(), embedder.fingerprint.space
    if not isinstance(store, ReembeddableStore):
        raise UsageError(f"store {store.url} is of a kind that cannot be embedded anew: index into another --store")
    if not status.chunks or status.space == space.id:
        log.warning("--re-embed: store %s has no vectors of another model: this run is one as any", store.url)
        return None
    second = store.begin_second()
    held = second.status()
    if held.space not in (None, space.id):
        second.close()
        if told := other_prompt(held.document_prompt, held.space, space):
            raise SpaceMismatch(f"store {store.url} is being embedded anew with {told}")
        raise SpaceMismatch(
            f"store {store.url} is being embedded anew with {held.model} (space {held.space}), not with "
            f"{embedder.name} (space {space.id}): go on with that --model, or `embedmill forget --re-embed` first"
        )
    return second
