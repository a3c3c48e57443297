"""A disk that fills up while a run writes: one clear line, exit code 1, and the next run completes."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

from cli_runs import without_progress
from troubled import SMALL_MODEL


def _limit_files() -> None:
    """No file of this process may pass 400 kB: what a full disk does, without filling one."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))


def index(files: Path, store: Path, *, limited: bool) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "embedmill", "index", str(files), "--store", f"sqlite:{store}"]
    return subprocess.run(
        [*command, "--model", str(SMALL_MODEL), "--precision", "f32", "--no-cache", "--json"],
        env=os.environ | {"EMBEDMILL_CACHE_DIR": str(files.parent / "cache")},
        preexec_fn=_limit_files if limited else None,
        capture_output=True,
        text=True,
    )


def test_a_full_disk(tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    for number in range(60):
        (files / f"{number}.txt").write_text("\n\n".join(f"paragraph {number} {part} " * 12 for part in range(40)))
    store = tmp_path / "index.db"
    failed = index(files, store, limited=True)
    assert failed.returncode == 1, failed.stderr
    assert failed.stdout == ""
    (line,) = without_progress(failed.stderr).splitlines()
    assert line.startswith("error: ")
    assert str(store) in line
    done = index(files, store, limited=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["failed"] == report["failures"] == 0
    assert report["documents"] == 60
    status = subprocess.run(
        [sys.executable, "-m", "embedmill", "status", "--store", f"sqlite:{store}", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    held = json.loads(status.stdout)
    assert held["documents"] == 60
    assert held["chunks"] == 60 * report["chunks"] / (60 - report["unchanged"])
