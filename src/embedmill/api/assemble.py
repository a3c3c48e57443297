"""From settings to the parts of a run: here names become models, executors and caches."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from embedmill.api.embedders import hint_prompts, make_embedder, worker_factory
from embedmill.api.kept_embedder import kept_or_made, let_go
from embedmill.api.settings import Settings
from embedmill.core.errors import UsageError
from embedmill.embedders.local import LocalEmbedder
from embedmill.embedders.testing import is_test_model
from embedmill.runtime import machine
from embedmill.runtime.paths import FilePath

if TYPE_CHECKING:
    from embedmill.chunking.options import Chunking
    from embedmill.core.documents import StoreStatus
    from embedmill.core.interfaces.cache import VectorCache
    from embedmill.core.interfaces.executor import Executor
    from embedmill.core.reports import Progress
    from embedmill.core.rows import Noted
    from embedmill.executors.pace import Pace

log = logging.getLogger(__name__)

_LEAST_ROOM: Final = 4  # tokens of a chunk beside its prompt

OnProgress = Callable[["Progress"], None]


def as_list(paths: FilePath | Sequence[FilePath]) -> list[FilePath]:
    """One path, or several, as they may be given."""
    return [paths] if isinstance(paths, str | os.PathLike) or not isinstance(paths, Iterable) else list(paths)


def without_rests(chosen: Settings) -> Settings:
    """For a dry run, which embeds a sample: it is measured without the rests of ``--sleep``."""
    if chosen.sleep:
        log.warning("the estimate does not count the rests of --sleep")
    return dataclasses.replace(chosen, sleep=0.0)


def streams_of(chosen: Settings) -> int:
    """Calls that run at once in this process: at most one for each core, since more would only take turns."""
    return min(chosen.workers or machine.cores(), machine.cores())


def embedder_of(chosen: Settings) -> LocalEmbedder:
    """The embedder of a run in this process. Raises what `load_embedder` raises."""
    how: dict[str, Any] = {
        "precision": chosen.precision,
        "streams": streams_of(chosen),
        "threads": streams_of(chosen),
        "document_prompt": chosen.document_prompt,
        "query_prompt": chosen.query_prompt,
    }
    return kept_or_made((chosen.model, *how.values()), partial(make_embedder, chosen.model, **how))


def with_prompts_of(
    noted: StoreStatus | Noted, chosen: Settings, embedder: LocalEmbedder
) -> tuple[Settings, LocalEmbedder]:
    """The settings with the prompts that are noted, if they are of this model's vectors and none were given.

    `embedder` is that of the settings as they are; that of the settings as they become comes with them.
    """
    space = embedder.fingerprint.space
    if chosen.document_prompt is None and noted.document_prompt:
        space = dataclasses.replace(space, prompt=noted.document_prompt)
    if space.id != noted.space:
        return chosen, embedder
    prompted = dataclasses.replace(
        chosen, document_prompt=space.prompt or None, query_prompt=chosen.query_prompt or noted.query_prompt or None
    )
    return prompted, embedder if prompted == chosen else embedder_of(prompted)


def check_test_model(chosen: Settings, options: Mapping[str, Any]) -> None:
    """Raise `UsageError` where a run is to fill a store or table from the model for tests, unless that is wanted.

    `options` are those given just now, `chosen` the settings with the run's own model.
    """
    if is_test_model(chosen.model):
        if not chosen.allow_test_model:
            raise UsageError(
                f"{chosen.model} is for tests, its vectors mean nothing: give --allow-test-model, or another --model"
            )
    elif options.get("allow_test_model"):
        raise UsageError(f"--allow-test-model is for the model test:N, not for {chosen.model}: leave it out")


class Components(NamedTuple):
    """What a run embeds with."""

    embedder: LocalEmbedder
    executor: Executor
    cache: VectorCache | None
    chunking: Chunking


def build_components(chosen: Settings, embedder: LocalEmbedder, stack: ExitStack, *, quiet: bool = False) -> Components:
    """What a run of these settings, with their embedder, embeds with; `stack` closes it.

    `quiet` does not say where there are fewer workers than asked for.
    """
    from embedmill.chunking.options import Chunking
    from embedmill.storage.cache.cache import PersistentCache

    if (
        chosen.executor == "threads"
        and (chosen.workers or 0) > embedder.workers
        and not (quiet or machine.shares_cores())
    ):
        log.warning(
            "workers is %d: this process has %s, so that so many calls of the model run at once, and no more",
            chosen.workers,
            "1 core" if embedder.workers == 1 else f"{embedder.workers} cores",
        )
    stack.callback(let_go, embedder)
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


def _threads(chosen: Settings, embedder: LocalEmbedder) -> Executor:
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
        chosen.model, chosen.precision, document_prompt=chosen.document_prompt, query_prompt=chosen.query_prompt
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


def _check_room(embedder: LocalEmbedder, limit: int) -> None:
    tokens = len(embedder.encode([""], truncate=False)[0])
    if limit - tokens < _LEAST_ROOM:
        raise UsageError(
            f"the document prompt has {tokens:,} tokens, and a chunk at most {limit:,}: too few are left for the text; "
            "give a shorter prompt, or more --chunk-tokens"
        )
