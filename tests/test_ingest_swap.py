"""Another model for a table: taken over where its vectors are the same, else a second column that changes names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedmill
from embedmill.api.ingest import table_status
from embedmill.core.errors import StoreError
from embedmill.core.interfaces.reembedding import ReembeddableTable
from embedmill.core.table_reports import IngestReport
from reembedded import OTHER
from samples import copy_model, in_half, off_by, resave
from table_places import Place, PostgresPlace, SqlitePlace, bound, claimed, filled
from troubled import SMALL_MODEL

_TEXTS = [f"text number {row}, about gardens and {row * 7 % 11} roses" for row in range(30)]


@pytest.fixture
def place(table_place: Place) -> Place:
    table_place.docs(*_TEXTS, None, vectors=False)
    return table_place


def ingest(place: Place, model: Path = SMALL_MODEL, **options: Any) -> IngestReport:
    how: dict[str, Any] = {"precision": "f32", "cache": False, "text": "body", "workers": 1} | options
    return embedmill.ingest("docs", store=place.url, model=str(model), **how)


def swapped(place: Place, model: Path = OTHER, **options: Any) -> IngestReport:
    return ingest(place, model, **{"into": "second", "swap": True} | options)


def vectors(place: Place, column: str = "embedding") -> np.ndarray:
    return np.array([vector for vector in place.vectors(column=column) if vector is not None])


def model_of(place: Place, column: str) -> str | None:
    return table_status("docs", vector=column, store=place.url).model


# The same vectors


def test_a_moved_model_with_the_same_vectors_takes_the_column_over(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(place, create=True)
    before = vectors(place)
    moved = copy_model(SMALL_MODEL, tmp_path / "moved")
    resave(moved, in_half)
    place.execute("UPDATE docs SET body = 'a new text' WHERE id = 3")
    report = ingest(place, moved)
    assert (report.embedded, report.unchanged) == (1, 29)
    assert "gives the same vectors (29 computed again)" in caplog.text
    after = vectors(place)
    assert np.array_equal(np.delete(before, 2, 0), np.delete(after, 2, 0))
    assert model_of(place, "embedding") == str(moved)
    trained = copy_model(SMALL_MODEL, tmp_path / "trained")
    resave(trained, off_by(0.05))
    with pytest.raises(embedmill.SpaceMismatch, match="--into COLUMN --swap"):
        ingest(place, trained)


def test_a_column_is_known_by_the_name_of_a_model_that_leads_somewhere(place: Place, tmp_path: Path) -> None:
    first = copy_model(SMALL_MODEL, tmp_path / "first")
    ingest(place, first, create=True)
    first.rename(tmp_path / "second")
    assert ingest(place, tmp_path / "second").embedded == 0
    assert model_of(place, "embedding") == str(tmp_path / "second")


# Others


def test_a_second_column_is_filled_and_takes_the_name(place: Place) -> None:
    ingest(place, create=True)
    old = vectors(place)
    report = swapped(place)
    assert (report.embedded, report.vector, report.swapped, report.beside) == (30, "embedding", True, "second")
    assert np.array_equal(vectors(place, "second"), old)
    assert not np.allclose(vectors(place), old)
    assert (model_of(place, "embedding"), model_of(place, "second")) == (str(OTHER), str(SMALL_MODEL))
    place.execute("UPDATE docs SET body = 'another text' WHERE id = 5")
    assert ingest(place, OTHER).embedded == 1


def test_the_same_command_again_changes_nothing_back(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    ingest(place, create=True)
    swapped(place)
    now = vectors(place)
    report = swapped(place)
    assert not report.swapped and report.unchanged == 30
    assert "has vectors of this model" in caplog.text
    assert np.array_equal(vectors(place), now)


def test_the_way_back_costs_only_what_has_changed(place: Place) -> None:
    ingest(place, create=True)
    old = vectors(place)
    swapped(place)
    place.execute("UPDATE docs SET body = 'another text' WHERE id = 1")
    report = swapped(place, SMALL_MODEL)
    assert (report.embedded, report.unchanged, report.swapped) == (1, 29, True)
    assert np.array_equal(vectors(place)[1:], old[1:])


def test_vectors_that_somebody_else_wrote_change_names_too(place: Place) -> None:
    place.execute(f"ALTER TABLE docs ADD COLUMN embedding {place.vector.replace('8', '32')}")
    place.execute("UPDATE docs SET embedding = ?", place.encode(np.ones(32, np.float32)))
    assert swapped(place).swapped
    assert (vectors(place, "second") == 1).all() and not (vectors(place) == 1).any()


def test_a_run_that_was_stopped_is_gone_on_with(place: Place) -> None:
    ingest(place, create=True)
    old = vectors(place)
    runs: list[Any] = []

    def stop(progress: Any) -> None:
        if progress.rows:
            runs[0].stop()

    report = swapped(place, batch=5, on_start=runs.append, on_progress=stop)
    assert report.interrupted and not report.swapped
    assert np.array_equal(vectors(place), old) and model_of(place, "embedding") == str(SMALL_MODEL)
    report = swapped(place)
    assert report.swapped and report.embedded < 30 and len(vectors(place)) == 30


def test_what_makes_no_sense_is_refused_before_anything_is_done(place: Place) -> None:
    ingest(place, create=True)
    for options, words in (
        ({"into": "second"}, "give both"),
        ({"swap": True}, "give both"),
        ({"into": "embedding", "swap": True}, "that is the column itself"),
        ({"into": "second", "swap": True, "create": True}, "leave --create and --halfvec out"),
    ):
        with pytest.raises(embedmill.UsageError, match=words):
            ingest(place, OTHER, **options)
    kind = "BLOB" if isinstance(place, SqlitePlace) else "vector(7)"
    place.execute(f"ALTER TABLE docs ADD COLUMN w {kind}")
    place.execute("UPDATE docs SET w = ?", place.encode(np.ones(7, np.float32)))
    for into, words in (
        ("body", r"--into: \S+body is (?i:text)"),
        ("ID", r"--into: \S+id is bigint"),
        ("", "--into: '' cannot be a column's name"),
        ("EMBEDDING", "--into EMBEDDING: that is the column itself"),
        ("W", r"\.w has .*: name another column with --into \(it need not be there\)"),
    ):
        with pytest.raises((embedmill.UsageError, embedmill.SpaceMismatch), match=words) as refused:
            ingest(place, OTHER, vector="embedding", into=into, swap=True)
        assert "--vector" not in str(refused.value) and "--create" not in str(refused.value)
    assert ingest(place, OTHER, vector="embedding", into="second", swap=True, dry_run=True).embedded == 30
    with pytest.raises(embedmill.EmbedmillError):
        table_status("docs", vector="second", store=place.url)


def test_a_column_that_must_not_be_null_is_refused(place: Place) -> None:
    kind = place.vector.replace("8", "32")
    place.execute(f"CREATE TABLE full_docs (id bigint PRIMARY KEY, body text, embedding {kind} NOT NULL)")
    with pytest.raises(embedmill.UsageError, match="is NOT NULL"):
        embedmill.ingest("full_docs", store=place.url, model=str(OTHER), into="second", swap=True)


def test_a_run_that_began_before_does_not_write_to_the_other_column(place: Place) -> None:
    """It knows the column by its name, which means another by then."""
    place.execute(f"ALTER TABLE docs ADD COLUMN embedding {place.vector}")
    place.execute(f"ALTER TABLE docs ADD COLUMN second {place.vector}")
    with bound(place, vector="embedding") as table:
        rows = claimed(table)
        with bound(place, vector="second", model="other") as second:
            assert isinstance(second, ReembeddableTable)
            if isinstance(place, PostgresPlace):
                with pytest.raises(StoreError, match="other runs are at work"):
                    second.swap("embedding")
                place.execute("ALTER TABLE docs RENAME embedding TO between")  # as somebody else may do it
                place.execute("ALTER TABLE docs RENAME second TO embedding")
            else:
                second.swap("embedding")
        with pytest.raises(StoreError, match=r"swapped with another column|was renamed or made anew"):
            table.write([filled(row) for row in rows])
    assert not len(vectors(place))


def test_a_swap_that_was_done_is_not_done_again(place: Place) -> None:
    """Where the answer to its COMMIT got lost it is sent once more."""
    if isinstance(place, SqlitePlace):
        pytest.skip("no answer can get lost")
    place.execute(f"ALTER TABLE docs ADD COLUMN embedding {place.vector}")
    place.execute(f"ALTER TABLE docs ADD COLUMN second {place.vector}")
    with bound(place, vector="second") as second:
        assert isinstance(second, ReembeddableTable)
        rows = claimed(second)
        second.write([filled(row) for row in rows])
        for _ in range(2):
            second.swap("embedding")
    assert len(vectors(place)) == 30 and not len(vectors(place, "second"))


def test_the_index_is_there_before_the_names_change(place: Place) -> None:
    if isinstance(place, SqlitePlace):
        pytest.skip("there is no index")
    ingest(place, create=True)
    place.execute("CREATE INDEX mine ON docs USING hnsw (embedding vector_l2_ops) WITH (m = 8)")
    report = swapped(place)
    assert report.swapped and report.index.startswith("hnsw docs_second_hnsw built")
    found = place.execute(
        "SELECT indexdef FROM pg_indexes WHERE tablename = 'docs' AND indexdef LIKE '%hnsw%' ORDER BY indexname"
    )
    of_new, of_old = (str(row[0]) for row in found)
    assert "(embedding " in of_new and "vector_l2_ops" in of_new and "m='8'" in of_new
    assert "(second " in of_old


def test_a_column_of_a_third_model_is_refused_by_the_name_of_its_option(place: Place, tmp_path: Path) -> None:
    ingest(place, create=True)
    trained = copy_model(SMALL_MODEL, tmp_path / "trained")
    resave(trained, off_by(0.05))
    ingest(place, trained, vector="third", create=True)
    with pytest.raises(embedmill.SpaceMismatch, match="--overwrite to embed all rows in its place, or another --into"):
        ingest(place, OTHER, vector="embedding", into="third", swap=True)


def test_an_index_that_is_described_and_not_built_is_told(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    ingest(place, create=True)
    told = "no index was built, for which --m, --ef-construction and --distance are"
    assert told not in caplog.text
    assert swapped(place, index=embedmill.IndexOptions()).swapped
    assert told in caplog.text
    assert ("--index hnsw in any case" in caplog.text) != isinstance(place, SqlitePlace), "which SQLite refuses"


def test_an_index_of_another_kind_is_built_where_the_column_has_one(place: Place) -> None:
    """However small the table is; names that a swap has left with the other column are counted up."""
    if isinstance(place, SqlitePlace):
        pytest.skip("there is no index")
    ingest(place, create=True, index=embedmill.IndexOptions("hnsw"))
    report = swapped(place, index=embedmill.IndexOptions(distance="l2"))
    assert report.swapped and report.index == "hnsw docs_second_hnsw built over 30 rows"
    more = ingest(place, OTHER, vector="embedding", index=embedmill.IndexOptions("hnsw", distance="inner-product"))
    assert more.index == "hnsw docs_embedding_hnsw2 built over 30 rows, beside hnsw docs_second_hnsw"
    back = swapped(place, SMALL_MODEL, vector="embedding")
    assert back.swapped and back.index == "hnsw docs_second_hnsw2 built over 30 rows, beside hnsw docs_embedding_hnsw"
    place.execute("ALTER TABLE docs DROP COLUMN second")
    assert swapped(place).swapped
    found = place.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'docs' AND indexdef LIKE '%hnsw%'")
    of_live = [definition for (definition,) in found if "(embedding " in definition]
    assert len(of_live) == 1 and len(found) == 3, "those of the dropped column went with it"


def test_a_model_that_fails_on_most_rows_does_not_take_the_name(place: Place, tmp_path: Path) -> None:
    ingest(place, create=True)
    old = vectors(place)
    with pytest.raises(StoreError, match=r"of 33 rows have no vector .*the names stay as they are"):
        place.execute("INSERT INTO docs (id, body) VALUES (101, ?), (102, ?), (103, ?)", *["word " * 400] * 3)
        swapped(place, truncate=False, max_text=40)
    assert np.array_equal(vectors(place), old)


_RUN = """
import json, os, signal, sys
import embedmill
from embedmill.storage.postgres.connection import Connection as OfPostgres
from embedmill.storage.postgres.table.table import PostgresTable
from embedmill.storage.sqlite.connection import Connection as OfSqlite
from embedmill.storage.sqlite.table.table import SqliteTable
options, phase, left = json.loads(sys.argv[1])
counting = False

def count():
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(execute):
    def wrapped(self, *arguments, **more):
        if counting:
            count()
        return execute(self, *arguments, **more)
    return wrapped

for kind in (OfSqlite, OfPostgres):
    kind.execute = counted(kind.execute)
def begun(method):
    def wrapped(*arguments):
        global counting
        if phase == "write":
            count()  # batches; of a swap statements
        else:
            counting = True
        return method(*arguments)
    return wrapped
for kind in (SqliteTable, PostgresTable):
    setattr(kind, phase, begun(getattr(kind, phase)))
embedmill.ingest("docs", into="second", swap=True, batch=5, **options)
"""


def test_killed_at_many_moments_each_column_is_of_one_model(place: Place) -> None:
    ingest(place, create=True)
    old = vectors(place)
    options = {
        "store": place.url,
        "model": str(OTHER),
        "precision": "f32",
        "cache": False,
        "workers": 1,
        "text": "body",
    }
    for phase, after in (("write", 1), ("write", 3), ("swap", 2), ("swap", 5)):
        program = [sys.executable, "-c", _RUN, json.dumps([options, phase, after])]
        done = subprocess.run(program, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, (phase, after, done.stderr)
        assert np.array_equal(vectors(place), old)
        assert model_of(place, "embedding") == str(SMALL_MODEL)
    assert swapped(place).swapped
    assert np.array_equal(vectors(place, "second"), old)
    expected = vectors(place)
    assert len(expected) == 30
    ingest(place, OTHER, vector="third", create=True)
    np.testing.assert_allclose(vectors(place, "third"), expected, atol=2e-6)
