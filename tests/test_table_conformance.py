"""What every table promises whose rows get vectors. A new kind joins by a line in `TABLE_PLACES`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest

from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import text_hash
from embedmill.core.errors import RowsRefused, SpaceMismatch, Stopped, StoreError, UsageError
from embedmill.core.interfaces.table import Table
from embedmill.core.rows import Counts, Row, RowFailure, Stored, shown
from embedmill.core.vectors import Cause
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.ingest.dry_run import estimate
from embedmill.storage.columns import metrics_name
from store_samples import DIMENSION, fingerprint, vector
from table_places import Place, PostgresPlace, SqlitePlace, bound, claimed, filled, ingest, run, texts
from troubled import RAISES, SAME, ZERO, TroubledEmbedder
from waiting import until


@pytest.fixture
def place(table_place: Place) -> Place:
    return table_place


def stands(place: Place) -> Counts:
    with place.open() as table:
        return table.counts()


def failures(place: Place) -> list[RowFailure]:
    with bound(place) as table:
        return list(table.failures())


def same(left: list[np.ndarray | None], right: list[np.ndarray | None]) -> bool:
    return [None if each is None else each.tolist() for each in left] == [
        None if each is None else each.tolist() for each in right
    ]


# Which rows are taken


def test_rows_are_claimed_once_in_the_order_of_their_keys(place: Place) -> None:
    place.docs(*(f"text {number}" for number in range(10)))
    with bound(place) as table:
        first = table.claim(None, 4)
        assert [shown(row.key) for row in first] == [("1",), ("2",), ("3",), ("4",)]
        assert texts(first) == ["text 0", "text 1", "text 2", "text 3"]
        assert len({row.tracking_id for row in first}) == 4
        assert [shown(row.key) for row in claimed(table)] == [(str(number),) for number in range(5, 11)]
        assert claimed(table) == []


def test_a_second_run_finds_nothing_to_do(place: Place) -> None:
    place.docs(*(f"text {number}" for number in range(7)), None)
    assert len(run(place).written) == 7
    assert same(place.vectors(), [vector(f"text {number}") for number in range(7)] + [None])
    assert run(place).written == []
    assert stands(place) == Counts(rows=7, left=0, without_text=1, foreign=0, failures=0)


def test_new_and_changed_texts_are_taken(place: Place) -> None:
    place.docs(*(f"text {number}" for number in range(6)))
    run(place)
    place.execute("UPDATE docs SET body = 'other' WHERE id = 2")
    place.execute("UPDATE docs SET note = 'other' WHERE id = 3")
    place.execute("INSERT INTO docs (id, body) VALUES (0, 'new')")
    place.execute("UPDATE docs SET embedding = NULL WHERE id = 5")
    with bound(place) as table:
        rows = claimed(table)
        assert [(shown(row.key), row.text) for row in rows] == [(("0",), "new"), (("2",), "other"), (("5",), "text 4")]
        assert table.counts().left == 3
        assert same(place.vectors()[2:3], [vector("text 1")]), "the old vector stays until the new one is there"
        assert table.write([filled(row) for row in rows]) == 0
    assert same(place.vectors()[1:3], [vector("text 0"), vector("other")])


def test_counts_of_what_nobody_has_bound(place: Place) -> None:
    place.docs("one", "two", None)
    place.execute("UPDATE docs SET embedding = ? WHERE id = 1", place.encode(vector("foreign")))
    assert stands(place) == Counts(rows=2, left=1, without_text=1, foreign=1, failures=0)


def test_counts_tell_how_the_table_stood_when_the_run_began(place: Place) -> None:
    place.docs("one", "two", "bad three", None)
    with bound(place) as table, bound(place) as other:
        first = table.claim(None, 1)
        other.claim(None, 1)
        assert table.counts().left == other.counts().left == 3
        table.write([filled(first[0])])
        (last,) = table.claim(None, 1)
        table.fail([(last, Cause("Bad", "it is bad"))])
        assert table.counts() == Counts(rows=3, left=3, without_text=1, foreign=0, failures=0)
    assert stands(place) == Counts(rows=3, left=1, without_text=1, foreign=0, failures=1)


def test_a_row_with_a_vector_of_unknown_origin_is_left_alone(place: Place) -> None:
    place.docs("one", "two")
    foreign = vector("foreign")
    place.execute("UPDATE docs SET embedding = ? WHERE id = 1", place.encode(foreign))
    assert texts(run(place).written) == ["two"]
    assert same(place.vectors(), [foreign, vector("two")])
    assert stands(place).foreign == 1
    assert texts(run(place, overwrite=True).written) == ["one", "two"]
    assert same(place.vectors(), [vector("one"), vector("two")])
    assert stands(place).foreign == 0


def test_what_is_to_be_overwritten_is_not_counted_as_kept(place: Place) -> None:
    """Whether it is counted before or after it is claimed, or written."""
    place.docs(*(f"text {number}" for number in range(5)))
    place.execute("UPDATE docs SET embedding = ? WHERE id < 3", place.encode(vector("foreign")))
    run(place)
    with bound(place, overwrite=True) as table:
        found = [table.counts()]
        rows = claimed(table)
        found.append(table.counts())
        table.write([filled(row) for row in rows])
        found.append(table.counts())
    assert found == 3 * [Counts(rows=5, left=5, without_text=0, foreign=0, failures=0)]
    assert found[0].unchanged == 0


def test_rows_of_embedmills_own_are_overwritten_too(place: Place) -> None:
    place.docs(*(f"text {number}" for number in range(5)), "bad", None)
    run(place)
    assert len(run(place, overwrite=True).written) == 5
    assert run(place).written == []
    with bound(place, overwrite=True) as table:
        rows = table.claim(None, 2)
        table.write([filled(row) for row in rows])
        with bound(place, overwrite=True) as other:  # it shares the work
            assert other.counts().left == 3
            more = other.claim(None, 1)
            assert [shown(row.key) for row in more] == [("3",)]
            other.write([filled(row) for row in more])
    with bound(place, overwrite=True) as table:  # it goes on with what did not come to its end
        assert [shown(row.key) for row in claimed(table)] == [("4",), ("5",)]
        assert claimed(table) == []


_NEEDS_A_VECTOR = {
    # What is known of a row: when it is embedded, if its text is the same and a vector is there, or is gone; if its
    # text is another and a vector is there, or is gone. A row whose text is NULL never is.
    "nothing": ("overwrite", "always", "overwrite", "always"),
    "written": ("overwrite", "always", "always", "always"),
    "written by this run": ("never", "always", "always", "always"),
    "written for another space": ("always", "always", "always", "always"),
    "written for another space by a later run": ("never", "never", "never", "never"),
    "failed": ("again", "again", "always", "always"),
    "failed in this run": ("never", "never", "always", "always"),
    "claimed by a run that lives": ("never", "never", "never", "never"),
    "claimed by a run that ended": ("always", "always", "always", "always"),
    "failed, then claimed by a run that ended": ("again", "again", "always", "always"),
}
_KNOWN = list(_NEEDS_A_VECTOR)
_CASES = [(text, vector) for text in ("same", "changed", "NULL") for vector in ("there", "gone")]


class _Block:
    """Rows of which the same is known, one for each of `_CASES`."""

    def __init__(self, place: Place, known: str) -> None:
        self._place = place
        self.first = _KNOWN.index(known) * len(_CASES) + 1
        for number in range(self.first, self.first + len(_CASES)):
            place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", number, f"text {number}")

    def claim(self, table: Table) -> list[Row]:
        before = self.first - 1
        rows = table.claim((before if isinstance(self._place, SqlitePlace) else str(before),), len(_CASES))
        assert [int(row.key[0]) for row in rows] == list(range(self.first, self.first + len(_CASES)))
        return rows

    def write(self, table: Table, model: str = "model") -> None:
        assert table.write([filled(row, model=model) for row in self.claim(table)]) == 0

    def fail(self, table: Table) -> None:
        table.fail([(row, Cause("Bad", "it is bad")) for row in self.claim(table)])


@pytest.mark.parametrize("overwrite", [False, True], ids=["", "overwrite"])
@pytest.mark.parametrize("again", [False, True], ids=["", "again"])
def test_which_row_needs_a_vector(place: Place, again: bool, overwrite: bool) -> None:
    place.docs()
    with bound(place, model="other") as table:
        _Block(place, "written for another space").write(table, "other")
        table.mark_complete()
    failed = _Block(place, "failed, then claimed by a run that ended")
    with bound(place, overwrite=True) as table:
        _Block(place, "written").write(table)
        _Block(place, "failed").fail(table)
        failed.fail(table)
        table.mark_complete()
    with bound(place, again=True) as table:
        failed.claim(table)
        _Block(place, "claimed by a run that ended").claim(table)
    with bound(place) as holder, bound(place, again=again, overwrite=overwrite) as table:
        _Block(place, "claimed by a run that lives").claim(holder)
        _Block(place, "written by this run").write(table)
        _Block(place, "failed in this run").fail(table)
        with bound(place, model="other", overwrite=True) as later:
            _Block(place, "written for another space by a later run").write(later, "other")
        _Block(place, "nothing")
        expected = set()
        for number, (known, (text, vector_)) in enumerate(product(_KNOWN, _CASES), 1):
            if text != "same":
                body = None if text == "NULL" else "another text"
                place.execute("UPDATE docs SET body = ? WHERE id = ?", body, number)
            there = None if vector_ == "gone" else place.encode(vector("a vector"))
            place.execute("UPDATE docs SET embedding = ? WHERE id = ?", there, number)
            if text != "NULL":
                when = _NEEDS_A_VECTOR[known][_CASES.index((text, vector_))]
                if when == "always" or (when == "again" and again) or (when == "overwrite" and overwrite):
                    expected.add((known, text, vector_))
        numbers = [int(row.key[0]) - 1 for row in claimed(table)]
        assert {(_KNOWN[each // len(_CASES)], *_CASES[each % len(_CASES)]) for each in numbers} == expected


def test_texts_that_are_too_long_come_with_their_cause(place: Place) -> None:
    place.docs("x" * 10, "x" * 11)
    with bound(place, longest=10) as table:
        short, long = claimed(table)
    assert (short.cause, short.text) == (None, "x" * 10)
    assert long.cause is not None
    assert (long.text, long.cause.type) == ("", "TooLong")
    assert "11" in long.cause.message
    assert "--max-text" in long.cause.message


@pytest.mark.parametrize("text", ["Ä ß \U0001f600", "a\n\ttab 'quotes\" %s {braces} \\ back", "Z̤͔a͎l̀go", " "])
def test_texts_arrive_as_they_are(place: Place, text: str) -> None:
    place.docs(text)
    with bound(place) as table:
        (row,) = claimed(table)
        assert row.text == text
        assert row.hash == text_hash("", text)
        assert table.write([filled(row)]) == 0
    assert run(place).written == []


# Several runs


@pytest.mark.parametrize("before", ["", "UPDATE docs SET body = 'other ' || body", "UPDATE docs SET embedding = NULL"])
def test_runs_share_the_rows_and_no_row_is_claimed_twice(place: Place, before: str) -> None:
    place.docs(*(f"text {number}" for number in range(120)))
    if before:
        run(place, limit=100)
        place.execute(before)
    expected = Counter(text for (text,) in place.execute("SELECT body FROM docs"))
    runs = [bound(place) for _ in range(3)]
    found: list[list[Row]] = [[], [], []]

    def work(number: int) -> None:
        after = None
        while page := runs[number].claim(after, 7):
            found[number] += page
            after = page[-1].key
            assert runs[number].write([filled(row) for row in page]) == 0

    threads = [threading.Thread(target=work, args=[number]) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in runs:
        each.close()
    assert Counter(row.text for rows in found for row in rows) == expected
    assert all(each is not None for each in place.vectors())


def test_what_a_living_run_holds_is_not_claimed(place: Place) -> None:
    place.docs("one", "two", "three")
    with bound(place) as holder:
        held = holder.claim(None, 2)
        assert holder.claimed_by_others() == 0
        with bound(place) as other:
            assert texts(claimed(other)) == ["three"]
            assert other.claimed_by_others() == 2
        assert holder.write([filled(row) for row in held]) == 0
    assert texts(run(place).written) == ["three"], "a run that is closed gives back what it holds"


_HOLD = """
import sys, time
from embedmill.storage.registry import open_table
from store_samples import fingerprint
table = open_table(sys.argv[1], "docs", longest=1000, db_timeout=10.0)
table.bind(fingerprint(), "model")
print(len(table.claim(None, 2)), flush=True)
time.sleep(60)
"""


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_run_that_is_killed_gives_its_rows_back(place: Place) -> None:
    place.docs("one", "two", "three")
    process = python(_HOLD, place.url)
    assert process.stdout is not None
    assert process.stdout.readline() == "2\n"
    with bound(place) as table:
        assert texts(claimed(table)) == ["three"]
        assert table.claimed_by_others() == 2
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert table.claimed_by_others() == 2, "they are left to this run, which must not take itself for done"
        while not (rows := claimed(table)):
            time.sleep(0.01)
        assert texts(rows) == ["one", "two"]
        assert table.claimed_by_others() == 0
        assert table.write([filled(row) for row in rows]) == 0


def test_what_a_killed_run_had_failed_before_is_not_tried_again(place: Place) -> None:
    """A text that kills its run must not kill every run."""
    place.docs("bad one")
    run(place)
    killed = bound(place, again=True)
    assert texts(claimed(killed)) == ["bad one"]
    killed.close()
    assert run(place).failed == []
    assert [failure.attempts for failure in failures(place)] == [1]


# Writing


def test_a_stale_vector_is_not_written(place: Place) -> None:
    place.docs("one", "two", "three", "four")
    place.execute("UPDATE docs SET embedding = ? WHERE id = 1", place.encode(vector("foreign")))
    run(place, overwrite=True)
    place.execute("UPDATE docs SET body = 'newer ' || body")
    with bound(place) as table:
        rows = claimed(table)
        place.execute("UPDATE docs SET body = 'newest one' WHERE id = 1")
        place.execute("UPDATE docs SET body = NULL WHERE id = 2")
        place.execute("DELETE FROM docs WHERE id = 3")
        assert table.write([filled(row) for row in rows]) == 3
        assert same(place.vectors(), [vector("one"), vector("two"), vector("newer four")])
        (again,) = claimed(table)
        assert again.text == "newest one"
        assert table.write([filled(again)]) == 0
    assert same(place.vectors()[:1], [vector("newest one")])


def test_triggers_and_other_columns_stay_untouched(place: Place) -> None:
    place.docs("one", "two", "bad three", None)
    place.log_changes("docs")
    before = place.execute("SELECT id, body, note FROM docs ORDER BY id")
    run(place, metrics=True)
    assert place.execute("SELECT id, body, note FROM docs ORDER BY id") == before
    assert sorted(place.execute("SELECT id FROM changes")) == [(1,), (2,)], "one change of each row that is written"


@pytest.mark.parametrize("when", ["BEFORE", "AFTER"])
def test_a_text_that_a_trigger_rewrites_gets_its_vector_in_the_same_run(
    place: Place, embedder: TroubledEmbedder, when: str
) -> None:
    """The vector stayed that of the older text until the next run."""
    place.docs("one", "Two", "THREE")
    place.rewrite("docs", when)
    report = ingest(place, embedder, text="body", vector="own", create=True)
    assert report.changed == 2
    assert place.execute("SELECT body FROM docs ORDER BY id") == [("ONE",), ("TWO",), ("THREE",)]
    vectors = embedder.embed(["ONE", "TWO", "THREE"])
    np.testing.assert_allclose(np.stack(place.vectors(column="own")), vectors, atol=1e-6)  # type: ignore[arg-type]
    assert ingest(place, embedder, text="body", vector="own").chunks == 0


def test_a_text_that_changes_with_every_write_is_told_of(
    place: Place, embedder: TroubledEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a run ended as if all were well, with no vector that is its text's."""
    place.docs("one", "two", "three")
    if isinstance(place, SqlitePlace):
        change = "BEGIN UPDATE docs SET body = body || '.' WHERE id = new.id AND id < 3; END"
        place.execute(f"CREATE TRIGGER grow AFTER UPDATE ON docs {change}")
    else:
        place.execute(
            "CREATE FUNCTION grow() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF new.id < 3 THEN new.body := new.body || '.'; END IF; RETURN new; END $$"
        )
        place.execute("CREATE TRIGGER grow BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION grow()")
    ingest(place, embedder, text="body", vector="own", create=True)
    (told,) = [record.getMessage() for record in caplog.records if "each time" in record.getMessage()]
    assert "the text of 2 rows changed each time that it was embedded" in told


def test_rows_that_are_refused_are_measured_once(place: Place, embedder: TroubledEmbedder) -> None:
    place.docs("one", "two", "not this")
    place.refuse("docs", "not this")
    report = ingest(place, embedder, text="body", vector="own", create=True)
    assert (report.embedded, report.failed, report.measured) == (2, 1, 3)


@pytest.mark.parametrize("moment", ["claim", "write", "prune", "fail"])
def test_tables_that_are_swapped_while_one_is_filled(place: Place, moment: str) -> None:
    """Vectors would go to the other table, beside those of another model."""
    place.docs("one", "two", "bad")
    place.execute(f"CREATE TABLE docs_new (id bigint PRIMARY KEY, body text, note text, embedding {place.vector})")
    place.execute("INSERT INTO docs_new (id, body, note) SELECT id, body, note FROM docs WHERE id < 3")
    run(place, "docs_new", model="B")
    before = place.vectors("docs_new")
    with bound(place) as table:
        rows = table.claim(None, 3)
        for old, new in (("docs", "docs_old"), ("docs_new", "docs"), ("docs_old", "docs_new")):
            place.execute(f"ALTER TABLE {old} RENAME TO {new}")
        if moment in ("claim", "write"):
            with pytest.raises(StoreError, match=r"renamed .*: run again"):
                table.claim(None, 3) if moment == "claim" else table.write([filled(row) for row in rows])
        elif isinstance(place, SqlitePlace):
            with pytest.raises(StoreError, match=r"renamed .*: run again"):
                table.prune() if moment == "prune" else table.fail([(row, Cause("Bad", "bad")) for row in rows])
        elif moment == "prune":
            assert table.prune() == 0
        else:
            table.fail([(row, Cause("Bad", "bad")) for row in rows])
    assert same(place.vectors("docs"), before)
    assert run(place, model="B").written == []
    assert texts(run(place, "docs_new", again=True).written) == ["one", "two"]


def test_a_batch_is_written_whole_or_not_at_all(place: Place) -> None:
    place.docs("one", "two", "three")
    place.refuse("docs", "two")
    with bound(place) as table:
        table.metrics.prepare()
        rows = claimed(table)
        with pytest.raises(RowsRefused, match="not this row"):
            table.write([filled(row, measured=True) for row in rows])
        assert place.vectors() == [None, None, None]
        assert place.execute("SELECT * FROM docs_metrics") == []
        assert table.write([filled(rows[0]), filled(rows[2])]) == 0
        table.fail([(rows[1], Cause("RowsRefused", "not this row"))])
    assert same(place.vectors(), [vector("one"), None, vector("three")])


def test_a_check_refuses_too(place: Place) -> None:
    place.docs("one", vectors=False)
    place.execute(f"ALTER TABLE docs ADD COLUMN embedding {place.vector} CHECK (note <> 'note 1' OR embedding IS NULL)")
    with bound(place) as table, pytest.raises(RowsRefused, match=r"(?i)check"):
        table.write([filled(row) for row in claimed(table)])


# Rows that go


def test_a_deleted_rows_marks_go(place: Place) -> None:
    place.docs("one", "two", "bad three", "bad four")
    run(place, metrics=True)
    place.execute("DELETE FROM docs WHERE id IN (2, 4)")
    outcome = run(place, metrics=True)
    assert (outcome.written, outcome.failed, outcome.removed) == ([], [], 2)
    assert [failure.key for failure in failures(place)] == [("3",)]
    assert place.execute("SELECT id FROM docs_metrics ORDER BY id") == [(1,), (3,)]
    assert run(place).removed == 0
    place.execute("INSERT INTO docs (id, body) VALUES (2, 'two')")
    assert texts(run(place).written) == ["two"]


def test_what_a_living_run_holds_is_not_tidied_away(place: Place) -> None:
    place.docs("one", "two")
    with bound(place) as table, bound(place) as other:
        table.claim(None, 1)
        place.execute("DELETE FROM docs WHERE id = 1")
        assert other.prune() == 0
        place.execute("INSERT INTO docs (id, body) VALUES (1, 'one')")
        assert other.claimed_by_others() == 1


def test_a_text_that_becomes_null_takes_its_vector_away(place: Place) -> None:
    place.docs("one", "two", "three", None)
    foreign = vector("foreign")
    place.execute("UPDATE docs SET embedding = ? WHERE id = 4", place.encode(foreign))
    run(place)
    place.execute("UPDATE docs SET body = NULL WHERE id <= 2")
    assert run(place).removed == 2
    assert same(place.vectors(), [None, None, vector("three"), foreign])
    assert stands(place) == Counts(rows=1, left=0, without_text=3, foreign=0, failures=0)


# Failures


def test_failures_are_on_record_and_not_tried_again(place: Place) -> None:
    place.docs("bad one", "two", "bad three")
    assert texts(run(place).failed) == ["bad one", "bad three"]
    assert run(place).failed == []
    assert failures(place) == [
        RowFailure(("1",), Cause("Bad", "it is bad"), 1),
        RowFailure(("3",), Cause("Bad", "it is bad"), 1),
    ]
    assert stands(place) == Counts(rows=3, left=0, without_text=0, foreign=0, failures=2)


def test_a_run_does_not_try_its_own_failures_again(place: Place) -> None:
    place.docs("bad one")
    with bound(place, again=True) as table:
        (row,) = claimed(table)
        table.fail([(row, Cause("Bad", "it is bad"))])
        assert claimed(table) == []


def test_failures_are_tried_again_when_asked_for(place: Place) -> None:
    place.docs("bad one", "bad two")
    run(place)
    assert texts(run(place, again=True).failed) == ["bad one", "bad two"]
    assert [failure.attempts for failure in failures(place)] == [2, 2]
    with bound(place, again=True) as table:
        rows = claimed(table)
        table.fail([(rows[0], Cause("Bad", "NUL \0 in the message"))])
        assert table.write([filled(rows[1])]) == 0
    ((failure),) = failures(place)
    assert (failure.key, failure.attempts) == (("1",), 3)
    assert failure.cause.message.startswith("NUL ")
    assert same(place.vectors(), [None, vector("bad two")])


def test_a_failure_is_forgotten_when_its_text_changes(place: Place) -> None:
    place.docs("bad one", "bad two")
    run(place)
    place.execute("UPDATE docs SET body = 'good' WHERE id = 1")
    place.execute("UPDATE docs SET body = 'bad in another way' WHERE id = 2")
    outcome = run(place)
    assert (texts(outcome.written), texts(outcome.failed)) == (["good"], ["bad in another way"])
    assert [(failure.key, failure.attempts) for failure in failures(place)] == [(("2",), 1)]


# The space


def test_a_second_model_is_refused_unless_it_overwrites(place: Place) -> None:
    """finding 13: two models of one dimension share a column unnoticed."""
    place.docs("one", "two")
    run(place)
    other = fingerprint(weights="others")
    with place.open() as table:
        with pytest.raises(
            SpaceMismatch, match=r"embedding holds vectors of model \(space .*not of other.*--overwrite"
        ):
            table.bind(other, "other")
        with pytest.raises(SpaceMismatch, match="--overwrite"):
            table.check(other, "other")
        table.check(other, "other", overwrite=True)
        table.bind(other, "other", overwrite=True)
        assert texts(claimed(table)) == ["one", "two"]


def test_of_two_models_the_one_that_began_last_has_the_last_word(place: Place) -> None:
    """Runs of two models must not take each other's rows again and again."""
    place.docs("one", "two", "three", "four")
    other = fingerprint(weights="others")
    with bound(place) as first, place.open() as last:
        held = first.claim(None, 1)
        last.bind(other, "other", overwrite=True)
        rows = claimed(last)
        assert texts(rows) == ["two", "three", "four"]
        assert last.write([filled(row) for row in rows]) == 0
        assert claimed(first) == []
        assert first.counts().left == 1
        assert first.write([filled(row) for row in held]) == 0
        assert texts(claimed(last)) == ["one"]
    with place.open() as table:
        assert table.counts().left == 1, "what the last run has not come to is left"


def test_a_column_in_which_all_has_failed_takes_another_model(place: Place) -> None:
    place.docs("bad one")
    run(place)
    with place.open() as table:
        table.bind(fingerprint(weights="others"), "other")


def test_a_column_whose_vectors_are_gone_takes_another_model(place: Place) -> None:
    place.docs("one", "two")
    run(place)
    place.execute("UPDATE docs SET embedding = NULL")
    assert texts(run(place, model="B").written) == ["one", "two"]


def test_another_dimension_is_refused_and_both_are_named(place: Place) -> None:
    place.docs("one")
    run(place)
    other = fingerprint(weights="others", dimension=3)
    with place.open() as table:
        for refuse in (table.check, table.bind):
            with pytest.raises(SpaceMismatch, match=rf"{DIMENSION}.*\b3\b.*--vector"):
                refuse(other, "other")


def test_a_renamed_model_or_another_precision_is_the_same_space(place: Place) -> None:
    place.docs("one")
    run(place)
    with place.open() as table:
        table.bind(fingerprint(precision="bf16"), "renamed")
        assert claimed(table) == []


def test_the_vector_column_is_created_if_asked_for(place: Place) -> None:
    place.docs("one", vectors=False)
    with pytest.raises(UsageError, match="--create"):
        place.open()
    with place.open(create=True) as table:
        assert table.counts().left == 1
    assert "embedding" not in str(place.execute("SELECT * FROM docs")), "opening changes nothing"
    for _ in range(2):
        run(place, create=True)
    assert same(place.vectors(), [vector("one")])


def test_the_first_fill_ends_with_a_run_that_came_to_its_end(place: Place) -> None:
    place.docs("one")
    with bound(place) as table:
        assert table.first_fill
    with bound(place) as table:
        assert table.first_fill
        table.mark_complete()
    with bound(place) as table:
        assert not table.first_fill


def test_what_is_known_of_a_table(place: Place) -> None:
    place.docs("one", "bad two", None, vectors=False)
    with place.open(create=True) as table:
        status = table.status()
        assert (status.model, status.space, status.dimension, status.index) == (None, None, None, "")
        assert status.counts.rows == 2
        assert table.sample(1) == ["one"]
        assert table.sample(5) == ["one", "bad two"]
    run(place, create=True)
    with place.open() as table:
        status = table.status()
    assert status.counts == Counts(rows=2, left=0, without_text=1, foreign=0, failures=1)
    assert (status.text, status.vector, status.store, status.table) == ("body", "embedding", table.url, table.name)
    assert (status.model, status.space, status.dimension) == ("model", fingerprint().space.id, DIMENSION)


def test_what_is_sound_is_looked_at_and_the_rest_is_told(place: Place) -> None:
    place.docs(*(f"text {number}" for number in range(40)), "bad", None)
    with place.open() as table:
        assert list(table.verify()) == [], "nothing is known yet"
    run(place)
    looked: list[Stored] = []
    with place.open() as table:
        assert list(table.verify(looked.append)) == []
    assert {shown(each.key) for each in looked} == {(str(number),) for number in range(1, 41)}
    place.execute("UPDATE docs SET body = 'changed' WHERE id <= 10")
    place.execute("UPDATE docs SET embedding = NULL WHERE id BETWEEN 11 AND 20")
    place.execute("DELETE FROM docs WHERE id = 40")
    place.execute("INSERT INTO docs (id, body, embedding) VALUES (50, 'foreign', ?)", place.encode(vector("foreign")))
    looked.clear()
    with place.open() as table:
        found = list(table.verify(looked.append))
    told = Counter(each.kind for each in found)
    assert told == {DamageKind.ROW_CHANGED: 10, DamageKind.VECTOR_MISSING: 10, DamageKind.ROW_GONE: 1}
    assert [shown(each.key) for each in looked if not each.written] == [("50",)]
    written = [each for each in looked if each.written]
    assert {shown(each.key) for each in written} == {(str(number),) for number in range(21, 40)}
    for each in written:
        assert each.text == f"text {int(each.key[0]) - 1}"
        assert each.vector.dtype == np.float32
        np.testing.assert_array_equal(each.vector, vector(each.text))


def test_rows_that_are_put_back_are_embedded_by_the_next_run(place: Place) -> None:
    place.docs("one", "two", "three")
    run(place)
    with place.open() as table:
        looked: list[Stored] = []
        assert list(table.verify(looked.append)) == []
        one = next(each for each in looked if each.text == "one")
        table.put_back([Finding(DamageKind.VECTOR_WRONG, "", name=one.name)])
        assert [each.kind for each in table.verify()] == [DamageKind.ROW_MISSING]
    assert [row.text for row in run(place).written] == ["one"]
    with place.open() as table:
        assert list(table.verify()) == []


def test_rows_that_wait_for_a_run_that_lives_are_not_told(place: Place) -> None:
    place.docs("one", "two")
    run(place)
    place.execute("UPDATE docs SET body = 'changed' WHERE id = 1")
    with place.open() as reader:
        running = bound(place)
        assert list(reader.verify()) == []
        running.close()
        assert [each.kind for each in reader.verify()] == [DamageKind.ROW_CHANGED]


def test_a_closed_table_says_so(place: Place) -> None:
    place.docs("one")
    table = bound(place)
    table.close()
    table.close()
    with pytest.raises(StoreError, match="closed"):
        table.claim(None, 1)


# Metrics


def plain(texts_: list[str], tokens: Callable[[str], int | None]) -> list[tuple[object, ...]]:
    """Characters, words, tokens and frequency, as one would count them by hand."""
    forms = [" ".join(unicodedata.normalize("NFKC", text).casefold().split()) for text in texts_]
    often = Counter(forms)
    return [(len(text), len(text.split()), tokens(text), often[form]) for text, form in zip(texts_, forms, strict=True)]


def metrics(place: Place) -> list[tuple[object, ...]]:
    return place.execute("SELECT characters, words, tokens, frequency FROM docs_metrics ORDER BY id")


_MEASURED = [
    "one",
    "One ",
    "ONE",
    "two words",
    "two  Words",
    "Straße",
    "STRASSE",
    "\ufb01sh",
    "fish",
    "",
    " \n",
    "é" * 30,
]


@pytest.mark.parametrize("writers", [1, 4])
def test_metrics_are_right_with_any_number_of_writers(place: Place, writers: int) -> None:
    """`frequency` was overwritten with 0 whenever more than one worker ran."""
    all_texts = [text for number in range(15) for text in [*_MEASURED, f"text {number}"]]
    place.docs(*all_texts, vectors=False)
    embedder = TroubledEmbedder()

    def tokens(text: str) -> int:
        return len(embedder.encode([text], truncate=False)[0])

    report = ingest(place, embedder, writers=writers, create=True)
    assert metrics(place) == plain(all_texts, tokens)
    assert report.measured > 0, "those of texts that cannot be embedded"
    place.execute("DELETE FROM docs WHERE id > 100")
    place.execute("UPDATE docs SET body = 'text 0' WHERE id = 1")
    place.execute("UPDATE docs SET body = NULL WHERE id = 100")
    now = ["text 0", *all_texts[1:99]]
    ingest(place, embedder, writers=writers, create=True)
    assert metrics(place) == plain(now, tokens)


def test_metrics_without_a_model(place: Place) -> None:
    place.docs(*_MEASURED, None, vectors=False)
    with place.open(metrics_only=True) as table:
        table.metrics.prepare()
        page = table.metrics.missing(None, 5)
        assert [text for _, text in page] == _MEASURED[:5]
        assert [text for _, text in table.metrics.missing(page[-1][0], 100)] == _MEASURED[5:]
    from embedmill.pipelines.ingest.metrics import measure_rows

    for expected in (len(_MEASURED), 0):
        with place.open(metrics_only=True) as table:
            table.metrics.prepare()
            assert measure_rows(table, None, lambda *_: None, lambda: False) == expected
        assert metrics(place) == plain(_MEASURED, lambda _: None)


def test_another_table_of_that_name_is_left_alone(place: Place) -> None:
    place.docs("one")
    place.execute("CREATE TABLE docs_metrics (id bigint, characters integer)")
    with bound(place) as table, pytest.raises(StoreError, match=r"docs_metrics is no table of embedmill.*--no-metrics"):
        table.metrics.prepare()


def test_a_key_column_with_the_name_of_a_metric(place: Place) -> None:
    place.execute(f"CREATE TABLE docs (words bigint PRIMARY KEY, body text, embedding {place.vector})")
    with bound(place) as table, pytest.raises(StoreError, match=r"words has the name of a column.*--no-metrics"):
        table.metrics.prepare()


# Keys

_KEYS = {
    "text": ["", " ", "'", '"', "%s", "10", "9", "A", "a", "Ä", "ä\u0308", "\U0001f600", "x\ny", "{0}", "\\x00"],
    "double precision": [-1e300, -0.5, 0.1 + 0.2, 1 / 3, 1.0, 12345678901234567.0, 1e-300],
    "numeric(20, 5)": [-1, 0.5, 3],
    "bigint": [-(2**63), -1, 0, 1, 2**63 - 1],
    "blob": [b"", b"\0", b"\0a", b"\xff", b"a", b"'"],
}


@pytest.mark.parametrize("kind", _KEYS)
def test_keys_of_any_type(place: Place, kind: str) -> None:
    keys = _KEYS[kind]
    declared = place.blob if kind == "blob" else kind
    place.execute(f"CREATE TABLE docs (id {declared} PRIMARY KEY, body text, embedding {place.vector})")
    for number, key in enumerate(keys):
        place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", key, f"text {number}")
    ordered = [text for (text,) in place.execute("SELECT body FROM docs ORDER BY id")]
    outcome = run(place, metrics=True, limit=2)
    assert (texts(outcome.written), outcome.left_out) == (ordered, 0)
    assert same(place.vectors(), [vector(text) for text in ordered])
    assert len(place.execute("SELECT * FROM docs_metrics m JOIN docs d ON d.id = m.id")) == len(keys)
    assert run(place, metrics=True, limit=2).written == []
    place.execute("UPDATE docs SET body = 'bad ' || body")
    assert len(run(place, limit=2).failed) == len(failures(place)) == len(keys)
    place.execute("DELETE FROM docs")
    assert run(place, metrics=True).removed == len(keys)
    assert place.execute("SELECT * FROM docs_metrics") == []


def test_composite_keys_are_read_in_the_order_of_their_index(place: Place) -> None:
    place.execute(
        f"CREATE TABLE docs (a text, b bigint, c text, body text, embedding {place.vector}, PRIMARY KEY (c, a, b))"
    )
    keys = [(a, b, c) for a in "xyz" for b in (10, 9, -1) for c in ("", "1", "b")]
    for a, b, c in keys:
        place.execute("INSERT INTO docs (a, b, c, body) VALUES (?, ?, ?, ?)", a, b, c, f"{a} {b} {c}")
    outcome = run(place, metrics=True, limit=4)
    expected = sorted(keys, key=lambda key: (key[2], key[0], key[1]))
    assert [shown(row.key) for row in outcome.written] == [(c, a, str(b)) for a, b, c in expected]
    assert run(place, metrics=True).written == []
    assert place.execute("SELECT count(*) FROM docs_metrics m JOIN docs d USING (a, b, c)") == [(len(keys),)]


def test_a_unique_index_may_tell_the_rows(place: Place) -> None:
    place.execute(
        f"CREATE TABLE docs (a text NOT NULL, b bigint NOT NULL, c text, body text, embedding {place.vector})"
    )
    place.execute("CREATE UNIQUE INDEX docs_c ON docs (c)")
    place.execute("CREATE UNIQUE INDEX docs_part ON docs (b) WHERE b > 0")
    place.execute("INSERT INTO docs (a, b, body) VALUES ('x', 1, 'one'), ('x', 2, 'two')")
    with pytest.raises(UsageError, match=r"docs has no primary key: .* --id: a unique index"):
        place.open(text="body")
    place.execute("CREATE UNIQUE INDEX docs_a_b ON docs (b, a)")
    with pytest.raises(UsageError, match="--id: unique are b, a"):
        place.open(text="body")
    for wrong in (["c"], ["b"], ["a"]):
        with pytest.raises(UsageError, match=r"--id: .*no unique index on"):
            place.open(text="body", id=wrong)
    assert [shown(row.key) for row in run(place, text="body", id=["a", "b"]).written] == [("1", "x"), ("2", "x")]


def test_a_table_with_another_key_is_looked_at_anew(place: Place) -> None:
    place.docs("one", "two")
    place.execute("CREATE UNIQUE INDEX docs_note ON docs (note)")
    place.execute("DROP TABLE docs")
    place.execute(
        f"CREATE TABLE docs (id bigint PRIMARY KEY, key text NOT NULL UNIQUE, body text, embedding {place.vector})"
    )
    place.execute("INSERT INTO docs (id, key, body) VALUES (1, 'k1', 'one'), (2, 'k2', 'two')")
    run(place, text="body")
    assert run(place, text="body", id=["key"]).written == [], "the vectors are there: of unknown origin"
    assert texts(run(place, text="body", id=["key"], overwrite=True).written) == ["one", "two"]


# Names

_ODD = {
    "quotes": 'My "Table"',
    "single quote": "it's",
    "semicolon": "semi;colon",
    "percent": "percent%s %(name)s",
    "braces": "{braces} {0} {table}",
    "mixed case": "MixedCase",
    "dot": "a.b",
    "comment": "x -- y /* z",
    "backslash": "back\\slash",
    "question": "?1 :name @x $y",
    "space": " leading and trailing ",
    "keyword": "select",
    "unicode": "Tabelle äöü \U0001f600",
    "longest": "n" * 63,
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize("odd", _ODD)
def test_odd_names_work(place: Place, odd: str) -> None:
    name = _ODD[odd]
    stem = name.encode()[:62].decode(errors="ignore")
    key, text, filled_ = stem + "k", stem + "t", stem + "v"
    place.execute(f"CREATE TABLE {quoted(name)} ({quoted(key)} bigint PRIMARY KEY, {quoted(text)} text, other text)")
    for number in range(5):
        place.execute(f"INSERT INTO {quoted(name)} VALUES ({number}, 'text {number}', 'other')")
    options = {"id": [key], "text": text, "vector": filled_, "create": True, "metrics": True, "limit": 2}
    assert len(run(place, quoted(name), **options).written) == 5
    assert run(place, quoted(name), **options).written == []
    vectors = place.vectors(quoted(name), quoted(filled_), quoted(key))
    assert same(vectors, [vector(f"text {number}") for number in range(5)])
    assert place.execute(f"SELECT frequency FROM {quoted(metrics_name(name))}") == [(1,)] * 5


def test_a_name_is_found_without_its_quotes_and_in_any_case(place: Place) -> None:
    place.execute(f'CREATE TABLE "Docs" (id bigint PRIMARY KEY, "Body" text, "Embedding" {place.vector})')
    for name in ('"Docs"', "Docs"):
        with place.open(name, text="body", vector='"Embedding"') as table:
            assert table.columns == ("Body", "Embedding")
    place.execute(f"CREATE TABLE plain (id bigint PRIMARY KEY, body text, embedding {place.vector})")
    with place.open("PLAIN", text="BODY", id=["ID"]) as table:
        assert table.columns == ("body", "embedding")


@pytest.mark.parametrize("odd", ["My Table", "dot.ted", 'say "hi"', " space ", "100%"])
def test_a_name_that_is_shown_may_be_given_back(place: Place, odd: str) -> None:
    """In reports and messages, and as what might have been meant."""
    place.execute(f"CREATE TABLE {quoted(odd)} (id bigint PRIMARY KEY, body text, embedding {place.vector})")
    place.execute(f"INSERT INTO {quoted(odd)} VALUES (1, 'one', NULL)")
    with pytest.raises(UsageError, match=re.escape(f"did you mean {quoted(odd)}?")):
        place.open(quoted(odd + "x"))
    with place.open(quoted(odd)) as table:
        name = table.name
        assert name.endswith(quoted(odd))
        assert table.status().table == name
    assert texts(run(place, name).written) == ["one"]
    with pytest.raises(UsageError, match=re.escape(f"{name} has no column 'nosuch'")):
        place.open(name, text="nosuch")


def test_a_taken_table_of_metrics_is_named_as_it_is(place: Place) -> None:
    place.execute('CREATE TABLE "My Table" (id bigint PRIMARY KEY, body text)')
    place.execute('CREATE TABLE "My Table_metrics" (mine int)')
    words = r'"My Table_metrics" is no table of embedmill'
    with place.open('"My Table"', create=True) as table, pytest.raises(StoreError, match=words):
        table.metrics.check()


_ATTACKS = [
    'x"; DROP TABLE docs; --',
    'docs"; DROP TABLE docs; --',
    "docs; DROP TABLE docs",
    "docs'; DROP TABLE docs; --",
    "docs) ; DROP TABLE docs; --",
    'body", (SELECT 1)) --',
    "%s",
    "{table}",
]


@pytest.mark.parametrize("attack", _ATTACKS)
def test_no_name_is_run_as_sql(place: Place, attack: str) -> None:
    place.docs("one")
    with pytest.raises(UsageError, match="there is no table"):
        place.open(attack)
    for option in ("id", "text", "vector"):
        value = [attack] if option == "id" else attack
        with pytest.raises(UsageError, match="has no column"):
            place.open(**{option: value})
    assert len(run(place, vector=attack, create=True, metrics=True).written) == 1
    assert same(place.vectors(column=quoted(attack)), [vector("one")])
    assert place.execute("SELECT body FROM docs") == [("one",)]


@pytest.mark.parametrize("name", ["", ".", '"open', '""', "a.b.c", "nul\0", '"a"b', "\udcff"])
def test_what_is_no_name_is_refused(place: Place, name: str) -> None:
    place.docs("one")
    with pytest.raises(UsageError, match="table"):
        place.open(name)


@pytest.mark.parametrize("name", ["", "nul\0", "\udcff", "n" * 64])
def test_what_is_no_name_of_a_column_is_not_created(place: Place, name: str) -> None:
    place.docs("one")
    with pytest.raises(UsageError, match="--vector"):
        place.open(vector=name, create=True)


def test_what_is_no_table_is_refused(place: Place) -> None:
    place.docs("one")
    place.execute("CREATE VIEW seen AS SELECT * FROM docs")
    with pytest.raises(UsageError, match="seen is a view: give the table"):
        place.open("seen")
    with pytest.raises(UsageError, match=r"no table dosc.* did you mean docs"):
        place.open("dosc")
    with pytest.raises(UsageError, match=r"no column 'nosuch'; it has id \(.*body"):
        place.open(text="nosuch")


def test_embedmills_own_tables_are_not_filled(place: Place) -> None:
    place.docs("one")
    run(place)
    own = "embedmill_" if place.url.startswith("sqlite") else "embedmill."
    for name in ("tables", "marks_1"):
        with pytest.raises(UsageError, match="embedmill's own"):
            place.open(own + name, create=True, text="space")


def test_the_text_is_chosen_or_asked_for(place: Place) -> None:
    place.execute(f"CREATE TABLE a (id bigint PRIMARY KEY, title text, content text, embedding {place.vector})")
    place.execute(f"CREATE TABLE b (id bigint PRIMARY KEY, x text, y varchar(10), embedding {place.vector})")
    place.execute(f"CREATE TABLE c (id bigint PRIMARY KEY, n bigint, embedding {place.vector})")
    place.execute(f"CREATE TABLE d (id text PRIMARY KEY, other text, embedding {place.vector})")
    with place.open("a") as table:
        assert table.columns == ("content", "embedding")
    with place.open("d") as table:
        assert table.columns == ("other", "embedding")
    with pytest.raises(UsageError, match="several columns with text: name one with --text: x, y"):
        place.open("b")
    with pytest.raises(UsageError, match="no column with text"):
        place.open("c")
    with pytest.raises(UsageError, match=r"--text: .*n is bigint, not text"):
        place.open("c", text="n")


# Whole runs, with a model


def test_what_was_chosen_once_is_meant_from_then_on(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Columns that had to be named need not be named again, by no command; others can still be given."""
    place.execute(
        f"CREATE TABLE docs (id bigint NOT NULL UNIQUE, text varchar(9), title varchar(9), embedding {place.vector})"
    )
    for number, title in enumerate(["one", "bad", "three"], 1):
        place.execute("INSERT INTO docs VALUES (?, 'not this', ?, NULL)", number, title)
    chosen = {"id": ["id"], "text": "title"}
    assert texts(run(place, **chosen).written) == ["one", "three"]
    with place.open() as table:
        assert table.columns == ("title", "embedding")
        assert [failure.key for failure in table.failures()] == [("2",)]
    with place.open(metrics_only=True) as table:
        assert table.columns[0] == "title"
    assert texts(run(place, again=True).failed) == ["bad"]
    assert not caplog.messages
    assert texts(run(place, text="text").written) == ["not this"] * 3
    assert "docs.embedding was filled from title before: now all rows are from text" in caplog.text
    with place.open() as table:
        assert table.columns == ("text", "embedding")
    place.execute("ALTER TABLE docs DROP COLUMN text")
    with place.open() as table:  # gone: chosen anew
        assert table.columns == ("title", "embedding")


@pytest.fixture(scope="module")
def embedder() -> Iterator[TroubledEmbedder]:
    embedder = TroubledEmbedder()
    yield embedder
    embedder.close()


def test_a_second_run_makes_no_model_call(place: Place, embedder: TroubledEmbedder) -> None:
    place.docs(*(f"text {number} " * (number % 7) for number in range(50)), None)
    first = ingest(place, embedder, vector="own", create=True)
    assert first.embedded + first.duplicates == 42
    assert first.failed == first.failures == 8
    calls = embedder.calls
    second = ingest(place, embedder, vector="own")
    assert (second.embedded, second.chunks, second.failures, second.unchanged) == (0, 0, 0, 42)
    assert second.skipped == {"NULL": 1, "empty text": 8}, "the first run has told of them"
    with place.open(vector="own") as table:
        assert table.status().counts.failures == 8
    assert embedder.calls == calls
    assert ingest(place, embedder, vector="own", again=True).failed == 8


def test_a_dry_run_tells_what_a_run_would_do(place: Place, embedder: TroubledEmbedder) -> None:
    place.docs("one", "two", " ", "four", None)
    ingest(place, embedder, vector="own", create=True)
    place.execute("UPDATE docs SET body = 'changed' WHERE id = 1")
    place.execute("INSERT INTO docs (id, body, own) SELECT 9, 'foreign', own FROM docs WHERE id = 2")
    before = place.execute("SELECT * FROM docs ORDER BY id")

    def dry(**options: bool) -> tuple[int, int]:
        with place.open(vector="own") as table:
            report = estimate(table, embedder, ThreadExecutor(embedder), **options)
        assert report.dry_run and report.estimated_seconds is not None
        return report.embedded, report.unchanged

    assert dry() == (1, 2)
    assert dry(overwrite=True) == (4, 0)
    assert dry(again=True) == (2, 2)
    assert place.execute("SELECT * FROM docs ORDER BY id") == before


def test_rows_that_fail_do_not_take_their_batch_with_them(place: Place) -> None:
    """findings 9 and 11: one failure loses what was done; a failing batch is tried for ever."""
    embedder = TroubledEmbedder()
    given = [f"text {number}" for number in range(20)]
    given[3], given[7], given[11], given[15] = f"{RAISES} a", f"{ZERO} b", "", " \n\t"
    given[9] = f"{SAME} c"
    place.docs(*given)
    place.refuse("docs", "text 17")
    report = ingest(place, embedder, vector="own", create=True)
    assert (report.embedded, report.failed, report.failures) == (14, 6, 6)
    assert report.embedded + report.cached + report.duplicates + report.failed == report.chunks == 20
    with place.open(vector="own") as table:
        table.bind(embedder.fingerprint, "troubled")
        causes = {failure.key: failure.cause.type for failure in table.failures()}
    assert causes == {
        ("4",): "Refused",
        ("8",): "InvalidVector",
        ("10",): "InvalidVector",
        ("12",): "EmptyText",
        ("16",): "EmptyText",
        ("18",): "RowsRefused",
    }
    without = [number for number, each in enumerate(place.vectors(column="own")) if each is None]
    assert without == [3, 7, 9, 11, 15, 17]
    embedder.cured = True
    calls = embedder.texts["text 0"]
    place.execute("DROP TRIGGER refuse" + (" ON docs" if isinstance(place, PostgresPlace) else ""))
    place.execute("UPDATE docs SET body = 'no longer empty' WHERE id = 12")
    again = ingest(place, embedder, vector="own", again=True)
    assert (again.embedded, again.failed, again.failures) == (5, 1, 1)
    assert embedder.texts["text 0"] == calls


_FILL = """
import sys
from table_places import PostgresPlace, SqlitePlace, ingest
from waiting import until
from troubled import TroubledEmbedder
place = PostgresPlace(sys.argv[1]) if sys.argv[1].startswith("postgresql") else SqlitePlace(sys.argv[1][7:])
print("ready", flush=True)
sys.stdin.readline()
ingest(place, TroubledEmbedder(), vector="own")
place.close()
"""


def test_two_processes_embed_each_row_once_and_take_over_what_a_third_held(
    place: Place, embedder: TroubledEmbedder
) -> None:
    place.docs(*(f"text {number} " * (1 + number % 9) for number in range(400)), vectors=False)
    place.execute(f"ALTER TABLE docs ADD COLUMN own {'BLOB' if isinstance(place, SqlitePlace) else 'vector(32)'}")
    place.log_changes("docs")
    holder = place.open(vector="own")
    holder.bind(embedder.fingerprint, "troubled")
    assert len(holder.claim(None, 50)) == 50
    processes = [python(_FILL, place.url) for _ in range(2)]
    for process in processes:
        say(process)
    until(lambda: len(place.execute("SELECT id FROM changes")) >= 350, *processes)
    assert all(process.poll() is None for process in processes), "they wait for what the third holds"
    holder.close()
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert Counter(place.execute("SELECT id FROM changes")) == Counter((number,) for number in range(1, 401))
    assert all(each is not None for each in place.vectors(column="own"))


def test_killed_at_any_moment_the_next_run_completes(place: Place) -> None:
    """findings 5, 7 and 14: what is written is not repeated, what is not is not lost."""
    place.docs(*(f"text {number} " * (1 + number % 40) for number in range(600)), vectors=False)
    place.execute(f"ALTER TABLE docs ADD COLUMN own {'BLOB' if isinstance(place, SqlitePlace) else 'vector(32)'}")
    place.log_changes("docs")
    killed = 0
    for enough in (20, 150, 300):
        process = python(_FILL, place.url)
        say(process)
        while process.poll() is None and len(place.execute("SELECT id FROM changes")) < enough:
            time.sleep(0.002)
        process.kill()
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
    assert killed
    embedder = TroubledEmbedder()
    report = ingest(place, embedder, vector="own")
    assert report.failures == 0
    assert Counter(place.execute("SELECT id FROM changes")) == Counter((number,) for number in range(1, 601))
    given = [body for (body,) in place.execute("SELECT body FROM docs ORDER BY id")]
    expected = embedder.embed(given)
    for found, wanted in zip(place.vectors(column="own"), expected, strict=True):
        assert found is not None
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert metrics(place) == plain(given, lambda text: len(embedder.encode([text], truncate=False)[0]))


def say(process: subprocess.Popen[str]) -> None:
    """Let it begin, once it is ready."""
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()


def test_no_vector_of_an_older_text_stays(place: Place, embedder: TroubledEmbedder) -> None:
    """What cannot be embedded any more must not be found by what it once was."""
    place.docs("one", "two", "three")
    ingest(place, embedder, vector="own", create=True)
    place.execute("UPDATE docs SET body = '' WHERE id = 1")
    place.execute("UPDATE docs SET body = NULL WHERE id = 2")
    report = ingest(place, embedder, vector="own")
    assert (report.failures, report.removed, report.unchanged) == (1, 1, 1)
    assert [row[0] for row in place.execute("SELECT id FROM docs WHERE own IS NOT NULL")] == [3]


def test_a_run_that_is_stopped_writes_what_it_has_and_reads_no_more(place: Place) -> None:
    """The next run does what was left out."""
    place.docs("one", "two", "bad")
    with bound(place) as table:
        table.metrics.prepare()
        rows = claimed(table)
        table.finish_within(60)
        assert table.write([filled(row) for row in rows[:2]]) == 0
        table.fail([(rows[2], Cause("Bad", "it is bad"))])
        for use in (
            lambda: table.claim(None, 1),
            table.counts,
            table.prune,
            lambda: table.metrics.missing(None, 1),
            table.metrics.finish,
        ):
            with pytest.raises(Stopped, match="run again"):
                use()
    assert [each is not None for each in place.vectors()] == [True, True, False]
    assert not run(place, metrics=True).written
