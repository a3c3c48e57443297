"""embedmill turns a corpus into validated vectors in your own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedmill.api import Searcher, index, search
    from embedmill.errors import (
        CacheError,
        EmbeddingError,
        EmbedmillError,
        LimitReached,
        MissingExtra,
        ModelError,
        ModelNotFound,
        ModelUnusable,
        RowsRefused,
        SourceError,
        SpaceMismatch,
        Stopped,
        StoreBusy,
        StoreError,
        StoreNotFound,
        UnsupportedModel,
        UsageError,
    )
    from embedmill.executors.limits import Limits
    from embedmill.executors.processes import EmbedderPool
    from embedmill.generating import ParallelEmbeddingGenerator
    from embedmill.ingestion import ingest
    from embedmill.interfaces import Embedder
    from embedmill.loaders import load_embedder
    from embedmill.pipeline import IncrementalIndexer
    from embedmill.records import Chunk, Document, Hit, Record, Report
    from embedmill.rows import IndexOptions, IngestReport
    from embedmill.state.cache import PersistentCache
    from embedmill.upkeep import forget, retry_failed
    from embedmill.validation import EmbeddingValidator

__version__ = "0.1.0"

# Where each public name lives. Names are imported when they are first asked for, so that a command which needs
# no model does not pay for importing one.
_HOMES = {
    "CacheError": "embedmill.errors",
    "Chunk": "embedmill.records",
    "Document": "embedmill.records",
    "Embedder": "embedmill.interfaces",
    "EmbedderPool": "embedmill.executors.processes",
    "EmbeddingError": "embedmill.errors",
    "EmbeddingValidator": "embedmill.validation",
    "EmbedmillError": "embedmill.errors",
    "Hit": "embedmill.records",
    "IncrementalIndexer": "embedmill.pipeline",
    "IndexOptions": "embedmill.rows",
    "IngestReport": "embedmill.rows",
    "Limits": "embedmill.executors.limits",
    "MissingExtra": "embedmill.errors",
    "ModelError": "embedmill.errors",
    "ModelNotFound": "embedmill.errors",
    "LimitReached": "embedmill.errors",
    "ModelUnusable": "embedmill.errors",
    "ParallelEmbeddingGenerator": "embedmill.generating",
    "PersistentCache": "embedmill.state.cache",
    "Record": "embedmill.records",
    "Report": "embedmill.records",
    "RowsRefused": "embedmill.errors",
    "Searcher": "embedmill.api",
    "SourceError": "embedmill.errors",
    "SpaceMismatch": "embedmill.errors",
    "StoreBusy": "embedmill.errors",
    "Stopped": "embedmill.errors",
    "StoreError": "embedmill.errors",
    "StoreNotFound": "embedmill.errors",
    "UnsupportedModel": "embedmill.errors",
    "UsageError": "embedmill.errors",
    "forget": "embedmill.upkeep",
    "index": "embedmill.api",
    "ingest": "embedmill.ingestion",
    "load_embedder": "embedmill.loaders",
    "retry_failed": "embedmill.upkeep",
    "search": "embedmill.api",
}

__all__ = [
    "CacheError",
    "Chunk",
    "Document",
    "Embedder",
    "EmbedderPool",
    "EmbeddingError",
    "EmbeddingValidator",
    "EmbedmillError",
    "Hit",
    "IncrementalIndexer",
    "IndexOptions",
    "IngestReport",
    "LimitReached",
    "Limits",
    "MissingExtra",
    "ModelError",
    "ModelNotFound",
    "ModelUnusable",
    "ParallelEmbeddingGenerator",
    "PersistentCache",
    "Record",
    "Report",
    "RowsRefused",
    "Searcher",
    "SourceError",
    "SpaceMismatch",
    "Stopped",
    "StoreBusy",
    "StoreError",
    "StoreNotFound",
    "UnsupportedModel",
    "UsageError",
    "__version__",
    "forget",
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
