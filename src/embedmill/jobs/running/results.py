"""How far a batch has come, and what became of its jobs."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from embedmill.jobs.job import BatchJob
from embedmill.storage.registry import redact_url

REPORT_NAME: Final = "batch_report.json"
"""The file of a batch's report for programs."""

_COUNTED: Final = ("documents", "unchanged", "chunks", "terms", "embedded", "cached", "duplicates", "failed")
"""What is told of a job's report in a table."""


class JobState(StrEnum):
    """What became of a job."""

    SUCCEEDED = "succeeded"
    INCOMPLETE = "incomplete"  # it came to its end, and left something without a vector
    FAILED = "failed"  # it raised an error
    CRASHED = "crashed"  # its process died
    TIMED_OUT = "timed out"
    INTERRUPTED = "interrupted"  # the batch was stopped meanwhile
    NOT_RUN = "not run"  # the batch was stopped before


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job has come that runs."""

    name: str = ""
    counts: str = ""  # for people, as in "documents 12, chunks 340"
    doing: str = ""  # what is done beside embedding, as in "building the index"
    done: int = 0  # items: chunks, rows or terms
    failed: int = 0  # of these
    share: float | None = None  # of the whole job, from 0 to 1; None while that is not known
    seconds: float = 0.0
    pid: int = 0  # of its process

    @property
    def total(self) -> float | None:
        """Items that it will have, by what its share says; None while that is not known."""
        return self.done / self.share if self.share else None


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch has come."""

    jobs: int  # in all
    completed: int  # ended, those of a run before too
    unsuccessful: int  # of these
    done: int  # items of all jobs
    total: float | None  # items of all jobs, as far as those that have begun tell; None until then
    share: float  # of the whole batch, from 0 to 1, where each job counts alike
    running: tuple[JobProgress, ...]
    seconds: float

    @property
    def amount(self) -> float:
        """What the time left is told by."""
        return self.share


@dataclass(frozen=True, slots=True)
class JobResult:
    """What became of one job."""

    name: str
    command: str
    state: JobState
    axes: Mapping[str, str] = field(default_factory=dict)  # what it has of those of its matrix: `BatchJob.axes`
    seconds: float = 0.0
    error: str = ""  # one line; "" of one that has succeeded
    report: Mapping[str, Any] | None = None  # as under --json of its command; None of one that did not come to its end
    peak_mb: float = 0.0  # megabytes of memory that its process, and those below, took at most
    digest: str = ""  # equal for jobs that do the same
    earlier: bool = False  # from a run before, which --resume goes on from

    def counts(self) -> dict[str, int]:
        """What its report counts, by the names that reports have."""
        found = self.report or {}
        return {name: found[name] for name in _COUNTED if isinstance(found.get(name), int)}

    @classmethod
    def of_dict(cls, found: Mapping[str, Any]) -> Self:
        """From what `asdict` gave. Raises `ValueError`, `TypeError` or `KeyError` where it is none."""
        return cls(**{**found, "state": JobState(found["state"])})


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of a batch."""

    manifest: str  # its path
    jobs: tuple[JobResult, ...]
    seconds: float
    at_once: int  # jobs that ran at once, at most
    interrupted: bool = False
    not_written: str = ""  # why the report's files could not be written, where they were to be

    @property
    def unsuccessful(self) -> tuple[JobResult, ...]:
        """The jobs that have not succeeded."""
        return tuple(job for job in self.jobs if job.state != JobState.SUCCEEDED)

    def states(self) -> dict[str, int]:
        """How many jobs came to which end."""
        counted = Counter(job.state for job in self.jobs)
        return {state.value: counted[state] for state in JobState if counted[state]}

    def counts(self) -> dict[str, int]:
        """The counts of all jobs' reports, those of a run before left out."""
        total: Counter[str] = Counter()
        for job in self.jobs:
            if not job.earlier:
                total.update(job.counts())
        return {name: total[name] for name in _COUNTED if name in total}

    def to_dict(self) -> dict[str, Any]:
        """The report as it appears under ``--json``, and in ``batch_report.json``."""
        return {
            "manifest": self.manifest,
            "states": self.states(),
            "counts": self.counts(),
            "seconds": self.seconds,
            "at_once": self.at_once,
            "interrupted": self.interrupted,
            "jobs": [asdict(job) for job in self.jobs],
        }


def digest_of(job: BatchJob) -> str:
    """What tells a job from one that does something else; passwords do not count."""
    told = {name: redact_url(value) if name == "store" else value for name, value in job.arguments.items()}
    written = json.dumps([job.command, told], sort_keys=True, default=repr)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()[:32]
