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
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from embedmill.core.errors import CacheError
from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector
from embedmill.storage.cache.cache import PersistentCache
from store_samples import fingerprint, vector

F32, BF16, OTHER = fingerprint(), fingerprint(precision="bf16"), fingerprint("other model")


def key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def vectors(texts: list[str], of: Fingerprint = F32) -> dict[bytes, Vector]:
    return {key(text): vector(text + of.key) for text in texts}


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


def set_days_unused(path: Path, text: str, days: int) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE vectors SET used = used - ? WHERE hash = ?", (days, key(text)))
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
        "UPDATE vectors SET vector = zeroblob(32) WHERE hash = :one",
        "UPDATE vectors SET vector = substr(vector, 1, 28) WHERE hash = :one",
        "UPDATE vectors SET (vector, checksum) = (SELECT vector, checksum FROM vectors WHERE hash = :two) "
        "WHERE hash = :one",
        "UPDATE vectors SET checksum = checksum + 1 WHERE hash = :one",
        "UPDATE vectors SET vector = 7 WHERE hash = :one",
        "UPDATE vectors SET used = 'today' WHERE hash = :one",
    ],
)
def test_a_damaged_vector_counts_as_missing_and_goes(path: Path, cache: PersistentCache, damage: str) -> None:
    cache.put_many(vectors(["one", "two"]), F32)
    with closing(sqlite3.connect(path)) as db:
        db.execute(damage, {"one": key("one"), "two": key("two")})
        db.commit()
    assert same(cache.get_many(list(vectors(["one", "two"])), F32), vectors(["two"]))
    assert cache.stats().entries == 1
    cache.put_many(vectors(["one"]), F32)
    assert same(cache.get_many(list(vectors(["one", "two"])), F32), vectors(["one", "two"]))


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


def written_by_version_1(path: Path, texts: list[str]) -> None:
    """A file as the first version wrote it: the format is the same, its checksums are not."""
    with PersistentCache(path) as cache:
        cache.put_many(vectors(texts), F32)
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT id, hash, vector FROM vectors").fetchall()
        for row, hashed, blob in rows:
            checksum = zlib.crc32(blob, zlib.crc32(hashed, zlib.crc32(F32.key.encode())))
            db.execute("UPDATE vectors SET checksum = ? WHERE id = ?", (checksum, row))
        db.execute("PRAGMA user_version = 1")
        db.commit()


def test_what_earlier_versions_wrote_is_not_read_any_more(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They may have written vectors of other texts, where memory was short."""
    texts = [f"text {number}" for number in range(3000)]
    written_by_version_1(path, texts)
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
    assert "earlier version" in message and "emptied" in message


def test_what_an_earlier_version_still_writes_is_not_read(path: Path) -> None:
    """A process that was started before the upgrade has the file open."""
    with PersistentCache(path) as cache:
        cache.put_many(vectors(["one", "two"]), F32)
    written_by_version_1(path.with_name("old.db"), ["two", "three"])
    with closing(sqlite3.connect(path)) as db:
        db.execute("ATTACH ? AS old", (str(path.with_name("old.db")),))
        db.execute(
            "INSERT OR REPLACE INTO vectors (fingerprint, hash, used, checksum, vector) "
            "SELECT fingerprint, hash, used, checksum, vector FROM old.vectors"
        )
        db.commit()
    with PersistentCache(path) as cache:
        assert same(cache.get_many([key("one"), key("two"), key("three")], F32), vectors(["one"]))
    with PersistentCache(path) as cache:
        assert cache.stats().entries == 1  # the others went when they were found


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
