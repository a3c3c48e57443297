"""The damage matrix: each way to damage a store or table is found, named and mended, in both databases."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

import embedmill
from embedmill.cli import exits
from embedmill.core.damage import DamageKind, Finding
from embedmill.core.documents import StoredChunk
from embedmill.storage.checksums import checksum_of
from embedmill.storage.registry import open_store
from embedmill.storage.sqlite.store import exact
from troubled import SMALL_MODEL

TEXTS = {
    "bees.md": "# Bees\n\nHoney is made by workers.\n\n# Hives\n\nA hive has one queen and many drones.\n",
    "ships.md": "# Ships\n\nThe mast broke in the storm.\n\n# Ports\n\nCargo waits on the quay for customs.\n",
    "law.md": "# Law\n\nA contract needs two who agree.\n\n# Courts\n\nThe judge hears both sides first.\n",
    "snow.txt": "Snow falls where the air is below zero, and melts in spring.",
}
QUERIES = ("honey and queens", "a storm at sea", "who judges contracts", "cold weather")
NOT_LOADED = "test:32"
"""A model whose vectors have as many numbers as those of the small one."""
Vectors = NDArray[np.float32]


class Run:
    """Runs commands in this process, in a folder with documents."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.url, self._capsys = folder, url, capsys

    def __call__(self, *words: str, code: int = 0) -> Any:
        """The JSON of a command that ends with this code."""
        self._capsys.readouterr()
        found = exits.run([*words, "--store", self.url, "--json"])
        out, err = self._capsys.readouterr()
        assert found == code, (found, out, err)
        assert "Traceback" not in err
        return json.loads(out)

    def error(self, *words: str, code: int) -> str:
        """The one line that a command ends with, and this code."""
        self._capsys.readouterr()
        found = exits.run([*words, "--store", self.url])
        out, err = self._capsys.readouterr()
        assert (found, err.count("\n")) == (code, 1), (found, out, err)
        return str(err)

    def hits(self) -> list[list[tuple[str, int, float]]]:
        """What is found for each query."""
        with embedmill.Searcher(self.url) as searcher:
            return [
                [(hit.document, hit.chunk, round(hit.score, 3)) for hit in searcher.search(query, k=20)]
                for query in QUERIES
            ]

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Execute a statement behind the store's back; ``?`` stands for a value."""
        if self.url.startswith("sqlite:"):
            with closing(sqlite3.connect(self.url.removeprefix("sqlite:"), isolation_level=None)) as db:
                return db.execute(statement, values).fetchall()
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")  # foreign keys do not hold
            connection.execute("SET search_path TO embedmill, public")
            cursor = connection.execute(statement.replace("%", "%%").replace("?", "%s"), values)
            return cursor.fetchall() if cursor.description else []

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite:")

    def encoded(self, vector: Vectors) -> Any:
        return vector.astype("<f4").tobytes() if self.is_sqlite else str(vector.tolist())


@pytest.fixture
def model() -> str:
    """What is wrong with a store does not hang on the model, and each command would load a real one anew."""
    return NOT_LOADED


@pytest.fixture
def environment(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("EMBEDMILL_MODEL", model)
    if model == NOT_LOADED:
        monkeypatch.setenv("EMBEDMILL_ALLOW_TEST_MODEL", "yes")
        monkeypatch.setenv("EMBEDMILL_CHUNK_TOKENS", "20")  # the texts are as many chunks as with the small model
    monkeypatch.setenv("EMBEDMILL_PRECISION", "f32")


@pytest.fixture(params=["sqlite", "postgresql"])
def run(request: pytest.FixtureRequest, tmp_path: Path, environment: None, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "db").mkdir()
    sqlite = request.param == "sqlite"
    return Run(tmp_path, f"sqlite:{tmp_path}/db/x.db" if sqlite else request.getfixturevalue("database"), capsys)


@dataclass(frozen=True)
class Case:
    """A way to damage something."""

    damage: Callable[[Any], object]
    kinds: set[str]  # that are found, at least
    only: str = ""  # the database that can be damaged so; "" for both
    read_data: bool = False  # it takes --read-data to find it
    answers: bool = True  # searches answer as before; else as a new store of the same documents does


def with_models(cases: Iterable[str], real: Iterable[str]) -> list[tuple[str, str]]:
    """All cases with the model that need not be loaded, these with a real one too."""
    return [(name, NOT_LOADED) for name in cases] + [(name, str(SMALL_MODEL)) for name in real]


def case_id(value: str) -> str:
    return Path(value).name


# Stores


class Store(Run):
    """A store of the texts."""

    def chunk(self, text: str) -> int:
        ((number,),) = self.execute("SELECT id FROM chunks WHERE text LIKE ?", f"%{text}%")
        return int(number)

    def vector(self, text: str) -> Vectors:
        if self.is_sqlite:
            ((blob,),) = self.execute("SELECT vector FROM vectors WHERE chunk = ?", self.chunk(text))
            return np.frombuffer(blob, "<f4").copy()
        ((numbers,),) = self.execute("SELECT vector::real[] FROM chunks WHERE id = ?", self.chunk(text))
        return np.array(numbers, np.float32)

    def set_vector(self, text: str, vector: Vectors) -> None:
        if self.is_sqlite:
            self.execute("UPDATE vectors SET vector = ? WHERE chunk = ?", self.encoded(vector), self.chunk(text))
        else:
            self.execute("UPDATE chunks SET vector = ?::vector WHERE id = ?", self.encoded(vector), self.chunk(text))

    def note(self, *texts: str) -> None:
        """Have the store take the vectors of these for those that it has written."""
        table, chunk = ("vectors", "chunk") if self.is_sqlite else ("chunks", "id")
        for text in texts:
            number = self.chunk(text)
            ((key,),) = self.execute("SELECT hash FROM chunks WHERE id = ?", number)
            checksum = checksum_of(bytes(key), self.vector(text))
            self.execute(f"UPDATE {table} SET checksum = ? WHERE {chunk} = ?", checksum, number)

    def document(self, name: str) -> int:
        ((number,),) = self.execute("SELECT id FROM documents WHERE name LIKE ?", f"%{name}")
        return int(number)

    def file(self, name: str) -> Path:
        return self.folder / "docs" / name


class InMemory(Store):
    """One in this process's memory, of which only the numbers of vectors can be changed: in the arrays it gives out."""

    def _kept(self, text: str) -> StoredChunk:
        with closing(open_store(self.url, write=False)) as opened:
            return next(chunk for chunk in opened.chunks() if text in chunk.input)

    def vector(self, text: str) -> Vectors:
        return self._kept(text).vector.copy()

    def set_vector(self, text: str, vector: Vectors) -> None:
        self._kept(text).vector[:] = vector

    def note(self, *texts: str) -> None:
        for text in texts:
            kept = self._kept(text)
            name = f"1/{Path(kept.document).name}"  # of the only root
            found = Finding(DamageKind.VECTOR_ALTERED, "", kept.document, kept.index, name)
            with closing(open_store(self.url, create=False)) as opened:
                opened.rewrite([(found, kept.vector)])


def fill(folder: Path) -> None:
    (folder / "docs").mkdir()
    for name, text in TEXTS.items():
        (folder / "docs" / name).write_text(text)


@pytest.fixture
def store(run: Run) -> Store:
    fill(run.folder)
    filled = Store(run.folder, run.url, run._capsys)
    filled("index", "docs")
    return filled


@pytest.fixture
def in_memory(tmp_path: Path, environment: None, capsys: pytest.CaptureFixture[str]) -> InMemory:
    fill(tmp_path)
    filled = InMemory(tmp_path, f"memory:damaged {tmp_path}", capsys)
    filled("index", "docs")
    return filled


def flip(vector: Vectors, bit: int) -> Vectors:
    """With one bit of its largest number flipped, 0 for the lowest."""
    flipped = vector.copy()
    flipped.view(np.uint32)[np.abs(vector).argmax()] ^= np.uint32(1 << bit)
    return flipped


def flip_in(store: Store, bit: int) -> None:
    store.set_vector("mast", flip(store.vector("mast"), bit))


def swap(store: Store) -> None:
    one, other = store.vector("Honey"), store.vector("mast")
    store.set_vector("Honey", other)
    store.set_vector("mast", one)


def swap_with_checksums(store: Store) -> None:
    swap(store)
    sums = "vectors AS v SET checksum = o.checksum FROM vectors o" if store.is_sqlite else ""
    sums = sums or "chunks AS v SET checksum = o.checksum FROM chunks o"
    one, other, key = store.chunk("Honey"), store.chunk("mast"), "chunk" if store.is_sqlite else "id"
    store.execute(f"UPDATE {sums} WHERE (v.{key}, o.{key}) IN ((?, ?), (?, ?))", one, other, other, one)


def with_checksum(damage: Callable[[Store], object], *texts: str) -> Callable[[Store], None]:
    """The same damage, which no checksum tells: it was written so."""

    def damaged(store: Store) -> None:
        damage(store)
        store.note(*texts)

    return damaged


ALL = ("Honey", "hive", "mast", "Cargo", "contract", "judge", "Snow")


def other_model(store: Store) -> None:
    random = np.random.default_rng(1)
    for text in ALL:
        vector = random.standard_normal(len(store.vector(text))).astype(np.float32)
        store.set_vector(text, vector / np.linalg.norm(vector))


def duplicate(store: Store) -> None:
    columns = 'document, idx, start, "end", line, end_line, tokens, hash, context, text'
    columns += "" if store.is_sqlite else ", vector, checksum"
    store.execute("DROP INDEX chunks_of_document")
    store.execute(f"INSERT INTO chunks ({columns}) SELECT {columns} FROM chunks WHERE text LIKE '%mast%'")
    if store.is_sqlite:
        store.execute("INSERT INTO vectors SELECT max(id), (SELECT vector FROM vectors LIMIT 1), 0 FROM chunks")


def once_more(store: Store) -> None:
    """A chunk under the next index, as whole as the first, and known to the ledger."""
    document, chunk = store.document("ships.md"), store.chunk("mast")
    ((count,),) = store.execute("SELECT count(*) FROM chunks WHERE document = ?", document)
    taken = 'document, {}, start, "end", line, end_line, tokens, hash, context, text'
    taken += "" if store.is_sqlite else ", vector, checksum"
    statement = f"INSERT INTO chunks ({taken}) SELECT {taken} FROM chunks WHERE text LIKE '%mast%'"
    store.execute(statement.replace("{}", "idx", 1).replace("{}", str(count)))
    if store.is_sqlite:
        store.execute(
            "INSERT INTO vectors SELECT (SELECT max(id) FROM chunks), vector, checksum FROM vectors WHERE chunk = ?",
            chunk,
        )
    store.execute("UPDATE documents SET chunks = chunks + 1 WHERE id = ?", document)


def fail(store: Store, name: str, index: int) -> None:
    store.execute(
        'INSERT INTO failures (document, idx, start, "end", line, type, message, attempts, at) '
        f"VALUES (?, ?, 0, 0, 0, 'X', 'for nothing', 1, {'0' if store.is_sqlite else 'now()'})",
        name,
        index,
    )


def in_another_dimension(store: Store) -> None:
    if not store.is_sqlite:
        store.execute("ALTER TABLE chunks ALTER COLUMN vector TYPE vector")
    store.set_vector("mast", np.ones(5, np.float32))


def without_vector(store: Store) -> None:
    if store.is_sqlite:
        store.execute("DELETE FROM vectors WHERE chunk = ?", store.chunk("mast"))
    else:
        store.execute("ALTER TABLE chunks ALTER COLUMN vector DROP NOT NULL")
        store.execute("UPDATE chunks SET vector = NULL WHERE id = ?", store.chunk("mast"))


def with_matrix(store: Store) -> Path:
    """The file for searches, which so small a store would not have."""
    with pytest.MonkeyPatch.context() as patch, closing(open_store(store.url, create=False)) as opened:
        patch.setattr(exact, "STRAY_ROWS", 0)
        patch.setattr(exact, "STRAY_SHARE", 0)
        opened.prepare_search()
    return store.folder / "db" / "x.db.matrix"


def damage_matrix(store: Store) -> None:
    path = with_matrix(store)
    content = bytearray(path.read_bytes())
    content[64:76] = np.ones(3, "<f4").tobytes()
    path.write_bytes(content)


def damage_beside_matrix(store: Store) -> None:
    with_matrix(store)
    flip_in(store, 31)


def damage_noted_beside_matrix(store: Store) -> None:
    damage_beside_matrix(store)
    store.note("mast")


def cut_matrix(store: Store) -> None:
    path = with_matrix(store)
    path.write_bytes(path.read_bytes()[:-40])


def behead_matrix(store: Store) -> None:
    path = with_matrix(store)
    path.write_bytes(b"none" + path.read_bytes()[4:])


def without_chunks(store: Store) -> None:
    document = store.document("ships.md")
    if store.is_sqlite:
        store.execute("DELETE FROM vectors WHERE chunk IN (SELECT id FROM chunks WHERE document = ?)", document)
    store.execute("DELETE FROM chunks WHERE document = ?", document)
    store.execute("UPDATE documents SET chunks = 0 WHERE id = ?", document)


def without_last_chunk(store: Store) -> None:
    number = store.chunk("Cargo")
    if store.is_sqlite:
        store.execute("DELETE FROM vectors WHERE chunk = ?", number)
    store.execute("DELETE FROM chunks WHERE id = ?", number)
    store.execute("UPDATE documents SET chunks = 1 WHERE id = ?", store.document("ships.md"))


def exchange(store: Store) -> None:
    """Exchange the chunks of two documents that have equally many."""
    ships, law = store.document("ships.md"), store.document("law.md")
    for old, new in ((ships, 9999), (law, ships), (9999, law)):
        store.execute("UPDATE chunks SET document = ? WHERE document = ?", new, old)


def without_text(store: Store) -> None:
    store.execute("ALTER TABLE chunks ALTER COLUMN text DROP NOT NULL")
    store.execute("UPDATE chunks SET text = NULL WHERE text LIKE '%mast%'")


def invalid_index(store: Store) -> None:
    store.execute("CREATE INDEX chunks_by_vector ON chunks USING hnsw (vector vector_ip_ops)")
    store.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'chunks_by_vector'::regclass")


STORES = {
    "the lowest bit of a vector": Case(lambda s: flip_in(s, 0), {"vector-altered"}),
    "a bit of a vector": Case(lambda s: flip_in(s, 31), {"vector-altered"}),
    "a bit of a vector that was written so": Case(with_checksum(lambda s: flip_in(s, 31), "mast"), {"vector-wrong"}),
    "a bit of a vector's exponent": Case(lambda s: flip_in(s, 25), {"vector-length"}),
    "a bit of a checksum": Case(
        lambda s: s.execute(f"UPDATE {'vectors' if s.is_sqlite else 'chunks'} SET checksum = checksum + 1"),
        {"vector-altered"},
    ),
    "vectors swapped": Case(swap, {"vector-altered"}),
    "vectors swapped with their checksums": Case(swap_with_checksums, {"vector-altered"}),
    "vectors swapped, and written so": Case(with_checksum(swap, "Honey", "mast"), {"vector-wrong"}),
    "another model's vectors": Case(other_model, {"vector-altered"}),
    "another model's vectors, written so": Case(with_checksum(other_model, *ALL), {"vector-wrong"}),
    "all zero": Case(lambda s: s.set_vector("mast", 0 * s.vector("mast")), {"vector-zero"}),
    "twice as long": Case(lambda s: s.set_vector("mast", 2 * s.vector("mast")), {"vector-length"}),
    "all the same": Case(lambda s: s.set_vector("mast", np.full(32, 32**-0.5, np.float32)), {"vector-constant"}),
    "NaN": Case(  # pgvector takes none
        lambda s: s.set_vector("mast", np.nan * s.vector("mast")), {"vector-not-finite"}, only="sqlite"
    ),
    "infinite": Case(
        lambda s: s.set_vector("mast", np.inf * np.ones(32, np.float32)), {"vector-not-finite"}, only="sqlite"
    ),
    "another dimension": Case(in_another_dimension, {"vector-dimension"}),
    "no vector": Case(without_vector, {"vector-missing"}),
    "a vector of nothing": Case(
        lambda s: s.execute("INSERT INTO vectors SELECT 9999, vector, 0 FROM vectors LIMIT 1"),
        {"vector-orphan"},
        only="sqlite",
    ),
    "a chunk deleted": Case(
        lambda s: s.execute("DELETE FROM chunks WHERE text LIKE '%mast%'"), {"chunk-count", "chunk-missing"}
    ),
    "the last chunk deleted": Case(
        lambda s: s.execute("DELETE FROM chunks WHERE text LIKE '%Cargo%'"), {"chunk-count"}
    ),
    "a ledger entry without chunks": Case(
        lambda s: s.execute("DELETE FROM chunks WHERE document = ?", s.document("ships.md")), {"chunk-count"}
    ),
    "chunks of no document": Case(
        lambda s: s.execute("DELETE FROM documents WHERE id = ?", s.document("ships.md")),
        {"chunk-orphan", "document-missing"},
    ),
    "another number in the ledger": Case(
        lambda s: s.execute("UPDATE documents SET chunks = 7 WHERE id = ?", s.document("ships.md")), {"chunk-count"}
    ),
    "a gap among the indexes": Case(
        lambda s: s.execute("UPDATE chunks SET idx = 7 WHERE text LIKE '%Cargo%'"), {"chunk-missing"}
    ),
    "a negative index": Case(
        lambda s: s.execute("UPDATE chunks SET idx = -2 WHERE text LIKE '%Cargo%'"), {"chunk-index", "chunk-count"}
    ),
    "two chunks of one index": Case(duplicate, {"chunk-duplicate", "chunk-count"}),
    "a chunk once more": Case(once_more, {"chunk-duplicate"}),
    "a text altered": Case(
        lambda s: s.execute("UPDATE chunks SET text = 'altered' WHERE text LIKE '%mast%'"), {"text-altered"}
    ),
    "a context altered": Case(
        lambda s: s.execute("UPDATE chunks SET context = 'altered' WHERE text LIKE '%mast%'"), {"text-altered"}
    ),
    "a hash altered": Case(
        lambda s: s.execute("UPDATE chunks SET hash = ? WHERE text LIKE '%mast%'", bytes(32)), {"text-altered"}
    ),
    "a failure of nothing": Case(lambda s: fail(s, "1/none.md", 3), {"failure-stray"}),
    "a failure of a file that is gone": Case(lambda s: fail(s, "1/none.md", -1), {"failure-stray"}),
    "a file changed": Case(
        lambda s: s.file("ships.md").write_text("# Boats\n\nA rudder.\n"), {"document-changed"}, answers=False
    ),
    "a file gone": Case(lambda s: s.file("ships.md").unlink(), {"document-gone"}, answers=False),
    "a file never stored": Case(
        lambda s: s.file("new.md").write_text("# Bread\n\nDough rises.\n"), {"document-missing"}, answers=False
    ),
    "a matrix of other vectors": Case(damage_matrix, {"matrix-differs"}, only="sqlite"),
    "a bit of a vector that the matrix has": Case(damage_beside_matrix, {"vector-altered"}, only="sqlite"),
    "a bit of a vector that the matrix has, written so": Case(
        damage_noted_beside_matrix, {"matrix-differs", "vector-wrong"}, only="sqlite"
    ),
    "an index that is not valid": Case(invalid_index, {"index-invalid"}, only="postgresql"),
    "a value of another type": Case(
        lambda s: s.execute("UPDATE documents SET size = 'large' WHERE id = ?", s.document("ships.md")),
        {"wrong-type"},
        only="sqlite",
    ),
    "no chunks, and the ledger agrees": Case(without_chunks, {"chunk-missing"}),
    "a failure of what is stored": Case(lambda s: fail(s, "1/ships.md", 1), {"failure-stray"}),
    "a start that cannot be": Case(
        lambda s: s.execute("UPDATE chunks SET start = start + 1 WHERE text LIKE '%mast%'"), {"chunk-place"}
    ),
    "a line that cannot be": Case(
        lambda s: s.execute("UPDATE chunks SET end_line = 0 WHERE text LIKE '%mast%'"), {"chunk-place"}
    ),
    "tokens that cannot be": Case(
        lambda s: s.execute("UPDATE chunks SET tokens = -4 WHERE text LIKE '%mast%'"), {"chunk-place"}
    ),
    "a page that cannot be": Case(
        lambda s: s.execute("UPDATE chunks SET page = -5 WHERE text LIKE '%mast%'"), {"chunk-place"}
    ),
    "a document of no root": Case(
        lambda s: s.execute("UPDATE documents SET name = '9/zzz.md' WHERE id = ?", s.document("ships.md")),
        {"root-missing", "document-missing"},
    ),
    "a document that lost its name": Case(
        lambda s: s.execute("UPDATE documents SET name = '' WHERE id = ?", s.document("ships.md")),
        {"root-missing", "document-missing"},
    ),
    "a failure of no root": Case(lambda s: fail(s, "9/zzz.md", -1), {"root-missing"}),
    "options that are no JSON": Case(lambda s: s.execute("UPDATE given SET options = 'nojson'"), {"options-damaged"}),
    "no text": Case(without_text, {"text-altered"}, only="postgresql"),
    "no hash of the content": Case(
        lambda s: s.execute("UPDATE documents SET content_hash = NULL WHERE id = ?", s.document("ships.md")),
        {"ledger-damaged"},
    ),
    "a precision that there is not": Case(
        lambda s: s.execute("UPDATE documents SET precision = 'f16' WHERE id = ?", s.document("ships.md")),
        {"ledger-damaged"},
    ),
    "neither complete nor staged": Case(
        lambda s: s.execute("UPDATE documents SET complete = 7 WHERE id = ?", s.document("ships.md")),
        {"ledger-damaged"},
        only="sqlite",
    ),
    "attributes that are no object": Case(
        lambda s: s.execute("UPDATE chunks SET attributes = '[1]' WHERE text LIKE '%mast%'"), {"attributes-damaged"}
    ),
    "attributes that are no JSON": Case(
        lambda s: s.execute("UPDATE chunks SET attributes = 'nojson' WHERE text LIKE '%mast%'"),
        {"attributes-damaged"},
        only="sqlite",
    ),
    "chunks exchanged": Case(exchange, {"chunk-place"}, read_data=True),
    "another place of the same length": Case(
        lambda s: s.execute('UPDATE chunks SET start = start + 2, "end" = "end" + 2 WHERE text LIKE \'%mast%\''),
        {"chunk-place"},
        read_data=True,
    ),
    "another line": Case(
        lambda s: s.execute("UPDATE chunks SET line = line + 9, end_line = end_line + 9 WHERE text LIKE '%mast%'"),
        {"chunk-place"},
        read_data=True,
    ),
    "a page of what has none": Case(
        lambda s: s.execute("UPDATE chunks SET page = 3 WHERE text LIKE '%mast%'"), {"chunk-place"}, read_data=True
    ),
    "the last chunk deleted, and the ledger agrees": Case(without_last_chunk, {"chunk-missing"}, read_data=True),
    "a matrix cut short": Case(cut_matrix, {"matrix-differs"}, only="sqlite"),
    "a matrix with another head": Case(behead_matrix, {"matrix-differs"}, only="sqlite"),
}


IN_MEMORY = (
    "the lowest bit of a vector",
    "a bit of a vector",
    "a bit of a vector that was written so",
    "a bit of a vector's exponent",
    "vectors swapped",
    "another model's vectors",
    "all zero",
    "twice as long",
    "all the same",
    "NaN",
    "infinite",
    "a file changed",
    "a file gone",
    "a file never stored",
)
"""The cases of stores in memory."""


EMBEDDED_AGAIN = ("another model's vectors, written so", "a file changed")
"""The cases in which vectors are judged by the model, or computed for a text that is new."""


@pytest.mark.parametrize(("name", "model"), with_models(STORES, EMBEDDED_AGAIN), ids=case_id)
def test_a_damaged_store_is_found_out_and_mended(name: str, store: Store) -> None:
    case = STORES[name]
    if case.only and store.is_sqlite != (case.only == "sqlite"):
        pytest.skip(f"only {case.only} can be damaged so")
    check(store, case)


@pytest.mark.parametrize(("name", "model"), with_models(IN_MEMORY, ["a file changed"]), ids=case_id)
def test_a_damaged_store_in_memory_is_found_out_and_mended(name: str, in_memory: InMemory) -> None:
    """Nothing else of it can be: it has no schema and no file, and what it knows of chunks is immutable."""
    check(in_memory, STORES[name])


def check(store: Store, case: Case) -> None:
    """Damage a sound store, have it found and mended, and ask it what it was asked before."""
    healthy = store("verify")
    assert (healthy["damage"], healthy["recomputed"]) == ({}, 7)
    before = store.hits()
    case.damage(store)
    if case.read_data:
        assert store("verify")["sound"]
    more = ["--read-data"] if case.read_data else []
    found = store("verify", *more, code=3)
    assert case.kinds <= found["damage"].keys() and not found["sound"], found["damage"]
    assert all(each["count"] >= 1 and each["examples"] for each in found["damage"].values())
    assert found["count"] == sum(each["count"] for each in found["damage"].values())
    mended = store("verify", "--repair", *more)
    assert mended["sound"] and case.kinds <= mended["repaired"].keys()
    again = store("verify", "--read-data")
    assert (again["damage"], again["sound"]) == ({}, True)
    if not case.answers:
        fresh = Run(store.folder, f"memory:{store.folder}", store._capsys)
        embedmill.index("docs", store=fresh.url)
        before = fresh.hits()
    assert store.hits() == before


@pytest.mark.parametrize("name", ["tokens that cannot be", "another line", "options that are no JSON"])
def test_sound_vectors_stay_where_the_rest_is_mended(name: str, store: Store) -> None:
    case = STORES[name]
    case.damage(store)
    before = {text: store.vector(text) for text in ("Honey", "mast", "Cargo")}
    store("verify", "--repair", *(["--read-data"] if case.read_data else []))
    for text, vector in before.items():
        np.testing.assert_array_equal(store.vector(text), vector)


def test_blank_files_and_chunks_of_users_are_sound_without_a_place(store: Store) -> None:
    store.file("blank.txt").write_text(" \n\f\n")
    store("index", "docs")
    with embedmill.EmbeddingGenerator() as generator, embedmill.open_store(store.url) as opened:
        opened.write(generator.process_chunks([embedmill.Chunk("Anchors.", source_file="mine", start=3)]))
    assert store("verify")["damage"] == store("verify", "--read-data")["damage"] == {}


@pytest.mark.parametrize("table", ["failures", "given", "vectors"])
def test_a_table_that_is_gone_is_told_in_one_line(table: str, store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    if table == "vectors" and not store.is_sqlite:
        pytest.skip("PostgreSQL has them with the chunks")
    store.execute(f"DROP TABLE {table}")
    assert exits.run(["verify", "--store", store.url]) not in (0, 3)
    err = capsys.readouterr().err.strip()
    assert "is damaged" in err and table in err and "put back a backup" in err and "\n" not in err


def test_damaged_attributes_end_a_search_in_one_line(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    store.execute("UPDATE chunks SET attributes = '[1]'")
    assert exits.run(["search", "honey", "--store", store.url]) not in (0, 3)
    err = capsys.readouterr().err.strip()
    assert "attributes of a chunk" in err and "verify --repair" in err and "\n" not in err


def test_all_roots_that_are_lost_are_told_and_their_documents_go(store: Store) -> None:
    store.execute("DELETE FROM roots")
    assert store("verify", code=3)["damage"]["root-missing"]["count"] == len(TEXTS)
    assert store("verify", "--repair")["repaired"] == {"root-missing": len(TEXTS)}
    assert store("status")["documents"] == 0
    store("index", "docs")
    assert store("verify", "--read-data")["sound"] and store("status")["documents"] == len(TEXTS)


def test_only_what_is_wrong_is_embedded_again(store: Store) -> None:
    kept = {text: (store.chunk(text), store.vector(text)) for text in ("hive", "Cargo", "Snow")}
    swap(store)
    store("verify", "--repair")
    for text, (number, vector) in kept.items():
        assert store.chunk(text) == number
        np.testing.assert_array_equal(store.vector(text), vector)


def test_what_cannot_be_mended_is_left_and_told(store: Store) -> None:
    store.execute("UPDATE chunks SET text = 'altered' WHERE text LIKE '%mast%'")
    store.set_vector("hive", 0 * store.vector("hive"))
    (store.folder / "docs").rename(store.folder / "elsewhere")
    left = store("verify", "--repair", code=3)
    assert left["damage"].keys() == {"text-altered"} and left["repaired"] == {"vector-zero": 1}
    (store.folder / "elsewhere").rename(store.folder / "docs")
    assert store("verify", "--repair")["repaired"] == {"text-altered": 1}


def test_what_users_have_written_is_not_taken_for_the_file_of_that_name(store: Store) -> None:
    name = str(store.file("ships.md"))
    with embedmill.EmbeddingGenerator() as generator, embedmill.open_store(store.url) as opened:
        opened.write(generator.process_chunks([embedmill.Chunk("Anchors.", source_file=name, chunk_index=4)]))
    assert store("verify", "--read-data")["damage"] == {}
    store.set_vector("Anchors", 0 * store.vector("Anchors"))
    assert store("verify", "--repair")["repaired"] == {"vector-zero": 1}
    store.execute("UPDATE chunks SET text = 'altered' WHERE text = 'Anchors.'")
    assert store("verify", "--repair", code=3)["damage"].keys() == {"text-altered"}
    assert store.execute("SELECT count(*) FROM chunks WHERE text = 'altered'") == [(1,)], "it is nowhere else"


def test_a_binding_that_is_wrong_is_left(store: Store) -> None:
    key = "WHERE key = 'space'" if store.is_sqlite else ""
    store.execute(f"UPDATE meta SET {'value' if store.is_sqlite else 'space'} = 'other' {key}")
    for words in (["verify"], ["verify", "--repair"]):
        assert "binding" in store(*words, code=3)["damage"]


# Tables


class Table(Run):
    """A table of sentences that is filled."""

    @property
    def marks(self) -> str:
        return "embedmill_marks_1" if self.is_sqlite else "embedmill.marks_1"

    @property
    def kind(self) -> str:
        return "BLOB" if self.is_sqlite else "vector(32)"

    @property
    def catalog(self) -> str:
        return "embedmill_tables" if self.is_sqlite else "embedmill.tables"

    def vector(self, number: int) -> Vectors:
        if self.is_sqlite:
            ((blob,),) = self.execute("SELECT embedding FROM sentences WHERE id = ?", number)
            return np.frombuffer(blob, "<f4").copy()
        ((numbers,),) = self.execute("SELECT embedding::real[] FROM public.sentences WHERE id = ?", number)
        return np.array(numbers, np.float32)

    def set_vector(self, number: int, vector: Vectors) -> None:
        cast = "" if self.is_sqlite else "::vector"
        self.execute(f"UPDATE sentences SET embedding = ?{cast} WHERE id = ?", self.encoded(vector), number)

    def vectors(self) -> Vectors:
        ids = [number for (number,) in self.execute("SELECT id FROM sentences WHERE text IS NOT NULL ORDER BY id")]
        return np.stack([self.vector(number) for number in ids])


@pytest.fixture
def table(run: Run) -> Iterator[Table]:
    filled = Table(run.folder, run.url, run._capsys)
    serial = "INTEGER PRIMARY KEY" if filled.is_sqlite else "serial PRIMARY KEY"
    schema = "" if filled.is_sqlite else "public."
    filled.execute(f"CREATE TABLE {schema}sentences (id {serial}, text text, embedding {filled.kind})")
    for text in TEXTS.values():
        filled.execute(f"INSERT INTO {schema}sentences (text) VALUES (?)", text)
    filled("ingest", "sentences")
    yield filled


def swap_rows(table: Table, *, noticed: bool) -> None:
    one, other = table.vector(1), table.vector(2)
    table.set_vector(1, other)
    table.set_vector(2, one)
    if not noticed:  # what is noted of them goes with them
        prints = dict(table.execute(f"SELECT key1, print FROM {table.marks}"))
        for number, key in ((1, 2), (2, 1)):
            table.execute(f"UPDATE {table.marks} SET print = ? WHERE key1 = ?", prints[key], number)


def swap_rows_by_a_table(table: Table) -> None:
    """The schema is another then, so that an SQLite table is known by its vectors."""
    place = "" if table.is_sqlite else "public."
    table.execute(f"CREATE TABLE {place}kept AS SELECT id, embedding FROM sentences")
    other = "(SELECT embedding FROM kept WHERE kept.id = 3 - sentences.id)"
    table.execute(f"UPDATE sentences SET embedding = {other} WHERE id < 3")
    table.execute("DROP TABLE kept")


def other_rows(table: Table) -> None:
    for number in (1, 2, 3, 4):
        table.set_vector(number, np.roll(table.vector(number), 5))


def invalid_table_index(table: Table) -> None:
    table.execute("CREATE INDEX by_hand ON public.sentences USING hnsw (embedding vector_cosine_ops)")
    table.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.by_hand'::regclass")


TABLES = {
    "a bit of a vector": Case(lambda t: t.set_vector(1, flip(t.vector(1), 3)), {"vector-altered"}),
    "vectors swapped": Case(lambda t: swap_rows(t, noticed=True), {"vector-altered"}),
    "vectors swapped with what is noted": Case(lambda t: swap_rows(t, noticed=False), {"vector-wrong"}),
    "vectors swapped by way of a table": Case(swap_rows_by_a_table, {"vector-altered"}),
    "another model's vectors": Case(other_rows, {"vector-altered"}),
    "all zero": Case(lambda t: t.set_vector(1, 0 * t.vector(1)), {"vector-zero"}),
    "twice as long": Case(lambda t: t.set_vector(1, 2 * t.vector(1)), {"vector-length"}),
    "NaN": Case(lambda t: t.set_vector(1, np.nan * t.vector(1)), {"vector-not-finite"}, only="sqlite"),
    "another dimension": Case(lambda t: t.set_vector(1, np.ones(5, np.float32)), {"vector-dimension"}, only="sqlite"),
    "no vector but a text": Case(
        lambda t: t.execute("UPDATE sentences SET embedding = 'words' WHERE id = 1"),
        {"vector-dimension"},
        only="sqlite",
    ),
    "no vector": Case(lambda t: t.execute("UPDATE sentences SET embedding = NULL WHERE id = 1"), {"vector-missing"}),
    "a row deleted": Case(lambda t: t.execute("DELETE FROM sentences WHERE id = 1"), {"row-gone"}),
    "a row's text changed": Case(
        lambda t: t.execute("UPDATE sentences SET text = 'other' WHERE id = 1"), {"row-changed"}
    ),
    "a row's text gone": Case(lambda t: t.execute("UPDATE sentences SET text = NULL WHERE id = 1"), {"vector-orphan"}),
    "a row never embedded": Case(lambda t: t.execute("INSERT INTO sentences (text) VALUES ('new')"), {"row-missing"}),
    "a failure of nothing": Case(
        lambda t: t.execute(f"UPDATE {t.marks} SET cause = 'X', message = 'x' WHERE key1 = 1"), {"failure-stray"}
    ),
    "a hash altered": Case(
        lambda t: t.execute(f"UPDATE {t.marks} SET hash = ? WHERE key1 = 1", bytes(32)), {"row-changed"}
    ),
    "a print altered": Case(
        lambda t: t.execute(f"UPDATE {t.marks} SET print = ? WHERE key1 = 1", bytes(16)), {"vector-altered"}
    ),
    "a space forgotten": Case(
        lambda t: t.execute(f"UPDATE {t.marks} SET space = NULL WHERE key1 = 1"), {"row-missing"}
    ),
    "a space without its fields": Case(lambda t: t.execute(f"UPDATE {t.catalog} SET fields = '{{}}'"), {"binding"}),
    "another space": Case(lambda t: t.execute(f"UPDATE {t.catalog} SET space = 'other'"), {"binding"}),
    "an index that is not valid": Case(invalid_table_index, {"index-invalid"}, only="postgresql"),
}


EMBEDDED_AGAIN_IN_TABLES = ("vectors swapped with what is noted", "a row's text changed")


@pytest.mark.parametrize(("name", "model"), with_models(TABLES, EMBEDDED_AGAIN_IN_TABLES), ids=case_id)
def test_a_damaged_table_is_found_out_and_mended(name: str, table: Table) -> None:
    case = TABLES[name]
    if case.only and table.is_sqlite != (case.only == "sqlite"):
        pytest.skip(f"only {case.only} can be damaged so")
    healthy = table("verify", "sentences")
    assert (healthy["damage"], healthy["recomputed"]) == ({}, 4)
    case.damage(table)
    found = table("verify", "sentences", code=3)
    assert case.kinds == found["damage"].keys(), found["damage"]
    assert "sentences" in str(found["damage"])
    mended = table("verify", "sentences", "--repair")
    assert mended["sound"] and mended["repaired"].keys() == case.kinds
    again = table("verify", "sentences", "--read-data")
    assert (again["damage"], again["sound"]) == ({}, True)
    texts = [text for (text,) in table.execute("SELECT text FROM sentences WHERE text IS NOT NULL ORDER BY id")]
    with embedmill.load_embedder(os.environ["EMBEDMILL_MODEL"], precision="f32") as embedder:
        np.testing.assert_allclose(table.vectors(), embedder.embed(texts), atol=1e-5)


def test_a_binding_is_mended_without_embedding(table: Table) -> None:
    before = table.vectors()
    changed = np.roll(before[0], 5)
    table.set_vector(1, changed)  # a run would not find that out, and not embed it
    table.execute(f"UPDATE {table.catalog} SET fields = '{{}}'")
    found = table("verify", "sentences", "--read-data", code=3)
    assert (found["damage"].keys(), found["not_recomputed"]) == ({"binding"}, "the table is not sound")
    table("ingest", "sentences")
    np.testing.assert_array_equal(table.vectors(), [changed, *before[1:]])
    assert table("verify", "sentences", code=3)["damage"].keys() == {"vector-altered"}, "it was hidden"
    table.execute(f"UPDATE {table.catalog} SET fields = '{{}}'")
    mended = table("verify", "sentences", "--repair", "--read-data")
    assert (mended["repaired"], mended["recomputed"]) == ({"binding": 1, "vector-altered": 1}, 3)
    np.testing.assert_allclose(table.vectors(), before, atol=1e-5)


# What is not known


def test_vectors_of_unknown_origin_are_not_taken_for_sound(table: Table) -> None:
    model, right = os.environ["EMBEDMILL_MODEL"], table.vector(1)
    table.execute(f"DELETE FROM {table.marks} WHERE key1 < 3")
    table.set_vector(1, np.full(32, 7, np.float32))
    for words in ([], ["--read-data"], ["--sample", "0"], ["--repair"]):
        told = table("verify", "sentences", *words, code=3)
        assert (told["sound"], told["unknown_origin"], told["damage"]) == (False, 2, {})
    line = table.error("verify", "sentences", code=3)
    assert line.startswith("error: 2 vectors of unknown origin in sentences in ") and "give the --model" in line
    wrong = table("verify", "sentences", "--model", model, code=3)
    assert (wrong["damage"]["vector-wrong"]["count"], wrong["recomputed"]) == (1, 4)
    assert "sentences ('1',): its vector is not that of its text" in str(wrong["damage"])
    table.set_vector(1, right)
    for words in ([], ["--read-data"]):
        sound = table("verify", "sentences", "--model", model, *words)
        assert (sound["sound"], sound["unknown_origin"], sound["recomputed"]) == (True, 2, 4)


def test_a_vector_of_unknown_origin_may_be_of_any_size(table: Table) -> None:
    if not table.is_sqlite:
        pytest.skip("the column has a dimension")
    table.execute(f"DELETE FROM {table.marks}")
    table.set_vector(1, np.ones(5, np.float32))
    wrong = table("verify", "sentences", "--model", os.environ["EMBEDMILL_MODEL"], code=3)
    assert (wrong["count"], wrong["quality"]) == (1, None)
    assert "its vector has 5 numbers, the model's have 32" in str(wrong["damage"])


def test_a_table_of_which_nothing_is_known_is_an_error(table: Table) -> None:
    place = "" if table.is_sqlite else "public."
    table.execute(f"CREATE TABLE {place}empty (id integer PRIMARY KEY, text text, embedding {table.kind})")
    for words in (["empty"], ["empty", "--repair"], ["empty", "--read-data"]):
        assert "nothing is known of " in table.error("verify", *words, code=1)
    if not table.is_sqlite:
        line = table.error("verify", "sentences", "--schema", "nope", code=1)
        assert "nothing is known of public.sentences.embedding by the schema nope: " in line
    table.execute(f"DELETE FROM {table.catalog}")
    assert "`embedmill ingest " in table.error("verify", "sentences", code=1)


def test_tracking_rows_that_are_gone_are_told_with_what_to_do(table: Table) -> None:
    table.execute(f"DROP TABLE {table.marks}")
    for words in (["verify", "sentences"], ["verify", "sentences", "--repair"], ["status", "sentences"]):
        line = table.error(*words, code=1)
        assert "marks_1" in line and "`embedmill ingest TABLE` begins it anew" in line
    assert table("ingest", "sentences")["embedded"] == 0
    assert table("verify", "sentences", code=3)["unknown_origin"] == len(TEXTS)
    table("ingest", "sentences", "--overwrite")
    assert table("verify", "sentences")["sound"]
