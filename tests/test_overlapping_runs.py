"""Runs that need the same texts at the same moment: each text is embedded by one of them, and none waits for ever."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedmill
from cli_runs import Shell
from embedmill import PersistentCache
from embedmill.core.documents import text_hash
from embedmill.core.vectors import Batch, Cause, Embedded
from embedmill.embedders.local import LocalEmbedder
from embedmill.engine.cached_lists import EmbeddedList, embed_with_cache
from embedmill.engine.dedup import MOST_AWAITED, Deduplicator
from embedmill.engine.lists import LOOK_UP_AT_ONCE, NO_IDS, Array, ListedText
from embedmill.engine.run import RunBatches
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.index.indexer import Indexer
from embedmill.sources.files.source import FileSource
from embedmill.storage.registry import open_store
from test_cache import child

MODEL = "test:16"


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return embedmill.load_embedder(MODEL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "vectors.db"


def texts(first: int, last: int) -> list[str]:
    return [f"text number {number}" for number in range(first, last)]


def embed(listed: Sequence[str], path: Path, embedder: LocalEmbedder, run: RunBatches | None = None) -> EmbeddedList:
    """As a run of its own: with its own opening of the cache."""
    with PersistentCache(path, memory_entries=0) as cache:
        made = embed_with_cache(listed, embedder, run or ThreadExecutor(embedder).run, cache)
    expected = embedder.embed(listed)
    expected[list(made.causes)] = np.nan
    np.testing.assert_array_equal(made.vectors, expected)
    return made


def claims(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM claims").fetchone()[0])


def hashes(listed: Sequence[str]) -> list[bytes]:
    return [text_hash("", text) for text in listed]


def until(what: Callable[[], bool]) -> None:
    while not what():
        time.sleep(0.005)


def wanted(path: Path) -> bool:
    """Whether a run waits for what another has claimed."""
    with closing(sqlite3.connect(path)) as db:
        return bool(db.execute("SELECT count(*) FROM claims WHERE wanted").fetchone()[0])


def test_runs_that_wait_for_each_other_both_end(path: Path, embedder: LocalEmbedder) -> None:
    """Each begins with what the other has at its end."""
    one, two = texts(0, LOOK_UP_AT_ONCE), texts(LOOK_UP_AT_ONCE, 2 * LOOK_UP_AT_ONCE)
    both_have_claimed = threading.Barrier(2)

    def run(batches: Iterable[Batch]) -> Iterator[Embedded]:
        for number, batch in enumerate(batches):
            if number == 0:
                both_have_claimed.wait()
            yield from ThreadExecutor(embedder).run([batch])

    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(embed, listed, path, embedder, run) for listed in (one + two, two + one)]
        counted = [each.result() for each in made]
    assert [(each.embedded, each.cached, each.misses) for each in counted] == [(512, 512, 512)] * 2
    assert claims(path) == 0


def test_what_others_wait_for_is_embedded_next(path: Path, embedder: LocalEmbedder) -> None:
    """A text of a rare length waits for others: not while somebody waits for it."""
    rare = ListedText(0, "rare", embedder.encode(["rare"])[0], b"r" * 32)
    with PersistentCache(path) as cache, PersistentCache(path) as other:
        items = Deduplicator(Array(1, embedder.dimension), embedder.fingerprint, cache=cache)

        def groups() -> Iterator[Sequence[ListedText]]:
            yield [rare]
            other.want([rare.hash], embedder.fingerprint)
            while True:  # for ever, unless it is paused
                yield []

        with items.claiming():
            assert list(items.unknown(groups())) == [rare]
            assert items.paused and not items.awaits()
        assert claims(path) == 0


def test_a_run_that_is_far_ahead_of_others_waits_for_them(path: Path, embedder: LocalEmbedder) -> None:
    with PersistentCache(path) as cache, PersistentCache(path) as other:
        array = Array(5000, embedder.dimension)
        listed = [ListedText(row, text, NO_IDS, text_hash("", text)) for row, text in enumerate(texts(0, 5000))]
        keys = [each.hash for each in listed]
        other.claim(keys, embedder.fingerprint)
        items = Deduplicator(array, embedder.fingerprint, cache=cache)
        groups = iter([listed[first : first + 100] for first in range(0, len(listed), 100)])
        with items.claiming():
            assert list(items.unknown(groups)) == []
            assert items.paused and items.awaits()
            assert items.unsettled() == MOST_AWAITED + 4
            vectors = embedder.embed([each.input for each in listed])
            other.put_many(dict(zip(keys, vectors, strict=True)), embedder.fingerprint)
            while items.awaits():
                assert items.undelivered() == []
            assert (items.counts["cached"], items.unsettled()) == (MOST_AWAITED + 4, 0)
            assert len(next(groups)) == 100  # with which it goes on


@pytest.mark.parametrize("trouble", ["fails", "raises"])
def test_what_a_run_does_not_deliver_who_waits_embeds(path: Path, embedder: LocalEmbedder, trouble: str) -> None:
    listed = texts(0, 30)
    has_claimed = threading.Event()

    def run(batches: Iterable[Batch]) -> Iterator[Embedded]:
        for batch in batches:
            has_claimed.set()
            until(lambda: wanted(path))
            if trouble == "raises":
                raise OSError("the machine has gone")
            none = np.full((len(batch.texts), embedder.dimension), np.nan, np.float32)
            yield Embedded(batch, none, dict.fromkeys(range(len(batch.texts)), Cause("RuntimeError", "no")))

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(embed, listed, path, embedder, run)
        has_claimed.wait()
        made = embed([*listed, "one more"], path, embedder)
        assert (made.embedded, made.cached, len(made.causes)) == (31, 0, 0)
        if trouble == "raises":
            with pytest.raises(OSError, match="gone"):
                other.result()
        else:
            assert len(other.result().causes) == 30
    assert claims(path) == 0


EMBED = """
import sys
import embedmill
from embedmill import PersistentCache
from embedmill.engine.cached_lists import embed_with_cache
from embedmill.executors.threads import ThreadExecutor
path, first, last, halts = sys.argv[1], *map(int, sys.argv[2:])
embedder = embedmill.load_embedder("test:16")
def run(batches):
    for number, batch in enumerate(batches):
        if halts and number == 3:
            print("halted", flush=True)
            sys.stdin.read()
        yield from ThreadExecutor(embedder).run([batch])
sys.stdin.readline()
with PersistentCache(path) as cache:
    made = embed_with_cache([f"text number {number}" for number in range(first, last)], embedder, run, cache)
print(made.embedded, made.cached, len(made.causes))
"""


def test_who_waits_for_a_run_that_is_killed_embeds_its_texts(path: Path, embedder: LocalEmbedder) -> None:
    process = child(EMBED, path, 0, 1000, 1)
    assert process.stdin is not None and process.stdout is not None
    with process, ThreadPoolExecutor(1) as pool:
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "halted\n"
        waiting = pool.submit(embed, texts(0, 1100), path, embedder)
        until(lambda: wanted(path))
        process.kill()
        made = waiting.result()
    assert made.embedded + made.cached == 1100
    assert made.embedded >= 1100 - 3 * 64  # the rest was in the cache when the other run was killed
    assert claims(path) == 0


def test_who_waits_for_a_run_that_is_stopped_embeds_its_texts(
    tmp_path: Path, path: Path, embedder: LocalEmbedder
) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(300):
        (tmp_path / "docs" / f"{number}.txt").write_text(f"text number {number}")

    def stop(_: object) -> None:
        until(lambda: wanted(path))
        indexer.stop()

    with PersistentCache(path) as cache, closing(open_store("memory:")) as store, ThreadPoolExecutor(1) as pool:
        indexer = Indexer(store, embedder, ThreadExecutor(embedder), cache=cache, batch_size=8)
        stopped = pool.submit(indexer.run, FileSource([tmp_path / "docs"]), on_progress=stop)
        until(lambda: path.exists() and cache.claimed(hashes(texts(0, 300)), embedder.fingerprint) != {})
        made = embed(texts(0, 300), path, embedder)
        report = stopped.result()
        assert report.interrupted
        assert (made.embedded + report.embedded, made.cached) == (300, report.embedded)
        assert cache.claimed(hashes(texts(0, 300)), embedder.fingerprint) == {}


# Real runs, as processes that are begun at the same moment


def test_lists(path: Path, embedder: LocalEmbedder) -> None:
    processes = [child(EMBED, path, first, first + 3000, 0) for first in (0, 1000, 500)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    counts = []
    for process in processes:
        out, error = process.communicate()
        assert (process.returncode, error) == (0, "")
        counts.append([int(number) for number in out.split()])
    assert [sum(count) for count in counts] == [3000] * 3
    assert sum(embedded for embedded, _, _ in counts) == 4000
    assert claims(path) == 0


def reports(shell: Shell, commands: Sequence[Sequence[object]]) -> list[dict[str, Any]]:
    """What commands tell by --json that are begun at the same moment."""
    processes = [shell.start(*command, "--json") for command in commands]
    told = []
    for process in processes:
        out, error = process.communicate()
        assert process.returncode == 0, error
        told.append(json.loads(out))
    return told


@pytest.fixture
def shell(tmp_path: Path, path: Path) -> Shell:
    return Shell(tmp_path, EMBEDMILL_CACHE_DIR=str(path.parent))


def test_index(tmp_path: Path, shell: Shell) -> None:
    for folder, first in (("one", 0), ("two", 100)):
        (tmp_path / folder).mkdir()
        for number in range(first, first + 400):
            (tmp_path / folder / f"{number}.txt").write_text(f"text number {number}")
    how = ["--model", MODEL, "--allow-test-model"]
    told = reports(shell, [["index", name, "--store", f"sqlite:{name}.db", *how] for name in ("one", "two")])
    assert [each["embedded"] + each["cached"] for each in told] == [400, 400]
    assert sum(each["embedded"] for each in told) == 500


def test_arrange(tmp_path: Path, shell: Shell) -> None:
    for name, first in (("one", 0), ("two", 300)):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts(first, first + 1000)))
    commands = [["arrange", f"{name}.txt", "-o", f"{name}.yaml", "--model", MODEL] for name in ("one", "two")]
    told = reports(shell, commands)
    assert [each["embedded"] + each["cached"] for each in told] == [1000, 1000]
    assert sum(each["embedded"] for each in told) == 1300


def test_ingest(tmp_path: Path, shell: Shell) -> None:
    for name, first in (("one", 0), ("two", 300)):
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as db:
            db.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, body TEXT)")
            db.executemany("INSERT INTO docs (body) VALUES (?)", [(text,) for text in texts(first, first + 1000)])
            db.commit()
    how = ["--text", "body", "--create", "--model", MODEL, "--allow-test-model"]
    told = reports(shell, [["ingest", "docs", "--store", f"sqlite:{name}.db", *how] for name in ("one", "two")])
    assert [each["embedded"] + each["cached"] for each in told] == [1000, 1000]
    assert sum(each["embedded"] for each in told) == 1300
