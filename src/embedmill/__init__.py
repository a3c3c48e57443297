"""embedmill turns a corpus into validated vectors in your own database."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedmill.api.chunk_store import ChunkInserter, ChunkStore, open_store
    from embedmill.api.embed import embed
    from embedmill.api.embedders import load_embedder, worker_factory
    from embedmill.api.evaluate import Evaluation, evaluate
    from embedmill.api.forget import forget
    from embedmill.api.generator import EmbeddingGenerator
    from embedmill.api.golden import GoldenCheck, golden_check, golden_record
    from embedmill.api.index import index
    from embedmill.api.indexer import IncrementalIndexer
    from embedmill.api.ingest import ingest
    from embedmill.api.model_loader import ModelLoader
    from embedmill.api.parallel import ParallelEmbeddingGenerator
    from embedmill.api.retry import retry_failed
    from embedmill.api.search import Searcher, search
    from embedmill.api.taxonomies import arrange, lint
    from embedmill.api.validator import EmbeddingValidator
    from embedmill.chunking.options import Chunking
    from embedmill.core.defaults import DEFAULT_DIMENSION, DEFAULT_MODEL
    from embedmill.core.documents import Chunk, Document, Hit, Provenance, Record
    from embedmill.core.errors import (
        CacheError,
        ChunksRefused,
        EmbeddingError,
        EmbeddingGenerationError,
        EmbedmillError,
        LimitReached,
        LoadKind,
        ManifestError,
        MissingExtra,
        ModelError,
        ModelLoadError,
        ModelNotFound,
        ModelUnusable,
        ModelValidationError,
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
    from embedmill.core.interfaces.embedder import Embedder, TokenEmbedder
    from embedmill.core.reports import Progress, ProgressCallback, Report, WriteReport
    from embedmill.core.rows import IndexOptions
    from embedmill.core.spaces import Fingerprint, Space
    from embedmill.core.table_reports import IngestReport
    from embedmill.core.vectors import Batch, Cause, Embedded, EmbeddingMatrix, EmbeddingVector
    from embedmill.engine.validation import NORM_TOLERANCE
    from embedmill.executors.processes.limits import Limits
    from embedmill.executors.processes.pool import EmbedderPool
    from embedmill.executors.threads import ThreadExecutor
    from embedmill.jobs.job import BatchJob, Manifest
    from embedmill.jobs.manifest.read import read_manifest
    from embedmill.jobs.running.results import BatchProgress, BatchReport, JobProgress, JobResult, JobState
    from embedmill.jobs.running.run import run_batch
    from embedmill.quality.golden_file import GoldenSet
    from embedmill.quality.questions import Question
    from embedmill.sources.files.source import FileSource
    from embedmill.storage.cache.cache import PersistentCache
    from embedmill.taxonomy.linting.findings import LintFinding
    from embedmill.taxonomy.tree import Term, Tree

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_DIMENSION",
    "DEFAULT_MODEL",
    "NORM_TOLERANCE",
    "Batch",
    "BatchJob",
    "BatchProgress",
    "BatchReport",
    "CacheError",
    "Cause",
    "Chunk",
    "ChunkInserter",
    "ChunkStore",
    "Chunking",
    "ChunksRefused",
    "Document",
    "Embedded",
    "Embedder",
    "EmbedderPool",
    "EmbeddingError",
    "EmbeddingGenerationError",
    "EmbeddingGenerator",
    "EmbeddingMatrix",
    "EmbeddingValidator",
    "EmbeddingVector",
    "EmbedmillError",
    "Evaluation",
    "FileSource",
    "Fingerprint",
    "GoldenCheck",
    "GoldenSet",
    "Hit",
    "IncrementalIndexer",
    "IndexOptions",
    "IngestReport",
    "JobProgress",
    "JobResult",
    "JobState",
    "LimitReached",
    "Limits",
    "LintFinding",
    "LoadKind",
    "Manifest",
    "ManifestError",
    "MissingExtra",
    "ModelError",
    "ModelLoadError",
    "ModelLoader",
    "ModelNotFound",
    "ModelUnusable",
    "ModelValidationError",
    "ParallelEmbeddingGenerator",
    "PersistentCache",
    "Progress",
    "ProgressCallback",
    "Provenance",
    "Question",
    "Record",
    "Report",
    "RowsRefused",
    "Searcher",
    "SourceError",
    "Space",
    "SpaceMismatch",
    "Stopped",
    "StoreBusy",
    "StoreError",
    "StoreNotFound",
    "Term",
    "ThreadExecutor",
    "TokenEmbedder",
    "Tree",
    "UnsupportedModel",
    "UsageError",
    "WriteReport",
    "__version__",
    "arrange",
    "embed",
    "evaluate",
    "forget",
    "golden_check",
    "golden_record",
    "index",
    "ingest",
    "lint",
    "load_embedder",
    "open_store",
    "read_manifest",
    "retry_failed",
    "run_batch",
    "search",
    "worker_factory",
]

# Where each public name lives that is no error. Names are imported when they are first asked for, so that a command
# which needs no model does not pay for importing one.
_HOMES = {
    "Batch": "embedmill.core.vectors",
    "BatchProgress": "embedmill.jobs.running.results",
    "BatchReport": "embedmill.jobs.running.results",
    "Cause": "embedmill.core.vectors",
    "Chunk": "embedmill.core.documents",
    "ChunkInserter": "embedmill.api.chunk_store",
    "ChunkStore": "embedmill.api.chunk_store",
    "Chunking": "embedmill.chunking.options",
    "DEFAULT_DIMENSION": "embedmill.core.defaults",
    "DEFAULT_MODEL": "embedmill.core.defaults",
    "Document": "embedmill.core.documents",
    "Embedded": "embedmill.core.vectors",
    "Embedder": "embedmill.core.interfaces.embedder",
    "EmbedderPool": "embedmill.executors.processes.pool",
    "EmbeddingGenerator": "embedmill.api.generator",
    "EmbeddingMatrix": "embedmill.core.vectors",
    "EmbeddingValidator": "embedmill.api.validator",
    "EmbeddingVector": "embedmill.core.vectors",
    "Evaluation": "embedmill.api.evaluate",
    "FileSource": "embedmill.sources.files.source",
    "Fingerprint": "embedmill.core.spaces",
    "GoldenCheck": "embedmill.api.golden",
    "GoldenSet": "embedmill.quality.golden_file",
    "Hit": "embedmill.core.documents",
    "IncrementalIndexer": "embedmill.api.indexer",
    "IndexOptions": "embedmill.core.rows",
    "IngestReport": "embedmill.core.table_reports",
    "JobProgress": "embedmill.jobs.running.results",
    "JobResult": "embedmill.jobs.running.results",
    "JobState": "embedmill.jobs.running.results",
    "Limits": "embedmill.executors.processes.limits",
    "BatchJob": "embedmill.jobs.job",
    "Manifest": "embedmill.jobs.job",
    "LintFinding": "embedmill.taxonomy.linting.findings",
    "ModelLoader": "embedmill.api.model_loader",
    "NORM_TOLERANCE": "embedmill.engine.validation",
    "ParallelEmbeddingGenerator": "embedmill.api.parallel",
    "PersistentCache": "embedmill.storage.cache.cache",
    "Progress": "embedmill.core.reports",
    "ProgressCallback": "embedmill.core.reports",
    "Provenance": "embedmill.core.documents",
    "Question": "embedmill.quality.questions",
    "Record": "embedmill.core.documents",
    "Report": "embedmill.core.reports",
    "Searcher": "embedmill.api.search",
    "Space": "embedmill.core.spaces",
    "Term": "embedmill.taxonomy.tree",
    "ThreadExecutor": "embedmill.executors.threads",
    "TokenEmbedder": "embedmill.core.interfaces.embedder",
    "Tree": "embedmill.taxonomy.tree",
    "WriteReport": "embedmill.core.reports",
    "arrange": "embedmill.api.taxonomies",
    "embed": "embedmill.api.embed",
    "evaluate": "embedmill.api.evaluate",
    "forget": "embedmill.api.forget",
    "golden_check": "embedmill.api.golden",
    "golden_record": "embedmill.api.golden",
    "index": "embedmill.api.index",
    "ingest": "embedmill.api.ingest",
    "lint": "embedmill.api.taxonomies",
    "load_embedder": "embedmill.api.embedders",
    "open_store": "embedmill.api.chunk_store",
    "read_manifest": "embedmill.jobs.manifest.read",
    "retry_failed": "embedmill.api.retry",
    "run_batch": "embedmill.jobs.running.run",
    "search": "embedmill.api.search",
    "worker_factory": "embedmill.api.embedders",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'embedmill' has no attribute {name!r}")
    home = _HOMES.get(name, "embedmill.core.errors")
    return getattr(import_module(home), name)
