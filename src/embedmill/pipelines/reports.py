"""What the reports of all runs have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embedmill.core.interfaces.embedder import Embedder
from embedmill.core.interfaces.executor import Executor


def counted(counts: Mapping[str, int]) -> dict[str, int]:
    """What became of chunks, as fields of a report or of progress."""
    return {name: counts[name] for name in ("chunks", "embedded", "cached", "duplicates", "failed", "tokens")}


def of_embedding(
    counts: Mapping[str, int],
    embedder: Embedder | None,
    executor: Executor | None,
    stages: Mapping[str, float],
    seconds: float,
) -> dict[str, Any]:
    """The fields that tell of embedding, whatever was embedded."""
    fingerprint = embedder.fingerprint if embedder else None
    return {
        **counted(counts),
        "seconds": round(seconds, 3),
        "model": embedder.name if embedder else "",
        "space": fingerprint.space.id if fingerprint else "",
        "precision": fingerprint.precision if fingerprint else "",
        "executor": executor.name if executor else "",
        "workers": executor.workers if executor else 0,
        "restarts": executor.restarts if executor else 0,
        "retries": executor.retries if executor else 0,
        "worker_stats": tuple(executor.stats()) if executor else (),
        "health": tuple(executor.check_health()) if executor else (),
        "tuning": executor.tuning if executor else "",
        "stages": {name: round(value, 3) for name, value in stages.items()},
    }
