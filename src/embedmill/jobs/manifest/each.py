"""A job of each file of a folder, without a manifest: ``embedmill batch FOLDER --each GLOB``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from embedmill.core.errors import ManifestError, UsageError
from embedmill.jobs.job import Manifest
from embedmill.jobs.job_kinds import JOB_KINDS, JobKind, kind_of
from embedmill.jobs.job_options import known_name, spelt
from embedmill.jobs.manifest.checked import check_draft
from embedmill.jobs.manifest.conflicts import check_written, with_names
from embedmill.jobs.manifest.drafts import Draft
from embedmill.jobs.manifest.nodes import ManifestNode, Mistakes, Pair, Place
from embedmill.runtime.paths import FilePath

_GIVEN_HERE: Final = "it comes from --each and -o"


def jobs_of_each(
    folder: FilePath, pattern: str, command: str, output: FilePath, options: Mapping[str, Any] | None = None
) -> Manifest:
    """A job of each file that the pattern matches, with its output in the folder `output`, by the same path.

    `pattern` is a glob from `folder`, as in ``*.txt`` or ``**/*.txt``; files below `output` are not taken, hidden ones
    only where the pattern has their dot. `options`
    are those of all jobs, by their names in a manifest. A job is named by its file's path from `folder`.

    Raises `UsageError` where nothing matches and for a command whose output is no file; `ManifestError` for options
    that do not fit.
    """
    kind, above, target = kind_of(command), Path(folder).absolute(), Path(output).absolute()
    if not (kind.output and kind.input_is_path):
        fitting = [name for name, each in JOB_KINDS.items() if each.output and each.input_is_path]
        raise UsageError(f"{command} makes no file of a file: --each is for {' and '.join(fitting)}")
    given = {known_name(key): value for key, value in (options or {}).items()}
    for name in {command, kind.output, "name"} & given.keys():
        raise UsageError(f"{spelt(name)} is not given with --each, {_GIVEN_HERE}: leave it out")
    if os.path.realpath(above) == os.path.realpath(target):
        raise UsageError(f"-o: {target} is the folder of the files themselves: give another")
    mistakes = Mistakes()
    drafts = [_draft(path, above, command, kind, target, given) for path in _matching(above, pattern, target)]
    checked = [check_draft(draft, {}, above, mistakes) for draft in drafts]
    found = with_names([each for each in checked if each is not None])
    check_written(found, mistakes)
    if mistakes:
        raise ManifestError.of(mistakes.lines())
    return Manifest(above, tuple(each.job for each in found))


def _matching(folder: Path, pattern: str, target: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: --each is for the files of one")
    names_hidden = "/." in f"/{pattern}"
    try:
        matching = (path for path in folder.glob(pattern) if path.is_file() and target not in path.parents)
        found = sorted(path for path in matching if names_hidden or not _is_hidden(path.relative_to(folder)))
    except (ValueError, NotImplementedError) as error:
        raise UsageError(f"--each: {pattern!r} does not fit: {error}; give a pattern as in '*.txt'") from None
    if not found:
        raise UsageError(f"--each: no file of {folder} matches {pattern!r}: correct the pattern")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _draft(path: Path, folder: Path, command: str, kind: JobKind, target: Path, given: Mapping[str, Any]) -> Draft:
    place = Place(os.fspath(path), 0, 0)
    name = path.relative_to(folder)
    made = target / (name if name.suffix == kind.output_suffix else f"{name}{kind.output_suffix}")
    output = f"sqlite:{made}" if kind.output == "store" else str(made)
    values = {**given, known_name(command): str(path), kind.output: output, "name": _printable(str(name))}
    return Draft({key: Pair(spelt(key), place, _node(value, place)) for key, value in values.items()}, place)


def _printable(name: str) -> str:
    return name if name.isprintable() else repr(name)[1:-1]


def _node(value: Any, place: Place) -> ManifestNode:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ManifestNode(tuple(_node(item, place) for item in value), place, "list")
    return ManifestNode(value, place, "scalar")
