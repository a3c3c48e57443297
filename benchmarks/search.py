"""Searching: in Python with an open store, and as a command from nothing to the answer.

The stores hold random unit vectors of the model's dimension, written through the store itself: the scan's time
does not depend on what the vectors are. The cold command embeds its query with the real model.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from processes import embedmill, run
from results import Bar, Run, median, options, ratios, table, tell
from texts import SEED

from embedmill import load_embedder
from embedmill.core.documents import Chunk, DocumentState, Record, Replacement, text_hash
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.models import locate
from embedmill.storage.registry import open_store

_SMALL, _LARGE, _HUGE = 100, 100_000, 1_000_000  # chunks; what the bars are about
_WARM_BARS = {_LARGE: 8.0, _HUGE: 80.0}  # milliseconds
_PER_DOCUMENT = 20  # chunks
_AT_ONCE = 50  # documents in a transaction, as the indexer does
_K = 10
_QUERY = "parse command line arguments"

_PEER = """
import sys
from sentence_transformers import SentenceTransformer
vectors = SentenceTransformer(sys.argv[1], device="cpu").encode([sys.argv[2]])
print(vectors.shape)
"""


def main() -> None:
    parser = options(__doc__ or "", rounds=5)
    parser.add_argument("--chunks", type=int, nargs="+", default=[_LARGE, _HUGE], help="of warm searches")
    parser.add_argument("--cold", type=int, nargs=2, default=[_SMALL, _LARGE], help="of the two stores of cold ones")
    parser.add_argument("--queries", type=int, default=100, help="warm searches in a round (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the stores are kept for other runs; needs 4 KB a chunk")
    parser.add_argument("--peers", help="the Python that has the peers (see README.md); without it they are left out")
    arguments = parser.parse_args()
    benchmark = Run("search", arguments)

    files = locate(arguments.model)
    embedder = load_embedder(str(files.folder))
    with ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {}
        for count in sorted({*arguments.chunks, *arguments.cold}):
            urls[count] = f"sqlite:{folder / f'search-{count}.db'}"
            _fill(urls[count], count, embedder, str(files.folder))

        warm: dict[str, list[float]] = {}
        product: dict[str, list[float]] = {}
        for count in arguments.chunks:
            warm[str(count)], product[str(count)] = _warm(urls[count], count, embedder.dimension, arguments)
            tell(f"warm, {count:,} chunks: {median(warm[str(count)]):.2f} ms")

        small, large = arguments.cold
        commands = {
            f"embedmill search, {count:,} chunks": embedmill("search", _QUERY, "--store", urls[count], "--json")
            for count in (small, large)
        }
        if arguments.peers:
            commands["sentence-transformers: load, embed one query"] = [
                arguments.peers, "-c", _PEER, str(files.folder), _QUERY
            ]  # fmt: skip
        for command in commands.values():  # the files are in the system's memory from here on
            run(command)
        cold: dict[str, list[float]] = {name: [] for name in commands}
        for number in range(arguments.rounds):
            for name, command in commands.items():
                cold[name].append(run(command).seconds)
                tell(f"round {number + 1}: {name}: {cold[name][-1]:.3f} s")

    benchmark.finish(
        {"milliseconds, warm": warm, "milliseconds, the product alone": product, "seconds, cold": cold},
        _bars(warm, list(cold.values()), (small, large)),
        table(
            ["warm search in Python", "milliseconds", "NumPy's product of matrix and vector alone"],
            [(f"{int(n):,} chunks", f"{median(warm[n]):.2f}", f"{median(product[n]):.2f}") for n in warm],
        ),
        table(["cold, the whole process", "seconds"], [(name, f"{median(cold[name]):.3f}") for name in cold]),
    )


def _bars(warm: dict[str, list[float]], cold: list[list[float]], sizes: tuple[int, int]) -> list[Bar]:
    asked = sizes == (_SMALL, _LARGE)
    small, large, *peer = cold
    share = median(ratios(small, peer[0])) if peer and asked else None
    grown = median(ratios(large, small)) if asked else None
    what = "cold search on a small store, process start included"
    bars = [
        Bar(f"{what}, against loading sentence-transformers and embedding one query", 0.15, share, digits=3),
        Bar(what, 1.2, median(small) if asked else None, unit=" s"),
        Bar(f"cold search over {_LARGE:,} chunks against {_SMALL}", 1.5, grown, unit=" times"),
    ]
    for count, limit in _WARM_BARS.items():
        taken = median(warm[str(count)]) if str(count) in warm else None
        bars.append(Bar(f"warm search in Python over {count:,} chunks", limit, taken, unit=" ms", digits=1))
    return bars


def _fill(url: str, count: int, embedder: TokenEmbedder, model: str) -> None:
    """A store of so many chunks, written through its own interface, ready for searching."""
    store = open_store(url, write=True, create=True)
    try:
        store.bind(embedder.fingerprint, model)
        if store.status().chunks == count:
            return
        started = time.perf_counter()
        for replacements in _documents(count, embedder):
            store.replace(replacements)
        store.prepare_search()
        tell(f"{count:,} chunks written in {time.perf_counter() - started:.1f} s")
    finally:
        store.close()


def _documents(count: int, embedder: TokenEmbedder) -> Iterator[list[Replacement]]:
    chance = np.random.default_rng(SEED)
    at_once = _PER_DOCUMENT * _AT_ONCE
    for first in range(0, count, at_once):
        vectors = _unit(chance, min(at_once, count - first), embedder.dimension)
        yield [
            _document(first + row, vectors[row : row + _PER_DOCUMENT], embedder.fingerprint.precision)
            for row in range(0, len(vectors), _PER_DOCUMENT)
        ]


def _document(first: int, vectors: np.ndarray, precision: str) -> Replacement:
    name = f"/corpus/{first // 1000:06}/{first:09}.txt"
    records = []
    for index, vector in enumerate(vectors):
        text = f"Chunk {first + index} of a synthetic corpus, with about as much text as a line of a file has.\n" * 4
        start = index * len(text)
        part = Chunk(
            text,
            name,
            chunk_index=index,
            token_count=80,
            start=start,
            end=start + len(text),
            line=4 * index + 1,
            end_line=4 * index + 4,
        )
        records.append(Record(part, text_hash("", text), vector))
    state = DocumentState(name, first, first + 1, hashlib.sha256(name.encode()).digest(), "synthetic")
    return Replacement(state, precision, records)


def _warm(url: str, count: int, dimension: int, arguments: Namespace) -> tuple[list[float], list[float]]:
    """Milliseconds of searches, and of the bare product over as many rows, which is what memory allows."""
    chance = np.random.default_rng(SEED + 1)
    queries = _unit(chance, arguments.queries, dimension)
    store = open_store(url, write=False, create=False)
    try:
        for query in queries[:3]:
            store.search(query, _K)
        searches = [_milliseconds(partial(store.search, query, _K)) for query in queries]
    finally:
        store.close()
    rows = _unit(chance, count, dimension)
    rows @ queries[0]
    return searches, [_milliseconds(partial(np.matmul, rows, query)) for query in queries[:20]]


def _unit(chance: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    vectors = chance.standard_normal((count, dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
