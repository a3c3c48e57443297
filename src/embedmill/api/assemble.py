"""From settings to the parts of a run: here names and URLs become models, stores and executors."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from embedmill.api.embedders import hint_prompts, make_embedder, worker_factory
from embedmill.api.settings import SearchOptions, Settings, StoreOptions
from embedmill.core.checks import text_or_none
from embedmill.core.errors import SpaceMismatch, UsageError
from embedmill.core.spaces import not_of, other_prompt
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.runtime import machine
from embedmill.storage.registry import is_server, open_store, open_table

if TYPE_CHECKING:
    from embedmill.chunking.options import Chunking
    from embedmill.core.documents import StoreStatus
    from embedmill.core.interfaces.cache import VectorCache
    from embedmill.core.interfaces.executor import Executor
    from embedmill.core.interfaces.store import Store
    from embedmill.core.interfaces.table import Table
    from embedmill.core.reports import Progress
    from embedmill.core.rows import Noted
    from embedmill.executors.pace import Pace

log = logging.getLogger(__name__)

_LEAST_ROOM: Final = 4  # tokens of a chunk beside its prompt

LONGEST_TEXT: Final = 100_000
"""Characters of a row's text: some eighty times what the default model reads. A vector of its beginning would not stand
for a longer one, which is rather a file than a row."""

FilePath = str | os.PathLike[str]
OnProgress = Callable[["Progress"], None]


def as_list(paths: FilePath | Sequence[FilePath]) -> list[FilePath]:
    """One path, or several, as they may be given."""
    return [paths] if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable) else list(paths)


def without_rests(chosen: Settings) -> Settings:
    """For a dry run, which embeds a sample: it is measured without the rests of ``--sleep``."""
    if chosen.sleep:
        log.warning("the estimate does not count the rests of --sleep")
    return dataclasses.replace(chosen, sleep=0.0)


def refuse_db_timeout(options: StoreOptions | SearchOptions, chosen: Settings) -> None:
    """Raise `UsageError` where it is given and the store has no use for it."""
    if options.get("db_timeout") is not None and not is_server(chosen.store):
        raise UsageError("--db-timeout is for PostgreSQL: nothing in an SQLite store is waited for; leave it out")


def open_chosen_store(chosen: Settings, stack: ExitStack, *, write: bool, create: bool = True) -> Store:
    """The store of these settings; `stack` closes it. Raises what `open_store` raises."""
    store = open_store(chosen.store, write=write, create=create, schema=chosen.schema, db_timeout=chosen.db_timeout)
    stack.callback(store.close)
    return store


def check_space(store: Store, embedder: OpenVINOEmbedder) -> None:
    """Raise `SpaceMismatch` where a store that is only read holds vectors of another model."""
    status, space = store.status(), embedder.fingerprint.space
    if status.chunks and status.space != space.id:
        if told := other_prompt(status.document_prompt, status.space, space):
            raise SpaceMismatch(f"store {store.url} holds {told}, or give another --store")
        whose = not_of(status.model, status.space, embedder.name, space.id)
        raise SpaceMismatch(f"store {store.url} holds {whose}: give the store's own --model, or another --store")


@contextmanager
def open_chosen_table(table: str, chosen: Settings, *, longest: int = LONGEST_TEXT, **options: Any) -> Iterator[Table]:
    """A table of the chosen database; `options` are those of `embedmill.storage.registry.open_table`."""
    if not isinstance(table, str) or not table.strip():
        raise UsageError(f"table is {table!r}: give its name, as text")
    text_or_none(text=options.get("text"), vector=options.get("vector"))
    keys = options.get("id", ())
    options |= {"id": [keys] if isinstance(keys, str) else list(keys)} if keys else {}
    text_or_none(**{f"id {number}": name for number, name in enumerate(options.get("id", ()))})
    opened = open_table(
        chosen.store, table, schema=chosen.schema, db_timeout=chosen.db_timeout, longest=longest, **options
    )
    with closing(opened):
        yield opened


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


class Components(NamedTuple):
    """What a run embeds with."""

    embedder: OpenVINOEmbedder
    executor: Executor
    cache: VectorCache | None
    chunking: Chunking


def build_components(chosen: Settings, stack: ExitStack, *, quiet: bool = False) -> Components:
    """What a run of these settings embeds with; `stack` closes it.

    `quiet` does not say where there are fewer workers than asked for.
    """
    from embedmill.chunking.options import Chunking
    from embedmill.storage.cache.cache import PersistentCache

    embedder = embedder_of(chosen)
    if chosen.executor == "threads" and (chosen.workers or 0) > embedder.workers and not quiet:
        log.warning(
            "workers is %d: this process has %s, so that so many calls of the model run at once, and no more",
            chosen.workers,
            "1 core" if embedder.workers == 1 else f"{embedder.workers} cores",
        )
    stack.callback(embedder.close)
    hint_prompts(embedder)
    executor = _processes(chosen) if chosen.executor == "processes" else _threads(chosen, embedder)
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
    return Components(embedder, executor, cache, Chunking(limit))


def _threads(chosen: Settings, embedder: OpenVINOEmbedder) -> Executor:
    from embedmill.executors.threads import ThreadExecutor

    if chosen.max_memory_mb or chosen.max_documents_per_worker:
        log.warning("limits are for worker processes, not for threads: give --executor processes, or leave them out")
    return ThreadExecutor(embedder, _pace(chosen))


def _processes(chosen: Settings) -> Executor:
    from embedmill.executors.processes.limits import Limits
    from embedmill.executors.processes.pool import EmbedderPool
    from embedmill.executors.processes.tuned import TunedPool, candidates

    limits = Limits(max_memory_mb=chosen.max_memory_mb, max_documents_per_worker=chosen.max_documents_per_worker)
    factory = worker_factory(
        chosen.model,
        chosen.precision,
        document_prompt=chosen.document_prompt,
        query_prompt=chosen.query_prompt,
    )

    def pool(workers: int) -> EmbedderPool:
        return EmbedderPool(factory, workers=workers, limits=limits, pace=_pace(chosen))

    return pool(bounded_workers(chosen.workers)) if chosen.workers else TunedPool(pool, candidates(machine.cores()))


def bounded_workers(workers: int) -> int:
    """So many worker processes, or as many as make any sense here, which is said then."""
    most = machine.most_workers()
    if workers > most:
        log.warning(
            "workers is %d: more than %d processes, 8 for each core, make no sense here: taking so many", workers, most
        )
    return min(workers, most)


def _pace(chosen: Settings) -> Pace | None:
    from embedmill.executors.pace import Pace

    return Pace(chosen.max_load, chosen.sleep) if chosen.max_load is not None or chosen.sleep else None


def _check_room(embedder: OpenVINOEmbedder, limit: int) -> None:
    tokens = len(embedder.encode([""], truncate=False)[0])
    if limit - tokens < _LEAST_ROOM:
        raise UsageError(
            f"the document prompt has {tokens:,} tokens, and a chunk at most {limit:,}: too few are left for the text; "
            "give a shorter prompt, or more --chunk-tokens"
        )
