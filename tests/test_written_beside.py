"""Documents that were written stay as they are, whatever runs over folders do with the same store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedmill
from cli_runs import Shell
from embedmill import Chunk, ChunkStore
from embedmill.core.vectors import Cause
from reembedded import OTHER, Bench
from samples import prose
from troubled import SMALL_MODEL


@pytest.fixture
def bench(place: dict[str, str]) -> Bench:
    return Bench(place)


def opened(bench: Bench, **options: Any) -> ChunkStore:
    return embedmill.open_store(**bench.place, **options)


def embedded(chunks: Sequence[Chunk], model: Path = SMALL_MODEL) -> list[Chunk]:
    with embedmill.ModelLoader(str(model)) as loader, embedmill.EmbeddingGenerator(model_loader=loader) as generator:
        return generator.process_chunks(chunks)


def mine(folder: Path) -> list[Chunk]:
    """Chunks of documents that are in the folder, beside it, and nowhere."""
    sources = [f"{folder}/0.txt", f"{folder}/not there.md", "notes/a.md", "", "https://example.org/"]
    return [
        Chunk(f"my own text {number}, {len(source)}", source, chunk_index=3 * number, metadata={"number": number})
        for source in sources
        for number in range(2)
    ]


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.txt").write_text(prose(number, 2))
    return folder


def written(store: ChunkStore, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Of the store's chunks those that were written."""
    return [each for each in store.chunks() if each in chunks]


def test_runs_leave_them_alone(docs: Path, bench: Bench, tmp_path: Path) -> None:
    chunks = embedded(mine(docs))
    with opened(bench) as store:
        assert store.write([*chunks, Chunk("bad", f"{docs}/1.txt", cause=Cause("ValueError", "bad"))]).inserted == 10
    first = bench.index(docs)
    assert (first.documents, first.removed, first.failures) == (3, 0, 1)
    (docs / "0.txt").unlink()
    assert bench.index(docs, prune=True).removed == 1
    assert bench.index(docs, exclude=["*.txt"], prune=True).removed == 2
    moved = shutil.move(docs, tmp_path / "moved")
    assert bench.index(moved, tmp_path).vanished in ({}, {str(docs): 0})
    assert bench.index(tmp_path, prune=True).failures == 1
    assert embedmill.retry_failed(**bench.where, model=str(SMALL_MODEL), precision="f32", cache=False).failures == 1
    shutil.rmtree(moved)
    with opened(bench) as store:
        assert len(written(store, chunks)) == len(chunks)
        assert {each.document for each in store.failures()} == {f"{docs}/1.txt"}
        assert store.write(chunks).unchanged == len(chunks)
        hit = store.search(chunks[9].embedding, 1)[0]  # type: ignore[arg-type]
        assert (hit.document, hit.chunk, hit.metadata) == ("https://example.org/", 3, {"number": 1})


def test_another_model_takes_them_along(docs: Path, bench: Bench) -> None:
    chunks = embedded(mine(docs))
    with opened(bench) as store:
        store.write(chunks)
    bench.index(docs)
    report = bench.index(docs, model=OTHER, re_embed=True)
    assert report.swapped
    again = embedded(mine(docs), OTHER)
    with opened(bench) as store:
        assert list(store.store.verify()) == []
        texts = {(each.source_file, each.text) for each in chunks}
        found = {
            (each.source_file, each.chunk_index): each
            for each in store.chunks()
            if (each.source_file, each.text) in texts
        }
        assert len(found) == len(chunks)
        for each in again:
            assert each.embedding is not None
            held = found[each.source_file, each.chunk_index]
            np.testing.assert_allclose(held.embedding, each.embedding, atol=0.02)
            assert held.metadata == each.metadata
        with pytest.raises(embedmill.SpaceMismatch):
            store.write(chunks)
        assert store.write([Chunk("more", "notes/a.md", cause=Cause("E", "e"))]).failed == 1


def test_what_is_written_while_another_model_is_on_its_way_is_not_lost(docs: Path, bench: Bench) -> None:
    chunks = embedded(mine(docs))
    with opened(bench) as store:
        store.write(chunks)
    runs: list[Any] = []
    bench.index(docs)
    report = bench.index(
        docs, model=OTHER, re_embed=True, on_start=runs.append, on_progress=lambda _: runs[0].stop(), batch_size=2
    )
    assert report.interrupted
    changed = embedded([Chunk("my own text 0, 10", "notes/a.md", metadata={"number": "changed"})])
    with opened(bench) as store:
        assert store.write(changed).updated == 1
        assert store.remove("") == 1
    assert bench.index(docs, model=OTHER, re_embed=True).swapped
    with opened(bench) as store:
        assert next(store.chunks("notes/a.md")).metadata == {"number": "changed"}
        assert list(store.chunks("")) == []


def test_the_commands_show_them_by_their_own_names(tmp_path: Path, fixture_models: Path) -> None:
    model = fixture_models / "bert-mean"
    shell = Shell(tmp_path, EMBEDMILL_MODEL=str(model), EMBEDMILL_PRECISION="f32")
    chunks = embedded(
        [Chunk("bread and dough", "notes/a.md", metadata={"author": "Ada"}), Chunk("tomatoes", "")], model
    )
    failed = Chunk("bad", "b.md", cause=Cause("ValueError", "bad"))
    with embedmill.open_store(f"sqlite:{tmp_path}/.embedmill/index.db") as store:
        store.write([*chunks, failed])
    found = shell.json("search", "bread and dough")["hits"]
    assert (found[0]["document"], found[1]["document"]) == ("notes/a.md", "")
    assert shell.run("search", "bread and dough").stdout.startswith("notes/a.md")
    assert shell.json("status")["documents"] == 3
    assert [each["document"] for each in shell.json("status", "--failures")["failed"]] == ["b.md"]
    assert "b.md: ValueError: bad" in shell.run("status", "--failures").stdout
    verified = shell.json("verify")
    assert (verified["sound"], verified["count"], verified["recomputed"]) == (True, 0, 2)
    assert shell.json("verify", "--read-data", "--repair")["sound"]
    with closing(embedmill.open_store(f"sqlite:{tmp_path}/.embedmill/index.db")) as store:
        assert store.write([*chunks, failed]).unchanged == 2


def test_a_damaged_vector_of_theirs_is_mended(tmp_path: Path, fixture_models: Path) -> None:
    model = fixture_models / "bert-mean"
    shell = Shell(tmp_path, EMBEDMILL_MODEL=str(model), EMBEDMILL_PRECISION="f32")
    chunks = embedded(
        [Chunk(f"text number {number}", "notes/a.md", chunk_index=2 * number) for number in range(4)], model
    )
    wrong = np.roll(chunks[1].embedding, 1)  # type: ignore[arg-type]
    with embedmill.open_store(f"sqlite:{tmp_path}/.embedmill/index.db") as store:
        store.write([chunks[0], Chunk(**{**fields(chunks[1]), "embedding": wrong}), *chunks[2:]])
    damage = shell.json("verify", code=3)["damage"]
    assert damage["vector-wrong"]["count"] == 1
    assert "notes/a.md: chunk 2" in damage["vector-wrong"]["examples"][0]
    assert shell.json("verify", "--repair")["sound"]
    with embedmill.open_store(f"sqlite:{tmp_path}/.embedmill/index.db") as store:
        mended = list(store.chunks("notes/a.md"))[1]
        np.testing.assert_allclose(mended.embedding, chunks[1].embedding, atol=0.02)


def fields(chunk: Chunk) -> dict[str, Any]:
    return {name: getattr(chunk, name) for name in chunk.__dataclass_fields__}
