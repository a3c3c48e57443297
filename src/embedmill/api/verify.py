"""Whether a store's, or a table's, vectors are those of their texts: some are computed again and compared.

What is stored can be finite, of length 1 and still the vector of another text; only the model can tell.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np

from embedmill.api.embedders import make_embedder, native_precision
from embedmill.api.settings import Settings
from embedmill.api.stores import open_chosen_store, open_chosen_table
from embedmill.core.documents import StoredChunk, StoreStatus
from embedmill.core.errors import EmbedmillError, ModelUnusable
from embedmill.core.rows import shown
from embedmill.core.table_reports import TableStatus
from embedmill.core.vectors import Vector
from embedmill.embedders.local import LocalEmbedder
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.embedders.testing import is_test_model
from embedmill.engine.lists import embed_list
from embedmill.executors.threads import ThreadExecutor
from embedmill.models import locate, read_card

T = TypeVar("T")

SAMPLE: Final = 64
"""Vectors computed again where nothing else is said. Where one in twenty is wrong, one of these is, 19 times of 20."""

LARGEST_SAMPLE: Final = 100_000
"""Some 300 MB of texts and vectors."""

_MOST: Final = 0.05
"""How far a vector may lie from the one computed now, relative to its length: a cosine of 0.9988. Another precision or
processor comes to 0.01; the vectors of most other texts lie at 1."""

_MOST_READ: Final = 0.2
"""The same for a graph that is read as it is: it may be quantised, which processors compute differently."""

Say = Callable[[str], None]
"""Is told each problem."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` has found."""

    store: str  # its URL, without a password
    problems: int
    documents: int | None  # None where it cannot be told, as of a damaged store; of a table None
    chunks: int | None  # of a table: rows that have a vector
    recomputed: int  # vectors that were computed again
    not_recomputed: str  # why none were; "" where some were, or none were to be
    vanished: Mapping[str, int] = field(default_factory=dict)  # roots of a store that are gone: path -> documents


def verify_store(chosen: Settings, say: Say, *, sample: int = SAMPLE, model: str | None = None) -> Verdict:
    """Check all of a store, and compute `sample` of its vectors again with its own model: ``embedmill verify``.

    `model` is where that lies, if not where its name leads. Raises `StoreError` where the store cannot be read.
    """
    problems = _Problems(say)
    chosen_chunks: _Reservoir[StoredChunk] = _Reservoir(sample)
    with closing(open_chosen_store(chosen, write=False)) as store:
        for problem in store.verify(chosen_chunks.offer):
            problems.add(problem)
        verdict = Verdict(store.url, problems.count, None, None, 0, "")
        if problems.count:  # of a damaged store nothing more may be known
            return replace(verdict, not_recomputed="the store is not sound" if sample else "")
        held = store.status()
        vanished = store.vanished()
    verdict = replace(verdict, documents=held.documents, chunks=held.chunks, vanished=vanished)
    for precision in sorted({chunk.precision for chunk in chosen_chunks.items}):
        chunks = [
            _Stored(f"{chunk.document}: chunk {chunk.index}", chunk.input, chunk.vector)
            for chunk in chosen_chunks.items
            if chunk.precision == precision
        ]
        if reason := _compare(chunks, problems.add, held, model, precision):
            return replace(verdict, problems=problems.count, not_recomputed=reason)
        verdict = replace(verdict, problems=problems.count, recomputed=verdict.recomputed + len(chunks))
    return verdict


def verify_table(
    table: str, chosen: Settings, say: Say, *, vector: str | None = None, sample: int = SAMPLE, model: str | None = None
) -> Verdict:
    """Look at `sample` of the vectors that `ingest` has filled: ``embedmill verify TABLE``.

    They have to be sound, and what the table's own model makes of the rows' texts. Arguments and errors are those of
    `verify_store`; `vector` names the column where there are several.
    """
    problems = _Problems(say)
    with open_chosen_table(table, chosen, vector=vector) as opened:
        held = opened.status()
        rows = opened.sample_stored(sample) if sample else []
    counts = held.counts
    verdict = Verdict(held.store, 0, None, counts.rows - counts.left - counts.failures, 0, "")
    sound = []
    for row in rows:
        name = f"{table} {shown(row.key)}"
        if row.vector.shape != (held.dimension,):
            problems.add(f"{name}: its vector has {row.vector.size} numbers, the others {held.dimension}")
        elif not np.isfinite(row.vector).all():
            problems.add(f"{name}: its vector has NaN or infinite numbers")
        else:
            sound.append(_Stored(name, row.text, row.vector))
    reason = _compare(sound, problems.add, held, model, "auto") if sound else ""
    done = 0 if reason else len(sound)
    return replace(verdict, problems=problems.count, recomputed=done, not_recomputed=reason)


class _Stored(NamedTuple):
    """A vector with its text, and its name for people."""

    name: str
    text: str
    vector: Vector


def _compare(
    rows: Sequence[_Stored], say: Say, held: StoreStatus | TableStatus, model: str | None, precision: str
) -> str:
    """Compute vectors again and say which differ; why that cannot be done, or ""."""
    if precision not in ("f32", "bf16") or (precision == "bf16" and native_precision() != "bf16"):
        precision = "f32" if precision == "bf16" else native_precision()
    try:
        embedder, most = _embedder(model or held.model or "", held.document_prompt or None, precision)
        with closing(embedder):
            here = embedder.fingerprint.space
            if here.id != held.space:
                return f"{embedder.name} on this machine is of space {here.id}, not {held.space}: give --model"
            texts = [row.text for row in rows]
            vectors, causes = embed_list(texts, here, embedder.encode, ThreadExecutor(embedder).run)
    except ModelUnusable:
        raise
    except EmbedmillError as error:
        return str(error)
    stored = np.stack([row.vector for row in rows])
    with np.errstate(invalid="ignore", over="ignore"):
        lengths = np.linalg.norm(stored, axis=1)
        far = np.linalg.norm(stored - vectors, axis=1) > most * np.linalg.norm(vectors, axis=1)
        cosines = (stored * vectors).sum(1) / (lengths * np.linalg.norm(vectors, axis=1))
    for row, (name, _, _) in enumerate(rows):
        if row in causes:
            say(f"{name}: it has a vector, and the model gives none now: {causes[row].message}")
        elif far[row] or not np.isfinite(lengths[row]):
            say(f"{name}: its vector is not that of its text (cosine {cosines[row]:.2f} to the one computed now)")
    return ""


def _embedder(model: str, prompt: str | None, precision: str) -> tuple[LocalEmbedder, float]:
    """The model, as it is on this machine, and how far its vectors may lie from those that are stored."""
    if is_test_model(model):
        return make_embedder(model, precision="auto", document_prompt=prompt), _MOST
    files = locate(model, fetch=False)
    card = read_card(files, document_prompt=prompt)
    most = _MOST if card.weights.kind == "safetensors" else _MOST_READ
    return OpenVINOEmbedder(files.name, card, precision=precision), most


class _Problems:
    """Counts what it is told, and hands it on."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.count = 0

    def add(self, problem: str) -> None:
        """Note one more."""
        self.count += 1
        self._say(problem)


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
