"""Where a safetensors file's own header says that its tensors lie."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from embedmill.core.errors import ModelError
from embedmill.models.json_config import unreadable

_LENGTH: Final = 8  # bytes, little-endian, before the JSON header: the format's own definition
_LONGEST: Final = 16 << 20  # bytes of a header; the format allows 100 MB, which takes half a minute to read
_MOST_TENSORS: Final = 50_000  # encoders have some thousands
_MOST_AXES: Final = 16


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor, as the file stores it."""

    dtype: str  # as in the format: "F32", "BF16", ...
    shape: tuple[int, ...]
    begin: int  # byte in the file
    end: int

    def holds(self, itemsize: int) -> bool:
        """Whether its bytes are as many as its shape asks for."""
        return self.end - self.begin == math.prod(self.shape) * itemsize


def tensors(path: Path) -> Mapping[str, TensorEntry]:
    """Name and place of each tensor.

    Raises `ModelError` where the file cannot be read, its header is damaged, or it is shorter or longer than that
    header says.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            if size < _LENGTH or length > min(_LONGEST, max(size, 1 << 20)):
                raise ModelError(f"{path}: no safetensors file, or a damaged one: fetch it again")
            begin = _LENGTH + length
            header = json.loads(file.read(length), object_pairs_hook=_unique) if size >= begin else {}
        if len(header) > _MOST_TENSORS:
            raise ModelError(f"{path}: {len(header)} tensors, which no model here has: take another model")
        places = {name: _entry(entry, begin) for name, entry in header.items() if name != "__metadata__"}
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: its header is damaged: fetch it again") from error
    expected = begin
    for name, place in sorted(places.items(), key=lambda item: (item[1].begin, item[1].end)):
        if place.begin != expected:  # the format has tensors one behind the other, without overlap or hole
            raise ModelError(f"{path}: tensor {name[:100]!r} does not begin where the one before ends: fetch it again")
        expected = place.end
    if size < expected:
        raise ModelError(f"{path}: truncated: expected {expected} bytes, has {size}: fetch it again")
    if size > expected:
        raise ModelError(f"{path}: has {size} bytes where its header says {expected}: fetch it again")
    return places


def _entry(entry: Mapping[str, object], begin: int) -> TensorEntry:
    match entry:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [int(first), int(last)]} if (
            len(shape) <= _MOST_AXES
            and all(type(size) is int and 0 <= size < 1 << 48 for size in shape)
            and 0 <= first <= last < 1 << 62
        ):
            return TensorEntry(dtype, tuple(shape), begin + first, begin + last)
    raise ValueError("a tensor without a type, a shape and two offsets")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object, in which no name may stand twice: readers would differ in which of them counts."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found
