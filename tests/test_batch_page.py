"""What docs/batches.md shows is true: its lines run, its manifest is read, its Python works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from cli_runs import without_progress
from embedmill import read_manifest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "batches.md").read_text()


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the example needs of a clone, in a folder that jobs may write to."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("out"))
    for name in ("docs", "src/embedmill/jobs", "src/embedmill/taxonomy"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "images"))
    return folder


def run(clone: Path, *words: str) -> str:
    """What a command prints, with vectors that cost nothing."""
    settings = {"EMBEDMILL_MODEL": "test:8", "EMBEDMILL_ALLOW_TEST_MODEL": "true"}
    environment = os.environ | settings | {"EMBEDMILL_CACHE_DIR": str(clone / "cache")}
    done = subprocess.run([sys.executable, *words], cwd=clone, env=environment, capture_output=True, text=True)
    assert (done.returncode, without_progress(done.stderr)) == (0, ""), done.stderr
    return done.stdout


def test_the_lines_run_the_example(clone: Path) -> None:
    (lines,) = re.findall(r"<!-- batch -->\n```\n(.*?)```", PAGE, re.DOTALL)
    first, second, third = (run(clone, "-m", *shlex.split(line)) for line in lines.splitlines())
    assert "10 jobs would be run" in first
    assert re.search(r"^10 jobs in .*: 10 succeeded$", second, re.MULTILINE)
    assert third.count("succeeded before") == 10
    page = (clone / "examples/batch_report.md").read_text()
    assert "## Compared by chunk-tokens (index)" in page and "## Compared by max-leaf, threshold (arrange)" in page


def test_the_manifest_is_read(clone: Path) -> None:
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    with closing(sqlite3.connect(clone / "app.db")) as db, db:
        db.execute("CREATE TABLE sentences (id INTEGER PRIMARY KEY, text TEXT)")
    path = clone / "examples/here.yaml"
    path.write_text(manifest.replace("postgresql://ada@localhost/app", f"sqlite:{clone}/app.db"))
    assert [job.name for job in read_manifest(path).jobs] == [
        *("docs", "words", "rows"),
        *(f"max-leaf={most},threshold={least}" for most in (20, 40) for least in (0.1, 0.2)),
    ]


def test_the_python_runs(clone: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert run(clone, "-c", code.replace("/tmp/example", str(tmp_path))) == ""
