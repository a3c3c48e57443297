"""A batch for people: what its jobs would do, and what became of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from embedmill.cli.render.wording import amounts, counted, in_time, table

if TYPE_CHECKING:
    from embedmill.jobs.job import Manifest
    from embedmill.jobs.running.results import BatchReport, JobResult


def planned(manifest: Manifest) -> str:
    """The jobs, a line each."""
    rows = [
        (job.name, f"{job.command}{f', at most {job.timeout:,.6g} s' if job.timeout else ''}") for job in manifest.jobs
    ]
    return "\n".join([table(rows), f"{counted(len(manifest.jobs), 'job')} would be run"])


def finished(report: BatchReport) -> str:
    """What became of each job, a line each, then of all."""
    rows = [(job.name, _told(job)) for job in report.jobs]
    return "\n".join([table(rows), *_of_all(report)])


def _told(job: JobResult) -> str:
    counts = job.counts()
    parts = [f"{job.state}{' before' if job.earlier else ''}"]
    parts += [f"in {in_time(job.seconds)}"] if job.seconds and not job.earlier else []
    whole = " ".join(parts)
    done = amounts((counts.get(name, 0), name) for name in ("embedded", "cached", "duplicates", "failed"))
    return ": ".join(filter(None, (whole, job.error or done)))


def _of_all(report: BatchReport) -> Iterator[str]:
    states = ", ".join(f"{number:,} {state}" for state, number in report.states().items())
    yield f"{counted(len(report.jobs), 'job')} in {in_time(report.seconds)}: {states}"
