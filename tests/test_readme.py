"""What the README shows is true: its Python runs, its settings are read, its commands exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cli_runs import without_progress
from embedmill import read_manifest
from embedmill.api.read_settings import read_settings
from embedmill.api.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_python_runs(tmp_path: Path) -> None:
    (code,) = blocks("python")
    code = code.replace("/tmp/example", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5 and done.stdout.endswith("\n1 1\n")


def test_the_python_about_processes_runs() -> None:
    text = (ROOT / "docs" / "processes.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_python_about_tables_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "tables.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    code = code.replace("/tmp/example", str(tmp_path))
    code = code.replace("create=True", "create=True, cache=False")  # in the user's cache they lie from the last time
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "2 0\n")


@pytest.mark.parametrize("number", range(4))
def test_the_python_about_python_runs(number: int) -> None:
    text = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    done = subprocess.run([sys.executable, "-c", blocks[number]], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    for line in re.findall(r"print\(.*\)  # (.*)", blocks[number]):
        assert line in done.stdout


def test_a_list_becomes_a_tree_as_the_page_says(tmp_path: Path) -> None:
    """Which groups there are depends on the last bits of the model's arithmetic; what is promised does not."""
    text = (ROOT / "docs" / "taxonomies.md").read_text()
    (lines,) = re.findall(r"<!-- arrange -->\n```\n(.*?)```", text, re.DOTALL)
    tree, outcomes = tmp_path / "tree.yaml", []
    for line in lines.replace("tree.yaml", str(tree)).splitlines():
        command = [sys.executable, "-m", *shlex.split(line)]
        outcomes.append((subprocess.run(command, cwd=ROOT, capture_output=True).returncode, tree.read_bytes()))
    assert [code for code, _ in outcomes] == [0, 0, 0, 0]
    assert len({content for _, content in outcomes}) == 1
    (shown,) = re.findall(r"<!-- written -->\n```yaml\n(.*?)```", text, re.DOTALL)
    assert re.match(r"# 5 terms, cohesion 0\.\d\d\n[a-z ]+:\n(  - [a-z ]+\n){5}$", shown)
    assert re.search(r"^# \d+ terms, cohesion 0\.\d\d\n[a-z ]+:\n(  - .+\n)+", tree.read_text(), re.MULTILINE)
    assert set(re.findall(r"^  - (.*)", shown, re.MULTILINE)) <= set(tree.read_text().replace("  - ", "").splitlines())


def test_trees_and_batches_print_what_is_shown(tmp_path: Path) -> None:
    """But for the numbers, which are of one day; the batch is run by test_batch_page.py."""
    (shown,) = re.findall(r"<!-- trees and batches -->\n```\n(.*?)```", README, re.DOTALL)
    first, batch = re.split(r"^\$ ", shown, flags=re.MULTILINE)[1:]
    line, _, printed = first.partition("\n")
    command = [sys.executable, "-m", *shlex.split(line.replace("tree.yaml", str(tmp_path / "tree.yaml")))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    def shape(text: str) -> str:
        text = text.replace(str(tmp_path / "tree.yaml"), "tree.yaml").replace("cached", "embedded")
        return re.sub(r"\d[\d,.]*", "1", text)

    assert shape(done.stdout) == shape(printed)
    jobs = read_manifest(ROOT / "examples/manifest.yaml").jobs
    assert [each.partition("  ")[0] for each in batch.splitlines()[1:-1]] == [job.name for job in jobs]


def test_the_python_about_quality_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "quality.md").read_text()
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        code = code.replace("/tmp/example", str(tmp_path))
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        for line in re.findall(r"print\(.*\)  # (.*)", code):
            assert line in done.stdout


def test_what_a_first_run_prints_has_these_lines(tmp_path: Path) -> None:
    """The numbers are of one day; what is told is not."""
    (shown,) = re.findall(r"<!-- printed -->\n```\n(.*?)```", README, re.DOTALL)
    (tmp_path / "a.txt").write_text("Bread is baked in an oven.")
    run = [sys.executable, "-m", "embedmill"]
    options = ["--no-cache", "--store", f"sqlite:{tmp_path / 'index.db'}"]
    done = subprocess.run([*run, "index", tmp_path, *options], capture_output=True, text=True)
    found = subprocess.run([*run, "search", "bread", *options[1:]], capture_output=True, text=True)
    printed = done.stdout + found.stdout

    def shape(line: str) -> str:
        return re.sub(r"\d[\d,.]*\d|\d", "1", line)

    head, *rest = shown.splitlines()
    assert re.fullmatch(r"1 chunks? indexed in 1 m?s \(1 chunks/s, 1 tokens/s\)", shape(printed.splitlines()[0]))
    assert re.fullmatch(r"1 chunks indexed in 1 s \(1 chunks/s, 1 tokens/s\)", shape(head))
    labels = [line.split()[0] for line in printed.splitlines()[1:] if not line.startswith("skipped")]
    assert [line.split()[0] for line in rest][:5] == labels[:5]
    hits = [line for line in rest if ": 0." in line]
    assert len(hits) == 3 and re.match(r"\S+:\d+: 0\.\d{3} ", found.stdout)


def test_the_lines_about_a_table_fill_it() -> None:
    """All but the first, which makes the environment that the tests run in."""
    with tempfile.TemporaryDirectory() as name:  # a short one: the path of a socket has at most 107 bytes
        _fill_a_table(Path(name))


def _fill_a_table(folder: Path) -> None:
    (lines,) = re.findall(r"<!-- table -->\n```\n.*?\n(.*?)```", README, re.DOTALL)
    commands = {"embedmill": f"{sys.executable} -m embedmill", "python": sys.executable}
    lines = re.sub(r"\.venv/bin/(\w+)", lambda found: commands[found[1]], lines)
    end = f"{sys.executable} examples/postgres.py stop"
    environment = os.environ | {"TMPDIR": str(folder)}  # where the server's files lie
    folder.chmod(0o755)
    try:
        done = subprocess.run(["bash", "-euc", lines], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert (done.returncode, without_progress(done.stderr)) == (0, "")
    finally:
        stopped = subprocess.run(end.split(), cwd=ROOT, env=environment)
    assert stopped.returncode == 0
    assert re.match(r"[\d,]+ rows filled in ", done.stdout)


def test_the_settings_are_read(tmp_path: Path) -> None:
    (example,) = blocks("toml")
    (tmp_path / "embedmill.toml").write_text(example)
    found = read_settings(environment={}, folder=tmp_path)
    assert found == Settings(exclude=("*.min.js", "vendor/"))


@pytest.mark.parametrize("command", re.findall(r"^    embedmill ([\w-]+)", README, re.MULTILINE))
def test_the_commands_exist(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "embedmill", command, "--help"], env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Examples:" in done.stdout or command in ("bench", "cache", "golden")


def test_ci_runs_the_line_for_the_tests() -> None:
    """`.ci/run` takes the line from here."""
    (line,) = re.findall(r"<!-- tests -->\n```\n(.*)\n```", README)
    assert line.startswith("python3 -m venv .venv && ")
    assert "pytest" in line
