"""Whether a search finds what is meant: thirty questions about Python's standard library.

Each question has one module that answers it; a document counts, not a chunk. No bar: a figure to compare two ways of
cutting or of giving context by.
"""

from __future__ import annotations

import sysconfig
import tempfile
from pathlib import Path

from results import Run, options, table

import embedmill

_LIBRARY = Path(sysconfig.get_path("stdlib"))
_EXCLUDED = ["test/", "site-packages/", "idlelib/", "lib2to3/", "pydoc_data/", "encodings/"]
_HITS = 60  # chunks: enough for several documents

QUESTIONS = {
    "parse command line arguments": "argparse",
    "compress data with gzip": "gzip",
    "compute a sha256 digest": "hashlib",
    "run a coroutine until it completes": "asyncio",
    "read a zip archive": "zipfile",
    "send an email over smtp": "smtplib",
    "encode bytes as base64": "base64",
    "parse json text": "json",
    "regular expression matching": "re",
    "copy a file to another path": "shutil",
    "make a temporary directory": "tempfile",
    "generate random numbers": "random",
    "compare two sequences of lines and show the differences": "difflib",
    "read and write csv files": "csv",
    "pretty print a data structure": "pprint",
    "start a child process and read its output": "subprocess",
    "a binary heap priority queue": "heapq",
    "insert into a sorted list by bisection": "bisect",
    "parse an xml document": "xml",
    "median and standard deviation": "statistics",
    "exact decimal arithmetic": "_pydecimal",
    "match shell style wildcards in file names": "fnmatch",
    "calendar of a month as text": "calendar",
    "read configuration ini files": "configparser",
    "an http server": "http",
    "download a url": "urllib",
    "a thread pool that runs callables": "concurrent",
    "cache results of a function": "functools",
    "dataclass decorator": "dataclasses",
    "abstract base classes": "_py_abc",
}


def main() -> None:
    arguments = options(__doc__ or "", rounds=1).parse_args()
    benchmark = Run("questions", arguments)
    with tempfile.TemporaryDirectory() as folder:
        store = f"sqlite:{folder}/index.db"
        embedmill.index(_LIBRARY, exclude=_EXCLUDED, store=store, model=arguments.model)
        with embedmill.Searcher(store) as searcher:
            ranks = {question: _rank(searcher, question, module) for question, module in QUESTIONS.items()}
    reciprocal = sum(1 / rank for rank in ranks.values() if rank) / len(ranks)
    among = sum(0 < rank <= 3 for rank in ranks.values())
    benchmark.finish(
        {"ranks": ranks, "mean reciprocal rank": round(reciprocal, 3), "among the first three": among},
        [],
        table(["question", "rank"], [(question, rank or "none") for question, rank in ranks.items()]),
        f"mean reciprocal rank {reciprocal:.3f}; among the first three: {among} of {len(ranks)}",
    )


def _rank(searcher: embedmill.Searcher, question: str, module: str) -> int:
    """The place of the module's best document among the documents; 0 where it is not found."""
    hits = searcher.search(question, k=_HITS)
    documents = dict.fromkeys(Path(hit.document).relative_to(_LIBRARY) for hit in hits)
    names = [document.parts[0].removesuffix(".py") for document in documents]
    return names.index(module) + 1 if module in names else 0


if __name__ == "__main__":
    main()
