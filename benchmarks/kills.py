"""Python's standard library, most of its tests left out, indexed by workers of which one is killed every few seconds.

The store has to be the one that an undisturbed run of threads leaves: the same documents, chunks and vectors.
"""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sysconfig
import tempfile
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from processes import embedmill, environment, run
from results import Bar, Run, options, table, tell
from texts import SEED

from embedmill.models import locate

_SELECTED = ("--exclude", "site-packages/", "--exclude", "test/")  # tests are two thirds of it


def main() -> None:
    parser = options(__doc__ or "", rounds=1)
    parser.add_argument("--folder", default=sysconfig.get_path("stdlib"), help="default: the standard library")
    parser.add_argument("--every", type=float, default=3.0, help="seconds between two kills (default: %(default)s)")
    arguments = parser.parse_args()
    benchmark = Run("kills", arguments)
    common = ["index", arguments.folder, *_SELECTED, "--model", str(locate(arguments.model).folder), "--json"]
    common += ["--no-cache", "--precision", "f32"]
    with tempfile.TemporaryDirectory() as name:
        stores = {executor: Path(name) / f"{executor}.db" for executor in ("threads", "processes")}
        undisturbed = run(embedmill(*common, "--store", f"sqlite:{stores['threads']}"))
        calm = json.loads(undisturbed.output)
        tell(f"threads: {calm['chunks']:,} chunks in {undisturbed.seconds:.0f} s")
        command = [*common, "--store", f"sqlite:{stores['processes']}", "--executor", "processes"]
        killed, report = _killed(embedmill(*command, "--workers", str(arguments.threads)), arguments.every)
        tell(f"processes: {report['chunks']:,} chunks in {report['seconds']:.0f} s, {killed} kills")
        differing, largest = _compared(*(_rows(path) for path in stores.values()))
    bars = [
        Bar("chunks that one of the two stores has, and the other has not", 0, differing, digits=0),
        Bar("the same: largest difference of a number in the vectors, f32", 2e-6, largest, digits=8),
        Bar("the same: chunks without a vector", 0, report["failed"], digits=0),
    ]
    rows = [
        ("chunks", f"{report['chunks']:,}"),
        ("workers killed", f"{killed:,}"),
        ("restarts", f"{report['restarts']:,}"),
        ("batches tried again", f"{report['retries']:,}"),
        ("seconds with kills, and of undisturbed threads", f"{report['seconds']:.0f}, {calm['seconds']:.0f}"),
    ]
    benchmark.finish({"reports": [calm, report], "killed": killed}, bars, table(["what", "measured"], rows))


def _killed(command: list[str], every: float) -> tuple[int, dict[str, Any]]:
    """Run a command, killing one of its children now and then; how many, and its report."""
    chance = random.Random(SEED)
    ended = threading.Event()
    killed = 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment(), text=True)

    def kill() -> None:
        nonlocal killed
        while not ended.wait(every):
            with suppress(psutil.NoSuchProcess):
                if children := psutil.Process(process.pid).children():
                    chance.choice(children).kill()
                    killed += 1

    killer = threading.Thread(target=kill)
    killer.start()
    output, _ = process.communicate()
    ended.set()
    killer.join()
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}")
    report: dict[str, Any] = json.loads(output)
    return killed, report


def _rows(store: Path) -> dict[tuple[str, int, int, int], bytes]:
    """Document, number, begin and end of each chunk -> its vector."""
    with closing(sqlite3.connect(store)) as db:
        found = db.execute(
            """SELECT name, c.idx, c.start, c.end, v.vector
               FROM chunks c JOIN documents d ON d.id = c.document JOIN vectors v ON v.chunk = c.id WHERE d.complete"""
        )
        return {row[:4]: row[4] for row in found}


def _compared(left: dict[Any, bytes], right: dict[Any, bytes]) -> tuple[int, float]:
    """Keys that only one of the two has, and the largest difference of the others' numbers."""
    both = sorted(left.keys() & right.keys())
    one, other = (np.array([np.frombuffer(rows[key], "<f4") for key in both]) for rows in (left, right))
    return len(left.keys() ^ right.keys()), float(np.abs(one - other).max())


if __name__ == "__main__":
    main()
