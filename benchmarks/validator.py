"""What it costs to check vectors, and to ask for a model that is there.

    python benchmarks/validator.py

The share of a run: its own batches are checked once more afterwards, as the run has done, against what it took.
"""

from __future__ import annotations

import timeit
from collections.abc import Iterable, Iterator

import numpy as np
from results import Bar, Run, median, options, table, tell
from texts import mixed_chunks

import embedmill
from embedmill.core.vectors import Batch, Embedded, Vectors
from embedmill.engine.lists import embed_list
from embedmill.executors.threads import ThreadExecutor

ROWS = 100_000
_CALLS = 10_000


def main() -> None:
    parser = options(__doc__ or "", rounds=5)
    parser.add_argument("--chunks", type=int, default=1_500, help="of the run (default: %(default)s)")
    arguments = parser.parse_args()
    benchmark = Run("validator", arguments)
    validator = embedmill.EmbeddingValidator(model=arguments.model)
    chance = np.random.default_rng(1)
    vectors = chance.standard_normal((ROWS, validator.dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    tell(f"{ROWS:,} vectors as an array")
    array = timeit.repeat(lambda: validator.check(vectors), number=1, repeat=arguments.rounds)
    tell("the share of a run")
    shares, batches = zip(
        *(_share(arguments.model, arguments.threads, arguments.chunks) for _ in range(arguments.rounds)), strict=True
    )
    loader = embedmill.ModelLoader(arguments.model)
    loader.get_model()
    calls = [seconds / _CALLS for seconds in timeit.repeat(loader.get_model, number=_CALLS, repeat=arguments.rounds)]
    rows = [
        (f"{ROWS:,} x {validator.dimension} as an array, ms", f"{median(array) * 1e3:.1f}"),
        (f"a run of {arguments.chunks:,} chunks, % of it", f"{median(shares):.3f}"),
        ("ModelLoader.get_model, again, µs", f"{median(calls) * 1e6:.2f}"),
    ]
    benchmark.finish(
        {"array seconds": array, "share percent": shares, "batches": batches, "get_model seconds": calls},
        [
            Bar(f"validator: {ROWS:,} x {validator.dimension} as an array", 0.1, median(array), unit=" s", digits=3),
            Bar("validator's share of a run", 0.5, median(shares), unit=" %", digits=3),
            Bar("ModelLoader.get_model, the second time", 1, median(calls) * 1e3, unit=" ms", digits=4),
        ],
        table(["what", "median"], rows),
    )


def _share(model: str, threads: int, chunks: int) -> tuple[float, int]:
    """Percent of a run that went into checking, and in how many batches it was."""
    made: list[Vectors] = []
    texts = mixed_chunks(chunks)
    with embedmill.load_embedder(model, threads=threads, streams=threads) as embedder:
        embedder.load()
        executor = ThreadExecutor(embedder)

        def run(batches: Iterable[Batch]) -> Iterator[Embedded]:
            for embedded in executor.run(batches):
                made.append(embedded.vectors)
                yield embedded

        whole = timeit.timeit(lambda: embed_list(texts, embedder.fingerprint.space, embedder.encode, run), number=1)
        validator = embedmill.EmbeddingValidator.of(embedder)
    checking = timeit.timeit(lambda: [validator.check(vectors) for vectors in made], number=1)
    return 100 * checking / whole, len(made)


if __name__ == "__main__":
    main()
