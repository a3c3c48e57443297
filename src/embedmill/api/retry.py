"""Trying again what could not be read or embedded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import Any, Final, Unpack

from embedmill.api.assemble import OnProgress, build_components, check_test_model, embedder_of, with_prompts_of
from embedmill.api.index import files, make_indexer
from embedmill.api.profiling import profiled
from embedmill.api.read_settings import read_settings
from embedmill.api.reembed import take_over
from embedmill.api.run_logs import remembered
from embedmill.api.settings import DocumentOptions, FileOptions, RunOptions, Settings, check_options, known_settings
from embedmill.api.stores import open_chosen_store, refuse_db_timeout
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Report
from embedmill.engine.run_log import RunLog
from embedmill.pipelines.index.indexer import Indexer
from embedmill.runtime.paths import as_folder, file_path
from embedmill.runtime.stages import Stages
from embedmill.sources.files.source import FileSource

_SUMS: Final = (
    *("documents", "unchanged", "removed", "chunks", "embedded", "cached", "duplicates", "truncated", "failed"),
    *("tokens", "seconds", "restarts", "retries", "deselected"),
)


@dataclass(slots=True)
class FailedGroup:
    """Documents that share the settings they were taken with."""

    options: Mapping[str, Any]
    given: list[str] = field(default_factory=list)  # what a run was given; empty where no run is known
    documents: list[str] = field(default_factory=list)  # those that are there; folders end in "/"
    vanished: list[str] = field(default_factory=list)


def group_failures(store: Store, failed: Sequence[str]) -> Iterator[FailedGroup]:
    """The failed documents by the settings of the run that took them; at least one group, which may be empty.

    What cannot be reached stays out: what lies in roots that are gone or on other machines, and folders that are still
    closed.
    """
    found: dict[str, FailedGroup] = {}
    for document in _on_this_machine(store, failed):
        taken = store.given_as(document)
        path = file_path(document)
        known = taken is not None and os.path.lexists(file_path(taken.path))
        options = taken.options if taken is not None and known else {}
        group = found.setdefault(f"{known} {json.dumps(options, sort_keys=True)}", FailedGroup(options))
        if taken is not None and known and taken.path not in group.given:
            group.given.append(taken.path)
        if not os.path.lexists(path):
            group.vanished.append(document)
        elif _open(path):
            group.documents.append(document)
    yield from found.values() or [FailedGroup({})]


def can_retry(store: Store) -> bool:
    """Whether `retry_failed` would try any of what has failed: it has to be within reach."""
    failed = _on_this_machine(store, store.failed_documents())
    return any(not os.path.lexists(path) or _open(path) for path in map(file_path, failed))


def _on_this_machine(store: Store, documents: Sequence[str]) -> Iterator[str]:
    """Those that are files and folders, and in no root that is gone or on another machine."""
    gone = tuple(map(as_folder, store.vanished()))
    return (each for each in documents if each.startswith("/") and not (each + "/").startswith(gone))


def _open(path: str) -> bool:
    """Whether a file may be tried; a folder, which ends in "/", only where it is not closed any more."""
    return not path.endswith("/") or os.access(path, os.R_OK | os.X_OK)


def sum_reports(reports: Sequence[Report]) -> Report:
    """One report of several runs on one store, one after the other."""
    last = reports[-1]
    sums: dict[str, Any] = {name: sum(getattr(report, name) for report in reports) for name in _SUMS}
    for name in ("stages", "skipped"):
        counts: list[Mapping[str, float]] = [getattr(report, name) for report in reports]
        sums[name] = {what: sum(each.get(what, 0) for each in counts) for each in counts for what in each}
    return replace(last, **sums) if len(reports) > 1 else last


def retry_failed(
    *,
    force: bool = False,
    on_progress: OnProgress = lambda _: None,
    on_start: Callable[[Indexer], None] = lambda _: None,
    **options: Unpack[DocumentOptions],
) -> Report:
    """Embed the documents that have failures again: the command ``embedmill retry-failed``.

    Chunks that did not fail are taken from the store. What the run that failed had been told of which files to take
    and how to cut them holds again, unless `options` say otherwise. Arguments and errors are those of `index`.
    """
    check_options(retry_failed, options, DocumentOptions)
    first = read_settings(options, FileOptions)
    refuse_db_timeout(options, first)
    with (
        profiled(first, options) as stages,
        closing(open_chosen_store(first, write=True, create=False)) as store,
        remembered(first, "retry-failed") as run_log,
    ):
        failed = store.failed_documents()
        watching: dict[str, Any] = {"on_progress": on_progress, "on_start": on_start}
        return store_again(store, failed, options, run_log, force=force, stages=stages, **watching)


def store_again(
    store: Store,
    documents: Sequence[str],
    options: Mapping[str, Any],
    run_log: RunLog,
    *,
    force: bool = False,
    stages: Callable[[], Stages] = Stages,
    on_progress: OnProgress = lambda _: None,
    on_start: Callable[[Indexer], object] = lambda _: None,
) -> Report:
    """Read documents and store them, as the runs that took them did, unless `options` say otherwise.

    Those that are gone are taken out, where their folder is here. The store's model, and what it has of them, is used.
    `stages` is that of `Indexer`.
    """
    status, again = store.status(), frozenset(documents)
    reports = []
    for group in group_failures(store, documents):
        # Where no run is known that had taken it, the environment and the file tell which files are taken.
        told = known_settings(group.options) | {name: value for name, value in options.items() if value is not None}
        chosen = read_settings(told, RunOptions if group.given else FileOptions)
        if options.get("model") is None and status.model is not None:
            chosen = replace(chosen, model=status.model)
        check_test_model(chosen, options)
        with ExitStack() as stack:
            chosen, embedder = with_prompts_of(status, chosen, embedder_of(chosen))
            parts = build_components(chosen, embedder, stack)
            take_over(store, embedder)
            indexer = make_indexer(store, parts, chosen, stages)
            on_start(indexer)
            source, watched = _source(group, chosen), run_log.watch(on_progress, parts.executor.stats)
            report = indexer.run(source, again=again, force=force, remember=None, on_progress=watched)
        reports.append(report)
        if report.interrupted:
            break
    return run_log.finish(sum_reports(reports))


def _source(group: FailedGroup, chosen: Settings) -> FileSource:
    """The group's documents that are there; where the others were nothing is found any more, and so nothing is kept."""
    paths, only = group.given or group.documents, group.documents if group.given else None
    if not group.documents:
        paths, only = ["/"], []  # a folder that is there, and nothing of it
    source = files([file_path(path) for path in paths], chosen, only=only, current=group.options.get("current"))
    source.scopes = [*source.scopes, *group.vanished]
    return source
