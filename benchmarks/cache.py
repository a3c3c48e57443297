"""The cache of vectors: how fast it is written and read, and whether two processes that write it lose anything.

    python benchmarks/cache.py

Vectors of 384 numbers go through `PersistentCache` in batches as runs make them, each round into a file of its own; who
reads them opens the file anew. Two writers then share a file for a minute, with claims as runs make them: each reads
back what it has put, and at the end every vector is read and compared.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import random
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from results import Bar, Part, Run, median, options, tell
from texts import SEED

from embedmill import PersistentCache
from embedmill.core.spaces import Fingerprint, Space
from embedmill.core.vectors import Vectors
from embedmill.engine.dedup import KEPT_AT_ONCE

_VECTORS = 100_000  # what the bars are about
_SECONDS = 60
_DIMENSION = 384
_SIZES = (KEPT_AT_ONCE, 1_000)
_WRITTEN, _READ = 50_000, 150_000  # vectors/s, at least
_SHARED = 16  # of a writer's batch: the other one needs them at the same time
_BOTH = 2  # the number of a writer, in what both write
_BOUNDLESS = 1 << 50  # bytes: nothing is cut, or it would count as lost

FINGERPRINT = Fingerprint(Space("weights", "tokenizer", "mean", True, "", 256, _DIMENSION), "f32")


def main() -> None:
    parser = options(__doc__ or "", rounds=5)
    parser.add_argument("--vectors", type=int, default=_VECTORS, help="written and read (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="of two writers (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=list(_PARTS), help="these parts alone")
    arguments = parser.parse_args()
    Run("cache", arguments).finish_parts(_PARTS, arguments)


@dataclass(frozen=True)
class Rate:
    """Vectors each second, by the clock and by what this process took of the processor."""

    clock: float
    cpu: float


def _speed(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    figures: dict[str, list[Rate]] = {}
    for round_number in range(arguments.rounds):
        for size in _SIZES:
            for what, rate in _once(arguments.vectors, size).items():
                figures.setdefault(f"{what}, {size:,} at once", []).append(rate)
                tell(f"round {round_number + 1}: {what}, {size:,} at once: {rate.clock:,.0f}/s, CPU {rate.cpu:,.0f}/s")
    for what, rates in figures.items():
        clock, cpu = median([rate.clock for rate in rates]), median([rate.cpu for rate in rates])
        rows.append((f"{what}: vectors/s, by CPU time", f"{clock:,.0f}, {cpu:,.0f}"))
        if arguments.vectors == _VECTORS:
            limit = _WRITTEN if what.startswith("written") else _READ
            note = f"by CPU time {cpu:,.0f}"
            bars.append(Bar(f"vectors/s {what}", limit, clock, at_least=True, digits=0, note=note))
    return {what: [asdict(rate) for rate in rates] for what, rates in figures.items()}


def _once(count: int, size: int) -> dict[str, Rate]:
    """Write so many vectors, read them in the order they were written in, and then in another one."""
    vectors = _vectors(SEED, 0, count)
    keys = _keys(SEED, 0, count)
    batches = [dict(zip(keys[at : at + size], vectors[at : at + size], strict=True)) for at in range(0, count, size)]
    shuffled = random.Random(SEED).sample(keys, count)
    orders = {
        "read as written": [list(batch) for batch in batches],
        "read in any order": [shuffled[at : at + size] for at in range(0, count, size)],
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vectors.db"
        rates = {"written": _timed(count, lambda: _put(path, batches))}
        for what, order in orders.items():
            rates[what] = _timed(count, lambda order=order: _get(path, order))
    return rates


def _put(path: Path, batches: Sequence[dict[bytes, np.ndarray]]) -> None:
    with PersistentCache(path, max_bytes=_BOUNDLESS) as cache:
        for batch in batches:
            cache.put_many(batch, FINGERPRINT)


def _get(path: Path, batches: Sequence[list[bytes]]) -> None:
    with PersistentCache(path, max_bytes=_BOUNDLESS) as cache:
        for batch in batches:
            if len(cache.get_many(batch, FINGERPRINT)) != len(batch):
                raise SystemExit("a vector is lost")


def _timed(count: int, work: Callable[[], None]) -> Rate:
    clock, cpu = time.perf_counter(), time.process_time()
    work()
    return Rate(count / (time.perf_counter() - clock), count / (time.process_time() - cpu))


@dataclass(frozen=True)
class Written:
    """What a writer has to tell."""

    batches: int
    lost: int  # vectors that were not there, or others, right after they were put
    longest: float  # seconds of a batch that was claimed, put and read back
    complaints: list[str]  # of the cache, as it logs them: of locks too


def _writers(arguments: Namespace, bars: list[Bar], rows: list[tuple[str, str]]) -> object:
    with tempfile.TemporaryDirectory() as folder, multiprocessing.get_context("spawn").Pool(_BOTH) as pool:
        path = Path(folder) / "vectors.db"
        writers = pool.starmap(_write, [(path, writer, arguments.seconds) for writer in range(_BOTH)], chunksize=1)
        tell("all is read")
        lost, entries = _lost(path, [writer.batches for writer in writers])
    lost += sum(writer.lost for writer in writers)
    complaints = [complaint for writer in writers for complaint in writer.complaints]
    seconds = f"two writers for {arguments.seconds:g} s"
    rows += [
        (f"{seconds}: entries", f"{entries:,}"),
        (f"{seconds}: batches of each", ", ".join(f"{writer.batches:,}" for writer in writers)),
        (f"{seconds}: the longest batch, s", f"{max(writer.longest for writer in writers):.2f}"),
    ]
    if arguments.seconds >= _SECONDS:
        bars += [
            Bar(f"{seconds}: errors and warnings", 0, len(complaints), digits=0),
            Bar(f"{seconds}: entries lost, or other than they were put", 0, lost, digits=0, note=f"of {entries:,}"),
        ]
    return {"writers": [asdict(writer) for writer in writers], "entries": entries, "lost": lost}


def _write(path: Path, me: int, seconds: float) -> Written:
    """Claim, put and read back batches for so long; in a process of its own."""
    complaints: list[str] = []
    listener = logging.Handler(logging.WARNING)
    listener.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("embedmill").addHandler(listener)
    batches = lost = 0
    longest = 0.0
    end = time.monotonic() + seconds
    with PersistentCache(path, max_bytes=_BOUNDLESS, memory_entries=0) as cache:
        while (started := time.monotonic()) < end:
            for writer, size in ((me, KEPT_AT_ONCE - _SHARED), (_BOTH, _SHARED)):
                keys, vectors = _keys(writer, batches, size), _vectors(writer, batches, size)
                others = cache.claim(keys, FINGERPRINT).others
                mine = {key: vector for key, vector in zip(keys, vectors, strict=True) if key not in others}
                cache.put_many(mine, FINGERPRINT)
                lost += _differing(cache, mine)
            longest = max(longest, time.monotonic() - started)
            batches += 1
    return Written(batches, lost, longest, complaints)


def _lost(path: Path, batches: list[int]) -> tuple[int, int]:
    """How many vectors of all that the writers have put are not there or not as they were put, and how many are."""
    lost = expected = 0
    with PersistentCache(path, max_bytes=_BOUNDLESS, memory_entries=0) as cache:
        for keys, vectors in _put_by(batches):
            lost += _differing(cache, dict(zip(keys, vectors, strict=True)))
            expected += len(keys)
        entries = cache.stats().entries
    if entries + lost < expected:
        raise SystemExit(f"{expected:,} vectors were put, {lost:,} are lost, and {entries:,} there")
    return lost, entries


def _put_by(batches: list[int]) -> Iterator[tuple[list[bytes], Vectors]]:
    sizes = [(writer, count, KEPT_AT_ONCE - _SHARED) for writer, count in enumerate(batches)]
    for writer, count, size in (*sizes, (_BOTH, max(batches), _SHARED)):
        for batch in range(count):
            yield _keys(writer, batch, size), _vectors(writer, batch, size)


def _differing(cache: PersistentCache, put: dict[bytes, np.ndarray]) -> int:
    found = cache.get_many(list(put), FINGERPRINT)
    return sum(key not in found or not np.array_equal(found[key], vector) for key, vector in put.items())


def _keys(writer: int, batch: int, size: int) -> list[bytes]:
    return [hashlib.sha256(f"{writer} {batch} {row}".encode()).digest() for row in range(size)]


def _vectors(writer: int, batch: int, size: int) -> Vectors:
    return np.random.default_rng((writer, batch)).random((size, _DIMENSION), np.float32)


_PARTS: dict[str, Part] = {"speed": _speed, "writers": _writers}

if __name__ == "__main__":
    main()
