"""What is remembered of vectors from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector


class VectorCache(Protocol):
    """Vectors by (text hash, fingerprint), shared by every run and process of the user."""

    def get_many(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there: hash -> ``(dimension,)`` float32."""

    def put_many(self, vectors: Mapping[bytes, Vector], fingerprint: Fingerprint) -> None:
        """Keep these vectors."""

    def finish_within(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers."""

    def close(self) -> None:
        """Write what is pending; may be called twice."""
