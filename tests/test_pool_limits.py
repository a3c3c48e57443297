"""A pool at the limits of the machine: memory that a container has not, open files: no text is to blame for these."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_runs import SOURCE, Shell
from samples import prose
from troubled import SMALL_MODEL

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{SOURCE}"}
MB = 1 << 20


def _own_cgroup() -> tuple[Path, str] | None:
    """Where a cgroup with a limit of memory can be made, and its file for that limit."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"
        if not controllers and Path("/sys/fs/cgroup/cgroup.controllers").exists():
            return Path("/sys/fs/cgroup") / path.lstrip("/"), "memory.max"
    return None


@pytest.fixture
def limited() -> Iterator[Path]:
    """A cgroup of its own, whose limit is set by the test; skipped where none can be made."""
    found = _own_cgroup() if Path("/proc/self/cgroup").exists() else None
    if found is None:
        pytest.skip("no cgroups with a limit of memory")
    folder = found[0] / f"embedmill-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no rights to make a cgroup")
    try:
        if not (folder / found[1]).exists():
            pytest.skip("no limit of memory for cgroups here")
        yield folder / found[1]
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


BEGINNING = """
    import logging, os, sys, time
    import psutil
    from embedmill import EmbedderPool, LimitReached, Limits
    from faulty import LightEmbedder, batch

    BALLAST = 120 << 20

    class Heavy(LightEmbedder):
        concurrency = 1

        def load(self):
            self.ballast = bytearray(b"x") * BALLAST

        def infer(self, batch):
            if any("ENDLESS" in text for text in batch.texts):
                held = []
                while True:
                    held.append(bytearray(b"x") * (8 << 20))
            return super().infer(batch)

    class Growing(Heavy):
        def __init__(self):
            self.held = []

        def infer(self, batch):
            self.held.append(bytearray(b"x") * (6 << 20))
            return super().infer(batch)

    def heavy(threads):
        return Heavy()

    def growing(threads):
        return Growing()

    def limit(megabytes):
        \"\"\"Of this process and its workers: so much more than it takes now.\"\"\"
        file = sys.argv[1]
        with open(os.path.join(os.path.dirname(file), "cgroup.procs"), "w") as procs:
            procs.write(str(os.getpid()))
        own = psutil.Process().memory_info().rss
        with open(file, "w") as limit:
            limit.write(str(own + (megabytes << 20)))

    def run(factory, workers, work, until_killed=False):
        with EmbedderPool(factory, workers=workers, limits=Limits(max_memory_mb=None)) as pool:
            end = time.monotonic() + 60
            while until_killed and not any("memory" in line for line in pool.check_health()) and time.monotonic() < end:
                assert not any(each.causes for each in pool.run(work[:3]))
            found = []
            try:
                for embedded in pool.run(work):
                    found.append(embedded)
            except LimitReached as error:
                print("ended:", error)
            failed = [text for each in found for row, text in enumerate(each.batch.texts) if row in each.causes]
            print(len(found), failed, pool.restarts, *pool.check_health(), sep="; ")

    WORK = [batch(*(f"text {number} {row}" for row in range(3))) for number in range(60)]
"""


def run(tmp_path: Path, limit: Path, text: str) -> list[str]:
    path = tmp_path / "script.py"
    main = f"if __name__ == '__main__': logging.basicConfig(format='%(message)s', stream=sys.stdout); {text}"
    path.write_text(textwrap.dedent(BEGINNING) + main)
    done = subprocess.run([sys.executable, path, limit], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_memory_for_fewer_workers(tmp_path: Path, limited: Path) -> None:
    """It is said once, and no text fails."""
    warning, told = run(tmp_path, limited, "limit(250); run(heavy, 3, WORK, until_killed=True)")
    assert warning.startswith("memory is too short for so many workers, the kernel has killed one: going on with fewer")
    found, failed, restarts, *health = told.split("; ")
    assert (found, failed) == ("60", "[]")
    assert int(restarts) <= 3
    assert any("had no memory and is not replaced" in line for line in health)
    assert all("memory" in line for line in health)  # another one may not have been able to start


def test_memory_for_no_worker_ends_the_run(tmp_path: Path, limited: Path) -> None:
    """Workers were killed 200 times, and 7 texts blamed."""
    *_, ended, told = run(tmp_path, limited, "limit(100); run(heavy, 2, WORK)")
    assert ended.startswith("ended: memory is too short for one worker process")
    assert told.split("; ")[:2] == ["0", "[]"]


def test_workers_that_grow_until_there_is_no_room(tmp_path: Path, limited: Path) -> None:
    told = run(tmp_path, limited, "limit(260); run(growing, 1, WORK)")
    found, failed, restarts = told[-1].split("; ")[:3]
    assert (found, failed) == ("60", "[]") and int(restarts) >= 1


def test_a_text_that_takes_all_memory_is_found(tmp_path: Path, limited: Path) -> None:
    *_, told = run(tmp_path, limited, "WORK.insert(40, batch('a', 'ENDLESS', 'b')); limit(260); run(heavy, 1, WORK)")
    assert told.split("; ")[:2] == ["61", "['ENDLESS']"]


@pytest.mark.parametrize("files", [16, 20, 24, 30])
def test_few_open_files_are_no_fault_of_the_files(tmp_path: Path, files: int) -> None:
    """`ulimit -n 20` gave 55 failures."""
    import resource

    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(prose(number, 1 + number))
    shell = Shell(tmp_path, EMBEDMILL_MODEL=str(SMALL_MODEL), EMBEDMILL_CACHE="no")
    done = shell.run(
        *("index", ".", "--executor", "processes", "--workers", "2"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )
    if done.returncode == 1:  # it says so once, and ends
        assert done.stderr.splitlines()[-1].startswith("error: ") and "open" in done.stderr
    else:
        assert done.returncode == 0 and "failed" not in done.stdout, done.stderr
    assert shell.run("index", ".").returncode == 0
