"""Claims in the cache: a text that several runs need at the same moment is embedded by one of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from embedmill.core.interfaces.cache import ClaimingCache
from embedmill.engine.claims import Claims
from embedmill.storage.cache.cache import PersistentCache
from test_cache import BF16, F32, child, key, same, vectors

ONE, TWO, THREE = key("one"), key("two"), key("three")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "caches" / "vectors.db"


@pytest.fixture
def first(path: Path) -> Iterator[PersistentCache]:
    with PersistentCache(path, memory_entries=0) as cache:
        yield cache


@pytest.fixture
def second(path: Path) -> Iterator[PersistentCache]:
    with PersistentCache(path, memory_entries=0) as cache:
        yield cache


def files(path: Path) -> set[str]:
    return {file.name for file in path.parent.iterdir()} - {"vectors.db-wal", "vectors.db-shm"}


def rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM claims").fetchone()[0])


def test_a_text_is_claimed_once_until_it_has_its_vector(first: PersistentCache, second: PersistentCache) -> None:
    assert isinstance(first, ClaimingCache)
    assert first.claim([ONE, TWO], F32) == ({}, [])
    others, put = second.claim([TWO, THREE], F32)
    assert (others.keys(), put) == ({TWO}, [])
    assert second.claim([TWO], BF16) == ({}, [])
    assert second.claimed([ONE, TWO, THREE], F32).keys() == {ONE, TWO, THREE}
    first.put_many(vectors(["two"]), F32)
    assert second.claimed([TWO], F32) == {}
    assert second.claim([TWO], F32) == ({}, [TWO])
    second.release([ONE, TWO], F32)  # of which one is another's
    assert second.claimed([ONE, TWO, THREE], F32).keys() == {ONE, THREE}


def test_an_opening_of_the_cache_that_is_closed_claims_nothing(
    path: Path, first: PersistentCache, second: PersistentCache
) -> None:
    first.claim([ONE, TWO], F32)
    assert len(files(path)) == 2
    first.close()
    assert files(path) == {"vectors.db"}
    assert second.claimed([ONE, TWO], F32) == {}
    assert second.claim([THREE], F32) == ({}, [])
    assert rows(path) == 1  # what is void has gone


HOLD = """
import sys
from embedmill.storage.cache.cache import PersistentCache
from test_cache import F32, vectors
cache = PersistentCache(sys.argv[1])
cache.claim(list(vectors(["one", "two"])), F32)
print("claimed", flush=True)
sys.stdin.read()
"""


def test_who_is_killed_claims_nothing(path: Path, first: PersistentCache) -> None:
    process = child(HOLD, path)
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "claimed\n"
        assert first.claimed([ONE, TWO], F32).keys() == {ONE, TWO}
        process.kill()
    assert first.claimed([ONE, TWO], F32) == {}
    assert first.claim([ONE], F32) == ({}, [])
    assert (rows(path), len(files(path))) == (1, 2)


def test_claims_of_who_is_overdue_go_to_one_of_those_that_wait(first: PersistentCache, second: PersistentCache) -> None:
    first.claim([ONE], F32)
    (owner,) = second.claimed([ONE], F32).values()
    patient = Claims(second, F32)
    patient.begin()
    assert patient.claim([ONE]).others == {ONE: owner}
    assert patient.settled([ONE]) == []
    hasty = Claims(second, F32, overdue=-1)
    hasty.begin()
    assert hasty.claim([ONE]).others == {ONE: owner}
    assert hasty.settled([ONE]) == [ONE]
    assert hasty.claim([ONE]) == ({}, [])
    assert second.claimed([ONE], F32) != {ONE: owner}
    first.release([ONE], F32)  # which is not its own any more
    assert patient.settled([ONE]) == []


def test_an_owner_hears_that_its_texts_are_waited_for(first: PersistentCache, second: PersistentCache) -> None:
    first.claim([ONE, TWO], F32)
    second.claim([THREE], F32)
    second.want([ONE], F32)
    assert (first.wanted(), second.wanted()) == (True, False)
    first.put_many(vectors(["one"]), F32)
    assert not first.wanted()


def test_a_file_without_claims_is_kept_and_may_be_used_by_earlier_versions(path: Path, first: PersistentCache) -> None:
    """They know nothing of the table, which is made by the first claim."""
    first.put_many(vectors(["one"]), F32)
    first.close()
    with closing(sqlite3.connect(path)) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'claims'").fetchone()
        before = db.execute("PRAGMA user_version").fetchone()
    with PersistentCache(path) as cache:
        assert cache.claim([ONE, TWO], F32) == ({}, [ONE])
        assert same(cache.get_many([ONE], F32), vectors(["one"]))
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == before == (3,)


def test_where_nothing_can_be_written_nothing_is_claimed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with PersistentCache(tmp_path / "file" / "vectors.db") as cache:
        assert cache.claim([ONE], F32) == ({}, ())
        assert cache.claimed([ONE], F32) == {}
        cache.release([ONE], F32)
        assert not cache.wanted()


def test_claims_are_those_of_a_dict(tmp_path_factory: pytest.TempPathFactory) -> None:
    texts = st.lists(st.sampled_from("abcd"), max_size=4, unique=True)
    openings = st.integers(0, 2)

    class Model(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.path = tmp_path_factory.mktemp("claims") / "v.db"
            self.caches = [PersistentCache(self.path) for _ in range(3)]
            self.claims: dict[str, int] = {}
            self.put: set[str] = set()

        @rule(who=openings, texts=texts)
        def claim(self, who: int, texts: list[str]) -> None:
            others, put = self.caches[who].claim([key(text) for text in texts], F32)
            assert others.keys() == {key(text) for text in texts if text in self.claims}
            own = [text for text in texts if text not in self.claims]
            assert set(put) == {key(text) for text in own if text in self.put}
            self.claims |= dict.fromkeys(own, who)

        @rule(who=openings, texts=texts)
        def embed(self, who: int, texts: list[str]) -> None:
            self.caches[who].put_many(vectors(texts), F32)
            self.put.update(texts)
            self.claims = {text: owner for text, owner in self.claims.items() if text not in texts}

        @rule(who=openings, texts=texts)
        def release(self, who: int, texts: list[str]) -> None:
            self.caches[who].release([key(text) for text in texts], F32)
            self.claims = {text: owner for text, owner in self.claims.items() if owner != who or text not in texts}

        @rule(who=openings)
        def reopen(self, who: int) -> None:
            self.caches[who].close()
            self.caches[who] = PersistentCache(self.path)
            self.claims = {text: owner for text, owner in self.claims.items() if owner != who}

        @rule(who=openings)
        def look(self, who: int) -> None:
            held = self.caches[who].claimed([key(text) for text in "abcd"], F32)
            assert held.keys() == {key(text) for text in self.claims}
            owners = [{held[key(text)] for text, owner in self.claims.items() if owner == each} for each in range(3)]
            assert len(set().union(*owners)) == sum(map(len, owners))
            assert max(map(len, owners)) <= 1

        def teardown(self) -> None:
            for cache in getattr(self, "caches", []):
                cache.close()

    run_state_machine_as_test(
        Model, settings=settings(max_examples=30, stateful_step_count=20, suppress_health_check=list(HealthCheck))
    )
