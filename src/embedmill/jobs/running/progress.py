"""From the progress of jobs to that of their batch."""

from __future__ import annotations

from collections.abc import Sequence

from embedmill.jobs.running.results import BatchProgress, JobProgress, JobResult, JobState

_ITEMS = ("embedded", "cached", "duplicates", "failed")  # what a job's items have become


def progress_of(jobs: int, ended: Sequence[JobResult], running: Sequence[JobProgress], seconds: float) -> BatchProgress:
    """How far a batch of so many `jobs` has come.

    Jobs that have not begun are taken to have as many items as those that have, on average.
    """
    unsuccessful = sum(result.state != JobState.SUCCEEDED for result in ended)
    items = [sum(result.counts().get(name, 0) for name in _ITEMS) for result in ended]
    totals = [*items, *(job.total for job in running if job.total is not None)]
    shares = len(ended) + sum(job.share or 0.0 for job in running)
    return BatchProgress(
        jobs=jobs,
        completed=len(ended),
        unsuccessful=unsuccessful,
        done=sum(items) + sum(job.done for job in running),
        total=jobs * sum(totals) / len(totals) if totals else None,
        share=shares / jobs,
        running=tuple(running),
        seconds=seconds,
    )
