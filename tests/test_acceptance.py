"""The main job with the real model: Python's own standard library is indexed and asked."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import embedmill
from embedmill.models import ModelFiles

_LIBRARY = Path(sysconfig.get_paths()["stdlib"])


def test_the_standard_library_answers(tmp_path: Path, real_model: ModelFiles) -> None:
    store = f"sqlite:{tmp_path / 'index.db'}"
    # What answers and what is near it; benchmarks/questions.py asks thirty questions of the whole library.
    answers = ["argparse.py", "asyncio/runners.py", "gzip.py", "hashlib.py", "zipfile*"]
    near = ["asyncio/[cflt]*.py", "bz2.py", "getopt.py", "hmac.py", "random.py", "secrets.py", "zipimport.py"]
    chosen = {"include": [f"/{name}" for name in answers + near], "exclude": ["tests/"]}
    report = embedmill.index(_LIBRARY, **chosen, store=store, model=str(real_model.folder), cache=False)
    assert report.failed == report.failures == 0
    assert report.chunks == report.embedded + report.duplicates > 300
    wanted = {
        "parse command line arguments": "argparse",
        "compress data with gzip": "gzip",
        "compute a sha256 digest": "hashlib",
        "run a coroutine until it completes": "asyncio",
        "read a zip archive": "zipfile",
    }
    # From 3.13 on, random and multiprocessing speak of SHA digests too, and come just before hashlib.
    first = {"hashlib": 4} if sys.version_info >= (3, 13) else {}
    with embedmill.Searcher(store) as searcher:
        for query, module in wanted.items():
            hits = searcher.search(query, k=50)
            documents = list(dict.fromkeys(Path(hit.document) for hit in hits))[: first.get(module, 3)]
            assert any(module in path.parts or path.stem == module for path in documents), (query, documents)
            for hit in hits[:5]:
                text = Path(hit.document).read_text()
                assert text[hit.start : hit.end] == hit.text
                assert text[: hit.start].count("\n") + 1 == hit.line
