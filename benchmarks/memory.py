"""Peak memory of ``embedmill index`` over many chunks, against that over a tenth of them.

Both trees begin with the same source files, whose chunks have all the lengths that the model reads: what OpenVINO
keeps for each shape is then the same. The rest are short texts, one a file, so that a run takes minutes. The peak
is the kernel's own (ru_maxrss) for the whole process: start, model, run, and the search matrix at the end.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from processes import Finished, embedmill, run
from results import Bar, Run, median, options, ratios, table, tell
from texts import short_texts, source_tree

from embedmill.models import locate

_FEW, _MANY = 10_000, 100_000  # chunks; what the bar is about
_CLOSE = 0.02  # share by which a tree's chunks may miss the number
_IN_A_FOLDER = 1000  # files


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--chunks", type=int, nargs=2, default=[_FEW, _MANY], help="default: %(default)s")
    parser.add_argument("--files", type=int, default=200, help="source files in each tree (default: %(default)s)")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "f32"], help="default: %(default)s")
    arguments = parser.parse_args()
    benchmark = Run("memory", arguments)

    model = str(locate(arguments.model).folder)
    few, many = arguments.chunks
    peaks: dict[int, list[int]] = {few: [], many: []}
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = folder / "sources"
        source_tree(sources / "a", arguments.files)

        def index(tree: Path, store: str) -> tuple[Finished, dict[str, Any]]:
            command = embedmill("index", str(tree), "--model", model, "--precision", arguments.precision)
            url = f"sqlite:{folder / store}.db"
            finished = run([*command, "--no-cache", "--json", "--store", url], watch=True)
            return finished, json.loads(finished.output)

        _, report = index(sources, "sources")
        tell(f"{arguments.files} source files: {report['chunks']} chunks, {report['tokens']} tokens")
        for count in peaks:
            tree = folder / str(count)
            source_tree(tree / "a", arguments.files)
            _short_files(tree / "b", count - report["chunks"])
        for number in range(arguments.rounds):
            for count, found in peaks.items():
                finished, report = index(folder / str(count), f"{count}-{number}")
                if abs(report["chunks"] - count) > _CLOSE * count:
                    raise SystemExit(f"the tree made {report['chunks']} chunks instead of {count}")
                found.append(finished.peak)
                runs.append(
                    {key: report[key] for key in ("documents", "chunks", "embedded", "tokens", "seconds", "stages")}
                    | {"ru_maxrss": finished.peak, "VmHWM": finished.high_water, "process seconds": finished.seconds}
                )
                tell(
                    f"round {number + 1}: {report['chunks']:,} chunks, {report['tokens']:,} tokens, "
                    f"{finished.seconds:.1f} s: {finished.peak / 1e6:.0f} MB (VmHWM {finished.high_water / 1e6:.0f})"
                )

    grown = ratios(peaks[many], peaks[few])
    asked = (few, many) == (_FEW, _MANY)
    bar = Bar(
        f"peak memory of index over {_MANY:,} chunks, against {_FEW:,}",
        1.15,
        median(grown) if asked else None,
        unit=" times",
        note=f"{min(grown):.2f} to {max(grown):.2f}",
    )
    rows = [(f"{count:,} chunks", f"{median(found) / 1e6:.0f}") for count, found in peaks.items()]
    benchmark.finish({"runs": runs}, [bar], table(["indexing", "peak memory, MB"], rows))


def _short_files(folder: Path, count: int) -> None:
    if count < 0:
        raise SystemExit("the source files alone make more chunks than that: give fewer --files")
    for number, text in enumerate(short_texts(count)):
        path = folder / f"{number // _IN_A_FOLDER:04}" / f"{number % _IN_A_FOLDER:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
