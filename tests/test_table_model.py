"""Tables against a model of them in plain Python, whatever users and runs do to them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run_machine

from embedmill.core.interfaces.table import Table
from embedmill.core.rows import Counts, Row
from embedmill.core.vectors import Cause
from store_samples import vector
from table_places import Place, PostgresPlace, SqlitePlace, bound, filled, made_by, quick_folder
from table_places import run as run_whole

KEYS = st.integers(1, 6)
TEXTS = st.sampled_from(["one", "two", "three", None])
RUNS = st.integers(0, 1)
NAMES = st.sampled_from(["docs", "papers"])

FOREIGN = "foreign"
"""Stands for the vector that a user has written."""


@dataclass
class Mark:
    """What is known of a row."""

    text: str
    run: int  # the number of the run that holds it, or was the last to
    held: bool = True  # even if that run has ended since
    written: bool = False
    attempts: int = 0
    failed: bool = False


@dataclass
class Run:
    """A run that is open: its number, what it holds, how it was begun."""

    number: int
    table: Table
    again: bool
    overwrite: bool
    redone_from: int
    rows: list[Row]


class Model(RuleBasedStateMachine):
    place: Place

    @initialize()
    def begin(self) -> None:
        self.texts: dict[int, str | None] = {}
        self.vectors: dict[int, str | None] = {}  # the text that a vector is of
        self.marks: dict[int, Mark] = {}
        self.runs: dict[int, Run] = {}
        self.number = 0
        self.overwriting = 0  # the first run of an overwriting that has not come to its end
        self.place.docs()
        bound(self.place).close()

    # What users do

    @rule(key=KEYS, text=TEXTS)
    def put(self, key: int, text: str | None) -> None:
        if key in self.texts:
            self.place.execute("UPDATE docs SET body = ? WHERE id = ?", text, key)
        else:
            self.place.execute("INSERT INTO docs (id, body) VALUES (?, ?)", key, text)
            self.vectors[key] = None
        self.texts[key] = text

    @rule(key=KEYS)
    def delete(self, key: int) -> None:
        self.place.execute("DELETE FROM docs WHERE id = ?", key)
        self.texts.pop(key, None)
        self.vectors.pop(key, None)

    @rule(key=KEYS, text=st.sampled_from([FOREIGN, None]))
    def write_or_clear_the_vector(self, key: int, text: str | None) -> None:
        value = None if text is None else self.place.encode(vector(text))
        self.place.execute("UPDATE docs SET embedding = ? WHERE id = ?", value, key)
        if key in self.vectors:
            self.vectors[key] = text

    # What runs do

    @rule(slot=RUNS, again=st.booleans(), overwrite=st.booleans())
    def open(self, slot: int, again: bool, overwrite: bool) -> None:
        self.close(slot)
        self.number += 1
        if overwrite:
            self.overwriting = self.overwriting or self.number
        table = bound(self.place, again=again, overwrite=overwrite)
        self.runs[slot] = Run(self.number, table, again, overwrite, self.overwriting if overwrite else 0, [])

    @rule(slot=RUNS)
    def close(self, slot: int) -> None:
        run = self.runs.pop(slot, None)
        if run is not None:
            run.table.close()

    @rule(slot=RUNS)
    def finish(self, slot: int) -> None:
        run = self.runs.get(slot)
        if run is not None:
            run.table.mark_complete()
            self.overwriting = 0

    @precondition(lambda self: self.runs)
    @rule(slot=RUNS, after=st.integers(0, 6), limit=st.integers(1, 4))
    def claim(self, slot: int, after: int, limit: int) -> None:
        run = self.runs.get(slot)
        if run is None:
            return
        found = run.table.claim(
            (after if isinstance(self.place, SqlitePlace) else str(after),) if after else None, limit
        )
        expected = [key for key in sorted(self.texts) if key > after and self.is_due(key, run)][:limit]
        assert [(int(row.key[0]), row.text) for row in found] == [(key, self.texts[key]) for key in expected]
        run.rows += found
        for key in expected:
            text, mark = self.texts[key], self.marks.get(key)
            assert text is not None
            same = mark is not None and mark.text == text
            self.marks[key] = Mark(
                text,
                run.number,
                attempts=mark.attempts if mark and same else 0,
                failed=bool(mark and same and mark.failed),
            )

    def is_held(self, mark: Mark) -> bool:
        return mark.held and mark.run in [run.number for run in self.runs.values()]

    def is_due(self, key: int, run: Run) -> bool:
        text, mark = self.texts[key], self.marks.get(key)
        if text is None:
            return False
        if mark is None:
            return self.vectors[key] is None or run.overwrite
        if self.is_held(mark):
            return False
        if mark.failed:
            return mark.text != text or (run.again and mark.run != run.number)
        return not mark.written or self.vectors[key] is None or mark.text != text or mark.run < run.redone_from

    @precondition(lambda self: any(run.rows for run in self.runs.values()))
    @rule(slot=RUNS, size=st.integers(1, 4))
    def write(self, slot: int, size: int) -> None:
        run = self.runs.get(slot)
        if run is None or not run.rows:
            return
        rows, run.rows = run.rows[:size], run.rows[size:]
        left_out = 0
        for row in rows:
            key = int(row.key[0])
            mark = self.marks[key]
            mark.held = False
            if self.texts.get(key) == row.text:
                self.vectors[key] = row.text
                mark.written, mark.failed, mark.attempts = True, False, 0
            else:
                left_out += 1
        assert run.table.write([filled(row) for row in rows]) == left_out

    @precondition(lambda self: any(run.rows for run in self.runs.values()))
    @rule(slot=RUNS, size=st.integers(1, 4))
    def fail(self, slot: int, size: int) -> None:
        run = self.runs.get(slot)
        if run is None or not run.rows:
            return
        rows, run.rows = run.rows[:size], run.rows[size:]
        for row in rows:
            key = int(row.key[0])
            mark = self.marks[key]
            if key in self.texts:
                self.vectors[key] = None
            mark.held, mark.failed, mark.attempts = False, True, mark.attempts + 1
        run.table.fail([(row, Cause("Bad", row.text)) for row in rows])

    @rule(slot=RUNS)
    def prune(self, slot: int) -> None:
        run = self.runs.get(slot)
        if run is None:
            return
        gone = [key for key, mark in self.marks.items() if self.texts.get(key) is None and not self.is_held(mark)]
        for key in gone:
            del self.marks[key]
            if key in self.texts:
                self.vectors[key] = None
        assert run.table.prune() == len(gone)

    # What must be so

    @invariant()
    def is_as_the_model(self) -> None:
        stored = self.place.vectors()
        for key, found in zip(sorted(self.texts), stored, strict=True):
            text = self.vectors[key]
            assert (found is None) == (text is None)
            if found is not None and text is not None:
                np.testing.assert_array_equal(found, vector(text))
        for run in self.runs.values():
            assert run.table.counts() == self.counts(run)
            assert run.table.claimed_by_others() == sum(
                mark.held and mark.run != run.number and (self.is_held(mark) or self.is_due(key, run))
                for key, mark in self.marks.items()
                if key in self.texts
            )
            assert [(failure.key, failure.attempts, failure.cause.message) for failure in run.table.failures()] == [
                ((str(key),), mark.attempts, mark.text) for key, mark in sorted(self.marks.items()) if mark.failed
            ]

    def counts(self, run: Run) -> Counts:
        with_text = [key for key, text in self.texts.items() if text is not None]
        marks = {key: self.marks.get(key) for key in with_text}
        due = {key: self.is_due(key, run) for key in with_text}
        return Counts(
            rows=len(with_text),
            left=sum(
                due[key] or (mark is not None and (self.is_held(mark) or mark.run == run.number))
                for key, mark in marks.items()
            ),
            without_text=len(self.texts) - len(with_text),
            foreign=sum(mark is None and self.vectors[key] is not None and not due[key] for key, mark in marks.items()),
            failures=sum(
                mark is not None and mark.failed and mark.run != run.number and not due[key] and not self.is_held(mark)
                for key, mark in marks.items()
            ),
        )

    def teardown(self) -> None:
        for slot in list(self.runs):
            self.close(slot)
        self.place.close()


@dataclass
class Known:
    """A row of a table whose runs are whole: its text, whose vector it has, what is known of it."""

    text: str
    vector: str | None = None
    of: str | None = None  # the model of the vector; FOREIGN for none
    written: str | None = None  # the text whose vector embedmill wrote, if that is the one which is there
    failed: str | None = None  # the text that has failed


class Changes(RuleBasedStateMachine):
    """Two tables, each filled by a model of its own, whose names, keys and places users change between runs.

    Texts are never the same in two rows, and so vectors are not.
    """

    place: Place

    @initialize()
    def begin(self) -> None:
        self.numbers = itertools.count(1)
        self.tables: dict[str, dict[int, Known]] = {"docs": {}, "papers": {}}
        self.columns = {"docs": ["id", "body", "embedding"], "papers": ["id", "body", "embedding"]}
        self.models = {"docs": "A", "papers": "B"}
        self.kinds = {"docs": "bigint", "papers": "bigint"}
        self.gone: dict[str, set[int]] = {"docs": set(), "papers": set()}  # since the last run, which knows them still
        for name in self.tables:
            self.place.execute(f"CREATE TABLE {name} (id bigint PRIMARY KEY, body text, embedding {self.place.vector})")
            for _ in range(3):
                self.put(name, 0, "new")
            self.run(name, overwrite=False)

    def new_text(self, kind: str) -> str:
        return f"{kind} {next(self.numbers)}"

    @rule(name=NAMES, key=KEYS, kind=st.sampled_from(["new", "bad"]))
    def put(self, name: str, key: int, kind: str) -> None:
        rows, (number, body, _) = self.tables[name], self.columns[name]
        text = self.new_text(kind)
        key = key or len(rows) + 1
        if key in rows:
            self.place.execute(f"UPDATE {name} SET {body} = ? WHERE {number} = {self.literal(name, key)}", text)
            rows[key].text = text
        else:
            self.place.execute(f"INSERT INTO {name} ({number}, {body}) VALUES ({self.literal(name, key)}, ?)", text)
            rows[key] = Known(text)

    def literal(self, name: str, key: int) -> str:
        return f"'{key}'" if self.kinds[name] == "text" else str(key)

    @rule(name=NAMES, key=KEYS)
    def delete(self, name: str, key: int) -> None:
        self.place.execute(f"DELETE FROM {name} WHERE {self.columns[name][0]} = {self.literal(name, key)}")
        if self.tables[name].pop(key, None):
            self.gone[name].add(key)

    @rule(name=NAMES, key=KEYS)
    def write(self, name: str, key: int) -> None:
        row = self.tables[name].get(key)
        if row is None or row.vector or row.failed or key in self.gone[name]:
            return
        row.vector, row.of = self.new_text("foreign"), FOREIGN
        number, _, vector_ = self.columns[name]
        self.place.execute(
            f"UPDATE {name} SET {vector_} = ? WHERE {number} = {self.literal(name, key)}",
            self.place.encode(vector(row.vector)),
        )

    @rule(old=st.integers(0, 2), name=NAMES)
    def rename_a_column(self, old: int, name: str) -> None:
        columns = self.columns[name]
        new = f"{('id', 'body', 'embedding')[old]}{next(self.numbers)}"
        self.place.execute(f"ALTER TABLE {name} RENAME COLUMN {columns[old]} TO {new}")
        columns[old] = new

    @rule()
    def swap(self) -> None:
        for old, new in (("docs", "passing"), ("papers", "docs"), ("passing", "papers")):
            self.place.execute(f"ALTER TABLE {old} RENAME TO {new}")
        for each in (self.tables, self.columns, self.models, self.kinds, self.gone):
            each["docs"], each["papers"] = each["papers"], each["docs"]  # type: ignore[index]

    @rule(name=NAMES, kind=st.sampled_from(["bigint", "text", "numeric(9, 0)"]))
    def rebuild(self, name: str, kind: str) -> None:
        number, body, vector_ = self.columns[name]
        columns = f"{number} {kind} PRIMARY KEY, {body} text, {vector_} {self.place.vector}"
        self.place.rebuild(name, columns, f"CAST({number} AS {kind}), {body}, {vector_}", condition="1 = 1")
        self.kinds[name] = kind

    @rule(name=NAMES, overwrite=st.booleans())
    def run(self, name: str, *, overwrite: bool) -> None:
        rows, model = self.tables[name], self.models[name]
        due = {key for key, row in rows.items() if self.is_due(row, model, overwrite=overwrite)}
        outcome = run_whole(self.place, name, model=model, overwrite=overwrite, vector=self.columns[name][2], limit=4)
        taken = {row.text for row in (*outcome.written, *outcome.failed)}
        assert taken == {rows[key].text for key in due}
        self.gone[name].clear()
        for key in due:
            row = rows[key]
            if "bad" in row.text:
                row.vector, row.of, row.written, row.failed = None, None, None, row.text
            else:
                row.vector, row.of, row.written, row.failed = row.text, model, row.text, None

    def is_due(self, row: Known, model: str, *, overwrite: bool) -> bool:
        if row.failed is not None:
            return row.text != row.failed
        if row.vector is None:
            return True
        if row.written is None:
            return overwrite
        return overwrite or row.text != row.written

    @invariant()
    def is_as_the_model(self) -> None:
        for name, rows in getattr(self, "tables", {}).items():
            number, _, column = self.columns[name]
            stored = self.place.vectors(name, column, order=f"CAST({number} AS bigint)")
            for key, found in zip(sorted(rows), stored, strict=True):
                row = rows[key]
                assert (found is None) == (row.vector is None)
                if found is not None and row.vector is not None:
                    expected = vector(row.vector) if row.of == FOREIGN else made_by(str(row.of), row.vector)
                    np.testing.assert_array_equal(found, expected)
            with self.place.open(name, vector=column) as table:
                status = table.status()
            model = self.models[name]
            if any(row.of == model for row in rows.values()):
                assert status.model == model
            assert status.counts.rows == len(rows)
            assert status.counts.left >= sum(row.vector is None and row.failed is None for row in rows.values())

    def teardown(self) -> None:
        self.place.close()


FEW = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


def test_an_sqlite_table_equals_its_model() -> None:
    with quick_folder() as folder:
        numbers = itertools.count()

        class OfSqlite(Model):
            def __init__(self) -> None:
                super().__init__()
                self.place = SqlitePlace(folder / f"{next(numbers)}.db")

        run_machine(OfSqlite, settings=FEW)


def test_a_postgresql_table_equals_its_model(database: str) -> None:
    class OfPostgres(Model):
        def __init__(self) -> None:
            super().__init__()
            self.place = PostgresPlace(database)
            self.place.clear()

    run_machine(OfPostgres, settings=settings(FEW, max_examples=15))  # each takes half a second


def test_an_sqlite_table_is_known_again_whatever_is_changed() -> None:
    with quick_folder() as folder:
        numbers = itertools.count()

        class OfSqlite(Changes):
            def __init__(self) -> None:
                super().__init__()
                self.place = SqlitePlace(folder / f"{next(numbers)}.db")

        run_machine(OfSqlite, settings=settings(FEW, max_examples=30, stateful_step_count=15))


def test_a_postgresql_table_is_known_again_whatever_is_changed(database: str) -> None:
    class OfPostgres(Changes):
        def __init__(self) -> None:
            super().__init__()
            self.place = PostgresPlace(database)
            self.place.clear()

    run_machine(OfPostgres, settings=settings(FEW, max_examples=10, stateful_step_count=12))
