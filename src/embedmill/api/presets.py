"""Named choices for a pool of worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A replacement takes some 0.6 s of a core for the default model. Calls of the shortest texts take 0.02 s of one (16
# texts of 16 tokens), so that 2,000 calls keep the cost of replacing workers below 2 %, whatever the texts.


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset decides, where the user has not; None for what it leaves open."""

    workers: int | None
    max_documents_per_worker: int | None  # calls of the model
    max_memory_mb: int  # of one worker in all, its model included
    batch_size: int | None  # most texts in one call of the model


PRESETS: Final = {
    "auto": Preset(None, None, 1000, None),  # the number of workers is measured
    "development": Preset(2, 2000, 1000, 32),
    "production": Preset(3, 5000, 1500, 32),
    "low-memory": Preset(1, 2000, 500, 16),
}
