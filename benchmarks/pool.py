"""The pool of worker processes: what it costs, what it survives, and how fast it recovers.

Each part is measured by itself (``--only``): throughput against streams in this process and one worker against two;
the vectors; a worker's memory; an index run with texts that kill their workers, or hang; deaths for each such text;
the time until a dead worker has a successor; and the whole command over a code repository.
"""

from __future__ import annotations

import json
import logging
import math
import os
import random
import signal
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harm import Harm, Harmful, LightEmbedder, light
from processes import embedmill, run
from results import Bar, Run, median, options, ratios, table, tell
from texts import SEED, OneTextDocuments, batches_of, description, mixed_chunks, source_tree, varied_texts

from embedmill import IncrementalIndexer, load_embedder
from embedmill.api.embedders import worker_factory
from embedmill.core.interfaces.executor import Executor
from embedmill.core.reports import WorkerStats
from embedmill.core.vectors import Batch
from embedmill.executors.processes.limits import Limits
from embedmill.executors.processes.pool import EmbedderPool
from embedmill.executors.threads import ThreadExecutor
from embedmill.models import locate
from embedmill.runtime import machine
from embedmill.storage.registry import open_store

_CHUNKS, _VARIED, _TEXTS, _FILES = 1500, (2000, 20_000), 10_000, 600  # what the bars are about
_PAUSE = 0.5  # seconds between two contenders, for the first one's threads to stop spinning
_SHORT = 16  # words in the median: some 40 tokens, and a few texts as long as the model reads
_EVEN, _LONGEST = 45, 100  # words: some 80 tokens, and none beyond what the model reads: a text is one chunk

_LARGEST = 16 << 10
"""Bytes of a file, tests included: 5 KB in the mean, as code repositories have them. The standard library's modules
without their tests have 12, and reach it with files of thousands of lines, which few other repositories have."""

_DEADLINE = 10.0  # seconds that a hanging batch is allowed
_KILLS = ("SIGSEGV", "exit", "SIGKILL")
_SIZES = (1, 2, 4, 16, 64)  # of batches
_WEIGHED = 2.5  # seconds within which the pool has looked at its workers' memory again
_SMALL_MODEL = Path(__file__).parents[1] / "tests" / "fixtures" / "models" / "bert-mean"
_REPLACED_WITHIN = 30.0  # seconds, or the benchmark gives up


@dataclass(frozen=True)
class Part:
    """What one part has found."""

    bars: Sequence[Bar]
    rows: Sequence[tuple[str, str]]  # what, measured
    figures: Mapping[str, object] = field(default_factory=dict)


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, help="leave the other parts out")
    parser.add_argument("--chunks", type=int, default=_CHUNKS, help="throughput, vectors (default: %(default)s)")
    parser.add_argument("--varied", type=int, nargs=2, default=list(_VARIED), help="memory (default: %(default)s)")
    parser.add_argument("--texts", type=int, default=_TEXTS, help="faults (default: %(default)s)")
    parser.add_argument("--deadline", type=float, default=_DEADLINE, help="seconds; faults (default: %(default)s)")
    parser.add_argument("--files", type=int, default=_FILES, help="files (default: %(default)s)")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "f32"], help="default: %(default)s")
    arguments = parser.parse_args()
    benchmark = Run("pool", arguments)
    logging.getLogger("embedmill").setLevel(logging.ERROR)  # deaths and stacks are what is asked for here

    model = str(locate(arguments.model).folder)
    parts = {}
    for name, measure in PARTS.items():
        if not arguments.only or name in arguments.only:
            tell(name)
            parts[name] = measure(arguments, model)
    benchmark.finish(
        {name: part.figures for name, part in parts.items()},
        [bar for part in parts.values() for bar in part.bars],
        table(["what", "measured"], [row for part in parts.values() for row in part.rows]),
    )


# --- without faults --------------------------------------------------------------------------------------


def _throughput(arguments: Namespace, model: str) -> Part:
    """The same batches through streams of this process and through pools, all of them warm, in turns."""
    cores, streams, one, two = arguments.threads, "streams in this process", _workers(1), _workers(2)
    embedder = load_embedder(model, precision=arguments.precision, streams=cores, threads=cores)
    texts = mixed_chunks(arguments.chunks)
    work = batches_of(texts, embedder)
    factory = worker_factory(model, arguments.precision)
    with ExitStack() as stack:
        stack.callback(embedder.close)
        executors: dict[str, Executor] = {streams: ThreadExecutor(embedder)}
        for number in sorted({1, 2, cores}, reverse=True):
            executors[_workers(number)] = EmbedderPool(factory, workers=number, threads=number)
        for executor in executors.values():
            stack.callback(executor.close)
            _seconds(executor, work)
        seconds: dict[str, list[float]] = {name: [] for name in executors}
        for number in range(arguments.rounds):
            for name, executor in executors.items():
                time.sleep(_PAUSE)
                seconds[name].append(_seconds(executor, work))
                tell(f"round {number + 1}: {name}: {len(texts) / seconds[name][-1]:.1f} chunks/s")

    kept, scaled = ratios(seconds[streams], seconds[_workers(cores)]), ratios(seconds[one], seconds[two])
    enough = arguments.chunks >= _CHUNKS
    bars = [
        Bar(
            "pool with as many workers as cores, against in-process streams, same threads, chunks/s",
            0.95,
            median(kept) if enough and cores == machine.cores() else None,
            at_least=True,
            digits=3,
            note=_range(kept),
        ),
        Bar(
            "2 workers against 1 worker on 2 cores",
            1.85,
            median(scaled) if enough and machine.cores() >= 2 else None,
            at_least=True,
            unit=" times",
            note=_range(scaled),
        ),
    ]
    rows = [(f"{name}, chunks/s", f"{len(texts) / median(taken):.1f}") for name, taken in seconds.items()]
    corpus = description(texts, [len(ids) for batch in work for ids in batch.ids])
    return Part(bars, rows, {"corpus": corpus, "batches": len(work), "seconds": seconds})


def _vectors(arguments: Namespace, model: str) -> Part:
    """The same batches in f32, here and in the workers."""
    cores = arguments.threads
    embedder = load_embedder(model, precision="f32", streams=cores, threads=cores)
    work = batches_of(mixed_chunks(arguments.chunks), embedder)
    here = list(ThreadExecutor(embedder).run(work))
    embedder.close()
    with EmbedderPool(worker_factory(model, "f32"), workers=cores, threads=cores) as pool:
        there = list(pool.run(work))
    largest = max(float(np.abs(one.vectors - two.vectors).max()) for one, two in zip(here, there, strict=True))
    what = "vectors against the in-process ones: largest difference, f32"
    bar = Bar(what, 2e-6, largest if arguments.chunks >= _CHUNKS else None, digits=9)
    return Part([bar], [("largest difference of a number, f32", f"{largest:.2e}")], {"largest": largest})


def _memory(arguments: Namespace, model: str) -> Part:
    """The resident memory of one worker after so many texts of varied length, as the pool sees it.

    The pool looks once a second, so that the first figure may be that of some hundred texts earlier: if anything, it
    is too small, and the ratio too large.
    """
    few, many = arguments.varied
    embedder = load_embedder(model, precision=arguments.precision)
    work = batches_of(varied_texts(many, _SHORT), embedder)
    megabytes: dict[int, float] = {}
    done = 0
    with EmbedderPool(worker_factory(model, arguments.precision), workers=1, threads=1) as pool:
        for embedded in pool.run(work):
            before, done = done, done + len(embedded.batch.texts)
            if before // few != done // few:
                megabytes[done] = pool.stats()[0].rss_mb
        time.sleep(_WEIGHED)
        megabytes[done] = pool.stats()[0].rss_mb
        if pool.restarts:
            raise SystemExit(f"the worker was replaced: {dict(pool.stats()[0].causes)}")
    first, *_, last = megabytes.values()
    grown = last / first
    asked = (few, many) == _VARIED
    what = f"RSS of a child after {_VARIED[1]:,} varied chunks against after {_VARIED[0]:,}"
    bar = Bar(what, 1.10, grown if asked else None, unit=" times", note=f"{first:.0f} and {last:.0f} MB")
    lengths = [len(ids) for batch in work for ids in batch.ids]
    row = (f"RSS of a worker after {few:,} and {many:,} chunks, MB", f"{first:.1f}, {last:.1f}")
    return Part([bar], [row], {"megabytes": megabytes, "mean tokens": sum(lengths) / done, "longest": max(lengths)})


def _files(arguments: Namespace, model: str) -> Part:
    """The whole command over a code repository: two workers, and one thread without any."""
    commands = {
        "2 workers": ["--executor", "processes", "--workers", "2"],
        "1 thread": ["--executor", "threads", "--workers", "1"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    reports: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = source_tree(folder / "tree", arguments.files, largest=_LARGEST, tests=True)
        tell(f"{arguments.files} files of {size / arguments.files:,.0f} bytes in the mean")
        common = ["index", str(folder / "tree"), "--model", model, "--precision", arguments.precision]
        for number in range(arguments.rounds):
            for key, chosen in commands.items():
                store = f"sqlite:{folder / f'{key}-{number}.db'}"
                finished = run(embedmill(*common, "--no-cache", "--json", "--store", store, *chosen))
                report = reports[key] = json.loads(finished.output)
                seconds[key].append(finished.seconds)
                speed = arguments.files / finished.seconds
                tell(f"round {number + 1}: {key}: {speed:.2f} files/s, {report['restarts']} restarts")
    counted = ("documents", "chunks", "embedded", "failed", "tokens", "precision")
    two, one = ({key: report[key] for key in counted} for report in reports.values())
    if one != two:
        raise SystemExit(f"the runs did not do the same work: {one}, {two}")
    enough = arguments.files >= _FILES
    rate = arguments.files / median(seconds["2 workers"])
    scaled = ratios(seconds["1 thread"], seconds["2 workers"])
    what = f"{_FILES} files indexed on two cores"
    bars = [
        Bar(f"{what}, files/s", 10, rate if enough else None, at_least=True, digits=1),
        Bar(
            f"{what}, against the in-process run with one thread",
            1.8,
            median(scaled) if enough else None,
            at_least=True,
            unit=" times",
            note=_range(scaled),
        ),
    ]
    rows = [(f"index with {key}, files/s", f"{arguments.files / median(taken):.1f}") for key, taken in seconds.items()]
    corpus = {"files": arguments.files, "bytes": size, "mean bytes": round(size / arguments.files)}
    return Part(bars, rows, {"corpus": corpus, "counts": one, "seconds": seconds})


# --- with faults -----------------------------------------------------------------------------------------


def _faults(arguments: Namespace, model: str) -> Part:
    """An index run with texts that kill their workers and one that hangs, against a run where they are harmless."""
    count = arguments.texts
    texts = varied_texts(count, _EVEN, most=_LONGEST)
    harms = (*_KILLS, "hang")
    places = [count * (number + 1) // (len(harms) + 1) for number in range(len(harms))]
    plan = {texts[place]: Harm(what) for place, what in zip(places, harms, strict=True)}
    clean: list[dict[str, Any]] = []
    faulty: list[dict[str, Any]] = []
    for number in range(arguments.rounds):
        for chosen, found in (({}, clean), (plan, faulty)):
            found.append(_indexed(arguments, model, texts, chosen))
            tell(f"round {number + 1}: {found[-1]}")
    expected = [f"/texts/{place:06}" for place in places]
    if any(one["failed"] for one in clean) or any(one["failed"] != expected for one in faulty):
        raise SystemExit(f"other texts failed than {expected}")
    shares = [(bad["seconds"] - arguments.deadline) / good["seconds"] for good, bad in zip(clean, faulty, strict=True)]
    enough = count >= _TEXTS and arguments.deadline == _DEADLINE
    stored = min(one["stored"] for one in faulty)
    what = f"3 crashing texts and 1 hanging one among {_TEXTS:,}"
    note = f"{_range(shares)}; {median([one['seconds'] for one in clean]):.1f} s"
    bars = [
        Bar(f"{what}: stored", _TEXTS - len(plan), stored if enough else None, at_least=True, digits=0),
        Bar(
            f"{what}: wall time without the deadline of {_DEADLINE:g} s, against a clean run",
            1.10,
            median(shares) if enough else None,
            unit=" times",
            note=note,
        ),
    ]
    rows = [
        (f"{count:,} texts, {name}, seconds", f"{median([one['seconds'] for one in found]):.1f}")
        for name, found in (("clean", clean), ("with faults", faulty))
    ]
    return Part(bars, rows, {"clean": clean, "with faults": faulty})


def _indexed(arguments: Namespace, model: str, texts: Sequence[str], plan: Mapping[str, Harm]) -> dict[str, Any]:
    cores = arguments.threads
    embedder = load_embedder(model, precision=arguments.precision)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        store = open_store(f"sqlite:{folder / 'index.db'}", write=True, create=True)
        stack.callback(store.close)
        factory = Harmful(worker_factory(model, arguments.precision), plan, folder)
        limits = Limits(deadline_seconds=arguments.deadline)
        pool = stack.enter_context(EmbedderPool(factory, workers=cores, threads=cores, limits=limits))
        started = time.perf_counter()
        report = IncrementalIndexer(store, embedder, pool, cache=False).run(OneTextDocuments(texts))
        seconds = time.perf_counter() - started
        if report.chunks != len(texts):
            raise SystemExit(f"{len(texts)} texts made {report.chunks} chunks")
        return {
            "seconds": round(seconds, 2),
            "stored": store.status().chunks,
            "failed": store.failed_documents(),
            "restarts": report.restarts,
            "retries": report.retries,
            "tokens": report.tokens,
            "embedded over unique": round(factory.embedded() / len(texts), 4),
        }


def _deaths(arguments: Namespace, model: str) -> Part:
    """How many workers one text costs that kills them; the model does not matter, so a light one is used."""
    chance = random.Random(SEED)
    deaths: dict[int, list[int]] = {size: [] for size in _SIZES}
    others = batches_of(varied_texts(200, _SHORT), LightEmbedder())
    for number in range(arguments.rounds):
        for size, found in deaths.items():
            texts = tuple(f"of a batch of {size}: {row}" for row in range(size))
            culprit = chance.choice(texts)
            batch = Batch(texts, tuple(LightEmbedder().encode(texts)))
            plan = {culprit: Harm(_KILLS[number % len(_KILLS)])}
            with tempfile.TemporaryDirectory() as name:
                factory = Harmful(light, plan, Path(name))
                with EmbedderPool(factory, workers=arguments.threads, threads=arguments.threads) as pool:
                    results = list(pool.run([*others, batch, *others]))
                found.append(pool.restarts)  # all are counted only when the pool is closed
            failed = [one.batch.texts[row] for one in results for row in one.causes]
            if failed != [culprit]:
                raise SystemExit(f"a batch of {size}: {failed} failed, not {culprit!r}")
        tell(f"round {number + 1}: batches of {', '.join(f'{size}: {found[-1]}' for size, found in deaths.items())}")
    worst = max(max(found) - math.log2(size) for size, found in deaths.items())
    bar = Bar("child deaths per crashing text in a batch of B, less log2(B): the worst B", 3, worst, digits=0)
    rows = [(f"deaths for a crashing text in a batch of {size}", str(max(found))) for size, found in deaths.items()]
    return Part([bar], rows, {"deaths": deaths})


def _restart(arguments: Namespace, model: str) -> Part:
    """Seconds from a worker's death to its successor being ready, the pool idle and the disk warm."""
    seconds: dict[str, list[float]] = {}
    factories = {
        "small model": worker_factory(str(_SMALL_MODEL), "f32"),
        "the benchmark's model": worker_factory(model, arguments.precision),
    }
    for name, factory in factories.items():
        with EmbedderPool(factory, workers=arguments.threads, threads=arguments.threads) as pool:
            pool.start()
            _until(pool, lambda workers: all(one.state == "idle" for one in workers))
            seconds[name] = [_replaced(pool) for _ in range(2 * arguments.rounds)]
        tell(f"{name}: {', '.join(f'{taken:.2f}' for taken in seconds[name])} s")
    what = "time from a child's death to its replacement being ready"
    bars = [Bar(f"{what}, {name}", 2, median(taken), unit=" s", note=_range(taken)) for name, taken in seconds.items()]
    rows = [(f"{what}, {name}, seconds", f"{median(taken):.2f}") for name, taken in seconds.items()]
    return Part(bars, rows, {"seconds": seconds})


def _replaced(pool: EmbedderPool) -> float:
    """Seconds until a worker that is killed now has a successor."""
    pid = pool.stats()[0].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    started = time.perf_counter()
    _until(pool, lambda workers: workers[0].pid != pid and workers[0].state in ("idle", "busy"))
    return time.perf_counter() - started


# --- shared ----------------------------------------------------------------------------------------------


def _until(pool: EmbedderPool, condition: Callable[[Sequence[WorkerStats]], bool]) -> None:
    end = time.perf_counter() + _REPLACED_WITHIN
    while not condition(pool.stats()):
        if time.perf_counter() > end:
            raise SystemExit(f"a worker was not ready within {_REPLACED_WITHIN:g} s")
        time.sleep(0.005)


def _seconds(executor: Executor, work: Sequence[Batch]) -> float:
    started = time.perf_counter()
    for embedded in executor.run(work):
        if embedded.causes:
            raise SystemExit(f"a text could not be embedded: {next(iter(embedded.causes.values()))}")
    return time.perf_counter() - started


def _workers(number: int) -> str:
    return f"pool, {number} worker{'s' if number > 1 else ''}"


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


PARTS: dict[str, Callable[[Namespace, str], Part]] = {
    "throughput": _throughput,
    "vectors": _vectors,
    "memory": _memory,
    "faults": _faults,
    "deaths": _deaths,
    "restart": _restart,
    "files": _files,
}


if __name__ == "__main__":
    main()
