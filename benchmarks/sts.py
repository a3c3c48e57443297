"""Whether bf16 costs quality: the STS benchmark's development split, Spearman's rank correlation in bf16 and in f32.

The file, of lines `sentence,sentence,similarity`, is given: `stsb-en-dev.csv` of PhilipMay/stsb-multi-mt
(CC BY-SA 4.0), which is not part of this project.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from results import Bar, Run, options, table

import embedmill

_ALLOWED = 0.001  # by which the correlation in bf16 may differ from that in f32
_NEAREST = 0.9999  # as in embed.py
_PRECISIONS = ("f32", "bf16")

Numbers = NDArray[np.float64]


def main() -> None:
    parser = options(__doc__ or "", rounds=1)
    parser.add_argument("file", type=Path, metavar="FILE", help="the development split, as CSV")
    arguments = parser.parse_args()
    benchmark = Run("sts", arguments)
    first, second, similarities = _pairs(arguments.file)
    vectors = {
        precision: _embed([*first, *second], arguments.model, precision, arguments.threads) for precision in _PRECISIONS
    }
    correlations = {
        precision: spearman(np.einsum("ij,ij->i", *np.split(found, 2)), similarities)
        for precision, found in vectors.items()
    }
    cosines = np.einsum("ij,ij->i", vectors["f32"], vectors["bf16"])
    difference = abs(correlations["bf16"] - correlations["f32"])
    benchmark.finish(
        {
            "pairs": len(first),
            "spearman": {precision: round(value, 5) for precision, value in correlations.items()},
        },
        [
            Bar(
                "STS benchmark, development split: Spearman of the default model in bf16 against f32, difference",
                _ALLOWED,
                difference,
                digits=5,
                note=", ".join(f"{precision} {value:.4f}" for precision, value in correlations.items()),
            ),
            Bar(
                "the same: lowest cosine of a sentence's vector in bf16 to that in f32",
                _NEAREST,
                float(cosines.min()),
                at_least=True,
                digits=6,
                note=f"mean {cosines.mean():.6f}",
            ),
        ],
        table(["precision", "Spearman"], [(name, f"{value:.5f}") for name, value in correlations.items()]),
        f"{len(first):,} pairs",
    )


def _pairs(path: Path) -> tuple[list[str], list[str], Numbers]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [row[0] for row in rows], [row[1] for row in rows], np.array([float(row[2]) for row in rows])


def _embed(texts: Sequence[str], model: str, precision: str, threads: int) -> Numbers:
    with embedmill.load_embedder(model, precision=precision, threads=threads, streams=threads) as embedder:
        vectors = embedder.embed(texts).astype(np.float64)
    unit: Numbers = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def spearman(one: Numbers, other: Numbers) -> float:
    """Pearson's correlation of the ranks, equal values sharing the mean of theirs (Spearman, 1904)."""
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Numbers = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return ranks


if __name__ == "__main__":
    main()
