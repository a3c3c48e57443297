"""The jobs of a matrix side by side: what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from embedmill.jobs.running.results import JobResult

_MOST_FACTS: Final = 12  # columns of a table that a page still shows


@dataclass(frozen=True, slots=True)
class Compared:
    """A matrix: a table with a row for each of its jobs."""

    command: str
    axes: tuple[str, ...]
    """The first columns."""
    columns: tuple[str, ...]
    """The others: result, seconds, and all numbers of the jobs' reports that are not the same in all of them."""
    rows: Sequence[Sequence[Any]]
    alike: bool
    """Whether no number of their reports differs."""


def compared(jobs: Sequence[JobResult]) -> Iterator[Compared]:
    """Each matrix of the batch."""
    for command, axes in dict.fromkeys((job.command, tuple(job.axes)) for job in jobs if job.axes):
        group = [job for job in jobs if (job.command, tuple(job.axes)) == (command, axes)]
        facts = [_facts(job.report or {}) for job in group]
        names = list(dict.fromkeys(name for each in facts for name in each))
        differing = [name for name in names if len({each.get(name) for each in facts}) > 1]
        shown = differing[:_MOST_FACTS]
        rows = [
            [*job.axes.values(), str(job.state), round(job.seconds, 1), *(each.get(name, "") for name in shown)]
            for job, each in zip(group, facts, strict=True)
        ]
        yield Compared(command, axes, ("result", "seconds", *shown), rows, bool(names) and not differing)


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
