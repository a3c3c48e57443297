"""A table's texts to vectors in PostgreSQL, as others do it: one way in a process of its own.

    python table_peers.py NAME '{"url": URL, "model": FOLDER, "threads": 2, "limit": 256}'

Runs with the Python that has the peer's packages (requirements-table-peers.txt). All read the table ``sentences`` (id, text),
embed with sentence-transformers in its fastest way on a processor, the OpenVINO backend in batches of 8, and write in
their own way. Prints how many vectors there are in the end.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import psycopg


def _texts(url: str) -> list[tuple[int, str]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT id, text FROM sentences ORDER BY id").fetchall()


def _count(url: str, query: str) -> int:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]


def script(url: str, model: str, threads: int, limit: int) -> int:
    """What people write by hand: read, encode 500 rows, upsert them, commit."""
    import torch
    from pgvector.psycopg import register_vector
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    transformer = SentenceTransformer(model, device="cpu", backend="openvino")
    transformer.max_seq_length = limit
    rows = _texts(url)
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        register_vector(connection)
        cursor.execute("ALTER TABLE sentences ADD COLUMN embedding vector(384)")
        for first in range(0, len(rows), 500):
            some = rows[first : first + 500]
            vectors = transformer.encode([text for _, text in some], batch_size=8, show_progress_bar=False)
            cursor.executemany(
                "UPDATE sentences SET embedding = %s WHERE id = %s",
                [(vector, number) for (number, _), vector in zip(some, vectors, strict=True)],
            )
            connection.commit()
    return _count(url, "SELECT count(embedding) FROM sentences")


def langchain(url: str, model: str, threads: int, limit: int) -> int:
    """``langchain_core.indexing.index`` into its PGVector, the record manager in memory."""
    import torch
    from langchain_core.documents import Document
    from langchain_core.indexing import InMemoryRecordManager, index
    from langchain_huggingface import HuggingFaceEmbeddings
    from langchain_postgres import PGVector

    torch.set_num_threads(threads)
    embeddings = HuggingFaceEmbeddings(
        model_name=model, model_kwargs={"device": "cpu", "backend": "openvino"}, encode_kwargs={"batch_size": 8}
    )
    embeddings._client.max_seq_length = limit
    store = PGVector(embeddings, connection=url.replace("postgresql://", "postgresql+psycopg://", 1))
    records = InMemoryRecordManager("sentences")
    records.create_schema()
    documents = [Document(text, metadata={"source": str(number)}) for number, text in _texts(url)]
    index(documents, records, store, batch_size=500, cleanup="incremental", source_id_key="source", key_encoder="sha256")
    return _count(url, "SELECT count(embedding) FROM langchain_pg_embedding")


def llama_index(url: str, model: str, threads: int, limit: int) -> int:
    """LlamaIndex's ingestion pipeline into its PGVectorStore."""
    import torch
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import TextNode
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding
    from llama_index.vector_stores.postgres import PGVectorStore

    torch.set_num_threads(threads)
    embedding = HuggingFaceEmbedding(model, embed_batch_size=8, device="cpu", max_length=limit, backend="openvino")
    store = PGVectorStore.from_params(
        connection_string=url.replace("postgresql://", "postgresql+psycopg2://", 1),
        async_connection_string=url.replace("postgresql://", "postgresql+asyncpg://", 1),
        table_name="llama",
        embed_dim=384,
    )
    pipeline = IngestionPipeline(transformations=[embedding], vector_store=store)
    pipeline.run(nodes=[TextNode(id_=str(number), text=text) for number, text in _texts(url)])
    return _count(url, "SELECT count(embedding) FROM data_llama")


WAYS: dict[str, Callable[[str, str, int, int], int]] = {
    "script": script,
    "langchain": langchain,
    "llama_index": llama_index,
}


if __name__ == "__main__":
    print(WAYS[sys.argv[1]](**json.loads(sys.argv[2])))
