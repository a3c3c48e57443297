"""Named choices for a pool of worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset decides, where the user has not; None for what it leaves open."""

    workers: int | None
    max_documents_per_worker: int | None
    max_memory_mb: int
    batch_size: int | None  # most texts in one call of the model


PRESETS: Final = {
    "auto": Preset(None, None, 1000, None),  # the number of workers is measured
    "development": Preset(2, 200, 1000, 32),
    "production": Preset(3, 500, 1500, 32),
    "low-memory": Preset(1, 100, 500, 16),
}
