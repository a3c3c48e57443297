"""Who fills a table: embedmill and the peers of ``table_peers.py``, each as a whole process, in turns."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
from processes import Engine, run
from results import tell
from table_peers import WAYS

if TYPE_CHECKING:
    import servers  # of the tests

_LIMIT = 256  # tokens
_CHECKED = 32  # rows whose vectors are compared with the reference, spread over the table
_COSINE = 0.999  # to sentence-transformers in torch f32; bf16 has 0.9999
_WARM_UP = 16  # rows: every contender's files are in the system's cache then

Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Contender:
    """Something that fills the table ``sentences`` of a database, and puts the vectors where it likes."""

    name: str
    fill: Callable[[str, str], tuple[float, int]]
    """A database's URL and a folder, for what must be remembered, to the seconds and the number of texts embedded."""
    vectors: str  # the query for (id, vector) of all rows
    again: bool = True  # whether a second run knows what is done


@dataclass(frozen=True)
class Race:
    """Seconds of all contenders, round by round."""

    first: Seconds
    again: Seconds  # of those who know what is done
    versions: dict[str, str]


def race(
    ours: Contender,
    python: str,
    texts: Sequence[str],
    server: servers.Server,
    make: Callable[[str, Sequence[str]], None],
    *,
    model: str,
    threads: int,
    rounds: int,
) -> Race:
    """All in turns, each on a database of its own, where `make` makes the table; `ours` is first, then last, and so on.

    `python` is that of the peers. All vectors are counted, and some compared with the reference.
    """
    with tempfile.TemporaryDirectory() as folder:
        exported = str(Path(folder, "model"))
        # Once, and before the clock runs: who cares for speed does not export a model at every start.
        versions = _ask(python, "prepare", model=model, limit=_LIMIT, folder=exported)[1]
        peers = [_peer(python, key, exported, threads) for key in WAYS]
        reference = _reference(python, model, threads, texts, Path(folder))
        first: Seconds = {one.name: [] for one in (ours, *peers)}
        again: Seconds = {one.name: [] for one in (ours, *peers) if one.again}
        for one in (ours, *peers):
            tell(f"warm-up: {one.name}")
            _turn(one, server, make, texts[:_WARM_UP], {})
        for number in range(rounds):
            for one in (*peers, ours) if number % 2 else (ours, *peers):
                taken = _turn(one, server, make, texts, reference)
                for seconds, spent in zip((first, again), taken, strict=False):
                    seconds[one.name].append(spent)
                shown = ", again ".join(f"{spent:.1f} s" for spent in taken)
                tell(f"round {number + 1}: {one.name} {len(texts) / taken[0]:.1f} rows/s, {shown}")
    return Race(first, again, versions)


def _turn(
    one: Contender,
    server: servers.Server,
    make: Callable[[str, Sequence[str]], None],
    texts: Sequence[str],
    reference: dict[int, Any],
) -> list[float]:
    """Seconds of the first run, and of the second over the unchanged table where it knows what is done."""
    taken = []
    url = server.create()
    make(url, texts)
    with tempfile.TemporaryDirectory() as folder:
        for expected in (len(texts), 0) if one.again else (len(texts),):
            spent, embedded = one.fill(url, folder)
            if embedded != expected:
                raise SystemExit(f"{one.name} embedded {embedded} texts, not {expected}")
            _check(one, url, len(texts), reference)
            taken.append(spent)
    server.drop(url)
    return taken


def _check(one: Contender, url: str, count: int, reference: dict[int, Any]) -> None:
    """That each row has one vector, and that those of the reference are right."""
    query = f"SELECT id, vector::real[] FROM ({one.vectors}) AS given (id, vector) WHERE vector IS NOT NULL ORDER BY id"
    with psycopg.connect(url) as connection:
        rows = connection.execute(query).fetchall()
    if [number for number, _ in rows] != list(range(1, count + 1)):
        raise SystemExit(f"{one.name}: {len(rows)} vectors, and not one for each of {count} rows")
    vectors = np.array([vector for _, vector in rows], np.float64)
    for number, right in reference.items():
        vector = vectors[number - 1]
        cosine = vector @ right / np.linalg.norm(vector) / np.linalg.norm(right)
        if not cosine >= _COSINE:
            raise SystemExit(f"{one.name}: the vector of row {number} has a cosine of {cosine:.4f} to the reference")


def _reference(python: str, model: str, threads: int, texts: Sequence[str], folder: Path) -> dict[int, Any]:
    """Vectors by the row's number: of rows all over the table, and of the longest, which is cut at the limit."""
    step = max(len(texts) // _CHECKED, 1)
    chosen = sorted({*range(0, len(texts), step), max(range(len(texts)), key=lambda index: len(texts[index]))})
    (folder / "texts.json").write_text(json.dumps([texts[index] for index in chosen]))
    settings = {"model": model, "threads": threads, "limit": _LIMIT, "backend": "torch"}
    with Engine(python, "sentence-transformers", **settings) as engine:
        engine.embed(folder / "texts.json", batch=1, save=folder / "vectors.npy")
    vectors = np.load(folder / "vectors.npy").astype(np.float64)
    return {index + 1: vector for index, vector in zip(chosen, vectors, strict=True)}


def _peer(python: str, key: str, model: str, threads: int) -> Contender:
    def fill(url: str, folder: str) -> tuple[float, int]:
        return _ask(python, key, url=url, model=model, threads=threads, folder=folder)

    way = WAYS[key]
    return Contender(way.name, fill, way.vectors, way.again)


def _ask(python: str, name: str, **options: object) -> tuple[float, Any]:
    """Seconds of a process of ``table_peers.py``, and its answer."""
    finished = run([python, str(Path(__file__).with_name("table_peers.py")), name, json.dumps(options)])
    return finished.seconds, json.loads(finished.output.splitlines()[-1])  # libraries print as they like
