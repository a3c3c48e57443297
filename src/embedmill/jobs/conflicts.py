"""What is wrong with jobs together: two of one name, two that write the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from embedmill.jobs.checked import CheckedJob
from embedmill.jobs.drafts import Draft
from embedmill.jobs.job import BatchJob
from embedmill.jobs.job_kinds import Written, options_of
from embedmill.jobs.nodes import Mistakes, Place


def check_names(drafts: Sequence[Draft], mistakes: Mistakes) -> None:
    """Note each job whose name is that of one before it."""
    names: dict[object, Place] = {}
    for draft in drafts:
        if "name" in draft.pairs and not draft.axes:
            name, place = draft.pairs["name"].node.value, draft.pairs["name"].place
            first = names.setdefault(name, place)
            if first is not place:
                mistakes.add(place, f"the name {name!r} is that of the job in line {first.line:,}: give another")


def with_names(found: Sequence[CheckedJob]) -> list[CheckedJob]:
    """The jobs of a manifest, names that were made told apart by a number."""
    taken = {each.job.name for each in found if each.is_named}
    named = []
    for each in found:
        name, number = each.job.name, 2
        while not each.is_named and name in taken:
            name, number = f"{each.job.name} ({number})", number + 1
        taken.add(name)
        named.append(replace(each, job=replace(each.job, name=name)))
    return named


def check_written(found: Sequence[CheckedJob], mistakes: Mistakes) -> None:
    """Note each job that writes what one before it does."""
    writers: dict[str, BatchJob] = {}
    for each in found:
        for written in _written(each):
            first = writers.setdefault(written.key, each.job)
            if first is not each.job:
                where = _line(first) if first.place.file == each.job.place.file else str(first.place)
                mistakes.add(
                    each.job.place,
                    f"{each.job.name!r} writes {written.told}, as {first.name!r} in {where} does: {written.remedy}",
                )


def _written(checked: CheckedJob) -> list[Written]:
    options, arguments = options_of(checked.kind), checked.job.arguments
    files = [
        Written(f"file {arguments[name]}", f"the file {arguments[name]}", "give it another file")
        for name, option in options.items()
        if option.path == "written" and name in arguments
    ]
    return [*checked.kind.writes(arguments, checked.settings), *files]


def _line(job: BatchJob) -> str:
    return f"line {job.place.line:,}"
