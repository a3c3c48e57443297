"""findings 5, 7 and 14: killed at any moment, a run leaves a store that the next run completes."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from samples import prose
from troubled import SMALL_MODEL

_KILLS = 30

_RUN = """
import sys, embedmill
files, store, model, cache = sys.argv[1:]
embedmill.index(files, store=store, model=model, precision="f32", workers=2, cache=cache == "cache")
"""

Rows = list[tuple[str, int, int, int, bytes]]


def start(files: Path, store: Path, cache: Path | None) -> subprocess.Popen[bytes]:
    environment = os.environ | {"EMBEDMILL_CACHE_DIR": str(cache or files)}
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, files, f"sqlite:{store}", SMALL_MODEL, "cache" if cache else "none"],
        env=environment,
        stderr=subprocess.PIPE,
    )


def finish(files: Path, store: Path, cache: Path | None) -> float:
    """Seconds of an undisturbed run."""
    started = time.monotonic()
    process = start(files, store, cache)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - started


def rows(store: Path) -> Rows:
    with closing(sqlite3.connect(store)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = db.execute(
            """SELECT name, c.idx, c.start, c.end, v.vector
               FROM chunks c JOIN documents d ON d.id = c.document JOIN vectors v ON v.chunk = c.id
               WHERE d.complete ORDER BY name, c.idx"""
        ).fetchall()
        # Nothing half-written is left: every chunk is visible, and has its vector.
        assert db.execute("SELECT count(*) FROM chunks").fetchone() == (len(found),)
        assert db.execute("SELECT count(*) FROM vectors").fetchone() == (len(found),)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files and one that is staged in parts."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(60):
        (folder / f"{number:03}.txt").write_text(prose(number, 1 + number * 7 % 30))
    (folder / "large.txt").write_text(prose(100, 1400))
    return folder


@pytest.mark.timeout(600)
def test_killed_at_random_moments_the_next_run_completes(files: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed.db"
    seconds = finish(files, undisturbed, None)
    expected = rows(undisturbed)
    killed = 0
    for seed in range(_KILLS):
        cache = tmp_path / f"cache-{seed}" if seed % 2 else None
        store = tmp_path / f"{seed}.db"
        process = start(files, store, cache)
        time.sleep(random.Random(seed).uniform(0.2, 1) * seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        finish(files, store, cache)
        found = rows(store)
        assert [row[:4] for row in found] == [row[:4] for row in expected], f"seed {seed}"
        vectors, wanted = (np.array([np.frombuffer(row[4], "<f4") for row in side]) for side in (found, expected))
        np.testing.assert_allclose(vectors, wanted, rtol=0, atol=2e-6, err_msg=f"seed {seed}")
    assert killed >= _KILLS // 2  # the machine may be so quick that some runs had ended


def complete(store: Path) -> int:
    """Documents that are durably in the store; 0 as long as there is none."""
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM documents WHERE complete").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.timeout(120)
def test_finished_work_is_not_repeated_after_a_kill(files: Path, tmp_path: Path) -> None:
    """Documents that were whole in the store are unchanged to the next run, even without a cache."""
    import embedmill

    store = tmp_path / "index.db"
    process = start(files, store, None)
    while process.poll() is None and complete(store) < 20:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    done = complete(store)
    report = embedmill.index(files, store=f"sqlite:{store}", model=str(SMALL_MODEL), precision="f32", cache=False)
    assert report.unchanged == done >= 20
