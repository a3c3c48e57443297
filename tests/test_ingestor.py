"""A run over a table as a whole: what is in flight is bounded, whoever is slow, and the run adapts to who it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import psycopg
import pytest

from embedmill.api.embedders import load_embedder
from embedmill.core.rows import Filled, Key, Row
from embedmill.core.table_reports import IngestProgress
from embedmill.core.vectors import Cause
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.ingest.ingestor import Ingestor
from embedmill.pipelines.ingest.width import Width
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres.table import PostgresTable
from troubled import SMALL_MODEL

_ROWS, _BATCH = 3000, 10


class Watched(PostgresTable):
    """A table that may be slow, and counts the rows that are claimed and neither written nor failed."""

    def __init__(self, url: str, *, reading: float = 0, writing: float = 0) -> None:
        super().__init__(url, "sentences", TableRequest(create=True))
        self._reading_takes, self._writing_takes = reading, writing
        self._counting = threading.Lock()
        self.in_flight = self.most = self.writing = self.most_writing = 0
        self.claims: list[int] = []  # rows of each

    def claim(self, after: Key | None, limit: int) -> list[Row]:
        time.sleep(self._reading_takes)
        rows = super().claim(after, limit)
        with self._counting:
            self.in_flight += len(rows)
            self.claims.append(len(rows))
            self.most = max(self.most, self.in_flight)
        return rows

    def write(self, rows: Sequence[Filled]) -> int:
        with self._counting:
            self.writing += 1
            self.most_writing = max(self.most_writing, self.writing)
        time.sleep(self._writing_takes)
        changed = super().write(rows)
        with self._counting:
            self.writing -= 1
            self.in_flight -= len(rows)
        return changed

    def fail(self, failures: Sequence[tuple[Row, Cause]]) -> None:
        super().fail(failures)
        with self._counting:
            self.in_flight -= len(failures)


@pytest.fixture
def sentences(database: str) -> str:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE sentences (id integer PRIMARY KEY, text text)")
        connection.execute(
            "INSERT INTO sentences SELECT g, repeat('word ', 1 + g %% 20) || g FROM generate_series(1, %s) g", [_ROWS]
        )
    return database


def run(table: Watched, width: Width | None, rows: int = _ROWS) -> list[IngestProgress]:
    embedder = load_embedder(str(SMALL_MODEL), precision="f32", streams=2)
    told: list[IngestProgress] = []
    with table:
        ingestor = Ingestor(table, embedder, ThreadExecutor(embedder), batch=_BATCH, width=width, metrics=False)
        report = ingestor.run(on_progress=told.append)
    embedder.close()
    assert (report.documents, report.chunks, report.failures) == (rows, rows, 0)
    assert table.in_flight == 0
    return told


@pytest.mark.parametrize(("reading", "writing"), [(0.0, 0.0), (0.0, 0.02), (0.003, 0.0)])
def test_what_is_in_flight_is_bounded_by_workers_times_batch(sentences: str, reading: float, writing: float) -> None:
    """Flaw 2: everything must fit in memory."""
    table = Watched(sentences, reading=reading, writing=writing)
    run(table, Width(2, 2))
    # Two pages wait and one is being claimed, as many rows as two batches wait for others of their length, the model
    # has a few texts, one batch is being gathered, three wait for writers, two are being written; and of each length
    # a batch of the model may be half full.
    assert table.most <= (2 + 1 + 2 + 1 + 3 + 2) * _BATCH + 200


def test_large_texts_come_in_small_pages(sentences: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may hold whole books, of which many wait in memory."""
    with psycopg.connect(sentences) as connection:
        connection.execute("DELETE FROM sentences WHERE id > 300")
        connection.execute("UPDATE sentences SET text = repeat('word ', 100) || id")
    monkeypatch.setattr("embedmill.pipelines.ingest.ingestor.LARGE_PAGE", 1000)
    table = Watched(sentences)
    run(table, Width(2, 2), rows=300)
    assert table.claims[0] == _BATCH and set(table.claims[1:-2]) == {2}


def test_a_slow_database_gets_more_writers(sentences: str) -> None:
    with psycopg.connect(sentences) as connection:
        connection.execute("DELETE FROM sentences WHERE id > 600")
    table = Watched(sentences, writing=0.15)
    run(table, None, rows=600)
    assert table.most_writing > 2


def test_progress_tells_what_is_left(sentences: str) -> None:
    told = run(Watched(sentences), None)
    assert told[-1].rows == _ROWS and told[-1].total == _ROWS
    assert [each.rows for each in told] == sorted(each.rows for each in told)
    assert told[-1].counts == f"rows {_ROWS:,}, 0 left"
