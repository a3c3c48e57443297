"""``embedmill ingest``: what reading, claiming and writing cost on top of embedding, on a real PostgreSQL.

The server is that of ``EMBEDMILL_TEST_DSN``, or one from PyPI that is started for the benchmark, in its own defaults:
what it says is written has reached the disk. The parts: writing alone, against what people write by hand; a whole run
against embedding alone; a database that answers late; a second run; two processes; metrics alone; the peers, where
their Python is given.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from contenders import Contender, race
from processes import Engine, embedmill, environment, run
from results import Bar, Run, median, options, ratios, table, tell
from texts import mixed_chunks, short_texts

from embedmill.core.rows import Filled
from embedmill.core.spaces import Fingerprint, Space
from embedmill.models import locate
from embedmill.runtime import machine
from embedmill.storage.driver import TableRequest
from embedmill.storage.postgres.table import PostgresTable

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # their server and their proxy
import servers
from proxy import Proxy

_WRITTEN, _ROWS, _FINISHED, _MEASURED, _PEER_ROWS = 20_000, 5_000, 20_000, 100_000, 2_000  # what the bars are about
_DIMENSION = 384
_TOGETHER = 500  # rows in a transaction, for all contenders: embedmill's default
_DELAY = 0.02  # seconds, for each round trip
_WARM_UP = 64  # texts

_PARTS = ("writing", "whole", "latency", "again", "two", "metrics", "peers")

Seconds = dict[str, list[float]]


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS, help="default: all")
    parser.add_argument("--written", type=int, default=_WRITTEN, help="vectors (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=_ROWS, help="of about 140 tokens (default: %(default)s)")
    parser.add_argument("--finished", type=int, default=_FINISHED, help="rows run over again (default: %(default)s)")
    parser.add_argument("--measured", type=int, default=_MEASURED, help="rows (default: %(default)s)")
    parser.add_argument("--peers", help="the Python that has the peers (see README.md); without it they are left out")
    parser.add_argument("--peer-rows", type=int, default=_PEER_ROWS, help="for each (default: %(default)s)")
    arguments = parser.parse_args()
    benchmark = Run("ingest", arguments)
    server = servers.start(configuration="")
    try:
        bars: list[Bar] = []
        rows: list[tuple[str, str, str]] = []
        figures: dict[str, object] = {}
        for part in arguments.only:
            if part == "peers" and not arguments.peers:
                continue
            found = _MEASURES[part](arguments, server)
            bars += found[0]
            rows += found[1]
            figures[part] = found[2]
    finally:
        server.close()
    benchmark.finish(figures, bars, table(["what", "seconds", "rows/s"], rows))


Found = tuple[list[Bar], list[tuple[str, str, str]], object]


# Writing alone


def _writing(arguments: Namespace, server: servers.Server) -> Found:
    """The same vectors into the same kind of table, in one thread each, so many rows in a transaction."""
    vectors = np.random.default_rng(1).standard_normal((arguments.written, _DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ways: dict[str, Callable[[str, Any], float]] = {
        "embedmill": _by_embedmill,
        "executemany upserts": _by_upserts,
        "text COPY": _by_text_copy,
    }
    seconds: Seconds = {name: [] for name in ways}
    for number in range(arguments.rounds):
        for name, write in ways.items():
            url = server.create()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(
                    "CREATE TABLE sentences (id integer PRIMARY KEY, text text NOT NULL, embedding vector(384))"
                )
                connection.execute(
                    "INSERT INTO sentences SELECT g, 'the text of row number ' || g FROM generate_series(1, %s) g",
                    [arguments.written],
                )
                connection.execute("VACUUM ANALYZE sentences")
                connection.execute("CHECKPOINT")
            seconds[name].append(write(url, vectors))
            _check(url, vectors)
            server.drop(url)
            tell(f"round {number + 1}: {name} {arguments.written / seconds[name][-1]:,.0f} rows/s")
    enough = arguments.written >= _WRITTEN
    bars = []
    for name, limit in (("executemany upserts", 10), ("text COPY", 2)):
        against = ratios(seconds[name], seconds["embedmill"])
        bars.append(
            _at_least(
                f"writing {_WRITTEN:,} vectors of {_DIMENSION}, against {name}",
                limit,
                against,
                measured=enough,
                digits=1,
                unit=" times",
            )
        )
    return bars, _rows("writing: ", seconds, arguments.written), {"seconds": seconds}


def _by_embedmill(url: str, vectors: Any) -> float:
    """Rows are claimed before the clock runs, as they are while the model computes."""
    space = Space("weights", "tokenizer", "mean", True, "", 256, _DIMENSION)
    with PostgresTable(url, "sentences", TableRequest()) as opened:
        opened.bind(Fingerprint(space, "f32"), "model")
        pages, after = [], None
        while page := opened.claim(after, _TOGETHER):
            pages.append([Filled(row, vectors[int(row.key[0]) - 1], None) for row in page])
            after = page[-1].key
        started = time.perf_counter()
        for filled in pages:
            opened.write(filled)
        return time.perf_counter() - started


def _as_text(vector: Any) -> str:
    return "[" + ",".join(map(str, vector.tolist())) + "]"


def _by_upserts(url: str, vectors: Any) -> float:
    query = (
        "INSERT INTO sentences (id, text, embedding) VALUES (%s, '', %s) "
        "ON CONFLICT (id) DO UPDATE SET embedding = excluded.embedding"
    )
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        for first in range(0, len(vectors), _TOGETHER):
            some = vectors[first : first + _TOGETHER]
            cursor.executemany(query, [(number, _as_text(vector)) for number, vector in enumerate(some, first + 1)])
            connection.commit()
        return time.perf_counter() - started


def _by_text_copy(url: str, vectors: Any) -> float:
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TEMP TABLE staging (id integer, embedding vector) ON COMMIT DELETE ROWS")
        connection.commit()
        started = time.perf_counter()
        for first in range(0, len(vectors), _TOGETHER):
            with cursor.copy("COPY staging FROM STDIN") as copy:
                for number, vector in enumerate(vectors[first : first + _TOGETHER], first + 1):
                    copy.write_row((number, _as_text(vector)))
            cursor.execute("UPDATE sentences t SET embedding = s.embedding FROM staging s WHERE t.id = s.id")
            connection.commit()
        return time.perf_counter() - started


def _check(url: str, vectors: Any) -> None:
    with psycopg.connect(url) as connection:
        for number in (1, len(vectors) // 2, len(vectors)):
            (found,) = connection.execute("SELECT embedding::real[] FROM sentences WHERE id = %s", [number]).fetchone()
            if not np.allclose(found, vectors[number - 1], atol=1e-6):
                raise SystemExit(f"row {number} has another vector than it was given")


# Whole runs


def _filled(url: str, texts: Sequence[str]) -> None:
    """A table of these texts, and nothing known of it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS embedmill CASCADE")
        connection.execute("DROP TABLE IF EXISTS sentences, sentences_metrics")
        connection.execute("CREATE TABLE sentences (id integer PRIMARY KEY, text text NOT NULL)")
        with connection.cursor().copy("COPY sentences FROM STDIN") as copy:
            for row in enumerate(texts, 1):
                copy.write_row(row)
        connection.execute("VACUUM ANALYZE sentences")


def _command(arguments: Namespace, url: str, *more: str) -> list[str]:
    model = str(locate(arguments.model).folder)
    return embedmill("ingest", "sentences", "--store", url, "--model", model, "--create", "--no-cache", "--json", *more)


def _ingest(arguments: Namespace, url: str, *more: str) -> tuple[float, dict[str, Any]]:
    finished = run(_command(arguments, url, *more))
    return finished.seconds, json.loads(finished.output)


def _whole(arguments: Namespace, server: servers.Server) -> Found:
    """The whole process, from its start to its end, against embedding the same texts, loaded and in memory."""
    texts = mixed_chunks(arguments.rows)
    model = str(locate(arguments.model).folder)
    url = server.create()
    seconds: Seconds = {"ingest, the whole process": [], "embedding alone": []}
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(texts))
        for number in range(arguments.rounds):
            _filled(url, texts)
            took, report = _ingest(arguments, url)
            if report["embedded"] != len(texts):
                raise SystemExit(f"the run embedded {report['embedded']} rows, not {len(texts)}")
            seconds["ingest, the whole process"].append(took)
            reports.append({key: report[key] for key in ("seconds", "stages", "writers", "tokens", "precision")})
            tell(f"round {number + 1}: ingest {len(texts) / took:.1f} rows/s, {report['stages']}")
            settings = {"threads": arguments.threads, "limit": 256, "precision": report["precision"]}
            with Engine(sys.executable, "embedmill", model=model, **settings) as engine:
                engine.embed(file, first=_WARM_UP)
                seconds["embedding alone"].append(engine.embed(file))
            tell(f"round {number + 1}: embedding alone {len(texts) / seconds['embedding alone'][-1]:.1f} rows/s")
    server.drop(url)
    against = ratios(seconds["embedding alone"], seconds["ingest, the whole process"])
    bar = _at_least(
        f"a whole ingest of {_ROWS:,} rows, throughput against embedding alone",
        0.93,
        against,
        measured=arguments.rows >= _ROWS,
        digits=3,
    )
    return [bar], _rows("", seconds, len(texts)), {"seconds": seconds, "reports": reports}


def _latency(arguments: Namespace, server: servers.Server) -> Found:
    """Each answer of the database comes 20 ms late."""
    texts = mixed_chunks(arguments.rows)
    url = server.create()
    seconds: Seconds = {"ingest, no latency": [], f"ingest, {_DELAY * 1000:.0f} ms": []}
    reports = []
    with Proxy(url, delay=_DELAY) as slow:
        for number in range(arguments.rounds):
            for name, address in zip(seconds, (url, slow.url), strict=True):
                _filled(url, texts)
                took, report = _ingest(arguments, address)
                seconds[name].append(took)
                reports.append({"name": name} | {key: report[key] for key in ("seconds", "stages", "writers")})
                tell(f"round {number + 1}: {name} {len(texts) / took:.1f} rows/s, {report['stages']}")
    server.drop(url)
    against = ratios(*seconds.values())
    bar = _at_least(
        f"{_DELAY * 1000:.0f} ms of latency for each query: throughput against none",
        0.9,
        against,
        measured=arguments.rows >= _ROWS,
        digits=3,
    )
    return [bar], _rows("", seconds, len(texts)), {"seconds": seconds, "reports": reports}


_LOADED = """
import json, sys, embedmill
report = embedmill.ingest("sentences", store=sys.argv[1], model=sys.argv[2], cache=False)
print(json.dumps({"chunks": report.chunks, "loaded": "openvino" in sys.modules}))
"""


def _again(arguments: Namespace, server: servers.Server) -> Found:
    """A run over a table that is finished."""
    texts = list(short_texts(arguments.finished))
    url = server.create()
    _filled(url, texts)
    first, _ = _ingest(arguments, url)
    tell(f"first run: {len(texts) / first:.1f} rows/s")
    seconds: Seconds = {"second run over the finished table": []}
    for _ in range(arguments.rounds):
        took, report = _ingest(arguments, url)
        if report["unchanged"] != len(texts):
            raise SystemExit(f"the second run found {report['unchanged']} rows unchanged, not {len(texts)}")
        seconds["second run over the finished table"].append(took)
    took = median(seconds["second run over the finished table"])
    probe = json.loads(run([sys.executable, "-c", _LOADED, url, str(locate(arguments.model).folder)]).output)
    server.drop(url)
    enough = arguments.finished >= _FINISHED
    what = f"second run over a finished table of {_FINISHED:,} rows"
    bars = [
        Bar(what, 2.0, took if enough else None, unit=" s"),
        Bar(f"{what}: texts given to the model", 0, probe["chunks"] if enough else None, digits=0),
        Bar(f"{what}: times that the model was loaded", 0, int(probe["loaded"]) if enough else None, digits=0),
    ]
    return bars, _rows("", seconds, len(texts)), {"seconds": seconds, "first": first}


def _two(arguments: Namespace, server: servers.Server) -> Found:
    """Two processes of one thread over one table, against one process with two."""
    texts = mixed_chunks(arguments.rows)
    url = server.create()
    seconds: Seconds = {"one process, all threads": [], "two processes, half the threads each": []}
    twice = []
    half = str(max(arguments.threads // 2, 1))
    for number in range(arguments.rounds):
        _filled(url, texts)
        seconds["one process, all threads"].append(_ingest(arguments, url, "--workers", str(arguments.threads))[0])
        _filled(url, texts)
        started = time.perf_counter()
        processes = [
            subprocess.Popen(
                _command(arguments, url, "--workers", half), stdout=subprocess.PIPE, env=environment(), text=True
            )
            for _ in range(2)
        ]
        reports = [json.loads(process.communicate()[0]) for process in processes]
        seconds["two processes, half the threads each"].append(time.perf_counter() - started)
        twice.append(sum(report["embedded"] + report["duplicates"] for report in reports) - len(texts))
        shares = ", ".join(str(report["embedded"]) for report in reports)
        tell(f"round {number + 1}: {', '.join(f'{each[-1]:.1f} s' for each in seconds.values())}; embedded {shares}")
    server.drop(url)
    against = ratios(*seconds.values())
    enough = arguments.rows >= _ROWS
    what = "two processes over one table, against one with the same threads"
    bars = [
        _at_least(f"{what}: throughput", 0.9, against, measured=enough, digits=3),
        Bar(f"{what}: rows embedded twice", 0, max(twice) if enough else None, digits=0),
    ]
    return bars, _rows("", seconds, len(texts)), {"seconds": seconds, "embedded twice": twice}


def _metrics(arguments: Namespace, server: servers.Server) -> Found:
    """The whole process of ``--metrics-only`` over short rows."""
    url = server.create()
    texts = list(short_texts(arguments.measured))
    seconds: Seconds = {"metrics only": []}
    for number in range(arguments.rounds):
        _filled(url, texts)
        model = str(locate(arguments.model).folder)
        command = embedmill("ingest", "sentences", "--store", url, "--model", model, "--metrics-only", "--json")
        finished = run(command)
        report = json.loads(finished.output)
        if report["measured"] != len(texts):
            raise SystemExit(f"{report['measured']} rows were measured, not {len(texts)}")
        seconds["metrics only"].append(finished.seconds)
        tell(f"round {number + 1}: metrics {len(texts) / finished.seconds:,.0f} rows/s")
    server.drop(url)
    speeds = [len(texts) / each for each in seconds["metrics only"]]
    bar = _at_least(
        f"--metrics-only over {_MEASURED:,} short rows, rows/s",
        20_000,
        speeds,
        measured=arguments.measured >= _MEASURED,
        digits=0,
    )
    return [bar], _rows("", seconds, len(texts)), {"seconds": seconds}


def _peers(arguments: Namespace, server: servers.Server) -> Found:
    """Whole processes, from their start to their end, over the same rows; and once more over the unchanged table."""
    texts = mixed_chunks(arguments.peer_rows)
    workers = () if arguments.threads == machine.cores() else ("--workers", str(arguments.threads))

    def ingest(url: str, folder: str) -> tuple[float, int]:
        took, report = _ingest(arguments, url, *workers)
        return took, report["embedded"]

    ours = Contender("embedmill", ingest, "SELECT id, embedding FROM sentences")
    model = str(locate(arguments.model).folder)
    settings = {"model": model, "threads": arguments.threads, "rounds": arguments.rounds}
    found = race(ours, arguments.peers, texts, server, _filled, **settings)
    bars = []
    for name in (name for name in found.first if name != ours.name):
        against = ratios(found.first[name], found.first[ours.name])
        bars.append(
            _at_least(
                f"a whole ingest of {_PEER_ROWS:,} rows, against {name}",
                1,
                against,
                measured=arguments.peer_rows >= _PEER_ROWS,
                digits=2,
                unit=" times",
            )
        )
    rows = _rows("the whole process: ", found.first, len(texts)) + _rows("a second run: ", found.again, len(texts))
    return bars, rows, {"versions": found.versions, "seconds": found.first, "seconds again": found.again}


_MEASURES: dict[str, Callable[[Namespace, servers.Server], Found]] = {
    "writing": _writing,
    "whole": _whole,
    "latency": _latency,
    "again": _again,
    "two": _two,
    "metrics": _metrics,
    "peers": _peers,
}


def _at_least(what: str, limit: float, values: list[float], *, measured: bool, digits: int, unit: str = "") -> Bar:
    """The bar for the median of some rounds; not judged where less was measured than it is about."""
    note = f"{min(values):,.{digits}f} to {max(values):,.{digits}f}"
    return Bar(what, limit, median(values) if measured else None, at_least=True, digits=digits, unit=unit, note=note)


def _rows(before: str, seconds: Seconds, rows: int) -> list[tuple[str, str, str]]:
    return [(before + name, f"{median(taken):.2f}", f"{rows / median(taken):,.0f}") for name, taken in seconds.items()]


if __name__ == "__main__":
    main()
