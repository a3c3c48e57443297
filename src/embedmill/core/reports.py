"""How far a run has come, and what it did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

ProgressCallback = Callable[[int, int], object]
"""Told how many are done, those that failed too, and how many there are."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come."""

    documents: int  # finished, or found unchanged
    bytes: int  # of those documents, and of the finished chunks of others
    unchanged: int
    chunks: int  # read so far
    embedded: int
    cached: int
    duplicates: int
    failed: int
    tokens: int
    restarts: int
    seconds: float

    total: ClassVar[None] = None  # what a source will have in all is known to those who list it
    doing: ClassVar[str] = ""  # as in `IngestProgress`: a store is done with its last chunk
    share: ClassVar[None] = None

    @property
    def done(self) -> int:
        """The chunks that have become something: what the speed is told in."""
        return self.embedded + self.cached + self.duplicates + self.failed

    @property
    def amount(self) -> int:
        """What a share of the whole is told by."""
        return self.bytes

    @property
    def counts(self) -> str:
        """For people."""
        return f"documents {self.documents:,}, chunks {self.done:,}"


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far a verification has come."""

    vectors: int  # looked at
    recomputed: int  # of these, computed again
    seconds: float

    failed: ClassVar[int] = 0
    restarts: ClassVar[int] = 0
    total: ClassVar[None] = None
    doing: ClassVar[str] = ""
    share: ClassVar[None] = None

    @property
    def done(self) -> int:
        """What the speed is told in."""
        return self.vectors

    amount = done

    @property
    def counts(self) -> str:
        """For people."""
        return f"vectors {self.vectors:,}" + (f", computed again {self.recomputed:,}" if self.recomputed else "")


@dataclass(frozen=True, slots=True)
class ListProgress:
    """How many items of a list are done."""

    noun: str  # in the plural
    done: int
    total: int
    seconds: float

    doing: ClassVar[str] = ""
    share: ClassVar[None] = None
    failed: ClassVar[int] = 0
    restarts: ClassVar[int] = 0

    @property
    def amount(self) -> int:
        """What a share of the whole is told by."""
        return self.done

    @property
    def counts(self) -> str:
        """For people."""
        return f"{self.noun} {self.done:,}"


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker's place in a pool, what was done there, and the process that has it now."""

    worker: int
    pid: int | None  # None while there is none
    state: str  # "starting", "idle", "busy", "missing" or "retired"
    documents: int  # texts finished by all processes that had this place
    batches: int
    tokens: int
    rss_mb: float  # of the process that has it now; until that has loaded its model, of the one before
    age_seconds: float
    restarts: int  # of this place
    causes: Mapping[str, int]  # of its restarts


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did. Every chunk is exactly one of embedded, cached, duplicate or failed."""

    documents: int  # found and selected by the source; not what was left out when it was read
    unchanged: int
    removed: int
    chunks: int
    embedded: int
    cached: int  # vectors taken from the cache or the store
    duplicates: int  # equal to another chunk of the same run
    truncated: int
    failed: int
    tokens: int  # embedded ones, padding not counted
    seconds: float
    model: str
    space: str
    precision: str
    executor: str
    workers: int
    restarts: int
    retries: int
    store: str
    stages: Mapping[str, float]  # seconds of work in each stage; stages overlap
    skipped: Mapping[str, int]  # left out by the source: reason -> files
    failures: int  # in the store when the run ended, earlier runs' included
    worker_stats: Sequence[WorkerStats] = ()  # of worker processes, when the run ended
    health: Sequence[str] = ()  # what was wrong with the workers then, a line each
    tuning: str = ""  # why it had so many workers, where that was measured
    deselected: int = 0  # still there and left out by this run's options: what an earlier run stored of them stays
    vanished: Mapping[str, int] = field(default_factory=dict)  # roots that are gone: path -> documents in the store
    missing: Sequence[str] = ()  # paths that were given, and are not there
    interrupted: bool = False  # stopped before the end; what was finished is stored
    unknown: int = 0  # chunks read by this run that have no token which the model knows; they are stored all the same
    dry_run: bool = False
    estimated_seconds: float | None = None  # dry run only
    guessed: int = 0  # documents whose encoding was guessed, of those that were read
    encoded_characters: int = 0  # base64, hex and the like in what was read, which is in no chunk
    swapped: bool = False  # the store, or the table's column, was embedded anew, and is another model's now
    kept: int = 0  # documents that were embedded anew from what the store had of them, and not read

    @property
    def tokens_per_second(self) -> float:
        """Embedded tokens over the whole run's wall time; 0 of a dry run."""
        return self.tokens / self.seconds if self.seconds and not self.dry_run else 0.0

    @property
    def chunks_per_second(self) -> float:
        """Embedded chunks over the whole run's wall time; 0 of a dry run."""
        return self.embedded / self.seconds if self.seconds and not self.dry_run else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The report as it appears under ``--json``."""
        return asdict(self) | {
            "tokens_per_second": round(self.tokens_per_second, 1),
            "chunks_per_second": round(self.chunks_per_second, 1),
        }


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What became of the chunks of one `write`: each is exactly one of inserted, updated, unchanged or failed."""

    inserted: int  # of which the store had nothing
    updated: int  # whose text, vector, place or metadata is another one now
    unchanged: int
    failed: int  # without a vector: their causes are on record in the store
    index_created: bool  # whether an index for searches was built, or built anew
    index_seconds: float
    seconds: float  # in all

    def to_dict(self) -> dict[str, Any]:
        """The report as a dictionary of JSON's values."""
        return asdict(self)
