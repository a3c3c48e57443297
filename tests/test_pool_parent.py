"""Where a pool's own process is unusual: scripts, standard input, few descriptors, a full /dev/shm, stops and kills."""

from __future__ import annotations

import multiprocessing.spawn
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli_runs import SOURCE
from embedmill import EmbedderPool
from embedmill.executors.processes.limits import Limits
from faulty import Factory
from test_faults import batches, check

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{SOURCE}"}


def script(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(text))
    return path


def run_script(path: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return run([sys.executable, str(path)], **more)


def run(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, **more)


OWN_FACTORY = """
    from embedmill import EmbedderPool
    from test_faults import batches
    from faulty import LightEmbedder

    def make(threads):
        return LightEmbedder()
"""


def test_a_factory_in_the_users_script(tmp_path: Path) -> None:
    done = run_script(
        script(
            tmp_path,
            OWN_FACTORY
            + """
    if __name__ == "__main__":
        with EmbedderPool(make, workers=2) as pool:
            print(len(list(pool.run(batches()))), pool.stats()[0].state)
""",
        )
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("12 ")


def test_a_script_without_its_main_line_is_told_so(tmp_path: Path) -> None:
    """A clear error, not a storm of processes."""
    done = run_script(
        script(tmp_path, OWN_FACTORY + "\n    with EmbedderPool(make, workers=2) as pool: list(pool.run(batches()))\n")
    )
    assert done.returncode == 1
    assert "put what starts it under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]


def test_a_script_needs_no_main_line_for_a_factory_from_a_module(tmp_path: Path) -> None:
    done = run_script(
        script(
            tmp_path,
            """
    from embedmill import EmbedderPool
    from test_faults import batches
    from faulty import Factory
    with EmbedderPool(Factory(), workers=2) as pool:
        print(len(list(pool.run(batches()))))
""",
        )
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "12\n", "")


@pytest.mark.parametrize("arguments", [["-"], ["-c"]])
def test_a_factory_from_standard_input_is_told_so(arguments: list[str]) -> None:
    text = textwrap.dedent(OWN_FACTORY) + "EmbedderPool(make, workers=2)"
    program = [sys.executable, *arguments, *([text] if arguments == ["-c"] else [])]
    done = run(program, input=text if arguments == ["-"] else "")
    assert done.returncode == 1
    assert "put it into a module" in done.stderr.splitlines()[-1]


def test_a_parent_that_was_stopped_does_not_blame_its_workers(tmp_path: Path) -> None:
    done = run_script(
        script(
            tmp_path,
            """
    import os, subprocess
    from embedmill import EmbedderPool
    from embedmill.executors.processes.limits import Limits
    from test_faults import batches, check
    from test_pool import mortal
    work = batches() * 10
    with EmbedderPool(mortal, workers=2, limits=Limits(deadline_seconds=1, start_seconds=2)) as pool:
        list(pool.run(work[:2]))
        stop = f"sleep 0.5; kill -STOP {os.getpid()}; sleep 4; kill -CONT {os.getpid()}"
        stopper = subprocess.Popen(["sh", "-c", stop])
        check(list(pool.run(work)), work, None)
        stopper.wait()
        print(pool.restarts)
""",
        )
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_few_descriptors(tmp_path: Path) -> None:
    done = run_script(
        script(
            tmp_path,
            """
    import resource
    from embedmill import EmbedderPool
    from test_faults import batches, check
    from faulty import Factory
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with EmbedderPool(Factory(), workers=8) as pool:
        work = batches()
        check(list(pool.run(work)), work, None)
    resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))
    with EmbedderPool(Factory(), workers=8) as pool:
        check(list(pool.run(work)), work, None)
        print(len(pool.check_health()) > 0)
""",
        )
    )
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_workers_run_nothing_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is most often the folder that is indexed."""
    (tmp_path / "json.py").write_text("raise SystemExit('not mine')")
    monkeypatch.chdir(tmp_path)
    with EmbedderPool(Factory(), workers=1) as pool:
        assert len(list(pool.run(batches()))) == 12
        assert pool.check_health() == []


FULL_SHM = "mount -t tmpfs -o size=4k none /dev/shm && ! head -c 1M /dev/zero > /dev/shm/full 2> /dev/null"


@pytest.mark.skipif(
    subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode != 0,
    reason="no rights to mount",
)
def test_a_full_dev_shm(tmp_path: Path) -> None:
    """Nothing of a pool lies there."""
    path = script(tmp_path, "from test_pool_parent import run_in_two_workers; print(run_in_two_workers())")
    done = run(["unshare", "-m", "sh", "-c", f"{FULL_SHM} && exec {sys.executable} {path}"])
    assert (done.returncode, done.stdout) == (0, "12\n"), done.stderr


def run_in_two_workers() -> int:
    with EmbedderPool(Factory(), workers=2) as pool:
        return len(list(pool.run(batches())))


@pytest.mark.parametrize("busy", [False, True])
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, busy: bool) -> None:
    path = script(
        tmp_path,
        f"""
    import time, psutil
    from embedmill import EmbedderPool
    from test_faults import batches
    from faulty import Factory
    pool = EmbedderPool(Factory("model call", "endless loop"), workers=2)
    list(pool.run(batches()))
    if {busy}:
        import threading
        threading.Thread(target=lambda: list(pool.run(batches(0))), daemon=True).start()
        time.sleep(0.5)
    print(*[child.pid for child in psutil.Process().children()], flush=True)
    time.sleep(60)
""",
    )
    parent = subprocess.Popen(
        [sys.executable, str(path)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    psutil.wait_procs(workers)


def test_no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Python is part of another program."""
    monkeypatch.setattr(multiprocessing.spawn, "_python_exe", "")
    work = batches()
    with EmbedderPool(Factory(), workers=1, limits=Limits(failed_starts=1)) as pool:
        check(list(pool.run(work)), work, None)
        (said,) = pool.check_health()
    assert "multiprocessing.set_executable" in said and "embedded in this process" in said


def test_a_path_among_the_places_of_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "path", [tmp_path, *sys.path])
    assert run_in_two_workers() == 12
