"""Many chunks through a pool whose workers die, hang and raise all the time: is a vector lost, doubled or misplaced?

About one batch in fifty has a text that harms its worker, as the seed says: some do it each time and are to be the
only failures, the others do it once and are to be embedded in the end. The model is a hash of the text, so that each
row can be checked to the last bit. Each round has another seed.
"""

from __future__ import annotations

import logging
import random
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harm import HARM, Harm, Harmful, LightEmbedder, light, vectors_of
from results import Bar, Run, options, table, tell
from texts import SEED, batches_of, varied_texts

from embedmill.core.vectors import Batch, Embedded
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.pool import EmbedderPool

_CHUNKS = 20_000  # what the bars are about
_WORDS = 12  # of a text, in the median: some 90 bytes, which are the light embedder's tokens
_EVERY = 50  # batches
_LIMITS = Limits(deadline_seconds=2.0, retry_seconds=1.0)


def main() -> None:
    parser = options(__doc__ or "", rounds=1)
    parser.add_argument("--chunks", type=int, default=_CHUNKS, help="default: %(default)s")
    arguments = parser.parse_args()
    benchmark = Run("soak", arguments)
    logging.getLogger("embedmill").setLevel(logging.ERROR)  # deaths and stacks are what is asked for here

    runs = []
    for number in range(arguments.rounds):
        runs.append(_soak(arguments, SEED + number))
        tell(f"round {number + 1}: {runs[-1]}")

    total: Counter[str] = Counter()
    deaths: Counter[str] = Counter()
    for run in runs:
        total.update({key: value for key, value in run.items() if isinstance(value, int)})
        deaths.update(run["deaths"])
    most = max(run["texts embedded"] / run["texts"] for run in runs)
    enough = arguments.chunks >= _CHUNKS
    harmed = f"{total['faults']} faults, {sum(deaths.values())} deaths"
    bars = [
        Bar(f"{_CHUNKS:,} chunks, a fault about every {_EVERY} batches: lost vectors", 0, _when(enough, total["lost"]),
            digits=0, note=harmed),
        Bar("the same: duplicated vectors", 0, _when(enough, total["duplicated"]), digits=0),
        Bar("the same: misplaced vectors", 0, _when(enough, total["misplaced"]), digits=0),
        Bar("the same: culprits embedded, and other texts failed", 0, _when(enough, total["misjudged"]), digits=0),
        Bar("the same: texts embedded over unique texts", 1.05, _when(enough, most), digits=3),
    ]  # fmt: skip
    rows = [(key, f"{value:,}") for key, value in total.items()]
    rows += [(f"deaths: {cause}", f"{count:,}") for cause, count in sorted(deaths.items())]
    rows += [("texts embedded over unique texts", f"{most:.3f}"), ("seconds", str([run["seconds"] for run in runs]))]
    benchmark.finish({"runs": runs}, bars, table(["what", "in all rounds"], rows))


def _when(enough: bool, value: float) -> float | None:
    return value if enough else None


def _soak(arguments: Namespace, seed: int) -> dict[str, Any]:
    texts = varied_texts(arguments.chunks, _WORDS, seed=seed)
    work = batches_of(texts, LightEmbedder())
    plan = _plan(random.Random(seed), work)
    causes: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        factory = Harmful(light, plan, Path(name))
        started = time.perf_counter()
        with EmbedderPool(
            factory,
            workers=arguments.threads,
            threads=arguments.threads,
            limits=_LIMITS,
            on_restart=lambda restart: causes.update([restart.cause]),
        ) as pool:
            found = _found(pool.run(work), work)
        seconds = time.perf_counter() - started
        embedded = factory.embedded()
    culprits = {text for text, harm in plan.items() if not harm.once}
    seen: Counter[str] = found["seen"]
    return {
        "texts": len(texts),
        "batches": len(work),
        "faults": len(plan),
        "culprits": len(culprits),
        "failed": len(found["failed"]),
        "lost": len(set(texts) - seen.keys()),
        "duplicated": sum(seen.values()) - len(seen),
        "misplaced": found["misplaced"],
        "misjudged": len(found["failed"] ^ culprits),
        "texts embedded": embedded,
        "retries": pool.retries,
        "restarts": pool.restarts,
        "planned": dict(sorted(Counter(harm.what for harm in plan.values()).items())),
        "deaths": dict(sorted(causes.items())),
        "seconds": round(seconds, 1),
    }


def _plan(chance: random.Random, work: Sequence[Batch]) -> dict[str, Harm]:
    """Harm of all kinds in turn, to one text of every fiftieth batch or so."""
    harmed = chance.sample(work, max(len(HARM), len(work) // _EVERY))
    plan = {}
    for number, batch in enumerate(harmed):
        what = list(HARM)[number % len(HARM)]
        # A text that raises alone has failed, and is not tried again: an exception that comes once proves nothing.
        plan[chance.choice(batch.texts)] = Harm(what, once=what != "exception" and chance.random() < 0.5)
    return plan


def _found(results: Iterable[Embedded], work: Sequence[Batch]) -> dict[str, Any]:
    """What has come: texts with a row of numbers or a cause, texts with a cause, rows that are another text's."""
    seen: Counter[str] = Counter()
    failed: set[str] = set()
    misplaced = 0
    for number, embedded in enumerate(results):
        in_order = number < len(work) and embedded.batch is work[number]
        expected = vectors_of(embedded.batch)
        for row, text in enumerate(embedded.batch.texts):
            if row in embedded.causes:
                failed.add(text)
                seen[text] += 1
            elif not np.isnan(embedded.vectors[row]).all():
                seen[text] += 1
                misplaced += not in_order or not np.array_equal(embedded.vectors[row], expected[row])
    return {"seen": seen, "failed": failed, "misplaced": misplaced}


if __name__ == "__main__":
    main()
