"""`IncrementalIndexer` as users build it: of public names alone, with a store and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import embedmill
from embedmill import ChunkStore, FileSource, IncrementalIndexer, ModelLoader, PersistentCache, ThreadExecutor
from samples import prose
from troubled import SMALL_MODEL


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.txt").write_text(prose(number, 2))
    return folder


@pytest.fixture
def store(place: dict[str, str]) -> Any:
    with embedmill.open_store(**place) as opened:
        yield opened


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBEDMILL_MODEL", str(SMALL_MODEL))
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def documents(store: ChunkStore) -> set[str]:
    return {each.source_file for each in store.chunks()}


def test_files_and_folders_come_and_go(docs: Path, store: ChunkStore) -> None:
    told: list[tuple[int, int]] = []
    with IncrementalIndexer(store) as indexer:
        report = indexer.index_file(docs / "1.txt")
        assert (report.documents, report.embedded, documents(store)) == (1, report.chunks, {f"{docs}/1.txt"})
        assert indexer.index_file("docs/1.txt").unchanged == 1
        report = indexer.index_directory(docs, lambda *counts: told.append(counts))
        assert (report.documents, report.unchanged, report.failed) == (4, 1, 0)
        assert told == sorted(set(told)) and told[-1] == (4, 4)
        assert documents(store) == {f"{docs}/{number}.txt" for number in range(4)}
        (docs / "0.txt").unlink()
        (docs / "2.txt").write_text("something else now")
        report = indexer.index_directory(docs, progress_callback=lambda *counts: told.append(counts))
        assert (report.unchanged, report.removed, report.embedded, told[-1]) == (2, 1, 1, (3, 3))
        assert indexer.remove("docs/2.txt", docs / "nothing") == 1
        assert indexer.index_directory(docs).cached == 1
        assert indexer.remove(docs) == 3
        assert (documents(store), indexer.remove(docs)) == (set(), 0)
    with pytest.raises(RuntimeError, match="this IncrementalIndexer is closed: make a new one"):
        indexer.index_directory(docs)
    with pytest.raises(RuntimeError, match="this IncrementalIndexer is closed: make a new one"):
        indexer.remove(docs)
    assert store.vector_count() == 0  # still open


def test_what_was_written_stays(docs: Path, store: ChunkStore) -> None:
    path = f"{docs}/1.txt"
    with ModelLoader() as loader, IncrementalIndexer(store, loader) as indexer:
        indexer.index_directory(docs)
        mine = embedmill.Chunk("my own", path, embedding=loader.encode("my own"))
        store.write([mine], embedder=loader)
        assert indexer.remove(docs) == 4
        assert list(store.chunks()) == [mine]
        assert store.remove(path) == 1


def test_options_select_and_a_retry_knows_them(docs: Path, place: dict[str, str]) -> None:
    (docs / ".hidden.txt").write_text("hidden")
    (docs / "bad.pdf").write_bytes(b"%PDF-1.4 nothing")
    where = {"store": place["url"]} | {name: value for name, value in place.items() if name == "schema"}
    with embedmill.open_store(**place) as store, IncrementalIndexer(store, cache=False) as indexer:
        report = indexer.index_directory(docs, include="*.txt", exclude=["3.txt"], hidden=True)
        assert (report.documents, report.embedded, report.cached) == (4, report.chunks, 0)
        assert indexer.index_directory(docs, include=["0.txt"]).deselected == 3
        assert indexer.index_directory(docs, include=["0.txt"], prune=True).removed == 3
        assert indexer.index_directory(docs, exclude="*.txt").failures == 1
    assert embedmill.retry_failed(**where).documents == 1


def test_all_parts_may_be_given(docs: Path, store: ChunkStore) -> None:
    with embedmill.load_embedder(str(SMALL_MODEL)) as embedder, PersistentCache() as cache:
        executor = ThreadExecutor(embedder)
        for given in (cache, False, None):
            with IncrementalIndexer(store, embedder, executor, cache=given, batch_size=2) as indexer:
                report = indexer.run(FileSource([docs / "0.txt"]), force=True)
            assert report.documents == 1
        ids = tuple(embedder.encode(["one", "two"]))
        (result,) = executor.run([embedmill.Batch(("one", "two"), ids)])  # it is the caller's, and open
        assert result.vectors.shape == (2, embedder.dimension)
        executor.close()


def test_a_callback_that_raises_ends_the_run(docs: Path, store: ChunkStore) -> None:
    def tell(done: int, total: int) -> None:
        raise KeyError("mine")

    with IncrementalIndexer(store) as indexer:
        with pytest.raises(KeyError, match="mine"):
            indexer.index_directory(docs, tell)
        assert indexer.index_directory(docs).documents == 4


def test_a_stop_keeps_what_is_done(docs: Path, store: ChunkStore) -> None:
    told: list[tuple[int, int]] = []
    with IncrementalIndexer(store, batch_size=1) as indexer:

        def tell(*counts: int) -> None:
            told.append(counts)  # type: ignore[arg-type]
            thread = threading.Thread(target=indexer.stop)
            thread.start()
            thread.join()

        report = indexer.index_directory(docs, tell)
        assert report.interrupted == (told[-1] != (4, 4))


def test_wrong_arguments_are_told(docs: Path, store: ChunkStore, tmp_path: Path) -> None:
    for arguments, says in (
        (("memory:x",), "open it, with embedmill.open_store"),
        ((None,), "open it"),
        ((store, None, object()), "an executor runs an embedder"),
        ((store, 3), "a int is no embedder"),
        ((store, "test:8"), "a str is no embedder"),
    ):
        with pytest.raises((embedmill.UsageError, embedmill.ModelValidationError), match=says):
            IncrementalIndexer(*arguments)  # type: ignore[arg-type]
    with IncrementalIndexer(store) as indexer:
        for call, error, says in (
            (lambda: indexer.index_file(docs), embedmill.UsageError, "is a folder: index_directory"),
            (lambda: indexer.index_directory(docs / "0.txt"), embedmill.UsageError, "is a file: index_file"),
            (lambda: indexer.index_file(""), embedmill.UsageError, "path is ''"),
            (lambda: indexer.index_file(3), embedmill.UsageError, "path is 3"),  # type: ignore[arg-type]
            (lambda: indexer.remove(""), embedmill.UsageError, "path is ''"),
            (lambda: indexer.index_file(tmp_path / "no"), embedmill.SourceError, "no"),
            (lambda: indexer.index_directory(tmp_path / "no"), embedmill.SourceError, "no"),
            (lambda: IncrementalIndexer(store, cache="x"), embedmill.UsageError, "cache is 'x'"),  # type: ignore[arg-type]
            (lambda: IncrementalIndexer(store, chunking=3), embedmill.UsageError, "chunking is 3"),  # type: ignore[arg-type]
            (lambda: indexer.run(3), embedmill.UsageError, "source is 3"),  # type: ignore[arg-type]
            (lambda: indexer.index_directory(docs, 3), embedmill.UsageError, "progress_callback is 3"),  # type: ignore[arg-type]
            (lambda: indexer.index_directory(docs, hidden="maybe"), embedmill.UsageError, "hidden"),  # type: ignore[arg-type]
            (lambda: indexer.index_directory(docs, prune="yes"), embedmill.UsageError, "prune"),  # type: ignore[arg-type]
        ):
            with pytest.raises(error, match=says):
                call()
    assert documents(store) == set()


def test_a_model_for_tests_is_refused_unless_it_is_given(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_MODEL", "test:8")
    with embedmill.open_store("memory:a model for tests") as store:
        with pytest.raises(embedmill.UsageError, match="for tests"):
            IncrementalIndexer(store)
        with embedmill.load_embedder("test:8") as embedder, IncrementalIndexer(store, embedder) as indexer:
            assert indexer.index_directory(docs).documents == 4
