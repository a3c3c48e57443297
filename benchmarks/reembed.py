"""A store is embedded anew with another model by runs that are killed at seeded moments, while it is searched.

Two models of one size with random weights, over a part of Python's standard library, in SQLite and in PostgreSQL (the
server of ``EMBEDMILL_TEST_DSN``, or one from PyPI). For each seed a run is killed after a random part of the time that
an undisturbed one takes, every other one when all is embedded, about where it swaps; searches go on in this process
all the while. In the end the next run completes it. Every answer must be that of the old space or that of the new one,
and the store be that of an undisturbed run.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from processes import embedmill as command_of
from processes import environment
from results import Bar, Run, options, table, tell
from texts import SEED

import embedmill
from embedmill.api.stores import status_of_second
from embedmill.core.errors import StoreError
from embedmill.storage.registry import open_store

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # their server and their models
import servers
from troubled import SMALL_MODEL

_OLD, _NEW = SMALL_MODEL, SMALL_MODEL.with_name("bert-cls")

_QUERY = "open a file and read its lines"

_ROUNDING = 1e-4  # of scores; those of the two models differ by some 0.1

_ANSWERS = ("answers", "of the old space", "of the new space")
_KILLS = ("killed before the swap was done", "killed after it")
_COUNTS = (*_ANSWERS, *_KILLS, "killed", "unanswered", "mixed", "lost", "doubled")

Answer = tuple[tuple[str, int, float], ...]

Place = Callable[[object], dict[str, str]]
"""The arguments that name a store of its own for each number."""


def main() -> None:
    parser = options(__doc__ or "", rounds=1)
    parser.add_argument("--folder", default=f"{sysconfig.get_path('stdlib')}/json", help="default: %(default)s")
    parser.add_argument("--kills", type=int, default=20, help="for each database (default: %(default)s)")
    parser.add_argument("--only", choices=list(_PLACES), help="this database alone")
    arguments = parser.parse_args()
    benchmark = Run("reembed", arguments)
    found: dict[str, dict[str, int]] = {}
    for name, places in _PLACES.items():
        if arguments.only in (None, name):
            with places() as place:
                found[name] = _measured(arguments, place)
    bars = [
        bar
        for name, counts in found.items()
        for bar in (
            Bar(
                f"{name}: runs killed, of {arguments.kills}", arguments.kills, counts["killed"], at_least=True, digits=0
            ),
            Bar(f"{name}: searches that were not answered", 0, counts["unanswered"], digits=0),
            Bar(f"{name}: answers that are of neither space alone", 0, counts["mixed"], digits=0),
            Bar(f"{name}: chunks lost", 0, counts["lost"], digits=0),
            Bar(f"{name}: chunks doubled", 0, counts["doubled"], digits=0),
        )
    ]
    rows = [(name, *(f"{counts[name]:,}" for counts in found.values())) for name in (*_ANSWERS, *_KILLS)]
    benchmark.finish(found, bars, table(["what", *found], rows))


@contextmanager
def _in_files() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        yield lambda number: {"store": f"sqlite:{folder}/{number}.db"}


@contextmanager
def _on_a_server() -> Iterator[Place]:
    server = servers.start(configuration="")
    try:
        database = server.create()
        yield lambda number: {"store": database, "schema": f"store_{number}"}
    finally:
        server.close()


_PLACES = {"SQLite": _in_files, "PostgreSQL": _on_a_server}


def _measured(arguments: Namespace, place: Place) -> dict[str, int]:
    counts: Counter[str] = Counter()
    undisturbed = place("undisturbed")
    _finish(arguments.folder, undisturbed, _OLD)
    started = time.perf_counter()
    _finish(arguments.folder, undisturbed, _NEW)
    whole = time.perf_counter() - started
    new = _found(undisturbed)
    tell(f"{undisturbed['store'].partition(':')[0]}: {len(new):,} chunks in {whole:.1f} s")
    for seed in itertools.count():  # a run that has ended before its kill counts for nothing
        if counts["killed"] == arguments.kills:
            break
        chance = random.Random(SEED + seed)
        where = place(seed)
        _finish(arguments.folder, where, _OLD)
        old = _found(where)
        with _searching(where, old, new, counts):
            process = _started(arguments.folder, where, _NEW)
            if seed % 2:
                _wait_for_the_end(where, process)
                time.sleep(chance.uniform(0, 0.15))
            else:
                time.sleep(whole * chance.uniform(0.1, 0.9))
            process.kill()
            process.wait()
            if process.returncode == -signal.SIGKILL:
                counts["killed"] += 1
                counts["killed after it" if _same(_found(where), new) else "killed before the swap was done"] += 1
            _finish(arguments.folder, where, _NEW)
        _compare(_found(where), new, counts)
    tell(f"{dict(counts)}")
    return {name: counts[name] for name in _COUNTS}


def _wait_for_the_end(where: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    """Until the second space has all documents, or the run has ended."""
    while process.poll() is None:
        with closing(open_store(where["store"], write=False, schema=where.get("schema", "embedmill"))) as store:
            second = status_of_second(store)
            if second is not None and second.documents == store.status().documents:
                return
        time.sleep(0.01)


def _compare(held: Answer, expected: Answer, counts: Counter[str]) -> None:
    here, there = (Counter(each[:2] for each in answer) for answer in (held, expected))
    counts["lost"] += (there - here).total()
    counts["doubled"] += (here - there).total()
    counts["mixed"] += not _same(held, expected)


def _same(left: Answer, right: Answer) -> bool:
    """The same chunks, with scores that differ by no more than another order of sums makes them."""
    alike = [each[:2] for each in left] == [each[:2] for each in right]
    return alike and bool(left) and max(abs(a[2] - b[2]) for a, b in zip(left, right, strict=True)) < _ROUNDING


@contextmanager
def _searching(where: dict[str, str], old: Answer, new: Answer, counts: Counter[str]) -> Iterator[None]:
    """Searches all the while, by one searcher that stays open and one that is opened for each."""
    ended = threading.Event()

    def look() -> None:
        with embedmill.Searcher(**where) as searcher:
            while not ended.is_set():
                for answer in (lambda: _answer(searcher), lambda: _found(where)):
                    try:
                        answered = answer()
                    except embedmill.EmbedmillError as error:
                        tell(str(error))
                        counts["unanswered"] += 1
                        continue
                    counts["answers"] += 1
                    counts["of the old space"] += (is_old := _same(answered, old))
                    counts["of the new space"] += (is_new := _same(answered, new))
                    counts["mixed"] += not (is_old or is_new)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _found(where: dict[str, str]) -> Answer:
    with embedmill.Searcher(**where) as searcher:
        return _answer(searcher)


def _answer(searcher: embedmill.Searcher) -> Answer:
    hits = searcher.search(_QUERY, k=100_000, exact=True)
    return tuple(sorted((hit.document, hit.chunk, hit.score) for hit in hits))


def _started(folder: str, where: dict[str, str], model: Path) -> subprocess.Popen[bytes]:
    given = [word for name, value in where.items() for word in (f"--{name}", value)]
    how = ["--model", str(model), "--re-embed", "--no-cache", "--precision", "f32", "--json"]
    command = command_of("index", folder, *given, *how)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment())


def _finish(folder: str, where: dict[str, str], model: Path) -> None:
    """A run that nobody disturbs; one that was killed may still have the database's lock for a moment."""
    for _ in range(20):
        process = _started(folder, where, model)
        output, errors = process.communicate()
        if not process.returncode:
            json.loads(output)
            with closing(open_store(where["store"], write=False, schema=where.get("schema", "embedmill"))) as store:
                if problems := list(store.verify()):
                    raise StoreError(problems[0])
            return
        if b"is writing to the store" not in errors:
            break
        time.sleep(0.5)
    raise SystemExit(errors.decode())


if __name__ == "__main__":
    main()
