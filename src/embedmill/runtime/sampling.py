"""Samples of what comes one by one, however much that is: each thing is as likely as any other to be in one."""

from __future__ import annotations

import random


class Reservoir:
    """Which place in a sample each thing takes (Vitter, "Random sampling with a reservoir", 1985: algorithm R)."""

    def __init__(self, size: int, chance: random.Random) -> None:
        """The sample has so many places."""
        self._size = size
        self._chance = chance
        self.offered = 0

    def place(self) -> int | None:
        """That of the next thing, which another may have until now; None: the thing is not kept."""
        place = self.offered
        self.offered += 1
        if place >= self._size:
            place = self._chance.randrange(self.offered)
        return place if place < self._size else None
