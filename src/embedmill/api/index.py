"""Indexing files and folders."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Unpack

from embedmill.api.assemble import (
    Components,
    OnProgress,
    as_list,
    build_components,
    check_test_model,
    embedder_of,
    with_prompts_of,
    without_rests,
)
from embedmill.api.profiling import profiled
from embedmill.api.read_settings import read_settings
from embedmill.api.reembed import begin_second, take_over
from embedmill.api.run_logs import remembered
from embedmill.api.settings import FileOptions, Settings, check_options, selecting
from embedmill.api.stores import check_space, name_vanished, open_chosen_store, refuse_db_timeout, tell_of_second
from embedmill.core.checks import switches
from embedmill.core.errors import StoreNotFound, UsageError
from embedmill.core.interfaces.reembedding import ReembeddableStore
from embedmill.runtime.outputs import log_files
from embedmill.runtime.paths import FilePath, both, file_id
from embedmill.sources.files.selection import current_folder
from embedmill.storage.registry import local_files, redact_url

if TYPE_CHECKING:
    from embedmill.core.interfaces.executor import Stoppable
    from embedmill.core.interfaces.store import Store
    from embedmill.core.reports import Report
    from embedmill.pipelines.index.indexer import Indexer
    from embedmill.pipelines.index.reembedding import Reembedding
    from embedmill.runtime.stages import Stages
    from embedmill.sources.files.source import FileSource

log = logging.getLogger(__name__)


def index(
    paths: FilePath | Sequence[FilePath],
    *,
    dry_run: bool = False,
    prune: bool = False,
    force: bool = False,
    re_embed: bool = False,
    on_progress: OnProgress = lambda _: None,
    on_start: Callable[[Stoppable], None] = lambda _: None,
    **options: Unpack[FileOptions],
) -> Report:
    """Bring a store up to date with files and folders: the command ``embedmill index``.

    What an earlier run stored of files that `include`, `exclude`, `hidden`, `generated` or `max_file_size` now leave
    out stays, and is counted as `deselected`, unless `prune` takes it out of the store. So does what it stored of
    files and folders that are gone (`vanished`); of several paths those are only named (`missing`). `force` reads every
    file, also one whose size and times are as before. `re_embed` fills a second space where the store has vectors of
    another model, which is searched until the run has come to its end; what the run does not read, and one without it
    would keep, is embedded from the chunks that are stored (`kept`). `options` are those of the command
    (`embedmill.api.settings.FileOptions`); those not given, or None, come from the environment and ``embedmill.toml``.
    `on_progress` is called after every batch, `on_start` with the indexer, whose `stop()` ends the run early.

    Raises `UsageError`, `SourceError`, `ModelError`, `SpaceMismatch` or `StoreError`; what was stored before stays.
    """
    chosen = check_index(dry_run=dry_run, prune=prune, force=force, re_embed=re_embed, **options)
    source = files(as_list(paths), chosen, least=0 if prune else 1)
    with ExitStack() as stack:
        stages = stack.enter_context(profiled(chosen, options, dry_run=dry_run))
        embedder = embedder_of(chosen)  # its errors come before a store is made
        store: Store | None = None
        with suppress(StoreNotFound):
            opened = open_chosen_store(chosen, write=not dry_run, create=not source.missing)
            store = stack.enter_context(closing(opened))
        _check_missing(source.missing, store, chosen)
        if store is not None:
            chosen, embedder = with_prompts_of(store.status(), chosen, embedder)
        components = build_components(without_rests(chosen) if dry_run else chosen, embedder, stack)
        if dry_run:
            report = _planned(source, store, components, chosen, force=force, on_progress=on_progress)
            _name_unmatched(source, options)
            return report
        assert store is not None
        indexer = _chosen_indexer(store, components, chosen, stages, stack, re_embed=re_embed)
        on_start(indexer)
        run_log = stack.enter_context(remembered(chosen, "index"))
        report = indexer.run(
            source,
            prune=prune,
            force=force,
            missing=source.missing,
            remember=settings_of_run(chosen),
            on_progress=run_log.watch(on_progress, components.executor.stats),
        )
        name_vanished(run_log.finish(report).vanished, options)
        _name_unmatched(source, options)
        return report


def check_index(
    *,
    dry_run: bool = False,
    prune: bool = False,
    force: bool = False,
    re_embed: bool = False,
    **options: Unpack[FileOptions],
) -> Settings:
    """The settings of an `index` with these arguments. Raises `UsageError` for what it refuses before it begins."""
    check_options(index, options, FileOptions)
    switches(dry_run=dry_run, prune=prune, force=force, re_embed=re_embed)
    if prune and dry_run:
        raise UsageError("--dry-run does not look for what --prune would take out: leave one of them out")
    if re_embed and dry_run:
        raise UsageError(
            "--dry-run does not look into a second space: with a --store that is not there yet, and without "
            "--re-embed, it tells what embedding all anew takes"
        )
    chosen = read_settings(options, FileOptions)
    refuse_db_timeout(options, chosen)
    check_test_model(chosen, options)
    return chosen


def _chosen_indexer(
    store: Store,
    components: Components,
    chosen: Settings,
    stages: Callable[[], Stages],
    stack: ExitStack,
    *,
    re_embed: bool,
) -> Indexer | Reembedding:
    """What brings the store up to date, with a second space if that is asked for and needed."""
    take_over(store, components.embedder)
    second = begin_second(store, components.embedder) if re_embed else None
    if second is None:
        tell_of_second(store)
        return make_indexer(store, components, chosen, stages)
    from embedmill.pipelines.index.reembedding import Reembedding

    stack.enter_context(closing(second))
    take_over(second, components.embedder)
    assert isinstance(store, ReembeddableStore)
    return Reembedding(store, second, components.embedder, lambda each: make_indexer(each, components, chosen, stages))


def make_indexer(store: Store, components: Components, chosen: Settings, stages: Callable[[], Stages]) -> Indexer:
    """What brings the store up to date; `stages` is that of `Indexer`."""
    from embedmill.pipelines.index.indexer import Indexer

    embedder, executor, cache, chunking = components
    return Indexer(
        store,
        embedder,
        executor,
        cache=cache,
        chunking=chunking,
        batch_size=chosen.batch_size,
        stages=stages,
    )


def _planned(
    source: FileSource,
    store: Store | None,
    parts: Components,
    chosen: Settings,
    *,
    force: bool,
    on_progress: OnProgress,
) -> Report:
    from embedmill.pipelines.index.dry_run import plan

    if store is not None:
        check_space(store, parts.embedder)
    planned = plan(
        source,
        store,
        parts.embedder,
        parts.executor,
        url=store.url if store else redact_url(chosen.store),
        cache=parts.cache,
        chunking=parts.chunking,
        batch_size=chosen.batch_size,
        force=force,
        on_progress=on_progress,
    )
    return dataclasses.replace(planned, missing=tuple(source.missing))


def _check_missing(missing: Mapping[str, str], store: Store | None, chosen: Settings) -> None:
    """Raise `SourceError` for a path that is not there, and of which the store has nothing: it may be misspelt."""
    for document, name in missing.items():
        if store is None or not store.holds(list(both([document]))):
            files([name], chosen)


def settings_of_run(chosen: Settings) -> str:
    """What a retry has to know of a run: its settings, and where it stood, which patterns may be relative to."""
    kept = selecting(chosen)
    if chosen.include or chosen.exclude:
        kept["current"] = current_folder()
    return json.dumps(kept, sort_keys=True)


def _name_unmatched(source: FileSource, options: FileOptions) -> None:
    """Say which patterns matched nothing; more quietly of those in the file or environment, which serve other runs."""
    for name, patterns in source.unmatched().items():
        level = logging.WARNING if options.get(name) else logging.INFO
        for pattern in patterns:
            log.log(level, "--%s %r matches no file or folder: correct it, or leave it out", name, pattern)


def files(
    paths: Sequence[FilePath],
    chosen: Settings,
    *,
    least: int | None = None,
    only: Sequence[str] | None = None,
    current: str | None = None,
) -> FileSource:
    """The files below these paths that the settings select; `least`, `only` and `current` are those of `FileSource`.

    Raises what `FileSource` raises.
    """
    from embedmill.sources.files.source import FileSource

    if not all(isinstance(path, str | os.PathLike) for path in paths):
        raise UsageError("paths are to be given as text or pathlib.Path, one or a list of them")
    if any(os.fspath(path) == "" for path in paths):
        raise UsageError("a path is empty: give a file or folder, or . for the current one")
    return FileSource(
        paths,
        include=chosen.include,
        exclude=chosen.exclude,
        hidden=chosen.hidden,
        generated=chosen.generated,
        max_bytes=chosen.max_file_size,
        encoding=chosen.encoding,
        never=[*local_files(chosen.store), *_written_meanwhile(chosen)],
        least=least,
        only=only,
        current=current,
    )


def _written_meanwhile(chosen: Settings) -> list[str]:
    """The files that a run itself writes, its log and profile: a folder that has one would have changed each time."""
    profiles = [] if chosen.profile_json is None else [chosen.profile_json]
    return [file_id(os.path.realpath(path)) for path in (*log_files(), *profiles)]
