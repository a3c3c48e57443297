"""What is remembered of vectors from run to run."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from embedmill.core.spaces import Fingerprint
from embedmill.core.vectors import Vector


class VectorCache(Protocol):
    """Vectors by (text hash, fingerprint), shared by every run and process of the user.

    A hash is the SHA-256 of a text, 32 bytes; `ValueError` where one is not.
    """

    def get_many(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> dict[bytes, Vector]:
        """The vectors that are there: hash -> ``(dimension,)`` float32."""

    def put_many(self, vectors: Mapping[bytes, Vector], fingerprint: Fingerprint) -> None:
        """Keep these vectors."""

    def finish_within(self, seconds: float) -> None:
        """From now on nothing is waited for longer than this, and nothing long is begun; for signal handlers."""

    def close(self) -> None:
        """Write what is pending; may be called twice."""


class Claimed(NamedTuple):
    """What has come of claiming texts."""

    others: Mapping[bytes, int]
    """Hash -> owner, of those that somebody else embeds; the others are the caller's."""
    put: Sequence[bytes]
    """Hashes of those, of the caller's own, that the cache has a vector of, maybe put since it was asked last."""


@runtime_checkable
class ClaimingCache(VectorCache, Protocol):
    """A cache where runs say which texts they are about to embed, so that no other does at the same moment.

    A claim is a text's hash with its owner: a number that stands for one opening of the cache. A claim ends when its
    vector is put, when it is released, and when its owner closes the cache or its process ends, however it does.
    """

    def claim(self, hashes: Sequence[bytes], fingerprint: Fingerprint, overdue: Collection[int] = ()) -> Claimed:
        """Claim what nobody has claimed, and what `overdue` owners have.

        A text that the same opening has claimed before is told as another's.
        """

    def claimed(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> Mapping[bytes, int]:
        """Hash -> owner, of those that somebody has claimed; claims nothing."""

    def release(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """Let others embed what this opening has claimed and not put."""

    def want(self, hashes: Sequence[bytes], fingerprint: Fingerprint) -> None:
        """Say that somebody waits for what others have claimed."""

    def wanted(self) -> bool:
        """Whether somebody waits for what this opening has claimed."""


@runtime_checkable
class NamingCache(VectorCache, Protocol):
    """A cache that can tell people of which models its vectors are."""

    def name(self, fingerprint: Fingerprint, model: str) -> None:
        """Say by which name people know the model whose vectors are put from now on."""
