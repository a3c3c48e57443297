"""A run that embeds a store anew is killed at many moments: searches are answered from one space, nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

import embedmill
from embedmill.storage.registry import open_store
from reembedded import OTHER, Bench
from samples import prose
from store_places import DURABLE

_KILLS = [("replace", 3), ("replace", 20), ("swap", 4), ("swap", 14)]
"""How many statements are executed, from the first time that documents are stored or the swap, before the kill."""

_RUN = """
import json, os, signal, sys
import embedmill
from embedmill.storage.second_space import ReembeddableRootedStore
from embedmill.storage.postgres.connection import Connection as OfPostgres
from embedmill.storage.sqlite.connection import Connection as OfSqlite
paths, options, phase, left = json.loads(sys.argv[1])
counting = False

def counted(execute):
    def wrapped(self, *arguments, **more):
        global left
        if counting:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *arguments, **more)
    return wrapped

for kind in (OfSqlite, OfPostgres):
    kind.execute = counted(kind.execute)

method = getattr(ReembeddableRootedStore, phase)
def begun(*arguments):
    global counting
    counting = True
    return method(*arguments)
setattr(ReembeddableRootedStore, phase, begun)
report = embedmill.index(paths, re_embed=True, batch_size=4, **options)
print(report.swapped)
"""


def killed(docs: Path, bench: Bench, phase: str, after: int) -> None:
    options = {"model": str(OTHER), "precision": "f32", "cache": False, "workers": 1} | bench.where
    program = [sys.executable, "-c", _RUN, json.dumps([[str(docs)], options, phase, after])]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, (phase, after, done.stdout, done.stderr)


class Searching(threading.Thread):
    """Searches again and again, by a searcher that stays open."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(daemon=True)
        self._bench = bench
        self._ended = threading.Event()
        self.answers: list[list[tuple[str, int, float]]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with embedmill.Searcher(**self._bench.where) as searcher:
                while not self._ended.is_set() or not self.answers:
                    hits = searcher.search("vector search", k=1000)
                    self.answers.append(sorted((hit.document, hit.chunk, hit.score) for hit in hits))
        except BaseException as error:
            self.error = error

    def end(self) -> None:
        self._ended.set()
        self.join(60)
        assert self.error is None, self.error


def alike(left: list[tuple[str, int, float]], right: list[tuple[str, int, float]]) -> bool:
    """The same chunks, and scores that differ by no more than another order of sums makes them."""
    if [each[:2] for each in left] != [each[:2] for each in right]:
        return False
    return [each[2] for each in left] == pytest.approx([each[2] for each in right], abs=1e-5)


@pytest.mark.parametrize("place", DURABLE, indirect=True)
def test_killed_at_many_moments_searches_are_answered_from_one_space(place: dict[str, str], tmp_path: Path) -> None:
    bench, docs = Bench(place), tmp_path / "docs"
    docs.mkdir()
    for number in range(25):
        (docs / f"{number}.txt").write_text(prose(200 + number, 4))

    def found() -> list[tuple[str, int, float]]:
        hits = embedmill.search("vector search", k=1000, **bench.where)
        return sorted((hit.document, hit.chunk, hit.score) for hit in hits)

    bench.index(docs)
    old = found()
    searching = Searching(bench)
    searching.start()
    for phase, after in _KILLS:
        killed(docs, bench, phase, after)
        assert alike(found(), old)
        assert bench.second() is not None
    report = bench.index(docs, model=OTHER, re_embed=True)
    searching.end()
    new = found()
    assert report.swapped and not alike(new, old)
    assert [each[:2] for each in new] == [each[:2] for each in old], "a chunk is lost, or there twice"
    assert all(alike(answer, old) or alike(answer, new) for answer in searching.answers)
    assert alike(searching.answers[0], old)
    with closing(open_store(**bench.place, write=False)) as store:
        assert list(store.verify()) == []
    assert bench.second() is None
