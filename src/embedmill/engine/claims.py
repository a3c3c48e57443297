"""Texts that several runs need at the same moment: one of them embeds them, and the others wait for its vectors."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from embedmill.core.interfaces.cache import Claimed, ClaimingCache, VectorCache
from embedmill.core.spaces import Fingerprint

log = logging.getLogger(__name__)

OVERDUE: Final = 120.0
"""Seconds after which a run that lives, and has delivered nothing that is waited for, is not waited for any more. Far
more than a batch takes, since a run that is waited for embeds what it holds next; so it hangs, or was halted."""

_LOOK_EVERY: Final = 0.02  # seconds; a vector that comes is used at once, and a look costs some 0.1 ms
_LOOKING: Final = 0.1  # of the time that is waited, at most, where very many texts are waited for
_ASKED_EVERY: Final = 0.5  # seconds between two looks at whether others wait for this run
_SAY_AFTER: Final = 10.0  # seconds that others are waited for


@dataclass(slots=True)
class _Other:
    """A run that embeds what this one needs too."""

    heard: float
    """When it was met, or has settled something that was waited for, last."""
    keys: set[bytes] = field(default_factory=set)
    """What is waited for."""
    asked: set[bytes] = field(default_factory=set)
    """For which of these it was asked."""


class Claims:
    """What this run claims in the cache, and what it hears of those whose claims it waits for.

    Nothing is claimed before `begin`, or in a cache where nothing can be.
    """

    def __init__(self, cache: VectorCache | None, fingerprint: Fingerprint, overdue: float = OVERDUE) -> None:
        """Others are overdue after so many seconds."""
        self._possible = cache if isinstance(cache, ClaimingCache) else None
        self._cache: ClaimingCache | None = None
        self._fingerprint = fingerprint
        self._overdue_after = overdue
        self._others: dict[int, _Other] = {}  # by their numbers as owners; those that are waited for
        self._next_look = self._next_asked = 0.0
        self._waited = 0.0  # seconds

    def begin(self) -> None:
        """From now on claim."""
        self._cache = self._possible

    def claim(self, keys: Sequence[bytes]) -> Claimed:
        """Claim what nobody embeds."""
        if self._cache is None or not keys:
            return Claimed({}, ())
        claimed = self._cache.claim(keys, self._fingerprint, self._overdue())
        self._wait_for(claimed.others)
        return claimed

    def release(self, keys: Sequence[bytes]) -> None:
        """Let others embed these."""
        if self._cache is not None and keys:
            self._cache.release(keys, self._fingerprint)

    @property
    def is_time_to_look(self) -> bool:
        """Whether it is worth it to ask anew for what is `settled`."""
        return time.monotonic() >= self._next_look

    def settled(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of what others have claimed that need not be waited for: they have a vector, or are anybody's."""
        if self._cache is None:
            return list(keys)
        started = time.monotonic()
        held = self._cache.claimed(keys, self._fingerprint)
        now = time.monotonic()
        self._next_look = now + max(_LOOK_EVERY, (now - started) / _LOOKING)
        for owner, other in list(self._others.items()):
            if gone := {key for key in other.keys if held.get(key) != owner}:
                other.keys -= gone
                other.heard = now
            if not other.keys:
                del self._others[owner]
        self._wait_for(held)
        overdue = self._overdue()
        return [key for key in keys if key not in held or held[key] in overdue]

    def wait(self) -> None:
        """Ask others for what is waited for, and wait until it is time to look."""
        for other in self._others.values():
            if self._cache is not None and (new := other.keys - other.asked):
                self._cache.want(list(new), self._fingerprint)
                other.asked |= new
        seconds = max(self._next_look - time.monotonic(), 0.0)
        time.sleep(seconds)
        if self._waited < _SAY_AFTER <= self._waited + seconds:
            texts = sum(len(other.keys) for other in self._others.values())
            log.warning("waiting for %d texts that another run of embedmill is embedding", texts)
        self._waited += seconds

    def are_wanted(self) -> bool:
        """Whether others wait for what this run has claimed; looked up now and then."""
        if self._cache is None or time.monotonic() < self._next_asked:
            return False
        self._next_asked = time.monotonic() + _ASKED_EVERY
        return self._cache.wanted()

    def _wait_for(self, others: Mapping[bytes, int]) -> None:
        for key, owner in others.items():
            if owner not in self._others:
                self._others[owner] = _Other(time.monotonic())
            self._others[owner].keys.add(key)

    def _overdue(self) -> list[int]:
        latest = time.monotonic() - self._overdue_after
        return [owner for owner, other in self._others.items() if other.heard < latest]
