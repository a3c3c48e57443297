"""A table's texts to vectors in PostgreSQL, as others do it: one way in a process of its own.

    python table_peers.py prepare '{"model": FOLDER, "limit": 256, "folder": NEW}'
    python table_peers.py NAME '{"url": URL, "model": NEW, "threads": 2, "folder": STATE}'

Runs with the Python that has the peers' packages (requirements-table-peers.txt). The first makes a copy of the model
with its OpenVINO graph and its limit of tokens, which all load, so that none of them exports a graph when it starts,
and prints the versions of the packages. All others read the table ``sentences`` (id, text), embed with
sentence-transformers in its fastest way on a processor, the OpenVINO backend in small batches, write in their own way,
and print how many texts they embedded. What a way must remember for the next time is in the database or in `folder`.

Left out: pgai's vectorizer worker has no embedder of its own, it asks a server over HTTP (Ollama, OpenAI, ...).
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
from numpy.typing import NDArray

_BATCH = 8  # texts that the model reads at once: the fastest where more are given and sorted by length
_UNSORTED = 16  # where they are read in the table's order: a little faster than 8, and as fast as 32
_TOGETHER = 500  # rows embedded and written at once: embedmill's default
_WAITING = 64  # rows that CocoIndex embeds at once, as its own embedder does: it writes the last ones meanwhile
_DIMENSION = 384

_PACKAGES = (
    "sentence-transformers",
    "torch",
    "transformers",
    "optimum-intel",
    "openvino",
    "pgvector",
    "psycopg",
    "langchain-core",
    "langchain-classic",
    "langchain-postgres",
    "langchain-huggingface",
    "llama-index-core",
    "llama-index-vector-stores-postgres",
    "llama-index-embeddings-huggingface",
    "cocoindex",
)


def prepare(model: str, limit: int, folder: str) -> dict[str, str]:
    """The model with its OpenVINO graph, as sentence-transformers loads it best; the versions of all packages."""
    from sentence_transformers import SentenceTransformer

    transformer = SentenceTransformer(model, device="cpu", backend="openvino")
    transformer.max_seq_length = limit
    transformer.save_pretrained(folder)
    return {name: metadata.version(name) for name in _PACKAGES}


def script(url: str, model: str, threads: int, folder: str) -> int:
    """What people write by hand: read, encode 500 rows, update them, commit."""
    from pgvector.psycopg import register_vector
    from sentence_transformers import SentenceTransformer

    transformer = SentenceTransformer(model, **_openvino(threads))
    rows = _rows(url)
    with psycopg.connect(url) as connection:
        register_vector(connection)
        connection.execute(f"ALTER TABLE sentences ADD COLUMN embedding vector({_DIMENSION})")
        for first in range(0, len(rows), _TOGETHER):
            some = rows[first : first + _TOGETHER]
            vectors = transformer.encode([text for _, text in some], batch_size=_BATCH, show_progress_bar=False)
            connection.cursor().executemany(
                "UPDATE sentences SET embedding = %s WHERE id = %s",
                [(vector, number) for (number, _), vector in zip(some, vectors, strict=True)],
            )
            connection.commit()
    return len(rows)


def langchain(url: str, model: str, threads: int, folder: str) -> int:
    """LangChain's ``index`` with a record manager in the same database; its older store, PGVector, is as fast."""
    from langchain_classic.indexes import SQLRecordManager
    from langchain_core.documents import Document
    from langchain_core.indexing import index
    from langchain_huggingface import HuggingFaceEmbeddings
    from langchain_postgres import PGEngine, PGVectorStore

    embeddings = HuggingFaceEmbeddings(
        model_name=model, model_kwargs=_openvino(threads), encode_kwargs={"batch_size": _BATCH}
    )
    address = url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = PGEngine.from_connection_string(address)
    records = SQLRecordManager("sentences", db_url=address)
    if not Path(folder, "langchain").exists():
        engine.init_vectorstore_table("langchain", _DIMENSION)
        records.create_schema()
        Path(folder, "langchain").touch()
    store = PGVectorStore.create_sync(engine, embeddings, "langchain")
    documents = [Document(text, metadata={"source": str(number)}) for number, text in _rows(url)]
    done = index(documents, records, store, batch_size=_TOGETHER, cleanup="incremental", source_id_key="source")
    return done["num_added"]


def llama_index(url: str, model: str, threads: int, folder: str) -> int:
    """LlamaIndex's ingestion pipeline into its PGVectorStore, with a document store in a file."""
    from llama_index.core.ingestion import DocstoreStrategy, IngestionPipeline
    from llama_index.core.schema import TextNode
    from llama_index.core.storage.docstore import SimpleDocumentStore
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.postgres import PGVectorStore

    known = Path(folder, "docstore.json")
    pipeline = IngestionPipeline(
        transformations=[HuggingFaceEmbedding(model, embed_batch_size=_UNSORTED, **_openvino(threads))],
        vector_store=PGVectorStore.from_params(
            connection_string=url.replace("postgresql://", "postgresql+psycopg2://", 1),
            async_connection_string=url.replace("postgresql://", "postgresql+asyncpg://", 1),
            table_name="llama",
            embed_dim=_DIMENSION,
        ),
        docstore=SimpleDocumentStore.from_persist_path(str(known)) if known.exists() else SimpleDocumentStore(),
        docstore_strategy=DocstoreStrategy.UPSERTS,
        disable_cache=True,  # the document store knows what is done already
    )
    nodes = pipeline.run(nodes=[TextNode(id_=str(number), text=text) for number, text in _rows(url)])
    pipeline.docstore.persist(str(known))
    return len(nodes)


class Source(NamedTuple):
    """A row as CocoIndex reads it."""

    id: int
    text: str


class Target(NamedTuple):
    """A row as CocoIndex writes it."""

    id: int
    embedding: NDArray[np.float32]


def cocoindex(url: str, model: str, threads: int, folder: str) -> int:
    """CocoIndex from a table to a table; its own embedder cannot choose the backend, a function of ours can."""
    import asyncpg
    import cocoindex as coco
    from cocoindex.connectors import postgres
    from cocoindex.resources.schema import VectorSchema

    pool = coco.ContextKey[asyncpg.Pool]("pool")
    embedded = 0

    @coco.lifespan
    async def resources(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
        builder.settings.db_path = Path(folder, "cocoindex")
        async with asyncpg.create_pool(url) as opened:
            builder.provide(pool, opened)
            yield

    @functools.cache
    def transformer() -> Any:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(model, **_openvino(threads))

    @coco.fn.as_async(batching=True, runner=coco.GPU, max_batch_size=_WAITING)
    def embed(texts: list[str]) -> list[Any]:
        nonlocal embedded
        embedded += len(texts)
        return list(transformer().encode(texts, batch_size=_BATCH, show_progress_bar=False))

    @coco.fn(memo=True)
    async def fill(row: Source, table: postgres.TableTarget[Target]) -> None:
        table.declare_row(row=Target(row.id, await embed(row.text)))

    @coco.fn
    async def main() -> None:
        schema = await postgres.TableSchema.from_class(
            Target,
            primary_key=["id"],
            column_overrides={"embedding": VectorSchema(np.dtype(np.float32), _DIMENSION)},
        )
        table = await postgres.mount_table_target(pool, "cocoindex", schema)
        rows = postgres.PgTableSource(coco.use_context(pool), table_name="sentences", row_type=Source).fetch_rows()
        await coco.mount_each(fill, rows.items(lambda row: row.id), table)

    coco.App("sentences", main).update_blocking()
    return embedded


def _openvino(threads: int) -> dict[str, Any]:
    """What a SentenceTransformer is made with."""
    settings = {"ov_config": {"INFERENCE_NUM_THREADS": threads}}
    return {"device": "cpu", "backend": "openvino", "model_kwargs": settings}


def _rows(url: str) -> list[tuple[int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, text FROM sentences ORDER BY id").fetchall()


@dataclass(frozen=True)
class Way:
    """How a peer fills a table."""

    name: str
    fill: Callable[[str, str, int, str], int]
    vectors: str  # the query for (id, vector) of all rows
    again: bool = True  # whether a second run knows what is done


WAYS = {
    "script": Way("a script", script, "SELECT id, embedding FROM sentences", again=False),
    "langchain": Way(
        "LangChain", langchain, "SELECT (langchain_metadata->>'source')::integer, embedding FROM langchain"
    ),
    "llama_index": Way("LlamaIndex", llama_index, "SELECT node_id::integer, embedding FROM data_llama"),
    "cocoindex": Way("CocoIndex", cocoindex, "SELECT id, embedding FROM cocoindex"),
}


if __name__ == "__main__":
    name, options = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps((prepare if name == "prepare" else WAYS[name].fill)(**options)))
