"""How fast this machine embeds, judged by a sample: for dry runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.interfaces.executor import Executor
from embedmill.core.vectors import TokenIds
from embedmill.engine.lists import Array, ListedText
from embedmill.engine.run import embed_items


def seconds_for(
    tokens: int,
    sample: Sequence[tuple[str, TokenIds]],
    embedder: TokenEmbedder,
    executor: Executor,
    batch_size: int | None = None,
) -> float:
    """How long embedding so many tokens will take, from embedding the sample; loading the model counts too.

    `batch_size` limits the texts of a batch; by default its tokens alone do.
    """
    if not sample:
        return 0.0
    items = [ListedText(row, text, ids) for row, (text, ids) in enumerate(sample)]
    loading = time.perf_counter()
    embedder.load()
    started = time.perf_counter()
    space = embedder.fingerprint.space
    embed_items(items, executor.run, Array(len(items), space.dimension), space, batch_size=batch_size)
    speed = sum(len(item.ids) for item in items) / (time.perf_counter() - started)
    return started - loading + tokens / speed
