"""The jobs of a matrix side by side: what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from embedmill.jobs.running.results import JobResult

_MOST_FACTS: Final = 12  # columns of a table that a page still shows


def compared(jobs: Sequence[JobResult]) -> Iterator[tuple[str, list[str], list[list[Any]]]]:
    """For each matrix its axes, the columns of a table, and the rows: a job's values of the axes, and its facts.

    Facts are the seconds, and all numbers of the jobs' reports that are not the same in all of them.
    """
    for command, axes in dict.fromkeys((job.command, _axes(job)) for job in jobs if job.label):
        group = [job for job in jobs if job.label and (job.command, _axes(job)) == (command, axes)]
        facts = [_facts(job.report or {}) for job in group]
        names = list(dict.fromkeys(name for each in facts for name in each))
        names = [name for name in names if len({each.get(name) for each in facts}) > 1][:_MOST_FACTS]
        rows = [
            [job.label, str(job.state), round(job.seconds, 1), *(each.get(name, "") for name in names)]
            for job, each in zip(group, facts, strict=True)
        ]
        yield f"{', '.join(axes)} ({command})", ["job", "result", "seconds", *names], rows


def _axes(job: JobResult) -> tuple[str, ...]:
    return tuple(part.partition("=")[0] for part in job.label.split(",") if "=" in part)


def _facts(report: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """The numbers of a report, those of mappings in it too, by their names; without its times."""
    found: dict[str, float] = {}
    for name, value in report.items():
        if name == "stages":
            continue
        if isinstance(value, Mapping):
            found |= _facts(value, f"{above}{name} ")
        elif isinstance(value, int | float) and not isinstance(value, bool) and "second" not in above + name:
            found[f"{above}{name}".replace("_", " ")] = round(value, 4)
    return found
