"""The PostgreSQL store's index for searches: when it is built, and what it finds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from psycopg import sql

from embedmill.core.documents import Replacement
from embedmill.sources.files.selection import Selection
from embedmill.storage.postgres import pgvector
from embedmill.storage.postgres.store import PostgresStore
from embedmill.storage.postgres.store import search as nearest
from servers import Server, ask
from store_samples import fingerprint, record, replacement, state, vector


def many(documents: int, chunks: int, dimension: int) -> list[Replacement]:
    """Documents whose vectors lie in clusters, as real ones do."""
    random_numbers = np.random.default_rng(5)
    centres = random_numbers.standard_normal((100, dimension))
    made = []
    for number in range(documents):
        near = centres[random_numbers.integers(100)] + random_numbers.standard_normal((chunks, dimension))
        vectors = (near / np.linalg.norm(near, axis=1, keepdims=True)).astype(np.float32)
        name = f"/{number % 10}/{number}.txt"
        records = [replace(record(name, index, f"{number} {index}"), vector=row) for index, row in enumerate(vectors)]
        made.append(Replacement(state(name), "f32", records))
    return made


@pytest.fixture(scope="module")
def large(server: Server) -> Iterator[tuple[str, list[Replacement]]]:
    """A store with an index, and what is in it."""
    url = server.create()
    documents = many(550, 20, 32)
    with closing(PostgresStore(url)) as store:
        store.bind(fingerprint(dimension=32), "model")
        store.replace(documents)
        store.prepare_search()
    yield url, documents
    server.drop(url)


def indexes(url: str) -> list[str]:
    found = ask(url, "SELECT indexdef FROM pg_indexes WHERE schemaname = 'embedmill' AND indexdef LIKE '%%hnsw%%'")
    return [row[0] for row in found]


def test_an_index_is_built_after_a_run_and_once(large: tuple[str, list[Replacement]]) -> None:
    url, _ = large
    (index,) = indexes(url)
    assert "vector_ip_ops" in index
    with closing(PostgresStore(url)) as store:
        store.prepare_search()
        assert indexes(url) == [index]
        setting = store._run._session._connection.execute("SHOW maintenance_work_mem").fetchone()
    assert setting == ask(url, "SHOW maintenance_work_mem")[0]


def test_a_reader_builds_no_index_nor_a_small_store(database: str) -> None:
    with closing(PostgresStore(database)) as store:
        store.bind(fingerprint(), "model")
        store.replace([replacement("/a", [f"{number}" for number in range(pgvector.INDEX_WORTH_IT)])])
        store.prepare_search()
        assert indexes(database) == []
        store.replace([replacement("/b", ["one more"])])
        with closing(PostgresStore(database, write=False)) as reader:
            reader.prepare_search()
        assert indexes(database) == []
        store.prepare_search()
        assert len(indexes(database)) == 1


def test_an_index_serves_the_similarity_of_the_model(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgvector, "INDEX_WORTH_IT", 20)
    documents = many(3, 20, 32)
    for similarity, normalize, expected in (
        ("cosine", True, "vector_ip_ops"),
        ("cosine", False, "vector_cosine_ops"),
        ("euclidean", False, "vector_l2_ops"),
        ("dot", False, "vector_ip_ops"),
    ):
        with closing(PostgresStore(database)) as store:
            if normalize:
                bound = fingerprint(dimension=32)
                store.bind(bound, "model")
                store.replace(documents)
            else:  # as an older version has left it: the same vectors, and another word for how they are compared
                ask(
                    database,
                    "UPDATE embedmill.meta SET fields = fields || %s::jsonb",
                    json.dumps({"similarity": similarity, "normalize": False}),
                )
            store.prepare_search()
            (index,) = indexes(database)
            assert expected in index
            query = documents[0].records[3].vector
            found, exact = store.search(query, 5), store.search(query, 5, exact=True)
            assert [hit.chunk for hit in found[:1]] == [hit.chunk for hit in exact[:1]] == [3]
            assert found[0].score == pytest.approx(0 if similarity == "euclidean" else 1, abs=1e-3)


def test_the_index_finds_nearly_what_is_nearest(large: tuple[str, list[Replacement]]) -> None:
    url, documents = large
    with closing(PostgresStore(url, write=False)) as store:
        common = 0
        for document in documents[:40]:
            query = document.records[3].vector
            found, exact = store.search(query, 10), store.search(query, 10, exact=True)
            assert found[0] == exact[0]
            assert (found[0].document, found[0].chunk) == (document.state.id, 3)
            assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
            common += len({(hit.document, hit.chunk) for hit in found} & {(hit.document, hit.chunk) for hit in exact})
        assert common >= 0.95 * 400

        def plan(db: Any) -> str:
            nearest._configure(db, 10)
            assert db.execute("SHOW hnsw.iterative_scan").fetchone() == ("strict_order",)
            query = nearest.composed(nearest.APPROXIMATE, 10, filtered=False)
            values = {"query": str(documents[0].records[0].vector.tolist()), "documents": None}
            return "\n".join(row[0] for row in db.execute(sql.SQL("EXPLAIN ") + query, values))

        assert "chunks_by_vector" in store._reading(plan)


@pytest.mark.parametrize("glob", ["/3/**", "*.txt", "/7/7.txt", "/[0-4]/*"])
@pytest.mark.parametrize("k", [10, 300])
def test_a_filter_still_gives_k(large: tuple[str, list[Replacement]], glob: str, k: int) -> None:
    url, documents = large
    with closing(PostgresStore(url, write=False)) as store:
        query = documents[1].records[0].vector  # of /1/: the nearest are mostly elsewhere
        fits = Selection([glob]).takes
        found, exact = store.search(query, k, fits), store.search(query, k, fits, exact=True)
        assert len(found) == len(exact) == min(k, 20 if glob == "/7/7.txt" else k)
        assert found[0] == exact[0]
        common = {(hit.document, hit.chunk) for hit in found} & {(hit.document, hit.chunk) for hit in exact}
        assert len(common) >= 0.9 * len(exact)


def test_more_than_the_index_gives_is_searched_for_exactly(large: tuple[str, list[Replacement]]) -> None:
    url, documents = large
    with closing(PostgresStore(url, write=False)) as store:
        assert len(store.search(documents[0].records[0].vector, 20_000)) == 11_000


def test_exact_scores_are_those_of_the_vectors(large: tuple[str, list[Replacement]]) -> None:
    url, documents = large
    query = vector("query", 32)
    matrix = np.stack([record.vector for document in documents for record in document.records])
    with closing(PostgresStore(url, write=False)) as store:
        found = store.search(query, 50, exact=True)
    np.testing.assert_allclose([hit.score for hit in found], np.sort(matrix @ query)[::-1][:50], rtol=0, atol=1e-6)


def test_too_many_dimensions_for_an_index_stay_exact(database: str) -> None:
    with closing(PostgresStore(database)) as store:
        store.bind(fingerprint(dimension=2100), "model")
        item = many(1, 1, 2100)[0]
        store.replace([item])
        store.prepare_search()
        assert store.search(item.records[0].vector, 1)[0].score == pytest.approx(1)
        assert list(store.verify()) == []
        assert pgvector.MOST_INDEXED["vector"] < 2100


def test_an_index_does_not_keep_an_emptied_store_from_another_model(database: str) -> None:
    with closing(PostgresStore(database)) as store:
        store.bind(fingerprint(), "model")
        store.replace([replacement("/a", [f"{number}" for number in range(pgvector.INDEX_WORTH_IT + 1)])])
        store.prepare_search()
    with closing(PostgresStore(database)) as store:
        assert store.remove_unseen(["/a"]) == 1
        store.bind(fingerprint(dimension=3000), "larger")
        item = many(1, 2, 3000)[0]
        store.replace([item])
        assert len(store.search(item.records[0].vector, 5)) == 2
        assert list(store.verify()) == []
