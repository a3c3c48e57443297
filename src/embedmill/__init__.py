"""embedmill turns a corpus into validated vectors in your own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedmill.api import Searcher, index, load_embedder, retry_failed, search
    from embedmill.executors.limits import Limits
    from embedmill.executors.processes import EmbedderPool
    from embedmill.generating import ParallelEmbeddingGenerator
    from embedmill.ingestion import ingest
    from embedmill.interfaces import Embedder
    from embedmill.pipeline import IncrementalIndexer
    from embedmill.records import Chunk, Document, Hit, Record, Report
    from embedmill.rows import IndexOptions, IngestReport
    from embedmill.state.cache import PersistentCache
    from embedmill.validation import EmbeddingValidator

__version__ = "0.1.0"

# Where each public name lives. Names are imported when they are first asked for, so that a command which needs
# no model does not pay for importing one.
_HOMES = {
    "Chunk": "embedmill.records",
    "Document": "embedmill.records",
    "Embedder": "embedmill.interfaces",
    "EmbedderPool": "embedmill.executors.processes",
    "EmbeddingValidator": "embedmill.validation",
    "Hit": "embedmill.records",
    "IncrementalIndexer": "embedmill.pipeline",
    "IndexOptions": "embedmill.rows",
    "IngestReport": "embedmill.rows",
    "Limits": "embedmill.executors.limits",
    "ParallelEmbeddingGenerator": "embedmill.generating",
    "PersistentCache": "embedmill.state.cache",
    "Record": "embedmill.records",
    "Report": "embedmill.records",
    "Searcher": "embedmill.api",
    "index": "embedmill.api",
    "ingest": "embedmill.ingestion",
    "load_embedder": "embedmill.api",
    "retry_failed": "embedmill.api",
    "search": "embedmill.api",
}

__all__ = [
    "Chunk",
    "Document",
    "Embedder",
    "EmbedderPool",
    "EmbeddingValidator",
    "Hit",
    "IncrementalIndexer",
    "IndexOptions",
    "IngestReport",
    "Limits",
    "ParallelEmbeddingGenerator",
    "PersistentCache",
    "Record",
    "Report",
    "Searcher",
    "__version__",
    "index",
    "ingest",
    "load_embedder",
    "retry_failed",
    "search",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    from importlib import import_module

    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'embedmill' has no attribute {name!r}") from None
    return getattr(import_module(home), name)
