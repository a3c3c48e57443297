"""What is done to a store beside filling it: try failures again, forget what is not wanted any more."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final, Unpack

from embedmill.api.assemble import OnProgress, Path, embedder_of, opened, parts, refuse_db_timeout, with_prompts_of
from embedmill.api.index import files
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import (
    DocumentOptions,
    FileOptions,
    RunOptions,
    Settings,
    StoreOptions,
    check_options,
    known_settings,
)
from embedmill.core.documents import Entry
from embedmill.core.errors import StoreError, UsageError
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Report, StoreStatus
from embedmill.pipelines.index.indexer import IncrementalIndexer
from embedmill.runtime.paths import both, file_id, file_path, shown
from embedmill.sources.files.source import FileSource

_SUMS: Final = (
    *("documents", "unchanged", "removed", "chunks", "embedded", "cached", "duplicates", "truncated", "failed"),
    *("tokens", "seconds", "restarts", "retries", "deselected"),
)


@dataclass(slots=True)
class Group:
    """Documents that share the settings they were taken with."""

    options: Mapping[str, Any]
    given: list[str] = field(default_factory=list)  # what a run was given; empty where no run is known
    documents: list[str] = field(default_factory=list)  # those that are there; folders end in "/"
    vanished: list[str] = field(default_factory=list)


def groups(store: Store, failed: Sequence[str]) -> Iterator[Group]:
    """The failed documents by the settings of the run that took them; at least one group, which may be empty.

    What cannot be reached stays out: what lies in roots that are gone or on other machines, and folders that are still
    closed.
    """
    gone = tuple(path if path.endswith("/") else path + "/" for path in store.vanished())
    found: dict[str, Group] = {}
    for document in failed:
        if not document.startswith("/") or (document + "/").startswith(gone):
            continue
        taken = store.given_as(document)
        path = file_path(document)
        known = taken is not None and os.path.lexists(file_path(taken.path))
        options = taken.options if taken is not None and known else {}
        group = found.setdefault(f"{known} {json.dumps(options, sort_keys=True)}", Group(options))
        if taken is not None and known and taken.path not in group.given:
            group.given.append(taken.path)
        if not os.path.lexists(path):
            group.vanished.append(document)
        elif not path.endswith("/") or os.access(path, os.R_OK | os.X_OK):
            group.documents.append(document)
    yield from found.values() or [Group({})]


def together(reports: Sequence[Report]) -> Report:
    """One report of several runs on one store, one after the other."""
    last = reports[-1]
    sums: dict[str, Any] = {name: sum(getattr(report, name) for report in reports) for name in _SUMS}
    for name in ("stages", "skipped"):
        sums[name] = _added([getattr(report, name) for report in reports])
    return replace(last, **sums) if len(reports) > 1 else last


def _added(counts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(each.get(name, 0) for each in counts) for each in counts for name in each}


class _NoDocuments:
    """The source of a run that has nothing to do."""

    scopes: Sequence[str] = ()
    skipped: Mapping[str, int] = {}

    def entries(self) -> Iterator[Entry]:
        return iter(())

    def read(self, entry: Entry) -> None:
        return None

    def amount(self) -> int:
        return 0

    def finish_within(self, seconds: float) -> None:
        pass

    def unlisted(self) -> Sequence[str]:
        return ()

    def deselected(self, sizes: Mapping[str, int]) -> Sequence[str]:
        return ()


def retry_failed(
    *,
    force: bool = False,
    on_progress: OnProgress = lambda _: None,
    on_start: Callable[[IncrementalIndexer], None] = lambda _: None,
    **options: Unpack[DocumentOptions],
) -> Report:
    """Embed the documents that have failures again: the command ``embedmill retry-failed``.

    Chunks that did not fail are taken from the store. What the run that failed had been told of which files to take
    and how to cut them holds again, unless `options` say otherwise. Arguments and errors are those of `index`.
    """
    check_options(retry_failed, options, DocumentOptions)
    with ExitStack() as stack:
        first = read_settings(options, FileOptions)
        refuse_db_timeout(options, first)
        store = opened(first, stack, write=True, create=False)
        status = store.status()
        failed = store.failed_documents()
        reports = []
        for group in groups(store, failed):
            # Where no run is known that had taken it, the environment and the file tell which files are taken.
            chosen = read_settings(
                {**known_settings(group.options), **_given(options)}, RunOptions if group.given else FileOptions
            )
            if options.get("model") is None and status.model is not None:
                chosen = dataclasses.replace(chosen, model=status.model)
            with ExitStack() as parts_of_it:
                report = _retry(store, status, chosen, group, failed, parts_of_it, force, on_progress, on_start)
            reports.append(report)
            if report.interrupted:
                break
        return together(reports)


def _retry(
    store: Store,
    status: StoreStatus,
    chosen: Settings,
    group: Group,
    failed: Sequence[str],
    stack: ExitStack,
    force: bool,
    on_progress: OnProgress,
    on_start: Callable[[IncrementalIndexer], None],
) -> Report:
    """Embed the failed documents again that share their settings."""
    chosen = with_prompts_of(status, chosen, embedder_of(chosen))
    embedder, executor, cache, chunking = parts(chosen, stack)
    indexer = IncrementalIndexer(
        store, embedder, executor, cache=cache, chunking=chunking, batch_size=chosen.batch_size
    )
    on_start(indexer)
    source: FileSource | _NoDocuments = _NoDocuments()
    if group.documents:
        paths = group.given or group.documents
        only = group.documents if group.given else None
        source = files([file_path(path) for path in paths], chosen, only=only, current=group.options.get("current"))
    source.scopes = [*source.scopes, *group.vanished]  # where nothing is found any more, and so nothing is kept
    return indexer.run(source, again=frozenset(failed), force=force, remember=None, on_progress=on_progress)


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def forget(paths: Path | Sequence[Path], **options: Unpack[StoreOptions]) -> int:
    """Take files and folders out of a store, whether they are there or gone: the command ``embedmill forget``.

    A path of another machine is given as `status --roots` shows it, HOST:PATH. Returns how many documents that were.
    Raises `UsageError`, and `StoreError` where there is no store, or nothing of a path in it.
    """
    check_options(forget, options, StoreOptions)
    chosen = read_settings(options, StoreOptions)
    refuse_db_timeout(options, chosen)
    given = [os.fspath(path) for path in ([paths] if isinstance(paths, str | os.PathLike) else paths)]
    if not given or "" in given:
        raise UsageError("a path is empty: give a file or folder, as `embedmill status --roots` lists them")
    with ExitStack() as stack:
        store = opened(chosen, stack, write=True, create=False)
        scopes = {path: list(both(_as_stored(path, store))) for path in given}
        for path, found in scopes.items():
            if not store.holds(found):
                raise StoreError(
                    f"store {store.url} has nothing of {shown(path)}: `embedmill status --roots` lists what it has"
                )
        return store.forget([scope for found in scopes.values() for scope in found])


def _as_stored(path: str, store: Store) -> list[str]:
    """The ids that a path may stand for: that of the path itself, and that of what a link leads to."""
    if any(not root.path.startswith("/") and (path + "/").startswith(root.path + "/") for root in store.root_list()):
        return [path]
    absolute = os.path.abspath(path)  # noqa: PTH100
    above = os.path.join(os.path.realpath(os.path.dirname(absolute)), os.path.basename(absolute))  # noqa: PTH118, PTH119, PTH120
    return list(dict.fromkeys(file_id(each) for each in (os.path.realpath(path), above, absolute)))
