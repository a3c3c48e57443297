"""The SQLite store's file: what may be wrong with it, and what a kill or a full disk leaves of it."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from embedmill.core.errors import Stopped, StoreBusy, StoreError, UsageError
from embedmill.storage.registry import open_store
from embedmill.storage.sqlite.store import database
from embedmill.storage.sqlite.store.store import SqliteStore
from store_children import child, kill, output, replacing
from store_samples import fingerprint, replacement, vector
from waiting import until

NOBODY = 65534  # root is not bound by permission bits
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes to another user, or mounts")


def filled(path: Path, documents: int = 3) -> None:
    with closing(SqliteStore(path)) as store:
        store.bind(fingerprint(), "model")
        store.replace([replacement(f"/{number}", [f"text {number}"]) for number in range(documents)])


# URLs and folders


def test_the_default_folder_is_kept_out_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_store().close()
    assert (tmp_path / ".embedmill/.gitignore").read_text() == "*\n"
    open_store(f"sqlite:{tmp_path}/own/deep/x.db").close()
    assert {file.name for file in (tmp_path / "own/deep").iterdir()} == {"x.db", "x.db.lock"}


@pytest.mark.parametrize("name", ["a?b#c%20d.db", "ü \U0001f600.db", "a'b.db"])
def test_any_file_name_will_do(tmp_path: Path, name: str) -> None:
    filled(tmp_path / name)
    with closing(open_store(f"sqlite:{tmp_path / name}", write=False)) as store:
        assert store.status().documents == 3
    assert {file.name for file in tmp_path.iterdir()} == {name, f"{name}.lock"}


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "secret", "sqlite:", "sqlite::memory:", "", "SQLITE:x"])
def test_a_wrong_url_is_told_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as told:
        open_store(url)
    assert "sqlite:" in str(told.value)
    assert "secret@" not in str(told.value)


# Files that are something else


def test_a_file_that_is_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("my notes")
    for write in (True, False):
        with pytest.raises(StoreError, match=r"notes.db is not an embedmill store.*--store"):
            SqliteStore(path, write=write)
    assert path.read_text() == "my notes"
    assert not (tmp_path / "notes.db-wal").exists()


def test_a_file_that_is_looked_at_stays_locked(tmp_path: Path) -> None:
    """Flaw: to read its first bytes took away the process's locks, and another process that closed the store took the
    write-ahead log along, which was still read here: torn pages, wrong hits, none at all."""
    path = tmp_path / "store.db"
    with closing(SqliteStore(path)) as store:
        store.bind(fingerprint(), "model")
        store.replace([replacement("/a", ["one"])])
        with closing(SqliteStore(path, write=False)):
            code = f"import sqlite3; sqlite3.connect({str(path)!r}).execute('SELECT * FROM meta').fetchall()"
            subprocess.run([sys.executable, "-c", code], check=True)
            assert path.with_name("store.db-wal").stat().st_size > 0, "the other one thought that it was the last"


def test_the_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE documents (id)")
    before = path.read_bytes()
    for write in (True, False):
        with pytest.raises(StoreError, match="no embedmill store"):
            SqliteStore(path, write=write)
    assert path.read_bytes()[100:] == before[100:]
    with closing(sqlite3.connect(path)) as other:
        assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["documents"]


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    for write in (True, False):
        with pytest.raises(StoreError, match="cannot be read"):
            SqliteStore(tmp_path, write=write)


def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 7")
    for write in (True, False):
        with pytest.raises(StoreError, match=r"newer embedmill \(schema 7, this one knows 5\): upgrade embedmill"):
            SqliteStore(path, write=write)


def test_a_run_killed_as_it_began_the_file_leaves_no_riddle(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.touch()
    with pytest.raises(StoreError, match="no store at"):
        SqliteStore(path, write=False)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(StoreError, match="holds nothing yet"):
        SqliteStore(path, write=False)
    filled(path)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_file_is_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x.db"
    filled(path, 2000)
    size = path.stat().st_size
    with path.open("r+b") as file:
        if damage == "cut":
            file.truncate(size // 3)
        else:
            file.seek(database.PAGE_SIZE)
            file.write(os.urandom(size - database.PAGE_SIZE))
    with pytest.raises(StoreError, match=r"store .*x\.db: .*damaged"), closing(SqliteStore(path)) as store:
        store.status()
        store.search(vector("x"), 5)


def test_a_name_that_is_not_unicode_is_told(tmp_path: Path) -> None:
    with closing(SqliteStore(tmp_path / "x.db")) as store:
        store.bind(fingerprint(), "model")
        with pytest.raises(StoreError, match=r"not valid Unicode: '/a\\udcff': rename"):
            store.replace([replacement("/b", ["one"]), replacement("/a\udcff", ["one"])])
        assert store.status().documents == 0


# Migrations


def test_vectors_of_an_older_store_get_their_checksums_when_it_is_migrated(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path)
    with closing(sqlite3.connect(path)) as db, db:
        before = db.execute("SELECT chunk, checksum FROM vectors ORDER BY chunk").fetchall()
        db.execute("ALTER TABLE vectors DROP COLUMN checksum")
        db.execute("PRAGMA user_version = 4")
    with pytest.raises(StoreError, match="older embedmill"):
        SqliteStore(path, write=False)
    with closing(SqliteStore(path)) as store:
        assert list(store.verify()) == []
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT chunk, checksum FROM vectors ORDER BY chunk").fetchall() == before


def test_migrations_bring_a_file_up_to_date_or_leave_it(tmp_path: Path) -> None:
    path, folder = tmp_path / "x.db", tmp_path / "migrations"
    filled(path)
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "0006_colour.sql").write_text("ALTER TABLE documents ADD COLUMN colour; -- one; two")
    (folder / "0007_broken.sql").write_text("CREATE TABLE half (a);\nINSERT INTO missing VALUES (1);")
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(sqlite3.Error, match="missing"):
            database.migrate(db, path, folder)
        assert db.execute("PRAGMA user_version").fetchone() == (6,)
        assert db.execute("SELECT count(colour), count(*) FROM documents").fetchone() == (0, 3)
        assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
        (folder / "0007_broken.sql").write_text("CREATE TABLE half (a);")
        database.migrate(db, path, folder)
        assert db.execute("PRAGMA user_version").fetchone() == (7,)
        (folder / "0009_gap.sql").write_text("")
        with pytest.raises(StoreError, match="not numbered"):
            database.migrate(db, path, folder)


# Several at once

HOLD = """
import sys, time
from pathlib import Path
from embedmill.storage.sqlite.store.store import SqliteStore
store = SqliteStore(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_a_second_run_is_told_who_holds_the_store_and_death_frees_it(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path)
    holder = child(HOLD, path)
    assert holder.stdout is not None and holder.stderr is not None
    with holder, holder.stdout, holder.stderr:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreBusy, match=rf"process {holder.pid} is writing to the store {path}: wait"):
            SqliteStore(path)
        with closing(SqliteStore(path, write=False)) as reader:
            assert reader.status().documents == 3
        holder.kill()
    filled(path, 4)


def test_nothing_long_is_done_in_a_store_that_is_stopped(tmp_path: Path) -> None:
    """Nothing is removed, and no matrix written: that is left to the next run, and to a search."""
    path = tmp_path / "index.db"
    with closing(SqliteStore(path)) as store:
        store.bind(fingerprint(), "model")
        store.replace([replacement("/a", [f"{number}" for number in range(3000)])])
        store.finish_within(60)
        for use in (store.prepare_search, lambda: store.remove_unseen(["/"])):
            with pytest.raises(Stopped, match="run again"):
                use()
        store.replace([replacement("/b", ["one"])])
        assert store.search(vector("one"), 1)[0].document == "/b"
    with closing(SqliteStore(path)) as store:
        store.prepare_search()
        store.mark_seen(["/b"])
        assert store.remove_unseen(["/"]) == 1


def test_a_store_that_is_stopped_waits_for_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    filled(path)
    with closing(SqliteStore(path)) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, store.finish_within, [0.1]).start()
        with pytest.raises(StoreBusy, match="is locked by another process"):
            store.replace([replacement("/b", ["one"])])
        assert not store._writer.in_transaction
        other.execute("ROLLBACK")
        store.replace([replacement("/b", ["one"])])


def test_reads_do_not_wait_for_a_write_in_progress(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path)
    with closing(SqliteStore(path)) as store, store._transaction() as db:
        db.execute("DELETE FROM documents")
        seen: list[int] = []
        reader = threading.Thread(target=lambda: seen.append(store.status().documents))
        reader.start()
        reader.join()
        assert seen == [3]
        with closing(SqliteStore(path, write=False)) as other:
            assert len(other.search(vector("x"), 10)) == 3


# Soundness


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE vectors SET vector = CAST(x'0000c07f' || substr(vector, 5) AS BLOB) WHERE chunk = 1",
            "chunk 0: .*NaN or infinite",
        ),
        ("UPDATE vectors SET vector = 'text' WHERE chunk = 1", "chunk 0: it has no vector"),
        ("UPDATE vectors SET vector = x'00000000' WHERE chunk = 1", "chunk 0: its vector has 1 numbers, .* have 8"),
        ("UPDATE vectors SET vector = x'0000' WHERE chunk = 1", "chunk 0: its vector has 0 numbers, .* have 8"),
        ("DELETE FROM vectors WHERE chunk = 1", "/0: chunk 0: it has no vector"),
        ("DELETE FROM chunks WHERE id = 1", "vectors that belong to no chunk: 1"),
        ("DELETE FROM documents WHERE id = 1", r"a chunk \(index 0\) belongs to no document"),
        ("UPDATE meta SET value = 'other' WHERE key = 'space'", "bound to space other, but its fields are those of"),
        ("UPDATE meta SET value = '{}' WHERE key = 'fields'", "whose fields are not those of a space"),
        ("UPDATE meta SET value = 9 WHERE key = 'dimension'", "bound to dimension 9, but its space has 8"),
        ("UPDATE documents SET name = char(10) || name, chunks = 5 WHERE id = 1", r"'\\n/0': the ledger says 5"),
    ],
)
def test_what_only_a_file_can_hold_is_told(tmp_path: Path, damage: str, said: str) -> None:
    path = tmp_path / "x.db"
    filled(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(damage)
    with closing(SqliteStore(path, write=False)) as store:
        found = [str(each) for each in store.verify()]
    assert any(re.search(said, line) for line in found), found


def test_a_matrix_that_differs_from_the_vectors_is_told_and_an_old_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path, 3000)
    with closing(SqliteStore(path)) as store:
        store.prepare_search()
        assert list(store.verify()) == []
        matrix = path.with_name("x.db.matrix")
        whole = matrix.read_bytes()
        matrix.write_bytes(whole[:100] + bytes(16) + whole[116:])
        assert any("another vector of it than the store" in str(each) for each in store.verify())
        matrix.write_bytes(whole[:-16] + bytes(16))
        assert any("other documents than the store" in str(each) for each in store.verify())
        store.replace([replacement("/new", ["new"])])
        assert list(store.verify()) == [], "it is not current, and so not used"


def test_a_damaged_file_is_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    filled(path, 2000)
    with closing(SqliteStore(path, write=False)) as store:
        with path.open("r+b") as file:
            file.seek(4 * database.PAGE_SIZE)
            file.write(os.urandom(path.stat().st_size // 2))
        found = [str(each) for each in store.verify()]
    assert found
    assert all(line.startswith("the file is damaged: ") for line in found), found


# Folders that cannot be written, and full disks

READ_AND_TRY_TO_WRITE = f"""
import os, sys
from pathlib import Path
from embedmill.core.errors import StoreError
from embedmill.storage.sqlite.store.store import SqliteStore
from store_samples import vector
path, query = Path(sys.argv[1]), vector("x")
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
store = SqliteStore(path, write=False)
print(store.status().documents, len(store.search(query, 5)))
store.prepare_search()
store.close()
try:
    SqliteStore(path)
except StoreError as error:
    print(error)
"""


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A folder that other users reach, unlike pytest's own."""
    folder = Path(f"/tmp/embedmill-test-{os.getpid()}-{time.monotonic_ns()}")
    folder.mkdir(mode=0o755)
    yield folder
    shutil.rmtree(folder)


@NEEDS_ROOT
@pytest.mark.parametrize("left_by_a_kill", [False, True])
def test_a_store_in_a_read_only_folder_can_be_read(public_path: Path, left_by_a_kill: bool) -> None:
    path = public_path / "x.db"
    filled(path, 2500)
    if left_by_a_kill:
        writer = replacing({"url": f"sqlite:{path}"})
        log = path.with_name("x.db-wal")
        until(lambda: log.exists() and log.stat().st_size > 1 << 20, writer)  # more than one transaction
        kill(writer)
    before = {file.name for file in public_path.iterdir()}
    documents, message = output(child(READ_AND_TRY_TO_WRITE, path)).splitlines()
    count, hits = map(int, documents.split())
    assert (count >= 2500, hits) == (True, 5)
    assert "Permission denied" in message and "x.db.lock" in message
    assert {file.name for file in public_path.iterdir()} == before


@NEEDS_ROOT
def test_a_store_that_may_not_be_read_is_told(public_path: Path) -> None:
    path = public_path / "x.db"
    filled(path)
    path.chmod(0o600)
    process = child(READ_AND_TRY_TO_WRITE, path)
    _, error = process.communicate()
    assert "StoreError" in error and "Permission denied" in error.splitlines()[-1]


FILL_UP = """
import itertools, resource, signal, sys
from pathlib import Path
from embedmill.core.errors import StoreError
from embedmill.storage.sqlite.store.store import SqliteStore
from store_samples import fingerprint, replacement
path, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
store = SqliteStore(path)
store.bind(fingerprint(), "model")
try:
    for number in itertools.count():
        store.replace([replacement(f"/{number}/{part}", ["x" * 1000] * 10) for part in range(20)])
except StoreError as error:
    print(error)
print(number, store.status().documents)
store.prepare_search()
store.close()
"""


def check_full(path: Path, limit: int) -> None:
    message, counts = output(child(FILL_UP, path, limit)).splitlines()
    transactions, documents = map(int, counts.split())
    assert str(path) in message
    assert documents == 20 * transactions > 0
    with closing(SqliteStore(path, write=False)) as store:
        assert (store.status().documents, store.status().chunks) == (documents, 10 * documents)
        assert len(store.search(vector("x"), 5)) == 5
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_may_not_grow_keeps_what_was_stored(tmp_path: Path) -> None:
    check_full(tmp_path / "x.db", 4_000_000)


@NEEDS_ROOT
def test_a_full_disk_keeps_what_was_stored(tmp_path: Path) -> None:
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if mount.returncode:
        pytest.skip("cannot mount")
    try:
        check_full(tmp_path / "x.db", 0)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
