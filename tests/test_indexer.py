"""The pipeline over real files, a real store and a small real model."""

from __future__ import annotations

import base64
import copy
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedmill
from embedmill.core.documents import Entry
from embedmill.core.errors import SpaceMismatch, StoreBusy, UsageError
from embedmill.core.interfaces.cache import VectorCache
from embedmill.core.interfaces.store import Store
from embedmill.core.reports import Progress, Report
from embedmill.core.vectors import Batch, Embedded
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.index.dry_run import plan
from embedmill.pipelines.index.indexer import Indexer
from embedmill.sources.files.source import FileSource
from embedmill.storage.cache.cache import PersistentCache
from embedmill.storage.registry import open_store
from samples import copy_model, prose
from troubled import NAN, RAISES, SAME, SMALL_MODEL, ZERO, TroubledEmbedder, small_embedder

Rows = list[tuple[str, int, int, int, str, bytes]]


class Bench:
    """A folder of files, a store beside it, and runs over them."""

    def __init__(self, root: Path) -> None:
        self.files = root / "files"
        self.files.mkdir()
        self.path = root / "index.db"
        self.url = f"sqlite:{self.path}"
        self.embedder = TroubledEmbedder()

    def write(self, name: str, text: str) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # Older than two seconds: younger files are compared by their hash, for their time may not have moved.
        os.utime(path, (1_700_000_000, 1_700_000_000 + len(text)))
        return path

    def run(
        self,
        cache: VectorCache | None = None,
        again: frozenset[str] = frozenset(),
        *,
        prune: bool = False,
        **options: Any,
    ) -> Report:
        store = open_store(self.url)
        try:
            return self.indexer(store, cache).run(FileSource([self.files], **options), again=again, prune=prune)
        finally:
            store.close()

    def indexer(self, store: Store, cache: VectorCache | None = None) -> Indexer:
        return Indexer(store, self.embedder, ThreadExecutor(self.embedder), cache=cache)

    def rows(self) -> Rows:
        """All that is stored, in a stable order."""
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(
                """SELECT p.path, c.idx, c.start, c.end, c.text, v.vector
                   FROM chunks c JOIN documents d ON d.id = c.document JOIN vectors v ON v.chunk = c.id
                   JOIN paths p ON p.document = d.id
                   WHERE d.complete ORDER BY p.path, c.idx"""
            ).fetchall()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.embedder.close()


def adds_up(report: Report) -> bool:
    return report.chunks == report.embedded + report.cached + report.duplicates + report.failed


class Copying(ThreadExecutor):
    """An executor in a user's code that answers with a batch of its own, or forgets some."""

    forgets = False

    def run(self, batches: Iterable[Batch]) -> Iterator[Embedded]:
        for number, embedded in enumerate(super().run(batches)):
            if not (self.forgets and number == 1):
                yield replace(embedded, batch=copy.deepcopy(embedded.batch))


def test_an_executor_that_answers_with_copies(bench: Bench) -> None:
    for number in range(6):
        bench.write(f"{number}.txt", f"{number} {'word ' * 12 * number}")
    with closing(open_store(bench.url)) as store:
        report = Indexer(store, bench.embedder, Copying(bench.embedder)).run(FileSource([bench.files]))
    assert adds_up(report) and report.failed == 0 and report.embedded > 6


def test_an_executor_that_forgets_a_batch_is_no_success(bench: Bench) -> None:
    for number in range(6):
        bench.write(f"{number}.txt", f"{number} {'word ' * 12 * number}")
    executor = Copying(bench.embedder)
    executor.forgets = True
    with closing(open_store(bench.url)) as store, pytest.raises(UsageError, match="ended without an answer to 1"):
        Indexer(store, bench.embedder, executor).run(FileSource([bench.files]))


def test_every_chunk_is_stored_with_its_vector(bench: Bench) -> None:
    for number in range(12):
        bench.write(f"{number}.txt", prose(number, number))
    report = bench.run()
    rows = bench.rows()
    assert report.documents == 12
    assert report.chunks == report.embedded == len(rows) > 20
    assert adds_up(report)
    texts = [row[4] for row in rows]
    vectors = np.stack([np.frombuffer(row[5], "<f4") for row in rows])
    np.testing.assert_allclose(vectors, bench.embedder.embed(texts), rtol=0, atol=2e-6)
    for name, _, start, end, text, _ in rows:
        assert Path(name).read_text()[start:end] == text


def test_an_unchanged_tree_needs_no_model(bench: Bench) -> None:
    for number in range(5):
        bench.write(f"{number}.txt", prose(number, 3))
    bench.run()
    before = bench.rows()
    bench.embedder = TroubledEmbedder()
    report = bench.run()
    assert (report.unchanged, report.chunks) == (5, 0)
    assert bench.embedder.calls == 0
    assert not bench.embedder.loaded
    assert bench.rows() == before


def test_a_touched_file_is_compared_by_its_hash(bench: Bench) -> None:
    path = bench.write("a.txt", prose(1, 4))
    bench.run()
    os.utime(path, (1_600_000_000, 1_600_000_000))
    assert bench.run().unchanged == 1
    assert bench.run().unchanged == 1


def test_a_changed_document_re_embeds_only_its_changed_chunks(bench: Bench) -> None:
    """findings 8: unchanged documents are embedded again when a batch boundary moves."""
    text = prose(3, 60)
    bench.write("a.txt", text)
    first = bench.run()
    assert first.embedded > 20
    bench.write("a.txt", "A new first line.\n\n" + text)
    second = bench.run()
    assert second.chunks >= first.chunks
    assert 0 < second.embedded <= 6
    assert adds_up(second)


def test_a_vanished_document_is_removed(bench: Bench) -> None:
    bench.write("stays.txt", prose(1, 3))
    bench.write("goes.txt", prose(2, 3)).unlink()
    bench.write("goes.txt", prose(2, 3))
    bench.run()
    (bench.files / "goes.txt").unlink()
    report = bench.run()
    assert (report.documents, report.removed) == (1, 1)
    assert {Path(row[0]).name for row in bench.rows()} == {"stays.txt"}


def test_what_an_option_leaves_out_stays_until_prune(bench: Bench) -> None:
    for name in ("a.md", "b.txt", "drafts/c.md", ".d.md", "gone.md", "ignored.md"):
        bench.write(name, prose(len(name), 1))
    bench.write("large.txt", prose(1, 20))
    bench.run(hidden=True)
    (bench.files / "gone.md").unlink()
    bench.write(".gitignore", "ignored.md")
    (bench.files / ".git").mkdir()
    options = {"include": ["*.md", "large.txt"], "exclude": ["drafts/"], "max_bytes": 1000}
    report = bench.run(**options)
    assert (report.removed, report.deselected) == (2, 4)  # gone and ignored; .d.md, b.txt, c.md, large.txt
    assert bench.run(**options).deselected == 4
    assert {Path(row[0]).name for row in bench.rows()} == {"a.md", "b.txt", "c.md", ".d.md", "large.txt"}
    (bench.files / "b.txt").unlink()
    report = bench.run(**options)
    assert (report.removed, report.deselected) == (1, 3)
    report = bench.run(prune=True, **options)
    assert (report.removed, report.deselected) == (3, 0)
    assert {Path(row[0]).name for row in bench.rows()} == {"a.md"}


def test_only_documents_below_the_given_paths_are_removed(bench: Bench) -> None:
    bench.write("one/a.txt", prose(1, 2))
    bench.write("two/b.txt", prose(2, 2))
    bench.run()
    (bench.files / "one" / "a.txt").unlink()
    store = open_store(bench.url)
    assert bench.indexer(store).run(FileSource([bench.files / "two"])).removed == 0
    assert bench.indexer(store).run(FileSource([bench.files / "one"])).removed == 1
    store.close()


def test_a_renamed_document_costs_no_model_call(bench: Bench) -> None:
    path = bench.write("old.txt", prose(5, 10))
    bench.run()
    calls = bench.embedder.calls
    path.rename(bench.files / "new.txt")
    report = bench.run()
    assert (report.embedded, report.removed) == (0, 1)
    assert report.cached == report.chunks > 0
    assert bench.embedder.calls == calls
    assert {Path(row[0]).name for row in bench.rows()} == {"new.txt"}


def test_a_renamed_model_re_embeds_nothing(bench: Bench, tmp_path: Path) -> None:
    """findings 13: a renamed model re-embeds everything for 20 hours."""
    bench.write("a.txt", prose(5, 10))
    bench.run()
    renamed = copy_model(SMALL_MODEL, tmp_path / "the same model by another name")
    bench.embedder = TroubledEmbedder(small_embedder(renamed))
    assert bench.run().unchanged == 1


def test_another_model_of_the_same_dimension_is_refused(bench: Bench) -> None:
    """findings 13: two models of one dimension share an index unnoticed."""
    bench.write("a.txt", prose(5, 10))
    bench.run()
    before = bench.rows()
    bench.embedder = TroubledEmbedder(small_embedder(SMALL_MODEL.parent / "bert-cls"))
    with pytest.raises(SpaceMismatch, match="another --store"):
        bench.run()
    assert bench.rows() == before


def test_the_same_text_in_two_files_is_two_rows_and_one_model_call(bench: Bench) -> None:
    """An earlier system collapsed the same text in two files into one row."""
    for name in ("a.txt", "b.txt", "c.txt"):
        bench.write(name, prose(9, 1))
    report = bench.run()
    rows = bench.rows()
    one = len(rows) // 3
    assert (report.embedded, report.duplicates, report.chunks) == (one, 2 * one, 3 * one)
    assert len({row[0] for row in rows}) == 3
    assert len({row[5] for row in rows}) == one
    assert adds_up(report)


@pytest.mark.parametrize(
    ("mark", "cause"),
    [(RAISES, "Refused"), (NAN, "InvalidVector"), (ZERO, "InvalidVector"), (SAME, "InvalidVector")],
)
def test_a_failing_chunk_is_kept_as_a_failure_and_the_rest_goes_on(bench: Bench, mark: str, cause: str) -> None:
    """findings 9, 10 and 12: lost work, 100 % reported while chunks were dropped, NaN with exit code 0."""
    for number in range(6):
        bench.write(f"{number}.txt", prose(number, 4))
    bench.write("bad.txt", f"{prose(50, 3)}\n\n\n{mark}\n\n\n{prose(51, 3)}")
    report = bench.run()
    assert report.failed == report.failures == 1
    assert adds_up(report)
    assert len(bench.rows()) == report.chunks - 1
    store = open_store(bench.url, write=False)
    (failure,) = store.failures()
    assert (Path(failure.document).name, failure.cause.type) == ("bad.txt", cause)
    assert mark in Path(failure.document).read_text()[failure.start : failure.end]
    assert store.failed_documents() == [failure.document]
    store.close()


def test_a_failure_is_not_tried_for_ever_and_is_tried_again_on_demand(bench: Bench) -> None:
    """An earlier system fetched a failing batch again for ever, and accepted `retry_failed` and ignored it."""
    path = bench.write("bad.txt", f"{prose(1, 3)}\n\n\n{RAISES}\n\n\n{prose(2, 3)}")
    bench.run()
    tried = sum(count for text, count in bench.embedder.texts.items() if RAISES in text)
    again = bench.run()
    assert again.unchanged == 1
    assert again.failures == 1  # still told
    assert sum(count for text, count in bench.embedder.texts.items() if RAISES in text) == tried
    failing = bench.run(again=frozenset([str(path)]))
    assert (failing.failed, failing.embedded) == (1, 0)
    with closing(sqlite3.connect(bench.path)) as db:
        assert db.execute("SELECT attempts FROM failures").fetchall() == [(2,)]
    bench.embedder.cured = True
    cured = bench.run(again=frozenset([str(path)]))
    assert (cured.failed, cured.failures, cured.embedded) == (0, 0, 1)
    assert len(bench.rows()) == cured.chunks


def test_an_unreadable_document_keeps_what_was_stored(bench: Bench) -> None:
    """Old vectors go only in the transaction that brings the new ones (findings 5)."""
    path = bench.write("a.txt", prose(1, 3))
    bench.run()
    before = bench.rows()

    class Closed(FileSource):
        """As if the file's permission had gone between listing and reading; root is not refused by modes."""

        def read(self, entry):  # type: ignore[no-untyped-def]
            path.chmod(0)
            if os.geteuid() == 0:
                from embedmill.core.errors import SourceError

                raise SourceError(f"{entry.id} cannot be read: permission denied")
            return super().read(entry)

    os.utime(path, (1, 1))
    store = open_store(bench.url)
    report = bench.indexer(store).run(Closed([bench.files]))
    store.close()
    path.chmod(0o644)
    assert report.skipped["unreadable"] == report.failures == 1
    assert bench.rows() == before
    assert bench.run().failures == 0  # readable again


def test_an_emptied_file_loses_its_chunks(bench: Bench) -> None:
    bench.write("a.txt", prose(1, 3))
    bench.run()
    bench.write("a.txt", "")
    report = bench.run()
    assert (report.documents, report.chunks, bench.rows()) == (1, 0, [])
    assert bench.run().unchanged == 1


def test_an_empty_folder(bench: Bench) -> None:
    report = bench.run()
    assert (report.documents, report.chunks, report.failures) == (0, 0, 0)


def test_the_cache_is_shared_between_stores(bench: Bench, tmp_path: Path) -> None:
    bench.write("a.txt", prose(1, 20))
    with PersistentCache(tmp_path / "vectors.db") as cache:
        first = bench.run(cache)
        bench.url = f"sqlite:{tmp_path / 'other.db'}"
        second = bench.run(cache)
    assert first.embedded == second.cached == second.chunks > 5
    assert second.embedded == 0


def test_the_cache_is_not_shared_between_models(bench: Bench, tmp_path: Path) -> None:
    """An earlier system's cache key left out the model: another model got stale vectors."""
    bench.write("a.txt", prose(1, 20))
    with PersistentCache(tmp_path / "vectors.db") as cache:
        first = bench.run(cache)
        bench.url = f"sqlite:{tmp_path / 'other.db'}"
        bench.embedder = TroubledEmbedder(small_embedder(SMALL_MODEL.parent / "bert-cls"))
        second = bench.run(cache)
    assert second.embedded == first.embedded == first.chunks


def test_a_large_document_is_staged_in_parts_and_whole_in_the_end(bench: Bench) -> None:
    bench.write("large.txt", prose(4, 1500))
    report = bench.run()
    rows = bench.rows()
    assert report.chunks == len(rows) > 1200
    assert [row[1] for row in rows] == list(range(len(rows)))


def test_stopping_stores_what_is_finished_and_the_next_run_goes_on(bench: Bench) -> None:
    """findings 14: a six-day job has no checkpoint. Even without a cache nothing is embedded twice."""
    for number in range(30):
        bench.write(f"{number:02}.txt", prose(number, 60))
    store = open_store(bench.url)
    indexer = bench.indexer(store)

    def stop(progress: Progress) -> None:
        if progress.embedded > 200:
            indexer.stop()

    first = indexer.run(FileSource([bench.files]), on_progress=stop)
    store.close()
    assert first.interrupted
    assert 200 < first.embedded < 900
    second = bench.run()
    assert not second.interrupted
    assert first.embedded + second.embedded == len({row[4] for row in bench.rows()})
    assert all(count == 1 for count in bench.embedder.texts.values())
    undisturbed = Bench(bench.files.parent / "again" if (bench.files.parent / "again").mkdir() is None else Path())
    undisturbed.files = bench.files
    undisturbed.run()
    ours, theirs = bench.rows(), undisturbed.rows()
    assert [row[:5] for row in ours] == [row[:5] for row in theirs]
    assert [row[5] for row in ours] == [row[5] for row in theirs] or np.allclose(
        [np.frombuffer(row[5], "<f4") for row in ours], [np.frombuffer(row[5], "<f4") for row in theirs], atol=2e-6
    )
    undisturbed.embedder.close()


def test_the_stores_own_files_are_not_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(prose(1, 3))
    options = {"store": f"sqlite:{tmp_path / 'notes.db'}", "model": str(SMALL_MODEL), "cache": False}
    first = embedmill.index(tmp_path, **options)
    assert (first.documents, first.embedded) == (1, first.chunks)
    os.utime(tmp_path / "a.txt", (1_700_000_000, 1_700_000_000))
    second = embedmill.index(tmp_path, **options)
    assert (second.documents, second.unchanged, second.chunks) == (1, 1, 0)


def test_a_folder_that_cannot_be_listed_is_a_failure_until_it_can(bench: Bench) -> None:
    bench.write("open/a.txt", prose(1, 3))
    bench.write("closed/b.txt", prose(2, 3))
    bench.run()
    before = bench.rows()

    class Closed(FileSource):
        """As if the folder's permission had gone; root is not refused by modes."""

        def entries(self) -> Iterator[Entry]:
            return (entry for entry in super().entries() if "/closed/" not in entry.id)

        def finish_within(self, seconds: float) -> None:
            pass

        def unlisted(self) -> list[str]:
            return [f"{bench.files}/closed/"]

    store = open_store(bench.url)
    assert bench.indexer(store).run(Closed([bench.files])).failures == 1
    store.close()
    assert bench.rows() == before
    assert bench.run().failures == 0


def test_two_runs_on_one_store(bench: Bench) -> None:
    bench.write("a.txt", prose(1, 3))
    store = open_store(bench.url)
    with pytest.raises(StoreBusy, match=str(os.getpid())):
        bench.run()
    store.close()
    assert bench.run().embedded > 0


def test_a_dry_run_writes_nothing(bench: Bench, tmp_path: Path) -> None:
    for number in range(5):
        bench.write(f"{number}.txt", prose(number, 6))
    bench.write("same.txt", prose(0, 6))
    executor = ThreadExecutor(bench.embedder)
    source = FileSource([bench.files])
    told: list[Progress] = []
    planned = plan(source, None, bench.embedder, executor, url=bench.url, on_progress=told.append)
    assert told[-1].documents == 6
    assert told[-1].bytes == sum(path.stat().st_size for path in bench.files.iterdir())
    assert not bench.path.exists()
    assert planned.dry_run
    assert planned.estimated_seconds is not None
    done = bench.run()
    for name in ("documents", "chunks", "embedded", "duplicates", "tokens"):
        assert getattr(planned, name) == getattr(done, name), name
    store = open_store(bench.url, write=False)
    after = plan(source, store, bench.embedder, executor, url=bench.url)
    store.close()
    assert (after.unchanged, after.chunks, after.estimated_seconds) == (6, 0, pytest.approx(0, abs=2))


def test_one_line_of_4_mb(bench: Bench) -> None:
    """Nothing is truncated silently, and nothing is built again for ever (findings 11)."""
    line = "x" * (4 << 20)
    bench.write("line.txt", line)
    report = bench.run()
    rows = bench.rows()
    assert report.failed == report.truncated == 0
    assert "".join(row[4] for row in rows) == line
    assert report.embedded + report.duplicates == report.chunks == len(rows)


def test_a_name_that_is_not_utf_8(bench: Bench) -> None:
    path = os.fsencode(bench.files) + b"/caf\xe9.txt"
    with open(path, "w") as file:  # noqa: PTH123 - a path of bytes
        file.write(prose(1, 3))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    assert bench.run().embedded > 0
    again = bench.run()
    assert (again.unchanged, again.removed) == (1, 0)
    assert {row[0] for row in bench.rows()} == {f"{bench.files}/caf\\xe9.txt"}


def test_a_model_that_cannot_be_loaded_ends_the_run_at_once(bench: Bench, tmp_path: Path) -> None:
    """It is no fault of the texts: none of them becomes a failure."""
    from embedmill.core.errors import ModelError

    broken = copy_model(SMALL_MODEL, tmp_path / "broken")
    embedder = small_embedder(broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    bench.write("a.txt", prose(1, 3))
    bench.embedder = TroubledEmbedder(embedder)
    with pytest.raises(ModelError, match="fetch"):
        bench.run()
    assert not bench.path.exists() or bench.rows() == []


def test_progress_is_told_and_ends_complete(bench: Bench) -> None:
    for number in range(8):
        bench.write(f"{number}.txt", prose(number, 30))
    told: list[Progress] = []
    store = open_store(bench.url)
    report = bench.indexer(store).run(FileSource([bench.files]), on_progress=told.append)
    store.close()
    assert [p.embedded for p in told] == sorted(p.embedded for p in told)
    assert told[-1].embedded == report.embedded
    assert told[-1].documents == 8
    assert told[-1].bytes == sum(path.stat().st_size for path in bench.files.iterdir())


def test_encoded_data_is_counted_and_in_no_chunk(bench: Bench) -> None:
    data = base64.b64encode(np.random.default_rng(1).bytes(30_000)).decode()
    bench.write("a.md", f"# Rivers\n\nThe Danube ![map](data:image/png;base64,{data}) flows to the sea.\n")
    with closing(open_store(bench.url)) as store:
        planned = plan(FileSource([bench.files]), store, bench.embedder, ThreadExecutor(bench.embedder), url=bench.url)
    report = bench.run()
    assert planned.chunks == report.chunks == 2
    assert planned.encoded_characters == report.encoded_characters == len("data:image/png;base64,") + len(data)
    assert bench.run().encoded_characters == 0  # of an unchanged file nothing is read
