"""Embedding alone: against the peers, its vectors against the reference, its work against the processor's peak.

All engines embed the same texts, in turns, each in a process of its own that is loaded and warm; tokenising counts.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from peak import Peak
from processes import Engine
from results import Bar, Run, median, options, ratios, table, tell
from texts import description, mixed_chunks

from embedmill import load_embedder
from embedmill.models import locate, read_card
from embedmill.runtime import machine

_CHUNKS = 1500  # what the bars are about
_PAUSE = 0.5  # seconds between two engines, for the first one's threads to stop spinning


@dataclass(frozen=True)
class Contender:
    """An engine with its settings. Contenders with equal engine and settings share a process."""

    name: str
    engine: str
    settings: dict[str, str] = field(default_factory=dict)
    batch: int = 32

    @property
    def ours(self) -> bool:
        return self.engine == "embedmill"


_BF16 = Contender("embedmill bf16", "embedmill", {"precision": "bf16"})
_F32 = Contender("embedmill f32", "embedmill", {"precision": "f32"})
_DEFAULT = Contender("sentence-transformers, torch f32, batch 32", "sentence-transformers", {"backend": "torch"})

CONTENDERS = {
    "bf16": _BF16,
    "f32": _F32,
    "st-f32": _DEFAULT,
    "st-bf16": Contender(
        "sentence-transformers, torch bf16, batch 32",
        "sentence-transformers",
        {"backend": "torch", "dtype": "bfloat16"},
    ),
    "st-openvino-8": Contender(
        "sentence-transformers, OpenVINO, batch 8", "sentence-transformers", {"backend": "openvino"}, 8
    ),
    "st-openvino-32": Contender(
        "sentence-transformers, OpenVINO, batch 32", "sentence-transformers", {"backend": "openvino"}, 32
    ),
    "fastembed": Contender("fastembed, ONNX Runtime, batch 32", "fastembed"),
}


def main() -> None:
    parser = options(__doc__ or "", rounds=3)
    parser.add_argument("--chunks", type=int, default=_CHUNKS, help="default: %(default)s")
    parser.add_argument("--peers", help="the Python that has the peers (see README.md); without it they are left out")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, help="leave the others out")
    arguments = parser.parse_args()
    run = Run("embed", arguments)

    contenders = [one for key, one in CONTENDERS.items() if not arguments.only or key in arguments.only]
    if not machine.computes_bf16():
        contenders = [one for one in contenders if one is not _BF16]
    if not arguments.peers:
        contenders = [one for one in contenders if one.ours]

    files = locate(arguments.model)
    embedder = load_embedder(arguments.model)
    texts = mixed_chunks(arguments.chunks)
    lengths = [len(ids) for ids in embedder.encode(texts)]
    work = _operations(lengths, *_shape(arguments.model))
    corpus = description(texts, lengths)
    tell(f"{corpus['chunks']} chunks, {corpus['tokens']} tokens, {corpus['mean tokens']} in the mean")

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / "texts.json"
        path.write_text(json.dumps(texts))
        engines: dict[str, Engine] = {}
        for one in contenders:
            if _process(one) not in engines:
                tell(f"loading {one.engine} {' '.join(one.settings.values())}")
                python = sys.executable if one.ours else arguments.peers
                shared = {"model": str(files.folder), "threads": arguments.threads, "limit": embedder.max_tokens}
                engine = Engine(python, one.engine, **shared, **one.settings)
                engines[_process(one)] = stack.enter_context(engine)

        reference = None
        if _DEFAULT in contenders:
            tell(f"reference: {_DEFAULT.name.replace('batch 32', 'one text at a time')}")
            engines[_process(_DEFAULT)].embed(path, batch=1, save=folder / "reference.npy")
            reference = np.load(folder / "reference.npy")
        cosines: dict[str, float] = {}
        for number, one in enumerate(contenders):
            tell(f"warm-up: {one.name}")
            # The reference's pass over the whole set has warmed its engine already.
            engine, first = engines[_process(one)], len(texts) if one is not _DEFAULT else 64
            engine.embed(path, batch=one.batch, first=first, save=folder / f"{number}.npy")
            if reference is not None:
                cosines[one.name] = _lowest_cosine(np.load(folder / f"{number}.npy"), reference[:first])

        peak = Peak("bf16", arguments.threads) if _BF16 in contenders else None
        peaks: list[float] = []
        seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
        for number in range(arguments.rounds):
            if peak:
                time.sleep(_PAUSE)
                peaks.append(peak.measure())
                tell(f"round {number + 1}: bf16 matrix peak {peaks[-1]:.0f} GFLOP/s")
            for one in contenders:
                time.sleep(_PAUSE)
                taken = engines[_process(one)].embed(path, batch=one.batch)
                seconds[one.name].append(taken)
                tell(f"round {number + 1}: {one.name}: {len(texts) / taken:.1f} chunks/s")
        versions = {name: engine.versions for name, engine in engines.items()}

    shares = [work / 1e9 / taken / peak for taken, peak in zip(seconds.get(_BF16.name, []), peaks, strict=False)]
    figures = {
        "space": embedder.fingerprint.space.id,
        "corpus": corpus | {"FLOP": work},
        "versions": versions,
        "seconds": seconds,
        "bf16 matrix peak, GFLOP/s": peaks,
        "share of the peak": shares,
        "lowest cosine": cosines,
    }
    bars = _bars(seconds, cosines, shares, enough=len(texts) >= _CHUNKS)
    run.finish(figures, bars, _table(len(texts), work, seconds, cosines))


def _bars(
    seconds: dict[str, list[float]], cosines: dict[str, float], shares: list[float], *, enough: bool
) -> list[Bar]:
    """The bars; `enough` says whether there were as many chunks as they are about."""
    ours = {_BF16.name, _F32.name}
    peers = {name: taken for name, taken in seconds.items() if name not in ours}
    fastest = min(peers, key=lambda name: median(peers[name]), default="")

    def faster(name: str, peer: str) -> tuple[float | None, str]:
        if name not in seconds or peer not in seconds:
            return None, ""
        found = ratios(seconds[peer], seconds[name])
        return median(found) if enough else None, f"{min(found):.2f} to {max(found):.2f}"

    count = f"{_CHUNKS:,} chunks of mixed length"
    rows = [
        (f"{count}, bf16, against sentence-transformers' default", 6.0, *faster(_BF16.name, _DEFAULT.name)),
        (
            f"the same against the fastest peer found{f' ({fastest})' if fastest else ''}",
            1.45,
            *faster(_BF16.name, fastest),
        ),
        ("f32 against sentence-transformers' default", 3.4, *faster(_F32.name, _DEFAULT.name)),
    ]
    bars = [Bar(what, limit, measured, at_least=True, unit=" times", note=note) for what, limit, measured, note in rows]
    for one, limit in ((_BF16, 0.9999), (_F32, 0.999999)):
        what = f"lowest cosine to sentence-transformers f32, {one.settings['precision']}"
        bars.append(Bar(what, limit, cosines.get(one.name) if enough else None, at_least=True, digits=8))
    share = median(shares) if shares and enough else None
    note = f"{min(shares):.3f} to {max(shares):.3f}" if shares else ""
    what = "useful FLOPs over the measured bf16 matrix peak, whole embedding loop"
    return [*bars, Bar(what, 0.75, share, at_least=True, digits=3, note=note)]


def _table(count: int, work: int, seconds: dict[str, list[float]], cosines: dict[str, float]) -> str:
    slowest = seconds.get(_DEFAULT.name)
    rows = [
        (
            name,
            f"{count / median(taken):.1f}",
            f"{work / 1e9 / median(taken):.0f}",
            f"{median(ratios(slowest, taken)):.2f}" if slowest else "",
            f"{cosines[name]:.8f}" if name in cosines else "",
        )
        for name, taken in seconds.items()
    ]
    return table(["engine", "chunks/s", "useful GFLOP/s", "times the default", "lowest cosine"], rows)


def _process(one: Contender) -> str:
    return " ".join([one.engine, *one.settings.values()])


def _shape(model: str) -> tuple[int, int]:
    transformer = read_card(locate(model)).transformer
    if transformer is None:
        raise SystemExit(f"{model}: its architecture's work is not known here: give a BERT model")
    if transformer.intermediate_size != 4 * transformer.hidden_size:
        raise SystemExit(f"{model}: its feed-forward layers are not four times as wide: the work is not known here")
    return transformer.layers, transformer.hidden_size


def _operations(lengths: list[int], layers: int, width: int) -> int:
    """FLOP of the matrix products: for each token and layer 24 H^2 in the projections and 4 S H in attention."""
    return sum(tokens * layers * (24 * width**2 + 4 * tokens * width) for tokens in lengths)


def _lowest_cosine(vectors: np.ndarray, reference: np.ndarray) -> float:
    a, b = vectors.astype(np.float64), reference.astype(np.float64)
    products = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return float(products.min())


if __name__ == "__main__":
    main()
