"""``embedmill index`` as a whole: what reading, cutting, hashing and storing cost on top of embedding, and what a
second run costs.

Each round is a process that indexes a tree of source files into a new store, from its start to its end, and then
another that embeds the very same chunks, the model loaded and the texts in memory. At last the tree is indexed
again, unchanged.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from processes import Engine, embedmill, run
from results import Bar, Run, median, options, ratios, table, tell
from texts import chunks_of, description, source_tree

from embedmill import load_embedder
from embedmill.models import locate

_CHUNKS, _FILES = 8000, 600  # what the bars are about
_WARM_UP = 64  # texts
_STAGES = ("read", "chunk", "lookup", "embed", "write", "search")

# In one process, since only there one can see what was imported.
_LOADED = """
import json, sys, embedmill
report = embedmill.index(sys.argv[1], store=sys.argv[2], model=sys.argv[3], precision=sys.argv[4], cache=False)
print(json.dumps({"embedded": report.embedded, "loaded": "openvino" in sys.modules}))
"""


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--files", type=int, default=_FILES, help="default: %(default)s")
    parser.add_argument("--again", type=int, default=5, help="runs over the unchanged tree (default: %(default)s)")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "f32"], help="default: %(default)s")
    arguments = parser.parse_args()
    benchmark = Run("index", arguments)

    model = str(locate(arguments.model).folder)
    embedder = load_embedder(model, precision=arguments.precision)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tree, texts = folder / "tree", folder / "texts.json"
        size = source_tree(tree, arguments.files)
        chunks = chunks_of(tree, embedder)
        corpus = description(chunks, [len(ids) for ids in embedder.encode(chunks)])
        texts.write_text(json.dumps(chunks))
        tell(f"{arguments.files} files, {size / 1e6:.1f} MB, {len(chunks)} different chunks")
        embedder.close()

        command = ["index", str(tree), "--model", model, "--precision", arguments.precision, "--no-cache", "--json"]
        settings = {"model": model, "threads": arguments.threads, "limit": embedder.max_tokens}
        first: list[float] = []
        alone: list[float] = []
        reports: list[dict[str, Any]] = []
        for number in range(arguments.rounds):
            store = f"sqlite:{folder / str(number)}.db"
            indexed = run(embedmill(*command, "--store", store))
            report = json.loads(indexed.output)
            if report["embedded"] != len(chunks):
                raise SystemExit(f"the run embedded {report['embedded']} chunks, not the same {len(chunks)}")
            first.append(indexed.seconds)
            reports.append(
                {key: report[key] for key in ("documents", "chunks", "embedded", "tokens", "stages", "seconds")}
            )
            tell(f"round {number + 1}: index {len(chunks) / indexed.seconds:.1f} chunks/s, {_stages(report)}")
            with Engine(sys.executable, "embedmill", **settings, precision=report["precision"]) as engine:
                engine.embed(texts, first=_WARM_UP)
                alone.append(engine.embed(texts))
            tell(f"round {number + 1}: embedding alone {len(chunks) / alone[-1]:.1f} chunks/s")

        again: list[float] = []
        for _ in range(arguments.again):
            repeated = run(embedmill(*command, "--store", store))
            report = json.loads(repeated.output)
            if report["unchanged"] != arguments.files:
                raise SystemExit(f"the second run found {report['unchanged']} files unchanged, not {arguments.files}")
            again.append(repeated.seconds)
        tell(f"unchanged: {median(again):.3f} s")
        probe = run([sys.executable, "-c", _LOADED, str(tree), store, model, arguments.precision])
        calls = json.loads(probe.output)

    throughput = ratios(alone, first)
    enough = len(chunks) >= _CHUNKS and arguments.files >= _FILES
    what = f"throughput of a whole index run over {_CHUNKS:,} or more chunks, against embedding alone"
    shares = f"{min(throughput):.3f} to {max(throughput):.3f}, {len(chunks):,} chunks"
    rerun = f"second run over an unchanged tree of {_FILES} files"
    share = median(again) / median(first)
    bars = [
        Bar(what, 0.95, median(throughput) if enough else None, at_least=True, digits=3, note=shares),
        Bar(f"{rerun}: time against the first", 1 / 50, share if enough else None, digits=4),
        Bar(f"{rerun}: texts given to the model", 0, calls["embedded"] if enough else None, digits=0),
        Bar(f"{rerun}: times that the model was loaded", 0, int(calls["loaded"]) if enough else None, digits=0),
    ]
    rows = [
        ("index, the whole process", f"{median(first):.2f}", f"{len(chunks) / median(first):.1f}"),
        ("embedding alone", f"{median(alone):.2f}", f"{len(chunks) / median(alone):.1f}"),
        ("index again, nothing changed", f"{median(again):.3f}", ""),
    ]
    figures = {
        "space": embedder.fingerprint.space.id,
        "corpus": corpus | {"files": arguments.files, "bytes": size},
        "seconds": {"index": first, "embedding alone": alone, "unchanged": again},
        "reports": reports,
    }
    benchmark.finish(figures, bars, table(["what", "seconds", "chunks/s"], rows))


def _stages(report: dict[str, Any]) -> str:
    stages = report["stages"]
    return ", ".join(f"{name} {stages[name]:.2f} s" for name in _STAGES if name in stages)


if __name__ == "__main__":
    main()
