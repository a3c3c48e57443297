"""`EmbeddingGenerator`: what it adds to the embedder alone, what the validator takes, short lists in two processes, and
a model of all-mpnet-base-v2's shape.

Each part is measured by itself (``--only``), its contenders in turns. To be run while the machine is idle.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import large_model
import numpy as np
from processes import run
from results import Bar, Run, median, options, ratios, tell
from texts import batches_of, mixed_chunks

from embedmill import Chunk, EmbeddingGenerator, EmbeddingValidator, ParallelEmbeddingGenerator, load_embedder
from embedmill.runtime import machine

_CHUNKS = 2600  # what the bars are about
_LISTS = (10, 50, 100, 200, 300)  # short texts
_REPEATED = 9  # times a short list is embedded, a round


def main() -> None:
    parser = options(__doc__ or "", rounds=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="leave the other parts out")
    parser.add_argument("--chunks", type=int, default=_CHUNKS, help="default: %(default)s")
    parser.add_argument("--large", type=Path, help=argparse.SUPPRESS)  # it calls itself
    arguments = parser.parse_args()
    if arguments.large:
        _embed_large(arguments.large, arguments.chunks)
        return
    Run("generator", arguments).finish_parts(PARTS, arguments)


def _overhead(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    texts = mixed_chunks(arguments.chunks)
    chunks = [Chunk(text, "a file", chunk_index=row) for row, text in enumerate(texts)]
    seconds: dict[str, list[float]] = {"embedder alone": [], "process_chunks": [], "with an empty cache": []}
    with (
        load_embedder(arguments.model) as embedder,
        EmbeddingGenerator(model=arguments.model, cache=False) as generator,
    ):
        embedder.embed(texts[:300])
        generator.process_chunks(chunks[:300])
        for number in range(arguments.rounds):
            seconds["embedder alone"].append(_seconds(lambda: embedder.embed(texts)))
            seconds["process_chunks"].append(_seconds(lambda: generator.process_chunks(chunks)))
            with tempfile.TemporaryDirectory() as folder:
                os.environ["EMBEDMILL_CACHE_DIR"] = folder
                with EmbeddingGenerator(model=arguments.model) as caching:
                    seconds["with an empty cache"].append(_seconds(lambda: caching.process_chunks(chunks)))
                del os.environ["EMBEDMILL_CACHE_DIR"]
            tell(f"round {number + 1}: " + ", ".join(f"{name} {taken[-1]:.2f} s" for name, taken in seconds.items()))
        validator = EmbeddingValidator(embedder.dimension, normalized=True)
        work = [embedder.infer(batch) for batch in batches_of(texts, embedder)]
    checking = median([_seconds(lambda: [validator.check(vectors) for vectors in work]) for _ in range(9)])
    alone = seconds["embedder alone"]
    enough = arguments.chunks >= _CHUNKS
    for name in ("process_chunks", "with an empty cache"):
        found = ratios(alone, seconds[name])
        note = f"{min(found):.3f} to {max(found):.3f}"
        what = f"process_chunks on {_CHUNKS:,} chunks,{name.removeprefix('process_chunks')} against the embedder alone"
        bars.append(Bar(what, 0.97, median(found) if enough else None, at_least=True, digits=3, note=note))
    share = checking / median(seconds["process_chunks"])
    bars.append(Bar("validator's share of a run", 0.5, 100 * share, unit=" %", digits=3))
    rows += [(f"{name}, chunks/s", f"{arguments.chunks / median(taken):.1f}") for name, taken in seconds.items()]
    return {"seconds": seconds, "validator seconds": checking}


def _short_lists(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    """Two warm workers against one process: with as many streams as cores, and with one."""
    texts = [f"a short text of some words, number {number}" for number in range(max(_LISTS))]
    seconds: dict[str, dict[int, list[float]]] = {}
    with (
        ParallelEmbeddingGenerator(workers=2, threshold=0, model=arguments.model, cache=False) as two,
        ParallelEmbeddingGenerator(workers=1, model=arguments.model, cache=False) as here,
        load_embedder(arguments.model, streams=1, threads=1) as single,
    ):
        contenders: dict[str, Callable[[Sequence[str]], object]] = {
            "2 workers": two.generate,
            "this process": here.generate,
            "this process, 1 thread": single.embed,
        }
        for name, embed in contenders.items():
            seconds[name] = {count: [] for count in _LISTS}
            embed(texts)
        for _ in range(arguments.rounds * _REPEATED):
            for count in _LISTS:
                for name, embed in contenders.items():
                    seconds[name][count].append(_seconds(lambda embed=embed, count=count: embed(texts[:count])))  # type: ignore[misc]
    for count in _LISTS:
        workers = median(seconds["2 workers"][count])
        enough = machine.cores() >= 2
        one, all_cores = (median(seconds[name][count]) / workers for name in list(contenders)[:0:-1])
        what = f"2 warm workers on {count} short texts, against one process with all cores' streams"
        bars.append(Bar(what, 0.95, all_cores if enough else None, at_least=True))
        if count >= 200:
            what = f"2 warm workers on {count} short texts, against one process with one thread"
            bars.append(Bar(what, 1.5, one if enough else None, at_least=True))
        told = ", ".join(f"{name} {1000 * median(taken[count]):.1f} ms" for name, taken in seconds.items())
        rows.append((f"{count} short texts", told))
    return {name: {str(count): taken for count, taken in each.items()} for name, each in seconds.items()}


def _large(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    with tempfile.TemporaryDirectory() as name:
        folder = large_model.make(Path(name) / "model")
        command = [sys.executable, __file__, "--large", str(folder), "--chunks", str(arguments.chunks)]
        finished = run(command, watch=True)
    told = json.loads(finished.output)
    measured = arguments.chunks >= _CHUNKS and machine.computes_bf16()
    what = f"a model of all-mpnet-base-v2's shape, {_CHUNKS:,} chunks of {told['tokens'] / arguments.chunks:.0f} tokens"
    bars.append(Bar(f"{what}, bf16", 120, told["seconds"] if measured else None, unit=" s", digits=1))
    bars.append(Bar("its peak memory", 1500, finished.peak / 1e6 if measured else None, unit=" MB", digits=0))
    rows.append((f"large model, {told['precision']}, chunks/s", f"{arguments.chunks / told['seconds']:.1f}"))
    return told | {"peak": finished.peak}


def _embed_large(folder: Path, count: int) -> None:
    chunks = [Chunk(text) for text in mixed_chunks(count)]
    begun = time.perf_counter()
    with EmbeddingGenerator(model=str(folder), cache=False) as generator:
        found = generator.process_chunks(chunks)
    seconds = time.perf_counter() - begun
    if any(chunk.embedding is None or not np.isfinite(chunk.embedding).all() for chunk in found):
        raise SystemExit("some chunks have no vector")
    precision = found[0].provenance.fingerprint.precision if found[0].provenance else ""
    print(json.dumps({"seconds": seconds, "tokens": generator.tokens, "precision": precision}))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


PARTS = {"overhead": _overhead, "lists": _short_lists, "large": _large}

if __name__ == "__main__":
    main()
