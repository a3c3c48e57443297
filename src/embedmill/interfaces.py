"""What the pipeline knows of its adapters: small protocols, one for each family."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, Protocol, runtime_checkable

from embedmill.fingerprint import Fingerprint
from embedmill.records import (
    Batch,
    Cause,
    Document,
    DocumentState,
    Embedded,
    Entry,
    Failure,
    GivenPath,
    Hit,
    Record,
    Replacement,
    RootStatus,
    StoredChunk,
    StoreStatus,
    TokenIds,
    Vector,
    Vectors,
    WorkerStats,
)
from embedmill.rows import Counts, Filled, Key, Metrics, Noted, Row, RowFailure, Stored, TableStatus

Task = Literal["document", "query"]
TASKS: Final = ("document", "query")


class Source(Protocol):
    """Where documents come from."""

    scopes: Sequence[str]
    """Document ids that are equal to a scope, or begin with it where it ends in "/", belong to this source:
    such a document in the store that `entries` does not list has vanished."""

    skipped: Mapping[str, int]
    """What `entries` and `read` left out: reason -> how many."""

    def entries(self) -> Iterator[Entry]:
        """List the units in a stable order, in bounded memory, without reading them."""

    def read(self, entry: Entry) -> Document | None:
        """Read one unit; None where it is left out after all (counted in `skipped`).

        Raises `SourceError` where it ought to be readable and is not.
        """

    def amount(self) -> int:
        """About how many bytes of text there are in all, to tell progress by; lists everything."""

    def hurry(self, seconds: float) -> None:
        """From now on, `read` gives up what takes longer; for signal handlers. The run ends, nothing of it is kept."""

    def unlisted(self) -> Sequence[str]:
        """Scopes below `scopes` that could not be listed: documents there have not vanished."""

    def deselected(self, sizes: Mapping[str, int]) -> Sequence[str]:
        """Those of the documents, given with the size that the store has noted, that `entries` left out by an option.

        They are still there, and an earlier run with other options took them. `sizes` is in bytes.
        """


class Embedder(Protocol):
    """Text in, vectors out."""

    @property
    def name(self) -> str:
        """The model's name, for people."""

    @property
    def fingerprint(self) -> Fingerprint:
        """What decides the vectors. Known without loading the model."""

    @property
    def dimension(self) -> int:
        """Numbers in a vector."""

    @property
    def max_tokens(self) -> int:
        """Tokens the model reads of one text, prompt and special tokens included."""

    @property
    def workers(self) -> int:
        """How many calls of the model run at once."""

    @property
    def concurrency(self) -> int:
        """How many threads should call `infer` at once to keep the workers busy."""

    def load(self) -> None:
        """Load the model now; otherwise the first `infer` does."""

    def encode(self, texts: Sequence[str], *, task: Task = "document", truncate: bool = True) -> list[TokenIds]:
        """Each text's token ids, prompt and special tokens included; cut to `max_tokens` unless told not."""

    def infer(self, batch: Batch) -> Vectors:
        """One model call: ``(len(batch.ids), dimension)``. Safe to call from several threads."""

    def embed(self, texts: Sequence[str], *, task: Task = "document") -> Vectors:
        """``(len(texts), dimension)``, in the texts' order."""

    def close(self) -> None:
        """Give the memory back; may be called twice."""


@runtime_checkable
class KnowsTokens(Protocol):
    """What an embedder may be beside: one that can tell what it does not know of a text."""

    def unknown_tokens(self, ids: TokenIds, *, task: Task = "document") -> tuple[int, int]:
        """How many tokens of a text stand for what the model does not know, and how many it has without the prompt."""


class Executor(Protocol):
    """Where embedders run."""

    @property
    def name(self) -> str:
        """As in ``--executor``."""

    @property
    def workers(self) -> int:
        """How many calls, or processes, work at once."""

    def start(self) -> None:
        """Begin to load the model, without waiting for it; otherwise the first batch does."""

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        """Embed the batches and yield the results in the same order, one for each.

        A result has its batch, or one with the same texts. Pulls only a few batches ahead of the caller. A text that
        fails does not take its batch with it. Several callers may run at once; each gets its own results.
        """

    @property
    def restarts(self) -> int:
        """Workers replaced so far."""

    @property
    def retries(self) -> int:
        """Batches tried again so far."""

    @property
    def tuning(self) -> str:
        """Why there are so many workers, where that was measured; else empty."""

    def stats(self) -> Sequence[WorkerStats]:
        """What each worker process is doing and has done; empty where there are none."""

    def check_health(self) -> Sequence[str]:
        """What is wrong with the workers now, a line each; empty while all is well."""

    def hurry(self, seconds: float) -> None:
        """Give up what is not finished within so many seconds, where that is possible: `run` ends then, without it.

        Safe in a signal handler.
        """

    def close(self) -> None:
        """End the workers; may be called twice. `run` raises `RuntimeError` afterwards."""


TO_FINISH: Final = 5.0
"""Seconds that what is in flight has when a run is stopped."""


class Stoppable(Protocol):
    """A run that can be ended early."""

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; what is finished is stored."""


class VectorCache(Protocol):
    """Vectors by (text hash, fingerprint), shared by every run and process of the user."""

    def get_many(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there: hash -> ``(dimension,)`` float32."""

    def put_many(self, vectors: Mapping[bytes, Vector], fingerprint: Fingerprint) -> None:
        """Keep these vectors."""

    def hurry(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers."""

    def close(self) -> None:
        """Write what is pending; may be called twice."""


class StoredDocuments(Protocol):
    """What is kept of documents. Writes come from one thread at a time."""

    url: str

    def bind(self, fingerprint: Fingerprint, model: str) -> None:
        """Bind a store without vectors to the fingerprint's space.

        Raises `SpaceMismatch` where it holds vectors of another.
        """

    def states(self, ids: Sequence[str]) -> dict[str, DocumentState]:
        """The ledger's entries of these documents; those that are not durably stored are missing."""

    def vectors(self, hashes: Sequence[bytes], precision: str) -> dict[bytes, Vector]:
        """Vectors already in the store, staged ones too: chunk hash -> ``(dimension,)`` float32."""

    def stage(self, document: str, records: Sequence[Record], precision: str) -> None:
        """Keep part of a large document durably but unseen, until `replace` makes it whole."""

    def replace(self, replacements: Sequence[Replacement]) -> None:
        """Put whole documents in place of what the store has of them, all in one transaction."""

    def fail(self, document: str, failures: Sequence[Failure]) -> None:
        """Record failures of a document and leave its rows: what could not be read is kept as it was."""

    def touch(self, states: Sequence[DocumentState]) -> None:
        """Note new sizes and times of documents whose content is as before."""

    def see(self, ids: Sequence[str]) -> None:
        """Note that these documents still exist (for `remove_unseen`)."""

    def remove_unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> int:
        """Remove the documents of these scopes (see `Source.scopes`) not seen since the store was opened.

        Documents of the `keep` scopes stay. Returns how many went. Raises `Stopped` where the run is stopped before
        it is done.
        """

    def unseen(self, scopes: Sequence[str], keep: Sequence[str] = ()) -> Iterator[Sequence[str]]:
        """The documents that `remove_unseen` would remove, in pages; between two of them `see` may be called."""

    def failures(self) -> Iterator[Failure]:
        """All failures, in the order of documents and chunks."""

    def failed_documents(self) -> list[str]:
        """The documents that have failures, in order."""

    def status(self) -> StoreStatus:
        """What the store holds."""

    def prepare_search(self) -> None:
        """Do now what the first search would have to do before it can answer.

        Raises `Stopped` where the run is stopped before it is done.
        """

    def hurry(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers."""

    def close(self) -> None:
        """Release the store; may be called twice."""


class Store(StoredDocuments, Protocol):
    """Where records go and are read back. Finds documents again after they, or itself, have moved."""

    def register(self, given: Sequence[str], options: str = "{}") -> None:
        """Make known what a run takes: ids, those of folders ending in "/"; and, as JSON, how it takes them."""

    def given_as(self, document: str) -> GivenPath | None:
        """What a run was given that the document was taken by, and its options; None where that is not known."""

    def root_list(self) -> list[RootStatus]:
        """What was given: where it is, and how many documents the store has of it."""

    def vanished(self) -> dict[str, int]:
        """The paths of `root_list` that are gone from this machine, and how many documents the store has of each."""

    def holds(self, scopes: Sequence[str]) -> bool:
        """Whether there is any document, or failure, in these scopes, wherever it is."""

    def forget(self, scopes: Sequence[str]) -> int:
        """Remove what lies in these scopes, wherever it is: documents and failures. Returns how many documents."""

    def search(
        self, vector: Vector, k: int, fits: Callable[[str], bool] | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """The `k` chunks with the largest inner product, best first; ties in a stable order.

        Only of documents whose id `fits`, where that is given.

        A store that has an approximate index uses it unless `exact`.
        """

    def verify(self, look: Callable[[StoredChunk], None] = lambda _: None) -> Iterator[str]:
        """What is wrong with what is stored, a line each; nothing where all is well. In bounded memory.

        `look` is given each chunk that is sound as far as can be told without the model.
        """


class MetricsTable(Protocol):
    """``<table>_metrics``: what is counted of each row's text. `write` may be called from several threads."""

    def check(self) -> None:
        """Raise `StoreError` where there can be none, since its name is taken."""

    def prepare(self) -> None:
        """Create it where there is none. Raises `StoreError` where its name is taken, or this user may not."""

    def missing(self, after: Key | None, limit: int) -> list[tuple[Key, str]]:
        """The next rows, behind this key, whose metrics are missing or of an older text."""

    def write(self, rows: Sequence[tuple[Key, bytes, Metrics]]) -> None:
        """Write the metrics of these rows; each comes with the hash of the text that they are of."""

    def finish(self) -> None:
        """Count how often each text stands in the table; forget rows that are gone."""


class Table(Protocol):
    """A table whose rows get vectors. Several runs, on several machines, may work at it at once.

    A run claims the rows that it embeds. What a run that died has claimed is anybody's again. `write`, `fail`,
    `take_locked` and `counts` may be called from several threads, the others from one at a time.
    """

    @property
    def url(self) -> str:
        """The database, for people: without a password."""

    @property
    def name(self) -> str:
        """The table, for people."""

    @property
    def columns(self) -> tuple[str, str]:
        """The columns that are read and filled."""

    @property
    def first_fill(self) -> bool:
        """Whether no run had come to its end before this one."""

    @property
    def metrics(self) -> MetricsTable:
        """The table's metrics; another object once a run has begun."""

    def check(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False) -> None:
        """Raise what `bind` would raise for vectors of this space; changes nothing."""

    def bind(self, fingerprint: Fingerprint, model: str, *, overwrite: bool = False, again: bool = False) -> None:
        """Begin a run that fills the column with vectors of this space.

        `overwrite` takes rows with vectors too, whoever wrote these before it began, `again` those that have failed
        before this run. An overwriting that did not come to its end is gone on with.
        Raises `SpaceMismatch` where the column holds vectors of another space or dimension.
        """

    def hurry(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers.

        Whatever only reads, `tidy` and `metrics.finish` raise `Stopped` then.
        """

    def counts(self) -> Counts:
        """How the table stood when the run began, or stands where none has; reads all of it."""

    def noted(self) -> Noted:
        """What earlier runs have noted of its vectors."""

    def status(self) -> TableStatus:
        """What is known of the table; reads all of it."""

    def sample(self, limit: int) -> list[str]:
        """Its first texts, in the order of their keys."""

    def sample_stored(self, limit: int) -> list[Stored]:
        """At most so many rows, chosen at random, that embedmill has filled and whose text is still the same.

        Empty where nothing is known of the table. Their vectors are of the space and model that `status` names.
        """

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        """The next rows that need a vector, behind this key, in the order of keys; they are this run's now."""

    def held_elsewhere(self) -> int:
        """How many rows other runs have claimed, and not finished: dead ones have left theirs to this run."""

    def write(self, rows: Sequence[Filled]) -> int:
        """Write these rows' vectors and metrics, all in one transaction, or none.

        Returns how many were left out, because their text has changed meanwhile or they are gone; rows that others have
        locked are left out too (see `take_locked`). Raises `RowsRefused` where the database refuses the data.
        """

    def take_locked(self, rows: Sequence[Row]) -> set[int]:
        """The marks of those of these rows that `write` or `fail` left as they were, since others have locked them.

        They are still this run's, and may be given again.
        """

    def lockers(self, *, runs: bool = False) -> str:
        """Who holds locks on the table, or which other `runs` are at work, for people; "" where that is not known."""

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        """Put on record why these rows have no vector; they are not tried again by themselves."""

    def tidy(self) -> int:
        """Forget rows that are gone; take the vectors of those whose text is NULL now. Returns how many rows went."""

    def build_index(self, show: Callable[[str, float | None], None], stopped: Callable[[], bool]) -> str:
        """Build the index that was asked for; what became of it, in a few words, "" for nothing.

        `show` is told what is being done, and how much of that. When `stopped` says so, it is given up.
        """

    def note_filled(self) -> None:
        """Note that a run has come to its end."""

    def failures(self) -> Iterator[RowFailure]:
        """The rows that have failed, in the order of their keys."""

    def close(self) -> None:
        """End the run: what it holds is given back. May be called twice."""
