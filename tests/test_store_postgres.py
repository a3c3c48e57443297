"""The PostgreSQL store: lost connections, the server's own trouble, schemas and rights."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from embedmill.core.damage import DamageKind
from embedmill.core.errors import Stopped, StoreBusy, StoreError, StoreNotFound, UsageError
from embedmill.storage.postgres import pgvector
from embedmill.storage.postgres.store import PostgresStore, text
from embedmill.storage.registry import open_store
from proxy import Proxy
from servers import BEFORE_IDENTITIES, OwnServer, Server, ask
from store_children import kill, replacing
from store_samples import failure, fingerprint, record, replacement, state, vector
from waiting import until


def bound(url: str, **arguments: Any) -> PostgresStore:
    store = PostgresStore(url, **arguments)
    store.bind(fingerprint(), "model")
    return store


def contents(store: PostgresStore) -> dict[str, list[str]]:
    found: dict[str, dict[int, str]] = {}
    for hit in store.search(vector("anything"), 10_000, exact=True):
        found.setdefault(hit.document, {})[hit.chunk] = hit.text
    return {name: [chunks[index] for index in sorted(chunks)] for name, chunks in found.items()}


# Text


@given(st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\u2400\u241b")))
def test_any_text_can_be_written_and_read_back(given: str) -> None:
    assert text.read(text.write(given)) == given
    assert "\0" not in text.write(given)


@given(st.text("ab\0\u2400\u241b"), st.text("ab\0\u2400\u241b"))
def test_written_texts_begin_with_each_other_as_the_texts_do(one: str, other: str) -> None:
    assert text.write(one).startswith(text.write(other)) == one.startswith(other)


def test_texts_without_nul_stand_in_the_table_as_they_are(database: str) -> None:
    with closing(bound(database)) as store:
        store.replace([replacement("/a", ["Ä 'quoted' \\x00 \U0001f600", "a\0b \u2400"])])
    found = ask(database, "SELECT text FROM embedmill.chunks ORDER BY idx")
    assert [row[0] for row in found] == ["Ä 'quoted' \\x00 \U0001f600", "a\u2400b \u241b\u2400"]


def test_a_name_that_is_not_unicode_is_told(database: str) -> None:
    with closing(bound(database)) as store:
        with pytest.raises(StoreError, match=r"not valid Unicode: '/a\\udcff': rename"):
            store.replace([replacement("/b", ["one"]), replacement("/a\udcff", ["one"])])
        assert store.status().documents == 0


def test_people_find_with_sql_what_a_search_finds(database: str) -> None:
    with closing(bound(database)) as store:
        store.replace([replacement("/a", ["one", "two"]), replacement("/b", ["three"])])
    found = ask(
        database,
        """SELECT d.name, c.text, c.line, c.tokens
           FROM embedmill.documents d JOIN embedmill.chunks c ON c.document = d.id
           WHERE d.complete ORDER BY c.vector <#> %s::vector LIMIT 1""",
        str(vector("two").tolist()),
    )
    assert found == [("/a", "two", 2, 7)]


# Lost connections


@contextmanager
def cutting(url: str, least: float, most: float) -> Iterator[list[int]]:
    """Meanwhile all connections to a database are cut at random moments; tells how many were."""
    ended = threading.Event()
    cuts: list[int] = []

    def cut() -> None:
        moments = random.Random(3)
        with psycopg.connect(url, autocommit=True) as connection:
            while not ended.wait(moments.uniform(least, most)):
                found = connection.execute(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()"""
                ).fetchall()
                cuts.extend(1 for (done,) in found if done)

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield cuts
    finally:
        ended.set()
        thread.join()


def write_much(store: PostgresStore, steps: int) -> dict[str, list[str]]:
    """Writes of every kind; returns what the store is to hold then. Each step fails once at "/failing"."""
    expected: dict[str, list[str]] = {}
    for step in range(steps):
        staged, *others = (f"/d/{(step * 7 + number) % 20}" for number in range(4))
        store.stage(staged, [record(staged, index, f"{step} {index}") for index in range(3)], "f32")
        store.mark_seen([f"/seen/{step}"])
        store.replace(
            [
                replacement(staged, [f"{step} {index}" for index in range(3, 6)], first=3),
                *(replacement(name, [f"{step} {index}" for index in range(6)]) for name in others),
            ]
        )
        store.fail("/failing", [failure("/failing", -1)])
        store.update_stats([state(others[0], "".join(f"{step} {index}" for index in range(6)), mtime_ns=step)])
        assert store.states([staged, "/none"]).keys() == {staged}
        assert store.vectors([record("", 0, f"{step} 2").hash], "f32")
        for name in (staged, *others):
            expected[name] = [f"{step} {index}" for index in range(6)]
    return expected


def check_complete(store: PostgresStore, expected: dict[str, list[str]], steps: int) -> None:
    """Nothing was lost, nothing doubled."""
    assert contents(store) == expected
    assert [each.attempts for each in store.failures()] == [steps]
    assert list(store.verify()) == []
    store.replace([replacement("/gone/a", ["x"])])


def test_a_connection_that_is_cut_again_and_again_loses_and_doubles_nothing(database: str) -> None:
    """Findings: a failing batch fetched again for ever; a restart that queues all active batches again."""
    steps = 60
    with closing(bound(database)) as store:
        store.replace([replacement(f"/seen/{step}", ["x"]) for step in range(steps)])
        store.close()
        store = bound(database)
        with cutting(database, 0.1, 0.4) as cuts:
            expected = write_much(store, steps)
            removed = store.remove_unseen(["/"])
        assert len(cuts) >= 4
        assert removed == 0
        seen = {f"/seen/{step}": ["x"] for step in range(steps)}
        check_complete(store, expected | seen, steps)
        store.close()
    with closing(bound(database)) as store:
        assert store.remove_unseen(["/seen/"]) == steps


def test_a_commit_whose_answer_gets_lost_is_not_made_twice(database: str) -> None:
    proxy = Proxy(database)
    try:
        with closing(bound(proxy.url)) as store:
            proxy.lose_answers = 1
            store.stage("/huge", [record("/huge", 0, "a")], "f32")
            proxy.lose_answers = 1
            store.stage("/huge", [record("/huge", 1, "b")], "f32")
            proxy.lose_answers = 1
            store.replace([replacement("/huge", ["c"], first=2)])
            proxy.lose_answers = 1
            store.fail("/bad", [failure("/bad", -1)])
            assert contents(store) == {"/huge": ["a", "b", "c"]}
            assert [each.attempts for each in store.failures()] == [1]
            store.replace([replacement("/gone", ["x"])])
            store.close()
        with closing(bound(proxy.url)) as store:
            store.mark_seen(["/huge", "/bad"])
            proxy.lose_answers = 1
            assert store.remove_unseen(["/"]) == 1
            assert proxy.lost == 5
            assert list(store.verify()) == []
    finally:
        proxy.close()


def uncertain(proxy: Proxy, write: Callable[[], object]) -> None:
    """A write that is done, though its answer stays lost for longer than is borne."""
    proxy.lose_answers, proxy.away_when_lost = 1, True
    with pytest.raises(StoreError, match="tried for"):
        write()
    assert proxy.away
    proxy.away = proxy.away_when_lost = False


def test_what_is_written_after_an_answer_that_stayed_lost_is_written(database: str) -> None:
    """What comes next is not taken for the write whose answer got lost, and begins where that has ended."""
    with Proxy(database) as proxy, closing(PostgresStore(proxy.url, db_timeout=0.2)) as store:
        uncertain(proxy, lambda: store.bind(fingerprint(), "model"))
        store.stage("/huge", [record("/huge", 0, "a")], "f32")
        uncertain(proxy, lambda: store.stage("/other", [record("/other", 0, "one")], "f32"))
        store.stage("/other", [record("/other", 1, "two")], "f32")
        uncertain(proxy, lambda: store.replace([replacement("/huge", ["b"], first=1)]))
        store.replace([replacement("/a", ["x"])])
        store.replace([replacement("/other", ["three"], first=2)])
        uncertain(proxy, lambda: store.fail("/bad", [failure("/bad", -1)]))
        store.fail("/bad", [failure("/bad", -1)])
        uncertain(proxy, lambda: store.update_stats([state("/a", "x", mtime_ns=2)]))
        store.update_stats([state("/a", "x", mtime_ns=3)])
        assert contents(store) == {"/huge": ["a", "b"], "/a": ["x"], "/other": ["one", "two", "three"]}
        assert [each.attempts for each in store.failures()] == [2]
        assert store.states(["/a"])["/a"].mtime_ns == 3
        proxy.away = True
        proxy.cut()
        with pytest.raises(StoreError, match="tried for"):  # one that is not done
            store.replace([replacement("/b", ["y"])])
        proxy.away = False
        uncertain(proxy, lambda: store.remove_unseen(["/"]))
        store.replace([replacement("/c", ["z"])])
        assert contents(store).keys() == {"/huge", "/a", "/other", "/c"}
        assert list(store.verify()) == []


def test_a_run_that_lost_the_store_to_another_writes_no_more(database: str) -> None:
    with Proxy(database) as proxy, closing(bound(proxy.url, db_timeout=10)) as slow:
        proxy.away = True
        proxy.cut()  # no way to the server from now on; the server sees that and frees the lock
        with closing(bound(database)) as other:
            other.replace([replacement("/a", ["of the other"])])
        proxy.away = False
        with pytest.raises(StoreBusy, match=r"another run has taken the store.*run again"):
            slow.replace([replacement("/a", ["of the slow one"])])
    with closing(open_store(database, write=False)) as reader:
        assert contents(reader) == {"/a": ["of the other"]}


# Stopped


def end_of(work: Callable[[], object], begun: Callable[[], bool], stop: Callable[[], object]) -> BaseException | None:
    """What a call raises that is stopped when it has begun."""
    raised: list[BaseException] = []

    def call() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    until(begun)
    stop()
    thread.join()
    assert not thread.is_alive()
    return raised[0] if raised else None


def waits(url: str) -> bool:
    """Whether a session of the database waits for a lock."""
    return bool(
        ask(url, "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    )


@pytest.mark.parametrize("use", ["replace", "states", "status"])
def test_a_store_that_is_stopped_waits_for_no_answer(database: str, use: str) -> None:
    """A server that stands still: connections stay, and nothing is said."""
    uses: dict[str, Callable[[PostgresStore], object]] = {
        "replace": lambda store: store.replace([replacement("/a", ["one"])]),
        "states": lambda store: store.states(["/a"]),
        "status": lambda store: store.status(),
    }
    with Proxy(database) as proxy, closing(bound(proxy.url, db_timeout=300)) as store:
        proxy.silent.set()
        error = end_of(lambda: uses[use](store), lambda: bool(store._retry._uses), lambda: store.finish_within(0.2))
        assert isinstance(error, StoreError) and "(tried until it was stopped)" in str(error)
    with closing(bound(database)) as store:
        store.replace([replacement("/b", ["one"])])


def test_a_store_that_is_stopped_waits_for_no_connection(database: str) -> None:
    """Neither for one that is refused, nor for one that is never answered."""
    for silent in (False, True):
        with Proxy(database) as proxy, closing(bound(proxy.url, db_timeout=300)) as store:
            proxy.away = not silent
            if silent:
                proxy.silent.set()
            proxy.cut()
            threading.Timer(0.3, store.finish_within, [0.2]).start()
            with pytest.raises(StoreError, match=r"\(tried until it was stopped\)"):
                store.replace([replacement("/a", ["one"])])


def test_nothing_long_is_done_in_a_store_that_is_stopped(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No index is built, nothing removed; what is under way is cancelled, and what the next run is to do is left."""
    monkeypatch.setattr(pgvector, "INDEX_WORTH_IT", 100)
    with closing(bound(database)) as store:
        store.replace([replacement("/a", [f"{number}" for number in range(101)])])
    for use in (lambda: store.prepare_search(), lambda: store.remove_unseen(["/"])):
        with closing(bound(database)) as store:
            store.finish_within(60)
            with pytest.raises(Stopped, match="run again"):
                use()
            store.replace([replacement("/b", ["one"])])
        with closing(bound(database)) as store:
            with psycopg.connect(database) as other:
                other.execute("LOCK TABLE embedmill.chunks IN ROW EXCLUSIVE MODE")
                other.execute("SELECT FROM embedmill.documents FOR UPDATE")
                assert isinstance(end_of(use, lambda: waits(database), lambda: store.finish_within(60)), Stopped)
            store.replace([replacement("/c", ["one"])])
    assert ask(database, "SELECT FROM pg_indexes WHERE indexname = 'chunks_by_vector'") == []
    with closing(bound(database)) as store:
        assert store.status().documents == 3
        store.prepare_search()
        store.mark_seen(["/a", "/b"])
        assert store.remove_unseen(["/"]) == 1
    assert ask(database, "SELECT 1 FROM pg_indexes WHERE indexname = 'chunks_by_vector'")


def test_patience_ends(database: str) -> None:
    proxy = Proxy(database)
    with closing(bound(proxy.url, db_timeout=0.5)) as store:
        proxy.close()
        for use in (lambda: store.replace([replacement("/a", ["one"])]), store.status):
            with pytest.raises(StoreError, match=r"postgresql://.*tried for 0\.5 s"):
                use()


@pytest.fixture
def own_server(server: Server) -> OwnServer:
    if not isinstance(server, OwnServer):
        pytest.skip("the server is not ours to restart")
    return server


def test_a_restart_of_the_server_loses_nothing(own_server: OwnServer, database: str) -> None:
    steps = 30
    with closing(bound(database)) as store:
        done: list[dict[str, list[str]]] = []
        writer = threading.Thread(target=lambda: done.append(write_much(store, steps)))
        writer.start()
        time.sleep(0.05)
        own_server.stop()
        own_server.start()
        writer.join()
        check_complete(store, done[0], steps)


def forgotten(url: str) -> bool:
    """Whether a server that has crashed is there again, without what is not logged."""
    try:
        return ask(url, "SELECT count(*) FROM embedmill.seen") == [(0,)]
    except psycopg.OperationalError:
        return False


def test_a_server_that_crashes_does_not_take_for_vanished_what_it_forgot(
    own_server: OwnServer, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(bound(database)) as store:
        store.replace([replacement(f"/d/{name}", [name]) for name in "abc"])
    with closing(bound(database)) as store:
        store.mark_seen(["/d/a", "/d/b"])
        with psycopg.connect(database) as victim, psycopg.connect(database, autocommit=True) as witness:
            os.kill(victim.info.backend_pid, signal.SIGKILL)
            with pytest.raises(psycopg.OperationalError):  # the server takes a moment to see it, and then ends all
                while True:
                    witness.execute("SELECT pg_sleep(0.01)")
        store.mark_seen(["/d/b"])
        assert store.remove_unseen(["/d/"]) == 0
        assert "has crashed during this run" in caplog.text
        assert store.status().documents == 3
        assert list(store.verify()) == []
    with closing(bound(database)) as store:
        store.mark_seen(["/d/a", "/d/b"])
        assert store.remove_unseen(["/d/"]) == 1


# Several at once


def test_a_second_run_is_told_who_holds_the_store_and_death_frees_it(database: str) -> None:
    holder = replacing({"url": database, "schema": "embedmill"})
    with pytest.raises(StoreBusy, match=rf"process {holder.pid} on .* \(schema embedmill\): wait until"):
        PostgresStore(database)
    PostgresStore(database, write=False).close()
    PostgresStore(database, "another").close()
    kill(holder)
    PostgresStore(database).close()


def test_reads_do_not_wait_for_a_write_in_progress(database: str) -> None:
    with closing(bound(database)) as store, closing(PostgresStore(database, write=False)) as reader:
        store.replace([replacement("/a", ["one"])])

        def work(db: Any) -> int:
            db.execute("DELETE FROM documents")
            assert contents(store) == contents(reader) == {"/a": ["one"]}
            return 0

        store._write(work)
        assert contents(reader) == {}


# Schemas


@pytest.mark.parametrize("name", ["Odd Name", 'q"uo"te', "x; DROP SCHEMA public CASCADE; --", "ü%s{}", "select"])
def test_a_schema_may_have_any_name(database: str, name: str) -> None:
    with closing(bound(database, schema=name)) as store:
        store.replace([replacement("/a", ["one"])])
    with closing(open_store(database, schema=name, write=False)) as reader:
        assert reader.search(vector("one"), 1)[0].text == "one"
    schemas = ask(database, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information'")
    assert {row[0] for row in schemas} == {"public", name}
    assert ask(database, "SELECT 1 FROM pg_extension WHERE extname = 'vector'")


@pytest.mark.parametrize("name", ["", "x" * 64, "pg_own", "a\0b"])
def test_a_name_that_no_schema_can_have_is_refused(database: str, name: str) -> None:
    with pytest.raises(UsageError, match="schema"):
        PostgresStore(database, name)


def test_pgvector_may_lie_in_any_schema(database: str) -> None:
    ask(database, 'CREATE SCHEMA "Own Extensions"')
    ask(database, 'ALTER EXTENSION vector SET SCHEMA "Own Extensions"')
    with closing(bound(database)) as store:
        store.replace([replacement("/a", ["one"])])
        assert store.search(vector("one"), 1)[0].text == "one"
        assert list(store.verify()) == []


def test_an_older_schema_is_brought_up_to_date_by_a_run_only(database: str) -> None:
    with closing(bound(database)) as store:
        store.replace([replacement("/a", ["one"])])
    ask(database, "DELETE FROM embedmill.migrations WHERE number >= 2")
    ask(database, BEFORE_IDENTITIES.format("embedmill.tables"))
    ask(database, "DROP TABLE embedmill.chunks, embedmill.documents, embedmill.meta, embedmill.writer CASCADE")
    ask(database, "DROP TABLE embedmill.seen, embedmill.failures, embedmill.roots, embedmill.given, embedmill.rootless")
    with pytest.raises(StoreError, match=r"older embedmill.*embedmill index"):
        PostgresStore(database, write=False)
    PostgresStore(database, create=False).close()
    PostgresStore(database, write=False).close()


def test_vectors_of_an_older_store_have_no_checksum_until_they_are_stored_anew(database: str) -> None:
    with closing(bound(database)) as store:
        store.replace([replacement("/a", ["one"]), replacement("/b", ["two"])])
    ask(database, "ALTER TABLE embedmill.chunks DROP COLUMN checksum")
    ask(database, "DELETE FROM embedmill.migrations WHERE number = 7")
    with pytest.raises(StoreError, match=r"older embedmill.*embedmill index"):
        PostgresStore(database, write=False)
    with closing(PostgresStore(database)) as store:
        store.replace([replacement("/b", ["two"])])
        assert list(store.verify()) == []
        ask(database, "UPDATE embedmill.chunks SET vector = vector + array_fill(0.0000002::real, '{8}')::vector")
        assert [(found.kind, found.name) for found in store.verify()] == [(DamageKind.VECTOR_ALTERED, "/b")]


def test_a_database_that_cannot_hold_every_text_is_refused(server: Server) -> None:
    name = "embedmill_latin"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'").format(sql.Identifier(name))
        )
    url = server.url(name)
    try:
        with pytest.raises(StoreError, match=r"encoding is LATIN1.*ENCODING 'UTF8'"):
            PostgresStore(url)
        assert ask(url, "SELECT 1 FROM pg_namespace WHERE nspname = 'embedmill'") == []
    finally:
        server.drop(url)


# Users and passwords


@pytest.fixture
def guest(server: Server, database: str) -> Iterator[str]:
    """A user who may connect, and nothing else."""
    name = f"guest_{os.getpid()}"
    ask(server.dsn, f"CREATE ROLE {name} LOGIN")
    yield name
    ask(database, f"DROP OWNED BY {name}")
    ask(server.dsn, f"DROP ROLE {name}")


def test_a_user_without_rights_is_told_what_to_do(server: Server, database: str, guest: str) -> None:
    name = str(psycopg.conninfo.conninfo_to_dict(database)["dbname"])
    url = server.url(name, user=guest)
    with pytest.raises(StoreNotFound, match="embedmill index"):
        PostgresStore(url, write=False)
    with pytest.raises(StoreError, match=r"administrator run CREATE SCHEMA .* AUTHORIZATION"):
        PostgresStore(url)
    with closing(bound(database)) as store:
        store.replace([replacement("/a", ["one"])])
    with pytest.raises(StoreError, match=r"permission denied.*ask the owner"):
        PostgresStore(url, write=False)
    ask(database, f"GRANT USAGE ON SCHEMA embedmill TO {guest}")
    ask(database, f"GRANT SELECT ON ALL TABLES IN SCHEMA embedmill TO {guest}")
    with closing(PostgresStore(url, write=False)) as reader:
        assert contents(reader) == {"/a": ["one"]}
        assert list(reader.verify()) == []


def test_a_password_is_never_told(database: str) -> None:
    proxy = Proxy(database)
    if psycopg.conninfo.conninfo_to_dict(proxy.url).get("password"):
        pytest.skip("the server wants the right password")
    try:
        url = proxy.url.replace("@", ":hush%20hush@", 1)
        with closing(bound(url, db_timeout=0.2)) as store:
            assert "hush" not in store.url
            with pytest.raises(StoreBusy) as busy:
                PostgresStore(url)
            proxy.close()
            with pytest.raises(StoreError) as lost:
                store.status()
        for told in (busy, lost):
            assert "hush" not in str(told.value)
    finally:
        proxy.close()


def test_connections_that_are_cut_while_a_store_is_opened(database: str) -> None:
    """They are made anew, as they would be later; each opening is a run of its own."""
    PostgresStore(database).close()  # the schema is there
    opened = threading.Event()

    def cut() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            while not opened.wait(0.15):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = 'embedmill'"
                )

    cutting = threading.Thread(target=cut)
    cutting.start()
    try:
        for _ in range(10):
            with closing(PostgresStore(database)) as store:
                assert store.status().documents == 0
    finally:
        opened.set()
        cutting.join()
