"""`embedmill verify` over a large store, in SQLite and PostgreSQL: the whole command, without recomputing.

The stores hold random unit vectors of the model's dimension, written through the store itself, and the documents lie on
disk, so that each is held against its file. PostgreSQL is that of ``EMBEDMILL_TEST_DSN``, or one from PyPI that is
started for the benchmark.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from processes import embedmill, run
from results import Bar, Run, median, options, table, tell
from texts import SEED

from embedmill import load_embedder
from embedmill.core.documents import Chunk, DocumentState, Record, Replacement
from embedmill.core.interfaces.embedder import TokenEmbedder
from embedmill.sources.files.safe_read import inode_of
from embedmill.storage.registry import open_store

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # their server
import servers

_CHUNKS = 100_000  # what the bars are about
_BAR = 10.0  # seconds
_PER_DOCUMENT = 20  # chunks
_AT_ONCE = 50  # documents in a transaction, as the indexer does


def main() -> None:
    parser = options(__doc__ or "", rounds=5)
    parser.add_argument("--chunks", type=int, default=_CHUNKS, help="of each store (default: %(default)s)")
    parser.add_argument("--only", choices=["sqlite", "postgresql"], help="the one kind of store")
    arguments = parser.parse_args()
    benchmark = Run("verify", arguments)
    with load_embedder(arguments.model) as embedder, ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        urls = {"sqlite": f"sqlite:{folder / 'verify.db'}"}
        if arguments.only != "sqlite":
            server = servers.start(configuration="")
            stack.callback(server.close)
            urls["postgresql"] = server.create()
        if arguments.only:
            urls = {arguments.only: urls[arguments.only]}
        for url in urls.values():
            _fill(url, folder / "corpus", arguments.chunks, embedder)
        seconds = _measure(urls, arguments)
    benchmark.finish(
        {"seconds": seconds},
        [
            Bar(
                f"`verify` without recomputing over {_CHUNKS:,} chunks, {kind}",
                _BAR,
                median(seconds[kind]) if arguments.chunks == _CHUNKS else None,
                unit=" s",
            )
            for kind in urls
        ],
        table(["the whole command", "seconds"], [(kind, f"{median(taken):.2f}") for kind, taken in seconds.items()]),
    )


def _measure(urls: dict[str, str], arguments: Namespace) -> dict[str, list[float]]:
    """Seconds of the command over each store, the stores in turn."""
    seconds: dict[str, list[float]] = {kind: [] for kind in urls}
    for number in range(arguments.rounds + 1):
        for kind, url in urls.items():
            done = run(embedmill("verify", "--sample", "0", "--json", "--store", url))
            if number:  # before, the files were not in the system's memory
                seconds[kind].append(done.seconds)
                tell(f"round {number}: {kind}: {done.seconds:.2f} s")
    return seconds


def _fill(url: str, corpus: Path, count: int, embedder: TokenEmbedder) -> None:
    """A store of so many chunks, written through its own interface; their documents lie in a folder."""
    started = time.perf_counter()
    corpus.mkdir(exist_ok=True)
    store = open_store(url, write=True, create=True)
    try:
        store.bind(embedder.fingerprint, embedder.name)
        store.register([f"{corpus}/"])
        for replacements in _documents(count, corpus, embedder):
            store.replace(replacements)
        store.prepare_search()
    finally:
        store.close()
    tell(f"{count:,} chunks written in {time.perf_counter() - started:.1f} s")


def _documents(count: int, corpus: Path, embedder: TokenEmbedder) -> Iterator[list[Replacement]]:
    chance = np.random.default_rng(SEED)
    at_once = _PER_DOCUMENT * _AT_ONCE
    for first in range(0, count, at_once):
        vectors = chance.standard_normal((min(at_once, count - first), embedder.dimension), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield [
            _document(corpus, first + row, vectors[row : row + _PER_DOCUMENT], embedder.fingerprint.precision)
            for row in range(0, len(vectors), _PER_DOCUMENT)
        ]


def _document(corpus: Path, first: int, vectors: np.ndarray, precision: str) -> Replacement:
    path = corpus / f"{first:09}.txt"
    texts = [
        f"Chunk {first + index} of a synthetic corpus, with about as much text as a line of a file has.\n" * 4
        for index in range(len(vectors))
    ]
    content = "".join(texts).encode()
    if not path.exists():
        path.write_bytes(content)
    found = os.lstat(path)
    records, start = [], 0
    for index, (text, vector) in enumerate(zip(texts, vectors, strict=True)):
        place = {"start": start, "end": start + len(text), "line": 4 * index + 1, "end_line": 4 * index + 5}
        part = Chunk(text, str(path), chunk_index=index, token_count=80, **place)
        records.append(Record(part, part.hash, vector))
        start += len(text)
    state = DocumentState(
        str(path),
        found.st_size,
        found.st_mtime_ns,
        hashlib.sha256(content).digest(),
        "synthetic",
        found.st_ctime_ns,
        inode_of(found),
    )
    return Replacement(state, precision, records)


if __name__ == "__main__":
    main()
