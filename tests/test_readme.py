"""What the README shows is true: its Python runs, its settings are read, its commands exist."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embedmill.config import Settings, settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_python_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    code = code.replace("/tmp/example", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4


def test_the_python_about_processes_runs() -> None:
    text = (ROOT / "docs" / "processes.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_python_about_tables_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    code = code.replace("/tmp/example", str(tmp_path))
    code = code.replace("create=True", "create=True, cache=False")  # in the user's cache they lie from the last time
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "2 0\n")


def test_the_lines_about_a_table_fill_it(tmp_path: Path) -> None:
    """All but the first, which makes the environment that the tests run in."""
    (lines,) = re.findall(r"<!-- table -->\n```\n.*?\n(.*?)```", README, re.DOTALL)
    commands = {"embedmill": f"{sys.executable} -m embedmill", "python": sys.executable}
    lines = re.sub(r"\.venv/bin/(\w+)", lambda found: commands[found[1]], lines)
    end = f"{sys.executable} examples/postgres.py stop"
    environment = os.environ | {"TMPDIR": str(tmp_path)}  # where the server's files lie
    tmp_path.chmod(0o755)
    try:
        done = subprocess.run(
            ["bash", "-euc", lines], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
        )
        assert (done.returncode, done.stderr) == (0, "")
    finally:
        stopped = subprocess.run(end.split(), cwd=ROOT, env=environment, timeout=60)
    assert stopped.returncode == 0
    assert re.match(r"\d\d\d rows filled in ", done.stdout)


def test_the_settings_are_read(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    (tmp_path / "embedmill.toml").write_text(example)
    found = settings(environment={}, folder=tmp_path)
    assert found == Settings(exclude=("*.min.js", "vendor/"))


@pytest.mark.parametrize("command", re.findall(r"^    embedmill ([\w-]+)", README, re.MULTILINE))
def test_the_commands_exist(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "embedmill", command, "--help"], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Examples:" in done.stdout or command in ("bench", "cache")


def test_ci_runs_the_line_for_the_tests() -> None:
    """`.ci/run` takes the line from here."""
    (line,) = re.findall(r"<!-- tests -->\n```\n(.*)\n```", README)
    assert line.startswith("python3 -m venv .venv && ")
    assert "pytest" in line
