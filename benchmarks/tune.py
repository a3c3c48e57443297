"""Which settings embed fastest here: tokens in a batch, streams, callers for each stream, pinned threads or not,
and how many compiled primitives a stream may keep (about eight for each shape that it has met).

The loop is the embedder's own, put together from the same parts, so that its settings can be moved.
"""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import openvino as ov
from results import Run, median, options, ratios, table, tell
from texts import description, mixed_chunks

from embedmill import load_embedder
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.core.vectors import TokenIds
from embedmill.engine.batching import batches
from embedmill.models import locate, read_card
from embedmill.models.graph import build
from embedmill.runtime.streams import ordered

_ENCODE_AT_ONCE = 64  # texts, as in the embedder


class Settings(NamedTuple):
    streams: int
    pinning: bool
    cache: int  # primitives that a stream keeps
    callers: int  # for each stream
    budget: int  # tokens


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    threads = parser.get_default("threads")
    parser.add_argument("--chunks", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "f32"], help="default: %(default)s")
    parser.add_argument("--budgets", type=int, nargs="+", default=[512, 1024, 2048, 4096], help="tokens")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 2, 3], help="for each stream")
    parser.add_argument("--streams", type=int, nargs="+", default=sorted({1, threads}))
    parser.add_argument("--pinning", type=int, nargs="+", choices=[0, 1], default=[0, 1])
    parser.add_argument("--runtime-cache", type=int, nargs="+", default=[2000], help="primitives kept by a stream")
    arguments = parser.parse_args()
    run = Run("tune", arguments)

    embedder = load_embedder(arguments.model)
    texts = mixed_chunks(arguments.chunks)
    corpus = description(texts, [len(ids) for ids in embedder.encode(texts)])
    card = read_card(locate(arguments.model))
    models = {
        key: _compiled(card, arguments, *key)
        for key in itertools.product(arguments.streams, map(bool, arguments.pinning), arguments.runtime_cache)
    }
    grid = [Settings(*key, *loop) for key in models for loop in itertools.product(arguments.callers, arguments.budgets)]
    seconds: dict[Settings, list[float]] = {one: [] for one in grid}
    for number in range(arguments.rounds + 1):  # the first one warms up
        for one in grid:
            taken = _embed(texts, embedder, models[one.streams, one.pinning, one.cache], one)
            if number:
                seconds[one].append(taken)
        tell(f"round {number} of {arguments.rounds} done")

    fastest = min(grid, key=lambda one: median(seconds[one]))
    rows = [
        (
            one.streams, "on" if one.pinning else "off", one.cache, one.callers, one.budget,
            f"{len(texts) / median(taken):.1f}", f"{median(ratios(seconds[fastest], taken)):.3f}",
        )
        for one, taken in sorted(seconds.items(), key=lambda item: median(item[1]))
    ]  # fmt: skip
    figures = [one._asdict() | {"seconds": taken} for one, taken in seconds.items()]
    header = ["streams", "pinning", "runtime cache", "callers a stream", "token budget", "chunks/s", "of the fastest"]
    run.finish({"corpus": corpus, "runs": figures}, [], table(header, rows))


def _compiled(card: Any, arguments: Any, streams: int, pinning: bool, cache: int) -> Any:
    settings = {
        "INFERENCE_PRECISION_HINT": arguments.precision,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": arguments.threads,
        "ENABLE_CPU_PINNING": pinning,
        "CPU_RUNTIME_CACHE_CAPACITY": cache,
    }
    return ov.Core().compile_model(build(card), "CPU", settings)


def _embed(texts: Sequence[str], embedder: TokenEmbedder, model: Any, one: Settings) -> float:
    """Seconds from the texts to their vectors."""
    callers = one.streams * one.callers
    requests: queue.LifoQueue[Any] = queue.LifoQueue()
    for _ in range(callers):
        requests.put(model.create_infer_request())
    vectors = np.empty((len(texts), embedder.dimension), np.float32)

    def encoded() -> Any:
        for first in range(0, len(texts), _ENCODE_AT_ONCE):
            yield from enumerate(embedder.encode(texts[first : first + _ENCODE_AT_ONCE]), start=first)

    def call(group: list[tuple[int, TokenIds]]) -> Any:
        request = requests.get()
        try:
            request.infer([np.stack([ids for _, ids in group])], share_inputs=True)
            return np.array(request.get_output_tensor(0).data)
        finally:
            requests.put(request)

    started = time.perf_counter()
    groups = batches(encoded(), lambda item: len(item[1]), budget=one.budget)
    for group, found in ordered(call, groups, threads=callers):
        vectors[[row for row, _ in group]] = found
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
