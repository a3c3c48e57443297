"""Files and folders into a store, run after run, in a program of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from embedmill.api.assemble import build_components, check_test_model, embedder_of, with_prompts_of
from embedmill.api.chunk_store import ChunkStore
from embedmill.api.forget import scopes_in
from embedmill.api.index import files, settings_of_run
from embedmill.api.model_loader import ModelLoader
from embedmill.api.read_settings import read_settings
from embedmill.api.reembed import take_over
from embedmill.api.settings import DocumentOptions, FileOptions, Settings, names_of
from embedmill.core.checks import callables, switches, whole_number
from embedmill.core.errors import UsageError
from embedmill.embedders.local import LocalEmbedder
from embedmill.engine.trial import check_embedder
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.index.indexer import Indexer
from embedmill.runtime.closing import Closing
from embedmill.runtime.paths import FilePath
from embedmill.storage.cache.cache import PersistentCache

if TYPE_CHECKING:
    from embedmill.chunking.options import Chunking
    from embedmill.core.interfaces.cache import VectorCache
    from embedmill.core.interfaces.embedder import TokenEmbedder
    from embedmill.core.interfaces.executor import Executor
    from embedmill.core.interfaces.source import Source
    from embedmill.core.interfaces.store import Store
    from embedmill.core.reports import Progress, ProgressCallback, Report


_SELECTING: Final = [name for name in names_of(FileOptions) if name not in names_of(DocumentOptions)]
"""The settings that say which files are taken, and how they are read."""


class IncrementalIndexer(Closing):
    """Keeps a store in step with files and folders, embedding only what is not known yet. One run at a time.

    `index_file`, `index_directory` and `remove` are runs over files; `run` takes any source.
    """

    def __init__(
        self,
        store: ChunkStore | Store,
        embedder: TokenEmbedder | ModelLoader | None = None,
        executor: Executor | None = None,
        *,
        cache: VectorCache | bool | None = True,
        chunking: Chunking | None = None,
        batch_size: int | None = None,
    ) -> None:
        """`store` is open for writing, as `open_store` gives it, and stays the caller's.

        What is not given is as of ``embedmill index``: without an `embedder` the settings of environment and
        ``embedmill.toml`` hold, with the prompts that the store has noted; the executor of an `embedder` is by default
        threads of this process. An embedder and executor that are given stay the caller's, too. `cache` is the user's
        own, or False, or another one. `chunking` is by default as long as the model reads, `batch_size` as many texts
        as tokens allow.

        Raises `UsageError` for what makes no sense, alone or together, and what `load_embedder` raises.
        """
        if batch_size is not None:
            whole_number("batch_size", batch_size)
        if isinstance(store, str | os.PathLike) or not hasattr(store, "status"):
            raise UsageError(f"store is {store!r:.200}: open it, with embedmill.open_store(url)")
        if executor is not None and embedder is None:
            raise UsageError("an executor runs an embedder: give that too")
        if not isinstance(cache, bool | None) and not hasattr(cache, "get_many"):
            raise UsageError(f"cache is {cache!r:.200}: give True, False or a cache of your own")
        if chunking is not None and not hasattr(chunking, "max_tokens"):
            raise UsageError(f"chunking is {chunking!r:.200}: give an embedmill.Chunking")
        self._store: Store = store.store if isinstance(store, ChunkStore) else store
        self._chosen = Settings()
        self._closed = False
        with ExitStack() as stack:
            if isinstance(embedder, ModelLoader):
                embedder = embedder.embedder
            if embedder is None:
                self._chosen = read_settings(None, DocumentOptions)
                check_test_model(self._chosen, {})
                made = embedder_of(self._chosen)
                self._chosen, made = with_prompts_of(self._store.status(), self._chosen, made)
                parts = build_components(self._chosen, made, stack)
                embedder, executor = parts.embedder, parts.executor
                cache = parts.cache if cache is True else cache
                chunking = chunking or parts.chunking
                batch_size = self._chosen.batch_size if batch_size is None else batch_size
            check_embedder(embedder)
            if executor is None:
                executor = ThreadExecutor(embedder)
                stack.callback(executor.close)
            if isinstance(cache, bool):
                cache = PersistentCache() if cache else None
                if cache is not None:
                    stack.callback(cache.close)
            self._embedder = embedder
            self._indexer = Indexer(
                self._store, embedder, executor, cache=cache, chunking=chunking, batch_size=batch_size
            )
            self._closing = stack.pop_all()

    def index_file(self, path: FilePath, *, force: bool = False) -> Report:
        """Bring what the store has of one file up to date; `force` reads it though its size and times are as before.

        Raises `SourceError` where it is not there or cannot be read, `UsageError` for a folder, and what `run` raises.
        """
        _check_path(path)
        if os.path.isdir(path):  # noqa: PTH112 - paths that are no text too
            raise UsageError(f"{os.fspath(path)} is a folder: index_directory() takes it")
        return self._index(path, None, force=force, prune=False)

    def index_directory(
        self,
        path: FilePath,
        progress_callback: ProgressCallback | None = None,
        *,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        hidden: bool | None = None,
        generated: bool | None = None,
        prune: bool = False,
        force: bool = False,
    ) -> Report:
        """Bring what the store has of a folder up to date: what is new, has changed or is gone.

        `progress_callback` is called in this thread with how many documents are done, and how many there are; it never
        goes back, and is called at last with (all, all), unless the run is stopped. Other arguments are the options of
        ``embedmill index``; None: as environment and ``embedmill.toml`` say.

        Raises `SourceError` where the folder is not there, `UsageError` for a file, what `run` raises, and what
        `progress_callback` raises, which ends the run; what is finished is stored.
        """
        _check_path(path)
        if os.path.isfile(path):  # noqa: PTH113
            raise UsageError(f"{os.fspath(path)} is a file: index_file() takes it")
        options = {"include": include, "exclude": exclude, "hidden": hidden, "generated": generated}
        return self._index(path, progress_callback, force=force, prune=prune, **options)

    def remove(self, *paths: FilePath) -> int:
        """Take files and folders, and what is in them, out of the store, whether they are there or gone.

        Returns how many documents that were; 0 where the store has nothing of them. They come back with the next run
        that finds them. What was written with `ChunkStore.write` is removed by `ChunkStore.remove`. Raises
        `RuntimeError` after `close`.
        """
        self._check_open()
        for path in paths:
            _check_path(path)
        return self._store.forget([scope for path in paths for scope in scopes_in(self._store, os.fspath(path))])

    def run(
        self,
        source: Source,
        *,
        again: Collection[str] = (),
        prune: bool = False,
        force: bool = False,
        missing: Iterable[str] = (),
        remember: str | None = "{}",
        on_progress: Callable[[Progress], None] = lambda _: None,
    ) -> Report:
        """Bring the store up to date with a source: see `embedmill.core.interfaces.source.Source`, and `FileSource`.

        Documents named in `again` are embedded even if they have not changed; `force` reads what seems unchanged, too.
        What the source's options leave out stays in the store, if it is still there, unless `prune`, which also takes
        out what lies in folders that are gone, and what is `missing` of what was asked for. `remember` is noted, as
        JSON, of how the source was made, for a retry; None: nothing is noted. `on_progress` is called in this thread
        after every batch.

        Raises `SpaceMismatch` where the store holds vectors of another model, `SourceError` where the source cannot be
        listed, `StoreError` where the store cannot be written, and `RuntimeError` after `close`.
        """
        self._check_open()
        if not hasattr(source, "entries"):
            raise UsageError(f"source is {source!r:.200}: give an embedmill.FileSource, or a source of your own")
        self._store.forget_seen()
        if isinstance(self._embedder, LocalEmbedder):
            take_over(self._store, self._embedder)
        return self._indexer.run(
            source,
            again=again,
            prune=prune,
            force=force,
            missing=missing,
            remember=remember,
            on_progress=on_progress,
        )

    def stop(self) -> None:
        """End the run early, from another thread or a signal handler; an indexer that was stopped stays so.

        What has been embedded is stored, the report says `interrupted`, and the next run goes on from there.
        """
        self._indexer.stop()

    def close(self) -> None:
        """Release what was not given: model, executor, cache. May be called twice; the store stays open."""
        self._closed = True
        self._closing.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this IncrementalIndexer is closed: make a new one")

    def _index(
        self, path: FilePath, callback: ProgressCallback | None, *, force: bool, prune: bool, **options: object
    ) -> Report:
        switches(force=force, prune=prune)
        callables(progress_callback=callback)
        selection = read_settings(options, _SELECTING)
        chosen = replace(self._chosen, store=self._store.url, **{name: getattr(selection, name) for name in _SELECTING})
        source = files([path], chosen)
        tell = None if callback is None else _Telling(callback, sum(1 for _ in source.entries()))
        report = self.run(
            source,
            force=force,
            prune=prune,
            remember=settings_of_run(chosen),
            on_progress=(lambda _: None) if tell is None else tell.on_progress,
        )
        if tell is not None and not report.interrupted:
            tell.end()
        return report


class _Telling:
    """Tells a callback of documents, of which there may be less in the end than were listed, or more."""

    def __init__(self, callback: ProgressCallback, total: int) -> None:
        self._callback = callback
        self._total = total
        self._told = 0, 0

    def on_progress(self, progress: Progress) -> None:
        """Tell of what has come."""
        self._tell(min(progress.documents, self._total))

    def end(self) -> None:
        """Tell that all are done."""
        self._tell(self._total)

    def _tell(self, done: int) -> None:
        told = max(done, self._told[0]), self._total
        if told != self._told:
            self._told = told
            self._callback(*told)


def _check_path(path: object) -> None:
    if not isinstance(path, str | os.PathLike) or os.fspath(path) == "":
        raise UsageError(f"path is {path!r}: give a file or folder, as text or pathlib.Path")
