"""The command with worker processes: the same store as with threads, whatever happens to the workers."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import threading
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest

from cli_runs import Shell, without_progress
from embedmill.models import ModelFiles
from embedmill.runtime import machine
from samples import prose
from store_rows import alike, complete, rows
from test_cli_interruption import subprocess_json
from troubled import SMALL_MODEL
from waiting import until

DOCUMENTS = 200
DEATHS = 3  # one more, and the text that was with all of them would rightly be blamed


@pytest.fixture
def shell(tmp_path: Path, real_model: ModelFiles) -> Shell:
    """A folder of different texts, some seconds' work."""
    return shell_of(tmp_path, real_model.folder)


@pytest.fixture
def quick(tmp_path: Path) -> Shell:
    """The same texts for a small model."""
    return shell_of(tmp_path, SMALL_MODEL)


def shell_of(folder: Path, model: Path | str) -> Shell:
    (folder / "texts").mkdir()
    for number in range(DOCUMENTS):
        (folder / "texts" / f"{number}.txt").write_text(prose(number, 1 + number % 12))
    return Shell(folder, EMBEDMILL_CACHE="no", EMBEDMILL_MODEL=str(model), EMBEDMILL_PRECISION="f32")


def children(process: subprocess.Popen[str]) -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children()
    except psutil.NoSuchProcess:
        return []


def test_workers_that_are_killed_leave_the_same_store(shell: Shell) -> None:
    assert shell.json("index", "texts", "--store", "sqlite:threads.db")["executor"] == "threads"
    process = shell.start(
        "index", "texts", "--store", "sqlite:processes.db", "--executor", "processes", "--workers", "2", "--json"
    )
    ended = threading.Event()
    store, chance = shell.folder / "processes.db", random.Random(1)

    def kill() -> None:
        """Whenever something more has been stored: so the run gets on, however busy the machine is."""
        stored = 0
        for _ in range(DEATHS):
            while (now := complete(store)) <= stored or not (workers := children(process)):
                if ended.wait(0.02):
                    return
            stored = now
            with suppress(psutil.NoSuchProcess):
                chance.choice(workers).send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    out, err = process.communicate()
    ended.set()
    killer.join()
    assert process.returncode == 0, err
    assert without_progress(err) == ""
    report = subprocess_json(out)
    assert (report["executor"], report["workers"], report["failed"]) == ("processes", 2, 0)
    assert report["restarts"] > 0
    assert sum(stats["restarts"] for stats in report["worker_stats"]) == report["restarts"]  # type: ignore[attr-defined]
    alike(rows(shell.folder / "threads.db"), rows(shell.folder / "processes.db"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_its_workers_and_keeps_what_is_finished(shell: Shell, number: signal.Signals) -> None:
    for more in range(DOCUMENTS, 3 * DOCUMENTS):
        (shell.folder / "texts" / f"{more}.txt").write_text(prose(more, 1 + more % 12))
    store = shell.folder / ".embedmill" / "index.db"
    process = shell.start("index", "texts", "--executor", "processes", "--workers", "2", "--json")
    until(lambda: complete(store) > 0, process)
    workers = children(process)
    assert workers
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130, err
    assert "the same command goes on" in err
    assert not [worker for worker in workers if worker.is_running()]
    first = subprocess_json(out)
    assert first["interrupted"]
    with closing(sqlite3.connect(store)) as database:
        begun = {Path(path).name for (path,) in database.execute("SELECT path FROM paths")}
    later = [path for path in (shell.folder / "texts").iterdir() if path.name not in begun]
    assert later
    for path in later[20:]:
        path.unlink()  # there is enough to do for the next run
    second = subprocess_json(shell.run("index", "texts", "--json").stdout)
    assert first["embedded"] + second["embedded"] == shell.json("status")["chunks"]


def test_presets_and_what_verbose_shows(quick: Shell) -> None:
    done = quick.run("index", "texts", "--preset", "development", "--max-documents-per-worker", "10", "-v")
    assert done.returncode == 0
    assert "2 worker processes" in done.stdout
    assert "worker 0: process " in done.stdout and "worker 1: process " in done.stdout
    assert ", documents: " in done.stdout  # the reason of the restarts
    report = quick.json("index", "texts", "--preset", "low-memory", "--workers", "2", "--store", "sqlite:other.db")
    assert (report["executor"], report["workers"]) == ("processes", 2)


def test_the_number_of_workers_is_measured(shell: Shell) -> None:
    report = shell.json("index", "texts", "--executor", "processes")
    assert report["failed"] == 0
    assert report["workers"] >= 1
    for number in range(20, DOCUMENTS):
        (shell.folder / "texts" / f"{number}.txt").unlink()
    words = shell.run("index", "texts", "--executor", "processes", "--store", "sqlite:other.db").stdout
    assert ("measured: " in words) == ("tokens/s" in words.split("model", 1)[1])


def test_a_run_whose_workers_cannot_start_says_so(quick: Shell) -> None:
    broken = quick.folder / "broken"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(
        "import os, sys\nif any('executors.processes.worker' in each for each in sys.orig_argv): os._exit(3)"
    )
    quick.environment["PYTHONPATH"] = str(broken)
    report = quick.json("index", "texts", "--executor", "processes", "--workers", "2")
    assert (report["failed"], report["restarts"]) == (0, 0)
    (said,) = report["health"]  # type: ignore[misc]
    assert said.startswith("no worker process can be started (") and "code 3" in said
    done = quick.run("index", "texts", "--store", "sqlite:other.db", "--executor", "processes", "--workers", "2")
    assert "trouble    no worker process can be started" in done.stdout
    assert done.stderr.count("no worker process can be started") == 1


def test_planned_replacements_are_no_trouble(quick: Shell) -> None:
    done = quick.run("index", "texts", "--preset", "development", "--max-documents-per-worker", "10")
    assert "(documents: " in done.stdout
    assert "trouble" not in done.stdout and "retried" not in done.stdout


def test_threads_and_what_is_for_processes(quick: Shell) -> None:
    done = quick.run("index", "texts", "--executor", "threads", "--preset", "production")
    assert (done.returncode, done.stdout) == (2, "")
    assert "preset production is for worker processes" in done.stderr
    refused = quick.run("index", "texts", "--max-memory-mb", "500")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--max-memory-mb is for worker processes, not for threads" in refused.stderr
    assert (
        "limits are for worker processes"
        in quick.run("index", "texts", env=quick.environment | {"EMBEDMILL_MAX_MEMORY_MB": "500"}).stderr
    )
    quick.environment["EMBEDMILL_PRESET"] = "production"
    assert quick.json("index", "texts", "--executor", "threads")["executor"] == "threads"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--workers", "0"], 2),
        (["--workers", "-1"], 2),
        (["--workers", "1000"], 2),
        (["--executor", "elsewhere"], 2),
        (["--preset", "huge"], 2),
        (["--max-memory-mb", "none"], 2),
    ],
)
def test_what_does_not_fit(quick: Shell, arguments: list[str], code: int) -> None:
    executor = [] if "--executor" in arguments else ["--executor", "processes"]
    done = quick.run("index", "texts", *executor, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("\n") == 1 and arguments[-1] in done.stderr


def test_workers_beyond_the_cores_are_said(quick: Shell) -> None:
    """Threads would only take turns. In the environment and the file the number may be meant for another machine."""
    for number in range(3, DOCUMENTS):
        (quick.folder / "texts" / f"{number}.txt").unlink()
    cores = machine.cores()
    done = quick.run("index", "texts", "--workers", cores + 1)
    assert done.returncode == 0
    assert f"workers is {cores + 1}: this process has {cores} core" in done.stderr and done.stderr.count("\n") == 1
    assert quick.run("index", "texts", "--workers", cores).stderr == ""
    quick.environment["EMBED_WORKERS"] = "1000"
    for command in (["search", "words"], ["status"], ["verify"], ["doctor"]):
        done = quick.run(*command)
        assert (done.returncode, done.stderr) == (0, ""), command
    done = quick.run("index", "texts", "--executor", "processes", "--dry-run")
    assert done.returncode == 0 and f"more than {machine.most_workers()} processes" in done.stderr


def test_settings_that_are_no_business_of_a_command_do_not_stop_it(quick: Shell) -> None:
    for number in range(3, DOCUMENTS):
        (quick.folder / "texts" / f"{number}.txt").unlink()
    assert quick.run("index", "texts").returncode == 0
    (quick.folder / "embedmill.toml").write_text('executor = "threads"\npreset = "production"\nchunk-tokens = "no"')
    for command in (["search", "words"], ["status"], ["verify"]):
        done = quick.run(*command)
        assert (done.returncode, done.stderr) == (0, ""), command
    assert quick.run("index", "texts").returncode == 2


def test_parallel_embeddings_of_an_earlier_system(quick: Shell) -> None:
    quick.environment["EMBEDMILL_EMBEDDING_PARALLEL_WORKERS"] = "2"
    report = quick.json("index", "texts", "--dry-run")
    assert (report["executor"], report["workers"]) == ("processes", 2)
    quick.environment["EMBEDMILL_ENABLE_PARALLEL_EMBEDDINGS"] = "no"
    assert quick.json("index", "texts", "--dry-run")["executor"] == "threads"
