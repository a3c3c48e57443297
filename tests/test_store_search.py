"""The exact search and its matrix: always what the store shows, whatever became of the file."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedmill.core.documents import Chunk, Hit, Record, Replacement
from embedmill.sources.files.selection import Selection
from embedmill.storage.scores import Block, nearest
from embedmill.storage.sqlite.store.exact import STRAY_ROWS
from embedmill.storage.sqlite.store.matrix import Matrix
from embedmill.storage.sqlite.store.store import SqliteStore
from store_samples import DIMENSION, fingerprint, record, replacement, state, vector

MANY = STRAY_ROWS + 502  # rows that are worth a matrix
QUERY = vector("query")


class Corpus:
    """A store, and beside it in memory what it should hold."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(5)
        self.store = SqliteStore(path)
        self.store.bind(fingerprint(), "model")

    def put(self, names: list[str], chunks: int) -> None:
        new = []
        for name in names:
            vectors = self.random.standard_normal((chunks, DIMENSION), np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            self.rows[name] = vectors
            records = [Record(Chunk(name, name, chunk_index=i), os.urandom(32), row) for i, row in enumerate(vectors)]
            new.append(Replacement(state(name), "f32", records))
        self.store.replace(new)

    def remove(self, folder: str) -> None:
        self.store.mark_seen([name for name in self.rows if not name.startswith(folder)])
        # Written by this run, all documents count as seen: only another run can miss them.
        self.store.close()
        self.store = SqliteStore(self.path)
        self.store.remove_unseen([folder])
        self.rows = {name: rows for name, rows in self.rows.items() if not name.startswith(folder)}

    def best(self, k: int, prefix: str = "") -> list[tuple[str, int]]:
        scored = [
            (-float(score), name, index)
            for name, rows in self.rows.items()
            if name.startswith(prefix)
            for index, score in enumerate(rows @ QUERY)
        ]
        return [(name, index) for _, name, index in sorted(scored)[:k]]

    def check(self, store: SqliteStore | None = None) -> None:
        store = store or self.store
        assert places(store.search(QUERY, 20)) == self.best(20)
        assert places(store.search(QUERY, 20, Selection(["/b/**"]).takes)) == self.best(20, "/b/")

    def matrix_rows(self) -> int:
        with closing(Matrix(self.path.with_name(self.path.name + ".matrix"))) as matrix:
            return len(matrix)


def places(hits: list[Hit]) -> list[tuple[str, int]]:
    return [(hit.document, hit.chunk) for hit in hits]


@pytest.fixture
def corpus(tmp_path: Path) -> Iterator[Corpus]:
    corpus = Corpus(tmp_path / "x.db")
    corpus.put([f"/a/{number}" for number in range(MANY // 5)], 5)
    corpus.put([f"/b/{number}" for number in range(20)], 5)
    yield corpus
    corpus.store.close()


def test_the_matrix_follows_the_store(corpus: Corpus) -> None:
    everything = MANY + 100
    corpus.check()
    assert corpus.matrix_rows() == everything
    with closing(SqliteStore(corpus.path, write=False)) as reader:
        corpus.put(["/b/3", "/new", "/empty"], 7)  # few: the matrix stays
        corpus.put(["/empty"], 0)
        corpus.check()
        corpus.check(reader)
        assert corpus.matrix_rows() == everything
        corpus.put([f"/a/{number}" for number in range(0, MANY // 5, 2)], 9)  # many: it is written anew
        corpus.put([f"/c/{number}" for number in range(600)], 4)
        corpus.check()
        corpus.check(reader)
        now = sum(map(len, corpus.rows.values()))
        assert corpus.matrix_rows() == now
        corpus.remove("/b/")  # rows that went are not found
        corpus.check()
        corpus.check(reader)
        assert corpus.matrix_rows() == now
        corpus.remove("/a/")
        corpus.remove("/c/")
        corpus.check()
        corpus.check(reader)
        assert set(corpus.rows) == {"/new", "/empty"}


def test_a_staged_document_that_becomes_whole_late_is_found(corpus: Corpus) -> None:
    corpus.store.stage("/late", [record("/late", 0, "late")], "f32")
    corpus.put([f"/c/{number}" for number in range(600)], 4)
    corpus.store.prepare_search()
    assert corpus.store.search(vector("late"), 1)[0].document != "/late"
    corpus.store.replace([replacement("/late", [], first=1)])
    assert corpus.store.search(vector("late"), 1)[0].document == "/late"
    corpus.put([f"/d/{number}" for number in range(600)], 4)
    corpus.store.prepare_search()
    assert corpus.store.search(vector("late"), 1)[0].document == "/late"


def test_a_new_matrix_copies_what_the_old_one_has(corpus: Corpus) -> None:
    corpus.store.prepare_search()
    with closing(sqlite3.connect(corpus.path)) as db:  # were these rows read again, they would be found
        db.execute("UPDATE vectors SET vector = zeroblob(4 * ?)", (DIMENSION,))
        db.commit()
    corpus.put([f"/c/{number}" for number in range(600)], 4)
    corpus.store.prepare_search()
    with closing(Matrix(corpus.path.with_name("x.db.matrix"))) as matrix:
        assert np.abs(matrix.vectors).max(axis=1).min() > 0
    assert corpus.matrix_rows() == sum(map(len, corpus.rows.values()))


@pytest.mark.parametrize("damage", ["cut", "longer", "header", "empty", "other version", "huge", "nan", "ids"])
def test_a_damaged_matrix_is_made_anew(corpus: Corpus, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    corpus.store.prepare_search()
    corpus.store.close()
    path = corpus.path.with_name("x.db.matrix")
    whole = path.read_bytes()
    with closing(Matrix(path)) as matrix:
        vectors, chunks = matrix.vectors.nbytes, matrix.chunks.nbytes
    damaged = {
        "huge": whole[:64] + b"\x7e" * vectors + whole[64 + vectors :],  # 8e37 each
        "nan": whole[:64] + b"\xff" * 64 + whole[128:],
        "ids": whole[: 64 + vectors] + b"\x7f" * chunks + whole[64 + vectors + chunks :],
        "cut": whole[:-8],
        "longer": whole + bytes(8),
        "header": whole[:20] + b"???" + whole[23:],
        "empty": b"",
        "other version": whole[:7] + b"\xff" + whole[8:],
    }
    path.write_bytes(damaged[damage])
    with closing(SqliteStore(corpus.path, write=False)) as store, caplog.at_level(logging.WARNING):
        corpus.check(store)
    assert "made anew" in caplog.text
    assert path.stat().st_size == len(whole)


def test_a_backup_put_back_is_not_searched_with_the_matrix_of_later(corpus: Corpus) -> None:
    corpus.store.close()
    backup = corpus.path.with_name("backup")
    shutil.copy(corpus.path, backup)
    corpus.store = SqliteStore(corpus.path)
    before = dict(corpus.rows)
    corpus.put([f"/c/{number}" for number in range(600)], 4)
    corpus.check()
    corpus.store.close()
    shutil.copy(backup, corpus.path)
    corpus.rows = before
    corpus.store = SqliteStore(corpus.path)
    corpus.check()
    corpus.put([f"/other/{number}" for number in range(600)], 4)  # the ids of /c/, other vectors
    corpus.check()


def test_a_store_begun_anew_is_not_searched_with_the_matrix_of_before(corpus: Corpus) -> None:
    corpus.store.prepare_search()
    corpus.store.close()
    corpus.path.unlink()
    anew = Corpus(corpus.path)
    with closing(anew.store):
        anew.put([f"/b/{number}" for number in range(MANY // 5 + 20)], 5)
        anew.check()


def test_where_no_matrix_can_be_written_searches_still_answer(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    corpus.put([f"/c/{number}" for number in range(4000)], 5)  # more than are held in memory
    corpus.path.with_name("x.db.matrix").mkdir()  # cannot be replaced by a file, not even by root
    with caplog.at_level(logging.WARNING):
        corpus.check()
        corpus.check()
        corpus.put(["/b/new"], 5)
        corpus.check()
    assert [record.getMessage() for record in caplog.records if "searches take longer" in record.getMessage()] != []
    assert list(corpus.path.parent.glob("*.new-*")) == []


def test_what_a_killed_process_left_of_a_matrix_is_removed(corpus: Corpus) -> None:
    old, fresh = (corpus.path.with_name(f"x.db.matrix.new-{name}") for name in ("1-1", "2-2"))
    old.touch()
    fresh.touch()
    os.utime(old, (1, 1))
    corpus.store.prepare_search()
    assert (old.exists(), fresh.exists()) == (False, True)


def test_searches_during_a_run_are_of_one_moment(corpus: Corpus) -> None:
    """Each transaction gives all documents of /v/ the same text: no search may see two."""
    stop = threading.Event()

    def run() -> None:
        for version in range(10_000):
            if stop.is_set():
                return
            corpus.store.replace([replacement(f"/v/{n}", [f"version {version}"] * 60) for n in range(40)])

    writer = threading.Thread(target=run)
    corpus.store.replace([replacement(f"/v/{n}", ["version -1"] * 60) for n in range(40)])
    writer.start()
    try:
        with closing(SqliteStore(corpus.path, write=False)) as reader:
            seen = set()
            for _ in range(15):
                hits = reader.search(QUERY, 10_000, Selection(["/v/**"]).takes)
                assert len(hits) == 40 * 60
                (text,) = {hit.text for hit in hits}
                seen.add(text)
            assert len(seen) > 1
    finally:
        stop.set()
        writer.join()


WRITE_MATRIX = """
import resource, sys
from pathlib import Path
from embedmill.storage.sqlite.store.store import SqliteStore
store = SqliteStore(Path(sys.argv[1]), write=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store.prepare_search()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_writing_the_matrix_takes_the_same_memory_for_every_size(tmp_path: Path) -> None:
    """Flaw 2: everything must fit in memory."""
    path, dimension, rows = tmp_path / "x.db", 2048, 12_000
    with closing(SqliteStore(path)) as store:
        store.bind(fingerprint(dimension=dimension), "model")
        ones = np.ones(dimension, np.float32)
        for number in range(0, rows, 1000):
            records = [Record(Chunk("", chunk_index=i), bytes(32), ones) for i in range(1000)]
            store.replace([Replacement(state(f"/{number}"), "f32", records)])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

    def grown() -> int:
        command = [sys.executable, "-c", WRITE_MATRIX, path]
        return 1024 * int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)

    size = rows * dimension * 4
    assert grown() < size / 2
    assert path.with_name("x.db.matrix").stat().st_size > size
    with closing(SqliteStore(path)) as store:  # written anew, and mostly copied
        for number in range(3):
            records = [Record(Chunk("", chunk_index=i), bytes(32), ones) for i in range(1000)]
            store.replace([Replacement(state(f"/new {number}"), "f32", records)])
    assert grown() < size / 2
    assert path.with_name("x.db.matrix").stat().st_size > size * 15 / 12


@given(
    st.lists(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), max_size=12), max_size=5),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
)
def test_the_nearest_are_the_nearest(blocks: list[list[tuple[int, bool]]], k: int, random: object) -> None:
    total = sum(map(len, blocks))
    ids = list(range(total))
    random.shuffle(ids)  # type: ignore[attr-defined]
    left, given_blocks, expected = iter(ids), [], []
    for rows in blocks:
        chunks = [next(left) for _ in rows]
        values = np.array([[score] for score, _ in rows], np.float32).reshape(-1, 1)
        mask = np.array([kept for _, kept in rows], np.bool_)
        given_blocks.append(Block(np.array(chunks, np.int64), values, None if mask.all() else mask))
        expected += [(-score, chunk) for chunk, (score, kept) in zip(chunks, rows, strict=True) if kept]
    found, scores = nearest(given_blocks, np.ones(1, np.float32), k)
    assert list(zip((-scores).tolist(), found.tolist(), strict=True)) == sorted(expected)[:k]
