"""What is wrong with jobs together: two of one name, two that write the same, one that reads what another writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from embedmill.core.errors import MissingExtra
from embedmill.jobs.job import BatchJob
from embedmill.jobs.job_kinds import Written, options_of
from embedmill.jobs.manifest.checked import CheckedJob
from embedmill.jobs.manifest.drafts import Draft
from embedmill.jobs.manifest.nodes import Mistakes, Place
from embedmill.runtime.outputs import file_key


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
    """Note each job that writes what one before it does, or what another one reads, or a manifest."""
    writers: dict[str, BatchJob] = {}
    for each in found:
        for written in _written(each, mistakes):
            first = writers.setdefault(written.key, each.job)
            if first is not each.job:
                mistakes.add(
                    each.job.place,
                    f"{each.job.name!r} writes {written.told}, as {first.name!r} in {_where(first, each.job)} does: "
                    f"{written.remedy}",
                )
    for each in found:
        manifest = writers.get(file_key(each.job.place.file))
        if manifest is not None:
            mistakes.add(manifest.place, f"{manifest.name!r} writes the manifest itself: give it another file")
        for path in _read(each):
            writer = writers.get(file_key(path), each.job)
            if writer is not each.job:
                mistakes.add(
                    each.job.place,
                    f"{each.job.name!r} reads {path}, which {writer.name!r} in {_where(writer, each.job)} writes: jobs "
                    "run side by side, so make two batches of them",
                )


def _written(checked: CheckedJob, mistakes: Mistakes) -> list[Written]:
    options, arguments = options_of(checked.kind), checked.job.arguments
    files = [
        Written(file_key(arguments[name]), f"the file {arguments[name]}", "give it another file")
        for name, option in options.items()
        if option.path == "written" and name in arguments
    ]
    try:
        return [*checked.kind.writes(arguments, checked.settings), *files]
    except MissingExtra as error:
        mistakes.add(checked.job.place, str(error))
        return files


def _read(checked: CheckedJob) -> list[str]:
    """The paths that a job reads."""
    if not checked.kind.input_is_path:
        return []
    given = checked.job.arguments[checked.kind.input]
    return [given] if isinstance(given, str) else list(given)


def _where(job: BatchJob, seen_from: BatchJob) -> str:
    return _line(job) if job.place.file == seen_from.place.file else str(job.place)


def _line(job: BatchJob) -> str:
    return f"line {job.place.line:,}"
