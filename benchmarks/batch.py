"""`embedmill batch` against the same jobs one after another as own commands, over text that overlaps.

Eight folders with files of Python's standard library, of which neighbours share half; each way begins with an empty
cache. To be run while the machine is idle.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from argparse import Namespace
from pathlib import Path

from processes import embedmill, run
from results import Bar, Run, median, options, ratios, table, tell
from texts import mixed_chunks

from embedmill.runtime.folders import cache_folder

_JOBS = 8
_BAR = 1.5  # times


def main() -> None:
    parser = options(__doc__ or "", rounds=5)
    parser.add_argument("--texts", type=int, default=40, help="of a job, half of them its own (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="that run at once (default: %(default)s)")
    arguments = parser.parse_args()
    benchmark = Run("batch", arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cache").mkdir()
        (folder / "cache/models").symlink_to(cache_folder() / "models")
        os.environ["EMBEDMILL_CACHE_DIR"] = str(folder / "cache")
        distinct = _fill(folder, arguments)
        seconds: dict[str, list[float]] = {"commands": [], "batch": []}
        embedded = []
        for number in range(arguments.rounds):
            _empty(folder)
            seconds["commands"].append(_commands(folder, arguments))
            _empty(folder)
            taken, made = _batch(folder, arguments)
            seconds["batch"].append(taken)
            embedded.append(made)
            tell(f"round {number + 1}: " + ", ".join(f"{what} {each[-1]:.2f} s" for what, each in seconds.items()))
    gains = ratios(seconds["commands"], seconds["batch"])
    benchmark.finish(
        {"seconds": seconds, "embedded": embedded, "distinct": distinct},
        [
            Bar(f"{_JOBS} jobs over overlapping text against own commands", _BAR, median(gains), at_least=True),
            Bar("texts embedded of each distinct one", 1.0, max(embedded) / distinct),
        ],
        table(["8 jobs", "seconds"], [(what, f"{median(each):.2f}") for what, each in seconds.items()]),
    )


def _fill(folder: Path, arguments: Namespace) -> int:
    """A folder of documents for each job, half of them those of the job before; how many distinct chunks there are."""
    half = arguments.texts // 2
    texts = mixed_chunks(half * (_JOBS + 1))
    jobs = []
    for job in range(_JOBS):
        documents = folder / f"docs{job}"
        documents.mkdir()
        for number in range(half * job, half * (job + 2)):
            (documents / f"{number}.txt").write_text(texts[number])
        jobs.append({"name": str(job), "index": documents.name, "store": f"sqlite:out/{job}.db"})
    (folder / "manifest.json").write_text(json.dumps({"defaults": {"model": arguments.model}, "jobs": jobs}))
    plan = run(embedmill("index", *(str(folder / f"docs{job}") for job in range(_JOBS)), *_store(folder), "--json"))
    made: int = json.loads(plan.output)["embedded"]
    return made


def _store(folder: Path, job: int | str = "all") -> list[str]:
    return ["--store", f"sqlite:{folder / 'out' / str(job)}.db"]


def _empty(folder: Path) -> None:
    """As before the first run."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    for file in (folder / "cache").glob("vectors.db*"):
        file.unlink()


def _commands(folder: Path, arguments: Namespace) -> float:
    """Seconds of all jobs one after another, each a command of its own."""
    return sum(
        run(embedmill("index", str(folder / f"docs{job}"), *_store(folder, job), "--model", arguments.model)).seconds
        for job in range(_JOBS)
    )


def _batch(folder: Path, arguments: Namespace) -> tuple[float, int]:
    """Seconds of the batch, and how many texts it has embedded."""
    done = run(embedmill("batch", str(folder / "manifest.json"), "--jobs", str(arguments.jobs), "--json"))
    return done.seconds, json.loads(done.output)["counts"]["embedded"]


if __name__ == "__main__":
    main()
