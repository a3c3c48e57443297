"""How fast this machine embeds, judged by a sample: for dry runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.vectors import Batch, TokenIds
from embedmill.engine.batching import batches


def seconds_for(
    tokens: int,
    sample: Sequence[tuple[str, TokenIds]],
    embedder: Embedder,
    executor: Executor,
    batch_size: int | None = None,
) -> float:
    """How long embedding so many tokens will take, from embedding the sample; loading the model counts too.

    `batch_size` limits the texts of a batch; by default its tokens alone do.
    """
    if not sample:
        return 0.0
    loading = time.perf_counter()
    embedder.load()
    groups = batches(sample, lambda each: len(each[1]), most=batch_size)
    calls = [Batch(tuple(text for text, _ in group), tuple(ids for _, ids in group)) for group in groups]
    started = time.perf_counter()
    for _ in executor.run(calls):
        pass
    speed = sum(call.tokens for call in calls) / (time.perf_counter() - started)
    return started - loading + tokens / speed
