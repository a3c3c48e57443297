"""findings 5, 7 and 14: killed at any moment, a run leaves a store that the next run completes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samples import prose
from store_rows import alike, complete, rows
from troubled import SMALL_MODEL

_ROUNDS = 10
_KILLS = 3  # one run after the other, before one comes to its end
_FILES = 60  # that are small

_RUN = """
import sys, embedmill
files, store, model, cache = sys.argv[1:]
embedmill.index(files, store=store, model=model, precision="f32", workers=2, cache=cache == "cache")
"""


def start(files: Path, store: Path, cache: Path | None) -> subprocess.Popen[bytes]:
    environment = os.environ | {"EMBEDMILL_CACHE_DIR": str(cache or files)}
    return subprocess.Popen(
        [sys.executable, "-c", _RUN, files, f"sqlite:{store}", SMALL_MODEL, "cache" if cache else "none"],
        env=environment,
        stderr=subprocess.PIPE,
    )


def kill(process: subprocess.Popen[bytes], store: Path, chance: random.Random) -> bool:
    """Kill a run while it begins, or while it writes; whether it had not ended."""
    if chance.random() < 0.3:
        time.sleep(chance.uniform(0.2, 1.0))
    else:
        wanted = min(complete(store) + chance.randint(1, _FILES // 3), _FILES - 1)
        while complete(store) < wanted and process.poll() is None:
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.03))
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def finish(files: Path, store: Path, cache: Path | None) -> None:
    """A run that nobody disturbs."""
    process = start(files, store, cache)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files and one that is staged in parts."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(_FILES):
        (folder / f"{number:03}.txt").write_text(prose(number, 1 + number * 7 % 10))
    (folder / "large.txt").write_text(prose(100, 500))
    return folder


def test_killed_at_random_moments_the_next_run_completes(files: Path, tmp_path: Path) -> None:
    undisturbed = tmp_path / "undisturbed.db"
    finish(files, undisturbed, None)
    expected = rows(undisturbed)
    killed = 0
    for seed in range(_ROUNDS):
        cache = tmp_path / f"cache-{seed}" if seed % 2 else None
        store = tmp_path / f"{seed}.db"
        chance = random.Random(seed)
        killed += sum([kill(start(files, store, cache), store, chance) for _ in range(_KILLS)])
        finish(files, store, cache)
        alike(rows(store), expected, f"seed {seed}")
    assert killed >= 2 * _ROUNDS  # the machine may be so quick that some runs had ended


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
