"""What the cache of vectors holds, as people and programs read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedmill.cli.render.wording import counted, in_bytes

if TYPE_CHECKING:
    from embedmill.storage.cache.cache import CacheStats


def models(held: CacheStats) -> list[dict[str, Any]]:
    """Of which models there are vectors, and how many, those with the most first; no name where none was noted."""
    found = [
        {"model": held.models.get(key), "fingerprint": key, "vectors": vectors}
        for key, vectors in held.fingerprints.items()
    ]
    return sorted(found, key=lambda each: (-each["vectors"], each["fingerprint"]))


def model_rows(held: CacheStats) -> list[tuple[str, str]]:
    """The same as lines of two columns: what the model is called and computed in, and its vectors."""
    return [(f"  {_label(each)}", f"{each['vectors']:,}") for each in models(held)]


def contents(held: CacheStats) -> list[str]:
    """How large the cache is and what is in it, as lines."""
    size = f"{held.path}: {counted(held.entries, 'vector')}, {in_bytes(held.bytes)}"
    return [size, *(f"  {_label(each)}: {each['vectors']:,}" for each in models(held))]


def _label(model: dict[str, Any]) -> str:
    key: str = model["fingerprint"]
    space, _, precision = key.rpartition("-")
    return f"{model['model']}, {precision}" if model["model"] else f"a model of no known name, {space}, {precision}"
