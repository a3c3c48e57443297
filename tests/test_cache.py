"""The cache of vectors: never another's vector, never a lost write, never the end of a job."""

from __future__ import annotations

import hashlib
import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from embedmill.core.errors import CacheError
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.cache.cache import PersistentCache
from embedmill.storage.cache.keys import keys_of
from embedmill.storage.cache.table import VectorTable
from embedmill.storage.sqlite.connection import connect
from store_samples import fingerprint, vector

F32, BF16, OTHER = fingerprint(), fingerprint(precision="bf16"), fingerprint("other model")


def key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def vectors(texts: list[str], of: Fingerprint = F32) -> dict[bytes, Vector]:
    return {key(text): vector(text + of.key) for text in texts}


def number(text: str, of: Fingerprint = F32) -> int:
    """The key of a text in the file."""
    return int(keys_of([key(text)], of)[0])


def same(one: dict[bytes, Vector], other: dict[bytes, Vector]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[each], other[each]) for each in one)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "vectors.db"


@pytest.fixture
def cache(path: Path) -> Iterator[PersistentCache]:
    """A cache that always looks into its file."""
    with PersistentCache(path, memory_entries=0) as cache:
        yield cache


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_key_is_text_and_model_and_no_order_or_batch_matters(cache: PersistentCache, path: Path) -> None:
    """Flaw: a key from the sorted list of terms, without the model: others' vectors, and stale ones."""
    texts = [f"text {number}" for number in range(1200)]
    for of in (F32, BF16, OTHER):
        cache.put_many(vectors(texts, of), of)
    for reader in (cache, PersistentCache(path)):
        with reader:
            for of in (F32, BF16, OTHER):
                wanted = [key(text) for text in [*reversed(texts), "missing", texts[0]]]
                assert same(reader.get_many(wanted, of), vectors(texts, of))
            assert reader.get_many(wanted, fingerprint("unknown")) == {}
            assert reader.get_many([], F32) == {}
            assert (reader.stats().hits, reader.stats().misses) == (3600, 3 + 1201)


def test_what_was_put_cannot_be_changed(path: Path) -> None:
    with PersistentCache(path) as cache:
        mine = vector("one")
        cache.put_many({key("one"): mine}, F32)
        mine[:] = 0
        found = cache.get_many([key("one")], F32)[key("one")]
        np.testing.assert_array_equal(found, vector("one"))
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 1
        with pytest.raises(ValueError, match="shape"):
            cache.put_many({key("two"): np.zeros(3, np.float32)}, F32)


@pytest.mark.parametrize("wrong", [b"", b"short", key("one")[:31], key("one") + b"1"])
def test_a_hash_that_is_no_sha_256_is_refused(path: Path, wrong: bytes) -> None:
    message = rf"a hash of {len(wrong)} bytes: .* SHA-256 .* has 32"
    with PersistentCache(path) as cache:
        with pytest.raises(ValueError, match=message):
            cache.put_many({key("two"): vector("two"), wrong: vector("one")}, F32)
        with pytest.raises(ValueError, match=message):
            cache.get_many([key("two"), wrong], F32)
        with pytest.raises(ValueError, match=message):
            cache.claim([key("two"), wrong], F32)
        assert cache.get_many([key("two")], F32) == {}
    assert not path.exists() or cache_rows(path) == (set(), set())


def cache_rows(path: Path) -> tuple[set[int], set[int]]:
    """Ids of vectors: those that keys name, and those that are there."""
    with closing(sqlite3.connect(path)) as db:
        named, there = ({row for (row,) in db.execute(f"SELECT id FROM {table}")} for table in ("keys", "vectors"))
        return named, there


def test_texts_of_the_same_key_are_told_from_each_other(cache: PersistentCache, path: Path) -> None:
    """Never another's vector: of two hashes with the same beginning one has its vector, the other counts as missing."""
    one = key("one")
    other = one[:8] + key("other")[8:]
    cache.put_many({one: vector("one"), key("two"): vector("two")}, F32)
    assert cache.get_many([other], F32) == {}
    for first, second in ((one, other), (other, one)):
        cache.put_many({second: vector("second")}, F32)
        assert cache.get_many([first], F32) == {}  # and what is in its place may go
        cache.put_many({first: vector("first")}, F32)
        assert same(cache.get_many([first], F32), {first: vector("first")})
    cache.put_many({one: vector("one"), other: vector("other")}, F32)
    found = cache.get_many([one, other, key("two")], F32)
    assert same(
        found, {each: {one: vector("one"), other: vector("other"), key("two"): vector("two")}[each] for each in found}
    )
    assert key("two") in found
    named, there = cache_rows(path)
    assert named == there


def test_a_cache_equals_a_dict(tmp_path_factory: pytest.TempPathFactory) -> None:
    prints = st.sampled_from([F32, BF16, OTHER])
    texts = st.lists(st.sampled_from("abcdef"), max_size=6)

    class Model(RuleBasedStateMachine):
        @initialize(memory=st.sampled_from([0, 2, 100]))
        def begin(self, memory: int) -> None:
            self.path, self.memory = tmp_path_factory.mktemp("cache") / "v.db", memory
            self.cache = PersistentCache(self.path, memory_entries=memory)
            self.expected: dict[tuple[str, bytes], Vector] = {}

        @rule(texts=texts, of=prints, version=st.integers(0, 2))
        def put(self, texts: list[str], of: Fingerprint, version: int) -> None:
            new = {key(text): vector(f"{text}{version}") for text in texts}
            self.cache.put_many(new, of)
            self.expected |= {(of.key, each): found for each, found in new.items()}

        @rule(texts=texts, of=prints)
        def get(self, texts: list[str], of: Fingerprint) -> None:
            hashes = [key(text) for text in texts]
            expected = {each: self.expected[of.key, each] for each in hashes if (of.key, each) in self.expected}
            assert same(self.cache.get_many(hashes, of), expected)
            assert self.cache.stats().entries == len(self.expected)

        @rule()
        def reopen(self) -> None:
            self.cache.close()
            self.cache = PersistentCache(self.path, memory_entries=self.memory)

        @rule()
        def clear(self) -> None:
            assert self.cache.clear() == len(self.expected)
            self.expected = {}

        @rule(texts=texts, of=prints)
        def prune_unused(self, texts: list[str], of: Fingerprint) -> None:
            self.reopen()
            unused = {(of.key, key(text)) for text in texts}.intersection(self.expected)
            for _, each in unused:
                set_days_unused(self.path, next(text for text in texts if key(text) == each), 40, of)
            assert self.cache.prune(days=30) == len(unused)
            for each in unused:
                del self.expected[each]

        @rule(pages=st.integers(6, 12))
        def prune_to(self, pages: int) -> None:
            removed = self.cache.prune(max_bytes=pages * 8192)
            for of in (F32, BF16, OTHER):
                found = self.cache.get_many([key(text) for text in "abcdef"], of)
                before = {each: put for (whose, each), put in self.expected.items() if whose == of.key}
                assert same(found, {each: before[each] for each in found})
                for each in before.keys() - found.keys():
                    del self.expected[of.key, each]
                    removed -= 1
            assert removed == 0

        @invariant()
        def each_key_has_its_vector(self) -> None:
            if self.path.exists():
                named, there = cache_rows(self.path)
                assert named == there

        def teardown(self) -> None:
            self.cache.close()

    checks = list(HealthCheck)
    run_state_machine_as_test(
        Model,
        settings=settings(max_examples=20, stateful_step_count=15, suppress_health_check=checks),
    )


# Size and age


def test_the_cache_stays_within_its_bounds_and_the_oldest_go(path: Path) -> None:
    large = fingerprint(dimension=384)

    def batch(number: int) -> dict[bytes, Vector]:
        return {key(f"{number} {i}"): np.full(384, number, np.float32) for i in range(500)}

    with PersistentCache(path, max_bytes=4_000_000, memory_entries=0) as cache:
        for number in range(10):
            cache.put_many(batch(number), large)
            assert cache.stats().entries < 2600
        assert not cache.get_many(list(batch(0)), large)
        assert same(cache.get_many(list(batch(9)), large), batch(9))
    assert path.stat().st_size <= 4_000_000


def set_days_unused(path: Path, text: str, days: int, of: Fingerprint = F32) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE keys SET used = used - ? WHERE key = ?", (days, number(text, of)))
        db.commit()


def test_use_keeps_a_vector_from_being_pruned(cache: PersistentCache, path: Path) -> None:
    cache.put_many(vectors(["used", "unused", "new"]), F32)
    for text in ("used", "unused"):
        set_days_unused(path, text, 40)
    cache.get_many([key("used")], F32)
    cache.close()
    with PersistentCache(path) as cache:
        assert cache.prune(days=30) == 1
        assert same(cache.get_many(list(vectors(["used", "unused", "new"])), F32), vectors(["used", "new"]))
        set_days_unused(path, "used", 5)
        with closing(sqlite3.connect(path)) as db:
            (one,) = db.execute("SELECT page_size FROM pragma_page_size").fetchone()
        assert cache.prune(max_bytes=one) == 2
        assert cache.get_many([key("new")], F32) == {}


def test_reads_write_at_most_once_a_day(cache: PersistentCache, path: Path) -> None:
    cache.put_many(vectors(["one"]), F32)
    cache.close()
    with closing(sqlite3.connect(path)) as db:
        before = db.execute("PRAGMA data_version").fetchone()
        with PersistentCache(path) as again:
            assert again.get_many([key("one")], F32)
        assert db.execute("PRAGMA data_version").fetchone() == before


def test_what_is_used_or_put_anew_after_it_was_chosen_to_go_stays(cache: PersistentCache, path: Path) -> None:
    """Another process may do so between two transactions."""
    cache.put_many(vectors(["used", "anew", "unused"]), F32)
    for text in ("used", "anew", "unused"):
        set_days_unused(path, text, 40)
    with closing(connect(path, "mode=rw", timeout=10)) as db:
        table = VectorTable(db)
        chosen = table.unused(1 << 62, 10)
        cache.get_many([key("used")], F32)
        cache.close()
        with PersistentCache(path) as again:
            again.put_many(vectors(["anew"]), F32)
            assert len(chosen) == 3 and table.remove(chosen) == 1
            assert same(again.get_many(list(vectors(["used", "anew", "unused"])), F32), vectors(["used", "anew"]))


def test_clear_frees_the_disk(path: Path) -> None:
    large = fingerprint(dimension=384)
    with PersistentCache(path) as cache:
        cache.put_many({key(str(i)): np.ones(384, np.float32) for i in range(2000)}, large)
        path.with_name("vectors.db.damaged-20200101-000000-1").touch()
        assert cache.stats().fingerprints == {large.key: 2000}
        assert cache.clear() == 2000
        assert cache.stats().entries == 0
        assert cache.get_many([key("1")], large) == {}
    assert [file.name for file in path.parent.iterdir()] == ["vectors.db"]
    assert path.stat().st_size < 100_000


def test_looking_at_a_cache_creates_none(path: Path) -> None:
    with PersistentCache(path) as cache:
        assert (cache.stats().entries, cache.stats().bytes, cache.clear(), cache.prune(days=1)) == (
            0,
            0,
            0,
            0,
        )
    assert not path.parent.exists()


def test_the_default_path_can_be_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "moved"))
    with PersistentCache() as cache:
        cache.put_many(vectors(["one"]), F32)
    assert (tmp_path / "moved/vectors.db").exists()
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert PersistentCache().path.parts[-2:] == ("embedmill", "vectors.db")


# Several at once

TAKE_PART = """
import sys
from pathlib import Path
from embedmill.storage.cache.cache import PersistentCache
from test_cache import F32, key, same, vectors
path, me, others = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with PersistentCache(path, memory_entries=0) as cache:
    for turn in range(30):
        mine = vectors([f"{me} {turn} {i}" for i in range(20)] + [f"all {turn} {i}" for i in range(5)])
        cache.put_many(mine, F32)
        assert same(cache.get_many(list(mine), F32), mine), "lost"
        theirs = vectors([f"{(me + 1) % others} {turn} {i}" for i in range(20)])
        found = cache.get_many(list(theirs), F32)
        assert same(found, {each: theirs[each] for each in found}), "wrong"
"""


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )


def test_parallel_processes_lose_no_writes(path: Path) -> None:
    """Flaw 6: parallel runs lose the cache's writes. They also all begin the file at once."""
    processes = [child(TAKE_PART, path, me, 4) for me in range(4)]
    for process in processes:
        _, error = process.communicate()
        assert (process.returncode, error) == (0, "")
    expected = vectors([f"{me} {turn} {i}" for me in range(4) for turn in range(30) for i in range(20)])
    with PersistentCache(path) as cache:
        assert same(cache.get_many(list(expected), F32), expected)
        assert cache.stats().entries == len(expected) + 30 * 5


def test_threads_share_a_cache(path: Path) -> None:
    wrong: list[object] = []
    with PersistentCache(path, memory_entries=50) as cache:

        def work(me: int) -> None:
            for turn in range(20):
                mine = vectors([f"{me} {turn} {i}" for i in range(10)])
                cache.put_many(mine, F32)
                if not same(cache.get_many(list(mine), F32), mine):
                    wrong.append((me, turn))

        threads = [threading.Thread(target=work, args=(me,)) for me in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert cache.stats().entries == 800


PUT_FOR_EVER = """
import itertools, sys
from embedmill.storage.cache.cache import PersistentCache
from test_cache import F32, vectors
cache = PersistentCache(sys.argv[1])
for turn in itertools.count():
    cache.put_many(vectors([f"{sys.argv[2]} {turn} {i}" for i in range(20)]), F32)
    print(turn, flush=True)
"""


def test_a_kill_leaves_all_that_was_put(path: Path) -> None:
    moments = random.Random(3)
    for kill in range(4):
        process = child(PUT_FOR_EVER, path, kill)
        assert process.stdout is not None and process.stderr is not None
        with process, process.stdout, process.stderr:
            process.stdout.readline()
            time.sleep(moments.uniform(0, 0.1))
            process.kill()
            rounds = len(process.stdout.readlines())
        expected = vectors([f"{kill} {turn} {i}" for turn in range(rounds) for i in range(20)])
        with PersistentCache(path) as cache:
            assert same(cache.get_many(list(expected), F32), expected)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# Damage


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = zeroblob(32) WHERE id = :one",
        "UPDATE vectors SET vector = substr(vector, 1, 28) WHERE id = :one",
        "UPDATE vectors SET (vector, crc) = (SELECT vector, crc FROM vectors WHERE id = :two) WHERE id = :one",
        "UPDATE vectors SET crc = crc + 1 WHERE id = :one",
        "UPDATE vectors SET crc = 'sum' WHERE id = :one",
        "UPDATE vectors SET vector = 7 WHERE id = :one",
        "UPDATE keys SET used = 'today' WHERE id = :one",
    ],
)
def test_a_damaged_vector_counts_as_missing_and_goes(path: Path, cache: PersistentCache, damage: str) -> None:
    cache.put_many(vectors(["one", "two"]), F32)
    with closing(sqlite3.connect(path)) as db:
        ids = {text: id_of(db, text) for text in ("one", "two")}
        db.execute(damage, {name: ids[name] for name in ids if f":{name}" in damage})
        db.commit()
    assert same(cache.get_many(list(vectors(["one", "two"])), F32), vectors(["two"]))
    assert cache.stats().entries == 1
    cache.put_many(vectors(["one"]), F32)
    assert same(cache.get_many(list(vectors(["one", "two"])), F32), vectors(["one", "two"]))
    named, there = cache_rows(path)
    assert named == there


def id_of(db: sqlite3.Connection, text: str) -> int:
    return int(db.execute("SELECT id FROM keys WHERE key = ?", (number(text),)).fetchone()[0])


@pytest.mark.parametrize("damage", ["DELETE FROM vectors", "UPDATE keys SET id = id + 7", "UPDATE keys SET id = 1"])
def test_keys_of_no_vector_or_of_another_are_mended_by_what_is_put(
    path: Path, cache: PersistentCache, damage: str
) -> None:
    put = vectors(["one", "two", "three"])
    cache.put_many(put, F32)
    with closing(sqlite3.connect(path)) as db:
        db.execute(damage)
        db.commit()
    found = cache.get_many(list(put), F32)
    assert same(found, {each: put[each] for each in found}) and len(found) <= 1
    for each in put:
        cache.put_many({each: put[each]}, F32)
        assert same(cache.get_many([each], F32), {each: put[each]})


def damaged_files(path: Path) -> list[Path]:
    return [file for file in path.parent.glob("vectors.db.damaged-*") if not file.name.endswith(("-wal", "-shm"))]


def test_a_file_that_is_no_cache_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else entirely, and long enough" * 1000)
    with PersistentCache(path) as cache:
        assert cache.get_many([key("one")], F32) == {}
        cache.put_many(vectors(["one"]), F32)
    (message,) = warnings(caplog)
    assert "is damaged (file is not a database): set aside as vectors.db.damaged-" in message
    (aside,) = damaged_files(path)
    assert aside.read_bytes().startswith(b"something else")
    with PersistentCache(path) as cache:
        assert same(cache.get_many([key("one")], F32), vectors(["one"]))


@pytest.mark.parametrize("operation", ["get", "put"])
def test_a_file_that_is_damaged_while_in_use_is_set_aside(
    path: Path, caplog: pytest.LogCaptureFixture, operation: str
) -> None:
    many = vectors([f"text {number}" for number in range(3000)])
    with PersistentCache(path) as cache:
        cache.put_many(many, F32)
    with PersistentCache(path, memory_entries=0) as cache, PersistentCache(path, memory_entries=0) as other:
        assert cache.get_many([key("text 5")], F32)
        assert other.get_many([key("text 5")], F32)
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.seek(8192)
            file.write(os.urandom(size - 8192))
        for user in (cache, other):
            if operation == "get":
                assert user.get_many(list(many), F32).keys() <= many.keys()
            user.put_many(many, F32)
            assert same(user.get_many(list(many), F32), many)
    assert len(damaged_files(path)) == len(warnings(caplog)) == 1
    with PersistentCache(path) as cache:
        assert same(cache.get_many(list(many), F32), many)


# Places that cannot be used


def test_a_folder_that_cannot_be_made_costs_only_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    with PersistentCache(tmp_path / "file" / "vectors.db") as cache:
        for _ in range(2):
            cache.put_many(vectors(["one"]), F32)
            assert same(cache.get_many(list(vectors(["one", "two"])), F32), vectors(["one"]))
        (message,) = warnings(caplog)
        assert "cannot be used" in message and "EMBEDMILL_CACHE_DIR" in message
        assert cache.stats().entries == 0


WITHOUT_RIGHTS = """
import logging, os, sys
from embedmill.storage.cache.cache import PersistentCache
from test_cache import F32, same, vectors
logging.basicConfig(stream=sys.stdout, format="%(message)s")
one = vectors(["one"])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with PersistentCache(sys.argv[1]) as cache:
    for _ in range(2):
        cache.put_many(one, F32)
        assert same(cache.get_many(list(one), F32), one)
"""


@pytest.mark.parametrize("exists", [False, True])
def test_a_cache_that_may_not_be_written_costs_only_the_file(path: Path, exists: bool) -> None:
    path.parent.mkdir()
    if exists:
        with PersistentCache(path) as cache:
            cache.put_many(vectors(["two"]), F32)
        path.chmod(0o444)
    path.parent.chmod(0o555)
    process = child(WITHOUT_RIGHTS, path)
    out, error = process.communicate()
    assert (process.returncode, error) == (0, "")
    assert len(out.splitlines()) == 1 and "EMBEDMILL_CACHE_DIR" in out


def test_the_cache_of_a_newer_version_is_left_alone(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with PersistentCache(path) as cache:
        cache.put_many(vectors(["one"]), F32)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9")
    before = path.read_bytes()
    with PersistentCache(path) as cache:
        assert cache.get_many([key("one")], F32) == {}
        with pytest.raises(CacheError, match="newer embedmill"):
            cache.clear()
    assert len(warnings(caplog)) == 1
    assert path.read_bytes() == before


EARLIER = """
    CREATE TABLE fingerprints (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
    CREATE TABLE vectors (
        id          INTEGER PRIMARY KEY,
        fingerprint INTEGER NOT NULL,
        hash        BLOB    NOT NULL,
        used        INTEGER NOT NULL,
        checksum    INTEGER NOT NULL,
        vector      BLOB    NOT NULL
    );
    CREATE UNIQUE INDEX vectors_by_key ON vectors (fingerprint, hash);
    CREATE INDEX vectors_by_use ON vectors (used);
"""

STATEMENTS = (
    ("SELECT id, hash, used, checksum, vector FROM vectors WHERE fingerprint = ? AND hash IN (?)", (1, key("one"))),
    (
        "INSERT INTO vectors (fingerprint, used, hash, checksum, vector) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE "
        "SET used = excluded.used, checksum = excluded.checksum, vector = excluded.vector",
        (1, 20_000, key("one"), 1, bytes(32)),
    ),
    ("SELECT hash FROM vectors WHERE fingerprint = ? AND hash IN (?)", (1, key("one"))),
    (
        "DELETE FROM vectors WHERE id IN (SELECT id FROM vectors WHERE used <= ? ORDER BY used, id LIMIT ?)",
        (1 << 62, 1000),
    ),
    ("DELETE FROM vectors WHERE id = ? AND checksum = ?", (1, 1)),
    ("UPDATE vectors SET used = ? WHERE id = ?", (20_000, 1)),
    ("SELECT key, count(*) FROM vectors v JOIN fingerprints f ON f.id = v.fingerprint GROUP BY key ORDER BY key", ()),
)
"""All that versions 1 and 2 have for their table of vectors."""


def written_by(version: int, path: Path, texts: list[str]) -> None:
    """A file as an earlier version wrote it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;" + EARLIER
        )
        db.execute("INSERT INTO fingerprints (key) VALUES (?)", (F32.key,))
        for hashed, numbers in vectors(texts).items():
            start = f"{version} {F32.key}" if version > 1 else F32.key
            checksum = zlib.crc32(numbers.tobytes(), zlib.crc32(hashed, zlib.crc32(start.encode())))
            db.execute(STATEMENTS[1][0], (1, int(time.time() // 86_400), hashed, checksum, numbers.tobytes()))
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


@pytest.mark.parametrize(
    ("version", "why"), [(1, "could keep wrong vectors when memory was short"), (2, "kept in another way now")]
)
def test_what_earlier_versions_wrote_is_not_read_any_more(
    path: Path, caplog: pytest.LogCaptureFixture, version: int, why: str
) -> None:
    """The first may have written vectors of other texts, where memory was short; the second had other tables."""
    texts = [f"text {each}" for each in range(3000)]
    written_by(version, path, texts)
    with PersistentCache(path) as cache:
        before = path.stat().st_size
        assert cache.get_many([key(text) for text in texts], F32) == {}
        assert cache.stats().entries == 0
        cache.put_many(vectors(["one"]), F32)
    assert path.stat().st_size < before / 2
    with PersistentCache(path) as cache:
        assert same(cache.get_many([key("one"), key("text 1")], F32), vectors(["one"]))
        assert cache.stats().entries == 1
    (message,) = warnings(caplog)
    assert "earlier version" in message and "emptied" in message and why in message
    with closing(sqlite3.connect(path)) as db:
        made = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite%'")}
    assert made == {"fingerprints", "keys", "vectors"}


def test_an_earlier_version_that_has_the_file_open_can_change_nothing_in_it(path: Path) -> None:
    """A process that was started before the upgrade: all that it does with vectors fails from then on."""
    written_by(2, path, ["one", "two"])
    with closing(sqlite3.connect(path)) as earlier:
        assert len(earlier.execute(*STATEMENTS[0]).fetchall()) == 1
        with PersistentCache(path, memory_entries=0) as cache:
            cache.put_many(vectors(["one", "three"]), F32)
            for statement in STATEMENTS:
                with pytest.raises(sqlite3.OperationalError, match=r"no such column|has no column"):
                    earlier.execute(*statement)
            earlier.rollback()
            assert same(cache.get_many([key("one"), key("two"), key("three")], F32), vectors(["one", "three"]))
            assert cache.stats().entries == 2
        assert earlier.execute("PRAGMA integrity_check").fetchone() == ("ok",)


FILL_UP = """
import logging, resource, signal, sys
from embedmill.storage.cache.cache import PersistentCache
from test_cache import F32, same, vectors
logging.basicConfig(stream=sys.stdout, format="%(message)s")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
with PersistentCache(sys.argv[1], memory_entries=0) as cache:
    first = vectors([f"0 {i}" for i in range(500)])
    for turn in range(60):
        cache.put_many(vectors([f"{turn} {i}" for i in range(500)]), F32)
    assert same(cache.get_many(list(first), F32), first)
    print(cache.stats().entries)
"""


def test_a_full_disk_costs_only_the_vectors_that_find_no_room(path: Path) -> None:
    process = child(FILL_UP, path)
    out, error = process.communicate()
    assert process.returncode == 0, error
    warning, entries = out.splitlines()
    assert warning.startswith(f"cannot write the cache {path}")
    with PersistentCache(path) as cache:
        assert cache.stats().entries == int(entries) > 500
        assert cache.put_many(vectors(["one"]), F32) is None
        assert same(cache.get_many([key("one")], F32), vectors(["one"]))
