"""From how many texts on a warm pool of workers is as soon as one process: lists of 1 to 512 short texts, interleaved.

    python benchmarks/threshold.py [ROUNDS]

Prints, for each number of texts, the median of both and their ratio. To be run while the machine is idle.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict

from embedmill import ParallelEmbeddingGenerator
from embedmill.runtime import machine

COUNTS = (1, 5, 10, 20, 50, 100, 128, 256, 512)


def main(rounds: int) -> None:
    """Measure and print."""
    cores = machine.cores()
    with (
        ParallelEmbeddingGenerator(workers=cores, threshold=0) as pool,
        ParallelEmbeddingGenerator(workers=1) as here,
    ):
        seconds: dict[tuple[str, int], list[float]] = defaultdict(list)
        texts = [f"a short text of some words, number {number}" for number in range(max(COUNTS))]
        for each in (pool, here):
            each.generate(texts * 2)  # warm
        for _ in range(rounds):
            for count in COUNTS:
                for name, each in (("pool", pool), ("here", here)):
                    begun = time.perf_counter()
                    each.generate(texts[:count])
                    seconds[name, count].append(time.perf_counter() - begun)
    print(f"texts  {cores} workers  one process  ratio")
    for count in COUNTS:
        left, right = (statistics.median(seconds[name, count]) for name in ("pool", "here"))
        print(f"{count:5}  {1000 * left:7.1f} ms  {1000 * right:8.1f} ms  {left / right:5.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
