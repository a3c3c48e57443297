"""A second space that is damaged before it takes the place of the first: mended, or refused."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg import sql

import embedmill
from embedmill.storage.registry import open_store
from reembedded import OTHER, Bench
from samples import prose
from store_places import DURABLE
from troubled import SMALL_MODEL

pytestmark = pytest.mark.parametrize("place", DURABLE, indirect=True)


@pytest.fixture
def bench(place: dict[str, str], tmp_path: Path) -> Bench:
    """A store of two folders, `docs` and `other`."""
    for folder, first in (("docs", 0), ("other", 20)):
        (tmp_path / folder).mkdir()
        for number in range(first, first + 6):
            (tmp_path / folder / f"{number}.txt").write_text(prose(number, 3))
    bench = Bench(place)
    bench.index(tmp_path / "docs", tmp_path / "other")
    return bench


def execute(bench: Bench, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Execute a statement in the second space; ``?`` stands for a value."""
    url = bench.place["url"]
    if url.startswith("sqlite:"):
        with closing(sqlite3.connect(f"{url.removeprefix('sqlite:')}.next", isolation_level=None, timeout=30)) as db:
            return db.execute(statement, values).fetchall()
    with psycopg.connect(url, autocommit=True) as connection:
        schema = sql.Identifier(f"{bench.place['schema']}_next")
        connection.execute(sql.SQL("SET search_path TO {}, public").format(schema))
        cursor = connection.execute(statement.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []


def first_chunk(bench: Bench) -> int:
    """One that is stored; 0 for none."""
    ((number,),) = execute(
        bench,
        "SELECT coalesce(min(c.id), 0) FROM chunks c JOIN documents d ON d.id = c.document WHERE d.complete",
    )
    return int(number)


def zero(bench: Bench, chunk: int) -> None:
    """Spoil a vector."""
    if bench.place["url"].startswith("sqlite:"):
        execute(bench, "UPDATE vectors SET vector = zeroblob(length(vector)) WHERE chunk = ?", chunk)
    else:
        zeros = str(np.zeros(32, int).tolist())
        execute(bench, "UPDATE chunks SET vector = ?::vector WHERE id = ?", zeros, chunk)


def vector(bench: Bench, chunk: int) -> NDArray[np.float32]:
    if bench.place["url"].startswith("sqlite:"):
        ((blob,),) = execute(bench, "SELECT vector FROM vectors WHERE chunk = ?", chunk)
        return np.frombuffer(blob, "<f4").copy()
    ((numbers,),) = execute(bench, "SELECT vector::real[] FROM chunks WHERE id = ?", chunk)
    return np.array(numbers, np.float32)


def set_vector(bench: Bench, chunk: int, numbers: NDArray[np.float32]) -> None:
    if bench.place["url"].startswith("sqlite:"):
        execute(bench, "UPDATE vectors SET vector = ? WHERE chunk = ?", numbers.astype("<f4").tobytes(), chunk)
    else:
        execute(bench, "UPDATE chunks SET vector = ?::vector WHERE id = ?", str(numbers.tolist()), chunk)


def flip(bench: Bench, chunk: int) -> None:
    """Flip the lowest bit of a vector."""
    numbers = vector(bench, chunk)
    numbers.view(np.uint32)[0] ^= np.uint32(1)
    set_vector(bench, chunk, numbers)


def exchange(bench: Bench, chunk: int) -> None:
    """Exchange the vectors of two chunks."""
    ((other,),) = execute(bench, "SELECT min(id) FROM chunks WHERE id > ?", chunk)
    one, two = vector(bench, chunk), vector(bench, other)
    set_vector(bench, chunk, two)
    set_vector(bench, other, one)


def delete(bench: Bench, chunk: int) -> None:
    """Delete a chunk with its vector."""
    if bench.place["url"].startswith("sqlite:"):
        execute(bench, "DELETE FROM vectors WHERE chunk = ?", chunk)
    execute(bench, "DELETE FROM chunks WHERE id = ?", chunk)


def reembed(bench: Bench, folder: Path, damage: Any) -> embedmill.Report:
    """Embed the store anew, and damage what has been stored of it as soon as there is any."""
    damaged: list[int] = []

    def look(_: Any) -> None:
        if not damaged and (chunk := first_chunk(bench)):
            damaged.append(chunk)
            damage(bench, chunk)

    try:
        return bench.index(folder, model=OTHER, re_embed=True, batch_size=2, on_progress=look)
    finally:
        assert damaged


def expected(folder: Path) -> list[tuple[str, int, float]]:
    """What a new store of the same files finds."""
    fresh = Bench({"url": f"memory:{folder}"})
    fresh.index(folder / "docs", folder / "other", model=OTHER)
    return fresh.found()


@pytest.mark.parametrize("damage", [zero, flip, exchange])
def test_a_vector_that_is_damaged_is_embedded_anew_before_the_swap(damage: Any, bench: Bench, tmp_path: Path) -> None:
    assert reembed(bench, tmp_path / "docs", damage).swapped
    assert bench.found() == expected(tmp_path)
    with closing(open_store(**bench.place, write=False)) as store:
        assert list(store.verify()) == []


def test_a_chunk_that_is_lost_bars_the_swap_until_it_is_embedded_anew(bench: Bench, tmp_path: Path) -> None:
    before = bench.found()
    with pytest.raises(embedmill.StoreError, match=r"stays as it is: .*not sound \(1 problems.*--re-embed mends it"):
        reembed(bench, tmp_path / "docs", delete)
    assert bench.found() == before and Path(bench.status().model or "") == SMALL_MODEL
    zero(bench, first_chunk(bench))
    report = bench.index(tmp_path / "docs", model=OTHER, re_embed=True)
    assert report.swapped and report.embedded == 1
    assert bench.found() == expected(tmp_path)


def test_of_what_is_not_read_lost_chunks_are_embedded_from_the_store(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(embedmill.StoreError, match="not sound"):
        reembed(bench, tmp_path / "docs", delete)
    ((chunk,),) = execute(bench, "SELECT max(id) FROM chunks")
    delete(bench, chunk)
    report = bench.index(tmp_path / "docs", model=OTHER, re_embed=True)
    assert report.swapped and report.embedded == 2
    assert bench.found() == expected(tmp_path)
