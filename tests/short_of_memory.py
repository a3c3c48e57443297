"""Index a folder with an embedder whose process has no memory left once its model is loaded.

As a program: ``short_of_memory.py FOLDER EXECUTOR THREADS``. The store and the cache lie in FOLDER, the documents in
FOLDER/docs. Prints what the run came to.
"""

from __future__ import annotations

import os
import resource
import sys
from contextlib import ExitStack
from pathlib import Path

from embedmill.core.errors import EmbedmillError
from embedmill.core.interfaces.executor import Executor
from embedmill.core.vectors import Batch, Vectors
from embedmill.embedders.openvino import OpenVINOEmbedder
from embedmill.executors.processes.pool import EmbedderPool
from embedmill.executors.threads import ThreadExecutor
from embedmill.models import locate, read_card
from embedmill.pipelines.index.indexer import Indexer
from embedmill.sources.files.source import FileSource
from embedmill.storage.cache.cache import PersistentCache
from embedmill.storage.registry import open_store

LEFT = 1 << 20  # bytes: four texts of 256 tokens need 6 MB in one piece

_PIECE = 256 << 10  # bytes
_held: list[bytearray] = []


def limit_memory(left: int = LEFT) -> None:
    """Let this process have so many bytes more than it has, and no more."""
    status = Path("/proc/self/status").read_text()
    (size,) = (int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmSize:"))
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    try:  # what was freed before and is not given back to the system
        while True:
            _held.append(bytearray(_PIECE))
    except MemoryError:
        resource.setrlimit(resource.RLIMIT_AS, (size + left, resource.RLIM_INFINITY))


def unlimit_memory() -> None:
    """Let this process have what there is."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def whole(threads: int) -> OpenVINOEmbedder:
    """The default model's embedder."""
    files = locate("all-MiniLM-L6-v2")
    return OpenVINOEmbedder(files.name, read_card(files), precision="f32", streams=threads, threads=threads)


class ShortOfMemory(OpenVINOEmbedder):
    """The same, which has no memory left after its first call."""

    limited = False

    def infer(self, batch: Batch) -> Vectors:
        if not self.limited:
            self.limited = True
            super().infer(Batch(("short",), tuple(self.encode(["short"]))))  # the output holds a sound vector now
            limit_memory()
        return super().infer(batch)


def short(threads: int) -> OpenVINOEmbedder:
    """A factory for worker processes."""
    files = locate("all-MiniLM-L6-v2")
    return ShortOfMemory(files.name, read_card(files), precision="f32", streams=threads, threads=threads)


def index(folder: Path, embedder: OpenVINOEmbedder, executor: Executor) -> str:
    """Index; what it came to."""
    with ExitStack() as stack:
        store = open_store(f"sqlite:{folder / 'index.db'}")
        stack.callback(store.close)
        cache = stack.enter_context(PersistentCache(folder / "vectors.db"))
        stack.callback(executor.close)
        indexer = Indexer(store, embedder, executor, cache=cache)
        try:
            report = indexer.run(FileSource(folder / "docs"))
        except EmbedmillError as error:
            return f"{type(error).__name__}: {error}"
        return f"failed {report.failed} of {report.chunks}, {report.cached} cached, {report.restarts} restarts"


if __name__ == "__main__":
    threads = int(sys.argv[3])
    if sys.argv[2] == "threads":
        embedder = short(threads)
        print(index(Path(sys.argv[1]), embedder, ThreadExecutor(embedder)), flush=True)
    else:
        pool = EmbedderPool(short, workers=2, threads=2 * threads)
        print(index(Path(sys.argv[1]), whole(threads), pool), flush=True)
    os._exit(0)  # what a library does at its end, without memory, is not what is tested
