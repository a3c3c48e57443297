"""The commands as functions: here names and URLs become models, stores and executors.

What only an indexing run needs is imported by its functions: a search, whose start-up people wait for, does without.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Final, Unpack

from embedmill import machine
from embedmill.checks import switches, whole_number
from embedmill.closing import Closing
from embedmill.config import (
    FileOptions,
    PlaceOptions,
    SearchOptions,
    Settings,
    check_options,
    of_documents,
    settings,
)
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.errors import SpaceMismatch, StoreError, StoreNotFound, UsageError
from embedmill.fingerprint import not_of, other_prompt
from embedmill.loaders import hint_prompts, load_embedder, make_embedder, worker_factory
from embedmill.paths import both
from embedmill.records import Batch
from embedmill.selection import Selection, current_folder
from embedmill.stores import local_files, open_store, shown
from embedmill.stores.vanished import name_vanished
from embedmill.unread import warn_of_query

if TYPE_CHECKING:
    from embedmill.chunking import Chunking
    from embedmill.executors.pace import Pace
    from embedmill.interfaces import Executor, Store, VectorCache
    from embedmill.pipeline import IncrementalIndexer
    from embedmill.records import Hit, Progress, Report, StoreStatus, Vector
    from embedmill.rows import Noted
    from embedmill.sources.files import FileSource

log = logging.getLogger(__name__)

_LEAST_ROOM: Final = 4  # tokens of a chunk beside its prompt

Path = str | os.PathLike[str]
OnProgress = Callable[["Progress"], None]


def index(
    paths: Path | Sequence[Path],
    *,
    dry_run: bool = False,
    prune: bool = False,
    force: bool = False,
    on_progress: OnProgress = lambda _: None,
    on_start: Callable[[IncrementalIndexer], None] = lambda _: None,
    **options: Unpack[FileOptions],
) -> Report:
    """Bring a store up to date with files and folders: the command ``embedmill index``.

    What an earlier run stored of files that `include`, `exclude`, `hidden`, `generated` or `max_file_size` now leave
    out stays, and is counted as `deselected`, unless `prune` takes it out of the store. So does what it stored of
    files and folders that are gone (`vanished`); of several paths those are only named (`missing`).
    `force` reads every file, also one whose size and times are as before.
    `options` are those of the command (`embedmill.config.FileOptions`); those not given, or None, come from the
    environment and ``embedmill.toml``. `on_progress` is called after every batch, `on_start` with the indexer, whose
    `stop()` ends the run early.

    Raises `UsageError`, `SourceError`, `ModelError`, `SpaceMismatch` or `StoreError`; what had been stored
    before an error stays.
    """
    from embedmill.pipeline import IncrementalIndexer
    from embedmill.planning import plan

    check_options(index, options, FileOptions)
    switches(dry_run=dry_run, prune=prune, force=force)
    if prune and dry_run:
        raise UsageError("--dry-run does not look for what --prune would take out: leave one of them out")
    chosen = settings(options, only=FileOptions.__annotations__)
    refuse_db_timeout(options, chosen)
    if not isinstance(paths, Iterable):
        paths = [paths]
    source = files([paths] if isinstance(paths, str | os.PathLike) else list(paths), chosen, least=0 if prune else 1)
    with ExitStack() as stack:
        given = embedder_of(chosen)  # its errors come before a store is made
        store: Store | None = None
        with suppress(StoreNotFound):
            store = opened(chosen, stack, write=not dry_run, create=not source.missing)
        _check_missing(source.missing, store, chosen)
        if store is not None:
            chosen = with_prompts_of(store.status(), chosen, given)
        embedder, executor, cache, chunking = parts(without_rests(chosen) if dry_run else chosen, stack)
        if dry_run:
            if store is not None:
                _check_space(store, embedder)
            planned = plan(
                source,
                store,
                embedder,
                executor,
                url=store.url if store else shown(chosen.store),
                cache=cache,
                chunking=chunking,
                batch_size=chosen.batch_size,
                force=force,
                on_progress=on_progress,
            )
            _name_unmatched(source, options)
            return dataclasses.replace(planned, missing=tuple(source.missing))
        assert store is not None
        indexer = IncrementalIndexer(
            store, embedder, executor, cache=cache, chunking=chunking, batch_size=chosen.batch_size
        )
        on_start(indexer)
        report = indexer.run(
            source,
            prune=prune,
            force=force,
            missing=source.missing,
            remember=_remembered(chosen),
            on_progress=on_progress,
        )
        _name_unmatched(source, options)
        name_vanished(report.vanished, options)
        return report


def _check_missing(missing: Mapping[str, str], store: Store | None, chosen: Settings) -> None:
    """Raise `SourceError` for a path that is not there, and of which the store has nothing: it may be misspelt."""
    for document, name in missing.items():
        if store is None or not store.holds(list(both([document]))):
            files([name], chosen)


def _remembered(chosen: Settings) -> str:
    """What a retry has to know of a run: its settings, and where it stood, which patterns may be relative to."""
    kept = of_documents(chosen)
    if chosen.include or chosen.exclude:
        kept["current"] = current_folder()
    return json.dumps(kept, sort_keys=True)


def _name_unmatched(source: FileSource, options: FileOptions) -> None:
    """Say which patterns matched nothing; more quietly of those in the file or environment, which serve other runs."""
    for name, patterns in source.unmatched().items():
        level = logging.WARNING if options.get(name) else logging.INFO
        for pattern in patterns:
            log.log(level, "--%s %r matches no file or folder: correct it, or leave it out", name, pattern)


def _is_text(text: str) -> bool:
    try:
        return bool(text.encode())
    except UnicodeEncodeError:
        return False


class Searcher(Closing):
    """An open store and its model, for many searches.

    The model is the one that the store was written with, unless `model` names where else it lies. `options` are those
    of `embedmill.config.SearchOptions`. Raises `UsageError`, `StoreError` where there is no store and `SpaceMismatch`
    where the model is another than the store's.
    """

    def __init__(self, store: str | None = None, **options: Unpack[SearchOptions]) -> None:
        check_options(Searcher, options, SearchOptions)
        model, precision = options.get("model"), options.get("precision") or "f32"
        names = ("store", "schema", "db_timeout", "query_prompt")
        place = {"store": store} | {name: options.get(name) for name in names[1:]}
        self._chosen = chosen = settings(place, only=names)
        refuse_db_timeout(options, chosen)
        self._process = os.getpid()
        self._opening = threading.Lock()
        with ExitStack() as stack:
            self._store = opened(self._chosen, stack, write=False)
            status = self._store.status()
            if status.model is None:
                raise StoreError(f"store {self._store.url} is empty: run `embedmill index` first")
            self._embedder = load_embedder(
                model or status.model,
                precision=precision,
                streams=1,
                document_prompt=status.document_prompt or None,
                query_prompt=chosen.query_prompt or status.query_prompt or None,
            )
            stack.callback(self._embedder.close)
            _check_space(self._store, self._embedder)
            name_vanished(self._store.vanished(), place)
            self._closing = stack.pop_all()
        # Beside the loading the query is tokenised and the store's matrix opened: a tenth of a cold search.
        threading.Thread(target=self._load, name="embedmill-load", daemon=True).start()

    def _load(self) -> None:
        with suppress(Exception):  # the search meets the same error, where it can be reported
            self._embedder.load()

    def search(
        self, query: str, *, k: int = 10, glob: str | Sequence[str] | None = None, exact: bool = False
    ) -> list[Hit]:
        """The `k` nearest chunks, best first; `glob` limits them to documents whose path it matches, or one of several.

        Patterns are as in git and ripgrep: ``*.{md,rst}``, ``src/**/*.py``, a folder's name for all in it, ``!drafts``
        for all else. One with a "/" matches from any folder on, unless it begins with "/" or "./".
        `exact` compares every chunk, also where the store has an index that is faster.
        """
        whole_number("k", k)
        switches(exact=exact)
        if not isinstance(query, str) or not query.strip():
            raise UsageError("the query is empty: say what to look for")
        if not _is_text(query):
            raise UsageError("the query is not valid Unicode: it has lone surrogates")
        selection = None
        if glob is not None:
            selection = Selection([glob] if isinstance(glob, str) else glob)
        self._follow_fork()
        self._store.prepare_search()
        hits = self._store.search(self._vector(query), k, selection.takes if selection else None, exact=exact)
        for pattern in selection.unmatched() if selection else ():
            log.warning("--glob %r matches no document of the store: correct it, or leave it out", pattern)
        return hits

    def _vector(self, query: str) -> Vector:
        (ids,) = self._embedder.encode([query], task="query", truncate=False)
        limit = self._embedder.max_tokens
        if len(ids) > limit:
            log.warning("the query has %s tokens: the model reads the first %s", f"{len(ids):,}", limit)
            (ids,) = self._embedder.encode([query], task="query")
        warn_of_query(self._embedder, self._embedder.name, query, ids)
        vector: Vector = self._embedder.infer(Batch((query,), (ids,)))[0]
        return vector

    def _follow_fork(self) -> None:
        """Open the store anew in a process that was forked: the connection is the other one's."""
        with self._opening:
            if os.getpid() != self._process:
                _LEFT.append((self._store, self._closing))
                with ExitStack() as stack:
                    stack.callback(self._embedder.close)
                    self._store = opened(self._chosen, stack, write=False)
                    self._closing = stack.pop_all()
                self._process = os.getpid()

    def close(self) -> None:
        """Release store and model; may be called twice."""
        if os.getpid() == self._process:
            self._closing.close()


_LEFT: list[object] = []
"""What the process that this one was forked from has opened and uses: not to be closed here."""


def search(
    query: str,
    *,
    store: str | None = None,
    k: int = 10,
    glob: str | Sequence[str] | None = None,
    exact: bool = False,
    **options: Unpack[SearchOptions],
) -> list[Hit]:
    """The `k` chunks nearest to a query, best first: the command ``embedmill search``.

    Opens the store and loads the model each time; for many queries keep a `Searcher`, whose options and errors these
    are.
    """
    check_options(search, options, SearchOptions)
    with Searcher(store, **options) as searcher:
        return searcher.search(query, k=k, glob=glob, exact=exact)


def files(
    paths: Sequence[Path],
    chosen: Settings,
    *,
    least: int | None = None,
    only: Sequence[str] | None = None,
    current: str | None = None,
) -> FileSource:
    """The files below these paths that the settings select; `least`, `only` and `current` are those of `FileSource`.

    Raises what `FileSource` raises.
    """
    from embedmill.sources.files import FileSource

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
        never=local_files(chosen.store),
        least=least,
        only=only,
        current=current,
    )


def without_rests(chosen: Settings) -> Settings:
    """For a dry run, which embeds a sample: it is measured without the rests of ``--sleep``."""
    if chosen.sleep:
        log.warning("the estimate does not count the rests of --sleep")
    return dataclasses.replace(chosen, sleep=0.0)


def _pace(chosen: Settings) -> Pace | None:
    from embedmill.executors.pace import Pace

    return Pace(chosen.max_load, chosen.sleep) if chosen.max_load is not None or chosen.sleep else None


def _processes(chosen: Settings) -> Executor:
    from embedmill.executors.limits import Limits
    from embedmill.executors.processes import EmbedderPool
    from embedmill.executors.tuned import TunedPool, candidates

    limits = Limits(max_memory_mb=chosen.max_memory_mb, max_documents_per_worker=chosen.max_documents_per_worker)
    factory = worker_factory(
        chosen.model,
        chosen.precision,
        document_prompt=chosen.document_prompt,
        query_prompt=chosen.query_prompt,
    )

    def pool(workers: int) -> EmbedderPool:
        return EmbedderPool(factory, workers=workers, limits=limits, pace=_pace(chosen))

    return pool(processes(chosen.workers)) if chosen.workers else TunedPool(pool, candidates(machine.cores()))


def processes(workers: int) -> int:
    """So many worker processes, or as many as make any sense here, which is said then."""
    most = machine.most_workers()
    if workers > most:
        log.warning(
            "workers is %d: more than %d processes, 8 for each core, make no sense here: taking so many", workers, most
        )
    return min(workers, most)


def refuse_db_timeout(options: PlaceOptions | SearchOptions, chosen: Settings) -> None:
    """Raise `UsageError` where it is given and the store has no use for it."""
    if options.get("db_timeout") is not None and chosen.store.startswith("sqlite:"):
        raise UsageError("--db-timeout is for PostgreSQL: nothing in an SQLite store is waited for; leave it out")


def opened(chosen: Settings, stack: ExitStack, *, write: bool, create: bool = True) -> Store:
    """The store of these settings; `stack` closes it. Raises what `open_store` raises."""
    store = open_store(chosen.store, write=write, create=create, schema=chosen.schema, db_timeout=chosen.db_timeout)
    stack.callback(store.close)
    return store


def _check_space(store: Store, embedder: OpenVINOEmbedder) -> None:
    """Raise `SpaceMismatch` where a store that is only read holds vectors of another model."""
    status, space = store.status(), embedder.fingerprint.space
    if status.chunks and status.space != space.id:
        if told := other_prompt(status.document_prompt, status.space, space):
            raise SpaceMismatch(f"store {store.url} holds {told}, or give another --store")
        whose = not_of(status.model, status.space, embedder.name, space.id)
        raise SpaceMismatch(f"store {store.url} holds {whose}: give the store's own --model, or another --store")


def embedder_of(chosen: Settings) -> OpenVINOEmbedder:
    """The embedder of a run in this process. Raises what `load_embedder` raises."""
    workers = min(chosen.workers or machine.cores(), machine.cores())  # more would only take turns
    return make_embedder(
        chosen.model,
        precision=chosen.precision,
        streams=workers,
        threads=workers,
        document_prompt=chosen.document_prompt,
        query_prompt=chosen.query_prompt,
    )


def with_prompts_of(noted: StoreStatus | Noted, chosen: Settings, embedder: OpenVINOEmbedder) -> Settings:
    """The settings with the prompts that are noted, if they are of this model's vectors and none were given.

    `embedder` is that of the settings as they are.
    """
    space = embedder.fingerprint.space
    if chosen.document_prompt is None and noted.document_prompt:
        space = dataclasses.replace(space, prompt=noted.document_prompt)
    if space.id != noted.space:
        return chosen
    return dataclasses.replace(
        chosen,
        document_prompt=space.prompt or None,
        query_prompt=chosen.query_prompt or noted.query_prompt or None,
    )


def parts(
    chosen: Settings, stack: ExitStack, *, quiet: bool = False
) -> tuple[OpenVINOEmbedder, Executor, VectorCache | None, Chunking]:
    """What a run embeds with; `stack` closes it. `quiet` does not say where there are fewer workers than asked for."""
    from embedmill.chunking import Chunking
    from embedmill.executors.inline import InlineExecutor
    from embedmill.state.cache import PersistentCache

    embedder = embedder_of(chosen)
    if chosen.executor == "threads" and (chosen.workers or 0) > embedder.workers and not quiet:
        log.warning(
            "workers is %d: this process has %s, so that so many calls of the model run at once, and no more",
            chosen.workers,
            "1 core" if embedder.workers == 1 else f"{embedder.workers} cores",
        )
    stack.callback(embedder.close)
    hint_prompts(embedder)
    executor: Executor
    if chosen.executor == "processes":
        executor = _processes(chosen)
    else:
        executor = InlineExecutor(embedder, _pace(chosen))
        if chosen.max_memory_mb or chosen.max_documents_per_worker:
            log.warning(
                "limits are for worker processes, not for threads: give --executor processes, or leave them out"
            )
    stack.callback(executor.close)
    cache = PersistentCache() if chosen.cache else None
    if cache is not None:
        stack.callback(cache.close)
    limit = min(chosen.chunk_tokens or embedder.max_tokens, embedder.max_tokens)
    if chosen.chunk_tokens and chosen.chunk_tokens > limit:
        log.warning(
            "chunk_tokens is %d: the model reads %d tokens, so that chunks have at most these",
            chosen.chunk_tokens,
            limit,
        )
    if chosen.document_prompt is not None:
        _check_room(embedder, limit)
    return embedder, executor, cache, Chunking(limit)


def _check_room(embedder: OpenVINOEmbedder, limit: int) -> None:
    tokens = len(embedder.encode([""], truncate=False)[0])
    if limit - tokens < _LEAST_ROOM:
        raise UsageError(
            f"the document prompt has {tokens:,} tokens, and a chunk at most {limit:,}: too few are left for the text; "
            "give a shorter prompt, or more --chunk-tokens"
        )
