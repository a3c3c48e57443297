"""Jobs side by side, by real processes: what becomes of each, what is told, and how the next run goes on."""

from __future__ import annotations

import io
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import manifests
from cli_runs import Shell
from embedmill import BatchProgress, BatchReport, JobProgress, ManifestError, UsageError, run_batch
from embedmill.cli.batch_display import BatchLines, BatchScreen
from embedmill.jobs.running.capacity import Capacity, JobNeed, RunningJob
from embedmill.runtime import machine
from manifests import TEST_MODEL, of_jobs
from waiting import until


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))


def job(name: str, **more: Any) -> dict[str, Any]:
    """A job that takes a moment, and loads no model."""
    return {"name": name, "index": "docs", "store": f"sqlite:out/{name}.db", **TEST_MODEL, **more}


def batch(folder: Path, *jobs: dict[str, Any], **options: Any) -> BatchReport:
    (folder / "manifest.json").write_text(of_jobs(*jobs))
    return run_batch(folder / "manifest.json", report=folder / "report", **options)


def states(report: BatchReport) -> dict[str, str]:
    return {each.name: str(each.state) for each in report.jobs}


HELD = {"sleep": 30, "batch-size": 1, "cache": False}
"""What holds a job between its first text and its second, so that it is still there when its signal comes."""


class Signals:
    """Sends each of these jobs its signal, once, as soon as it runs."""

    def __init__(self, **signals: signal.Signals) -> None:
        self._signals = signals

    def __call__(self, progress: BatchProgress) -> None:
        for running in progress.running:
            if number := self._signals.pop(running.name, None):
                os.kill(running.pid, number)


def test_eight_mixed_jobs_of_which_one_has_a_typo_one_crashes_and_one_hangs(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    jobs = [
        job("docs"),
        job("crash", **HELD),
        {"name": "rows", "ingest": "notes", "store": "sqlite:app.db", "create": True, **TEST_MODEL},
        job("hang", **HELD, timeout=0.5),
        {"name": "gone", "ingest": "nothing", "store": "sqlite:app.db", **TEST_MODEL},
        job("one", include=["*.md"]),
        job("two", exclude=["*.md"]),
        job("typo", modle="all-MiniLM-L6-v2"),
    ]
    with pytest.raises(ManifestError) as refused:
        batch(folder, *jobs)
    (line,) = refused.value.mistakes
    assert "line 1" in line and "unknown key 'modle' of index; did you mean 'model'?" in line
    assert not (folder / "out").exists() and not (folder / "report").exists(), "nothing was started"

    jobs[-1] = job("typo")
    report = batch(folder, *jobs, on_progress=Signals(crash=signal.SIGSEGV, hang=signal.SIGSTOP))
    assert states(report) == {
        "docs": "succeeded",
        "crash": "crashed",
        "rows": "succeeded",
        "hang": "timed out",
        "gone": "failed",
        "one": "succeeded",
        "two": "succeeded",
        "typo": "succeeded",
    }
    found = {each.name: each for each in report.jobs}
    assert found["crash"].error.startswith("killed by SIGSEGV") and "File " not in found["crash"].error
    assert found["hang"].error == "it took longer than its timeout of 0.5 s"
    assert "nothing" in found["gone"].error
    assert found["docs"].counts()["documents"] == 2
    assert found["one"].counts()["documents"] == found["two"].counts()["documents"] == 1
    assert found["rows"].counts()["embedded"] == 2
    assert json.loads((folder / "report/batch_report.json").read_text())["states"] == report.states()
    page = (folder / "report/batch_report.md").read_text()
    assert all(f"| {each.name} |" in page for each in report.jobs)

    jobs[1], jobs[3] = job("crash"), job("hang")
    again = batch(folder, *jobs, resume=True)
    assert {each.name for each in again.jobs if not each.earlier} == {"crash", "hang", "gone"}
    assert states(again) == dict.fromkeys(states(report), "succeeded") | {"gone": "failed"}


def test_a_job_that_does_something_else_now_is_run_again(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    batch(folder, job("docs"), job("same"))
    report = batch(folder, job("docs", include=["*.md"], prune=True), job("same"), resume=True)
    assert {each.name: each.earlier for each in report.jobs} == {"docs": False, "same": True}
    assert report.jobs[0].counts()["documents"] == 1


def test_a_job_whose_output_is_gone_is_run_again(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    tree = {"name": "tree", "arrange": "terms.txt", "output": "out/tree.yaml", "model": "test:8"}
    batch(folder, job("docs"), tree)
    (folder / "out/tree.yaml").unlink()
    (folder / "out/docs.db").unlink()
    report = batch(folder, job("docs"), tree, resume=True)
    assert not any(each.earlier for each in report.jobs)
    assert (folder / "out/tree.yaml").exists() and (folder / "out/docs.db").exists()


def test_two_batches_do_not_report_to_one_folder_at_once(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    refused: list[str] = []

    def second(progress: BatchProgress) -> None:
        if progress.running and not refused:
            with pytest.raises(UsageError) as error:
                batch(folder, job("other"))
            refused.append(str(error.value))

    assert batch(folder, job("docs", sleep=1), on_progress=second).states() == {"succeeded": 1}
    assert "another batch is running that reports to" in refused[0]
    assert batch(folder, job("docs")).states() == {"succeeded": 1}


def test_of_a_folder_reports_are_no_manifests(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    (folder / "manifest.json").write_text(of_jobs(job("docs")))
    first, second = (run_batch(folder, report=folder, resume=resume) for resume in (False, True))
    assert states(first) == states(second) == {"manifest.json: docs": "succeeded"}
    assert second.jobs[0].earlier


def test_a_stopped_batch_says_what_did_not_run_and_goes_on(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    runs: list[Any] = []

    def stop(progress: BatchProgress) -> None:
        if progress.completed:
            runs[0].stop()

    jobs = [job(str(number)) for number in range(6)]
    report = batch(folder, *jobs, jobs=1, on_start=runs.append, on_progress=stop)
    assert report.interrupted
    assert states(report)["0"] == "succeeded" and states(report)["5"] == "not run"
    assert batch(folder, *jobs, resume=True).states() == {"succeeded": 6}


def test_what_is_left_without_a_vector_is_no_success(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    (folder / "docs/blank.txt").write_text("")
    rows = {"name": "rows", "ingest": "notes", "store": "sqlite:app.db", "max-text": 10, "create": True, **TEST_MODEL}
    report = batch(folder, job("docs"), rows)
    assert states(report) == {"docs": "succeeded", "rows": "incomplete"}
    assert report.jobs[1].error == "1 without a vector"
    assert report.jobs[1].report is not None


def test_a_matrix_is_compared(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    (folder / "docs/long.txt").write_text("a long text of many words. " * 40)
    matrix = {
        "base": {"index": "docs", "store": "sqlite:out/docs.db", **TEST_MODEL},
        "axes": {"chunk-tokens": [16, 64], "hidden": [True, False]},
    }
    (folder / "manifest.json").write_text(json.dumps({"matrix": matrix}))
    report = run_batch(folder / "manifest.json", report=folder)
    assert report.states() == {"succeeded": 4}
    page = (folder / "batch_report.md").read_text()
    table = page.partition("## Compared by chunk-tokens, hidden (index)")[2].strip().splitlines()
    head = [cell.strip() for cell in table[0].strip("|").split("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert head[:2] == ["chunk-tokens", "hidden"]
    chunks = {(cells[0], cells[1]): int(cells[head.index("chunks")]) for cells in rows}
    assert set(chunks) == {(n, h) for n in ("16", "64") for h in ("true", "false")}
    assert chunks["16", "true"] > chunks["64", "true"]
    assert "documents" not in head, "what is the same in all tells nothing"


def test_a_matrix_whose_jobs_come_to_the_same_says_so(tmp_path: Path) -> None:
    """Values of its axes may look like axes themselves."""
    folder = manifests.fill(tmp_path)
    base = {"index": "docs", "store": "sqlite:out/docs.db", "cache": False, **TEST_MODEL}
    matrix = {"base": base, "axes": {"exclude": ["none,such=1", "nothing/"]}}
    (folder / "manifest.json").write_text(json.dumps({"matrix": matrix}))
    report = run_batch(folder / "manifest.json", report=folder)
    assert [job.axes for job in report.jobs] == [{"exclude": "none,such=1"}, {"exclude": "nothing/"}]
    page = (folder / "batch_report.md").read_text()
    assert "## Compared by exclude (index)" in page
    assert page.count("| exclude | result | seconds |\n") == 1
    assert page.rstrip().endswith("All other numbers are the same in these jobs.")


def test_cores_are_divided_among_the_jobs(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    report = batch(folder, *(job(str(number)) for number in range(2)))
    workers = [each.report["workers"] for each in report.jobs if each.report]
    assert sum(workers) <= 2 * machine.cores(), "at most twice of what there is: others read and write meanwhile"
    alone = batch(folder, job("alone"))
    assert alone.jobs[0].report and alone.jobs[0].report["workers"] == machine.cores()


def test_jobs_that_do_not_fit_into_memory_together_run_one_after_another(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    jobs = [job(str(number), **HELD | {"sleep": 1}) for number in range(3)]
    first = batch(folder, *jobs, jobs=3, on_progress=Signals(**{each["name"]: signal.SIGKILL for each in jobs}))
    assert first.states() == {"crashed": 3}
    path = folder / "report/batch_report.json"
    told = json.loads(path.read_text())
    for each in told["jobs"]:
        each["peak_mb"] = 1e9  # as if it had been measured so
    path.write_text(json.dumps(told))
    report = batch(folder, *jobs, jobs=3, resume=True)
    assert report.states() == {"succeeded": 3} and report.at_once == 1


def test_a_job_begins_beside_others_only_where_its_memory_is_left() -> None:
    small, large = JobNeed("index", "", "auto", "threads", 1), JobNeed("index", "", "auto", "threads", 2)
    capacity = Capacity(3, {small: 1.0, large: 2e9})
    running = [RunningJob(small, 1.0)]
    assert capacity.room_beside([], 0) == math.inf, "one job always runs"
    room = capacity.room_beside(running, 0)
    assert capacity.memory_of(small) < room < capacity.memory_of(large)
    assert capacity.room_beside([RunningJob(large, 1.0)], 0) < 0, "what it will grow to counts"
    assert capacity.room_beside(running, 4e9) > capacity.memory_of(large), "what idle processes hold is there again"
    capacity.note(small, 3e9)
    assert capacity.memory_of(small) > room, "what was measured counts"


def test_cores_for_the_next_job() -> None:
    cores = machine.cores()
    assert Capacity(1, {}).cores_for_next(0, 5) == cores, "one job alone has them all"
    assert Capacity(2, {}).cores_for_next(2, 5) == Capacity(9, {}).cores_for_next(0, 0) == 0
    assert Capacity(9, {}).cores_for_next(0, 1) == cores, "the last one too"
    assert Capacity(4 * cores, {}).cores_for_next(0, 4 * cores) == 1, "a core at least"


def test_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    with pytest.raises(UsageError, match=r"resume goes on from a report"):
        run_batch(folder / "manifest.json", resume=True)
    (folder / "report").write_text("no folder")
    with pytest.raises(UsageError, match=r"the report cannot be written to .*: give another --report"):
        batch(folder, job("docs"))
    (folder / "report").unlink()
    (folder / "report").mkdir()
    for wrong in ("{", "[]", '{"version": 2, "jobs": []}', '{"version": 1, "jobs": [{"name": 1}]}'):
        (folder / "report/batch_report.json").write_text(wrong)
        with pytest.raises(UsageError, match=r"is no report of a batch .*: remove it, or leave --resume out"):
            batch(folder, job("docs"), resume=True)
    (folder / "report/batch_report.json").write_text('{"version": 1, "manifest": "other.yaml", "jobs": []}')
    with pytest.raises(UsageError, match=r"is the report of another batch, other.yaml: leave --resume out"):
        batch(folder, job("docs"), resume=True)
    with pytest.raises(UsageError, match="jobs is 0"):
        batch(folder, job("docs"), jobs=0)


def test_a_full_disk_for_the_report(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    (folder / "report").mkdir()
    (folder / "report/batch_report.json").symlink_to("/dev/full")
    report = batch(folder, job("docs"))
    assert states(report) == {"docs": "succeeded"}
    assert "batch_report.json cannot be written (No space left on device): make room" in report.not_written


def test_progress_never_goes_back_and_ends_complete(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    told: list[BatchProgress] = []
    batch(folder, *(job(str(number)) for number in range(4)), on_progress=told.append)
    assert [each.completed for each in told] == sorted(each.completed for each in told)
    last = told[-1]
    assert (last.jobs, last.completed, last.unsuccessful, last.share, last.running) == (4, 4, 0, 1.0, ())
    assert last.done == last.total == 8


def test_a_job_of_two_parts_does_not_go_back(tmp_path: Path) -> None:
    folder = manifests.fill(tmp_path)
    (folder / "many.txt").write_text("\n".join(f"{word} {n}" for n in range(400) for word in ("oak", "boat", "rose")))
    told: list[JobProgress] = []
    trees = {"name": "trees", "arrange": "many.txt", "output": "tree.yaml", "model": "test:8"}
    batch(folder, trees, on_progress=lambda progress: told.extend(progress.running))
    assert told and [each.done for each in told] == sorted(each.done for each in told)
    shares = [each.share for each in told if each.share is not None]
    assert shares == sorted(shares)


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_line_for_the_batch_and_one_for_each_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    screen = BatchScreen(Terminal())
    running = (JobProgress("docs", "documents 3, chunks 40", "", 40, 2, 0.5), JobProgress("a" * 99))
    screen.show(BatchProgress(4, 1, 1, 50, 100.0, 0.375, running, 1.0))
    stream = screen._stream
    assert isinstance(stream, Terminal)
    text = stream.getvalue()
    all_jobs, docs, other = text.removeprefix("\r\x1b[J").removesuffix("\r\x1b[2A").split("\n")
    assert all_jobs.startswith("jobs 1 of 4, not succeeded 1, items 50 of about 100") and all_jobs.endswith(" 38%")
    assert docs.split() == ["docs", "━" * 8 + "╌" * 8, "50%,", *["documents", "3,", "chunks", "40,", "failed", "2"]]
    assert other.split() == ["a" * 21 + "...", "╌" * 16, "starting"]
    screen.close()
    assert stream.getvalue() == text + "\r\x1b[J", "nothing is left of it"


def test_a_log_gets_plain_lines() -> None:
    stream = io.StringIO()
    lines = BatchLines(stream)
    for seconds in (1.0, 9.0, 11.0, 12.0, 22.0):
        running = (JobProgress("docs", "documents 3, chunks 40", "", 40, 0, 0.5),)
        lines.show(BatchProgress(4, 1, 0, 50, None, 0.375, running, seconds))
    told = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in told[::2]] == ["jobs 1 of 4"] * 2
    assert told[1] == "  docs                       50%, documents 3, chunks 40"


def test_messages_of_jobs_are_told_with_their_names(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = manifests.fill(tmp_path)
    batch(folder, job("docs", include=["*.md", "*.nothing"]))
    assert "docs: --include '*.nothing' matches no file or folder: correct it, or leave it out" in caplog.messages


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(manifests.fill(tmp_path), EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"))


def manifest_of(shell: Shell, *names: str, **more: Any) -> None:
    """A manifest of these jobs over 40 documents more."""
    for number in range(40):
        (shell.folder / f"docs/{number}.txt").write_text(f"Text number {number}.")
    (shell.folder / "manifest.json").write_text(of_jobs(*(job(name, **more) for name in names)))


SLOW = {"sleep": 0.2, "batch-size": 1, "cache": False}
"""A rest after each text: jobs last for some seconds, and need no processor for it."""


def embedding(shell: Shell, name: str) -> Callable[[], bool]:
    """Whether a job has stored something: the first sign that it is under way."""
    path = shell.folder / f"out/{name}.db-wal"
    return lambda: path.exists() and path.stat().st_size > 0


def test_an_interrupted_batch_stores_what_is_finished_and_goes_on(shell: Shell) -> None:
    manifest_of(shell, "one", "two", "three", **SLOW)
    process = shell.start("batch", "manifest.json", "--jobs", "2", "--json")
    until(embedding(shell, "one"), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "interrupted: the same command with --resume goes on from there; see batch_report.md" in err
    first = json.loads(out)
    assert first["states"]["not run"] >= 1 and "failed" not in first["states"]

    manifest_of(shell, "one", "two", "three")
    again = shell.json("batch", "manifest.json", "--resume")
    assert again["states"] == {"succeeded": 3}
    for each in again["jobs"]:
        assert each["report"]["documents"] == 42


def test_no_job_outlives_a_batch_that_is_killed(shell: Shell) -> None:
    manifest_of(shell, "one", "two", **SLOW)
    process = shell.start("batch", "manifest.json", "--jobs", "2")
    until(embedding(shell, "one"), process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate()
    until(lambda: not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children))
    manifest_of(shell, "one", "two")
    assert shell.json("batch", "manifest.json", "--resume")["states"] == {"succeeded": 2}


def test_all_mistakes_of_a_manifest_are_told_a_line_each(shell: Shell) -> None:
    (shell.folder / "manifest.yaml").write_text(
        "jobs:\n  - {index: docs, stoer: x}\n  - {index: nowhere}\n  - {arrange: docs}\n"
    )
    done = shell.run("batch", "manifest.yaml")
    lines = done.stderr.splitlines()
    assert done.returncode == 2 and all(line.startswith("error: manifest.yaml, line ") for line in lines)
    assert {int(line.split(",")[1].split()[1]) for line in lines} == {2, 3, 4}


def test_what_is_wrong_with_the_environment_is_said_once(shell: Shell) -> None:
    manifest_of(shell, "one", "two", timeout=1e9)
    shell.environment["EMBEDMILL_STOER"] = "x"
    done = shell.run("batch", "manifest.json")
    assert "seconds, as in 60 or 0.5, at most 1,000,000" in done.stderr
    manifest_of(shell, "one", "two")
    done = shell.run("batch", "manifest.json")
    assert done.returncode == 0 and done.stderr.count("EMBEDMILL_STOER") == 1


def test_a_job_of_each_file(shell: Shell) -> None:
    report = shell.json(
        "batch",
        "docs",
        "--each",
        "*",
        "--index",
        "-o",
        "out",
        "--set",
        "model=test:8",
        "--set",
        "allow-test-model=true",
    )
    assert {each["name"]: each["state"] for each in report["jobs"]} == {
        "bread.txt": "succeeded",
        "rose.md": "succeeded",
    }
    assert sorted(path.name for path in (shell.folder / "out").glob("*.db")) == ["bread.txt.db", "rose.md.db"]
    assert (shell.folder / "out/batch_report.md").exists()
