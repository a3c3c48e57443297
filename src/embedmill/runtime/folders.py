"""Where embedmill keeps what it can make or fetch again, and what is remembered of runs."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``EMBEDMILL_CACHE_DIR``, else the platform's cache folder for "embedmill". It need not exist yet."""
    chosen = os.environ.get("EMBEDMILL_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("embedmill")
