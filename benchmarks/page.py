"""`embedmill report --html` over a store of 20,000 chunks: seconds from the command's start to its end, and megabytes.

The store is written through its own interface: texts of some 600 characters, of which the page has the beginnings, and
vectors around forty centres. How long the page takes does not depend on what either says.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from processes import embedmill, run
from results import Bar, Run, median, options, table, tell
from texts import SEED

from embedmill.core.documents import Chunk, DocumentState, Record, Replacement, text_hash
from embedmill.core.spaces import Fingerprint, Space
from embedmill.storage.registry import open_store

_PER_DOCUMENT = 20  # chunks
_AT_ONCE = 50  # documents in a transaction, as the indexer does
_FOLDERS = 40
_DIMENSION = 384
_WORDS = (
    *("vector", "store", "chunk", "folder", "model", "index", "search", "batch", "token", "thread"),
    *("graph", "page", "table", "row", "column", "write", "read"),
)


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--chunks", type=int, default=20_000, help="default: %(default)s")
    arguments = parser.parse_args()
    benchmark = Run("page", arguments)
    seconds: list[float] = []
    megabytes: list[float] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        url, page = f"sqlite:{folder}/index.db", Path(folder) / "page.html"
        _fill(url, arguments.chunks)
        for number in range(arguments.rounds):
            finished = run(embedmill("report", "--html", str(page), "--store", url))
            seconds.append(finished.seconds)
            peaks.append(finished.peak / 1e6)
            megabytes.append(page.stat().st_size / 1e6)
            tell(f"round {number + 1}: {finished.seconds:.1f} s, {megabytes[-1]:.2f} MB, peak {peaks[-1]:.0f} MB")
    bars = []
    if arguments.chunks == 20_000:
        bars = [
            Bar("`report --html` of 20,000 chunks, seconds", 20, median(seconds), unit=" s", digits=1),
            Bar("the same, the page's size", 8, max(megabytes), unit=" MB"),
        ]
    rows = [[f"{arguments.chunks:,} chunks", f"{median(seconds):.1f}", f"{max(megabytes):.2f}", f"{median(peaks):.0f}"]]
    figures = {"seconds": seconds, "megabytes": megabytes, "peak megabytes": peaks}
    benchmark.finish(figures, bars, table(["store", "seconds", "MB", "peak MB"], rows))


def _fill(url: str, count: int) -> None:
    store = open_store(url)
    try:
        store.bind(Fingerprint(Space("weights", "tokenizer", "mean", True, "", 256, _DIMENSION), "f32"), "model")
        for replacements in _documents(count):
            store.replace(replacements)
    finally:
        store.close()


def _documents(count: int) -> Iterator[list[Replacement]]:
    chance = np.random.default_rng(SEED)
    centres = chance.standard_normal((_FOLDERS, _DIMENSION))
    for first in range(0, count, _PER_DOCUMENT * _AT_ONCE):
        starts = range(first, min(first + _PER_DOCUMENT * _AT_ONCE, count), _PER_DOCUMENT)
        yield [_document(start, min(_PER_DOCUMENT, count - start), centres, chance) for start in starts]


def _document(first: int, size: int, centres: np.ndarray, chance: np.random.Generator) -> Replacement:
    folder = first // _PER_DOCUMENT % _FOLDERS
    name = f"/corpus/{folder:02}/{first:09}.txt"
    vectors = centres[folder] + chance.standard_normal((size, _DIMENSION))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    records = []
    for index, vector in enumerate(vectors):
        text = f"{first + index}: " + " ".join(chance.choice(_WORDS, 100))
        start = index * len(text)
        place = {"start": start, "end": start + len(text), "line": index + 1, "end_line": index + 1}
        chunk = Chunk(text, name, chunk_index=index, token_count=60 + len(text) // 10, **place)
        records.append(Record(chunk, text_hash("", text), vector))
    return Replacement(DocumentState(name, 1, 1, hashlib.sha256(name.encode()).digest(), "recipe"), "f32", records)


if __name__ == "__main__":
    main()
