"""Safetensors files: where their own header says that tensors lie, and these mapped rather than read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from embedmill.core.errors import ModelError
from embedmill.models.json_config import unreadable

_LENGTH: Final = 8  # bytes, little-endian, before the JSON header: the format's own definition
_LONGEST: Final = 16 << 20  # bytes of a header; the format allows 100 MB, which takes half a minute to read
_MOST_TENSORS: Final = 50_000  # encoders have some thousands
_MOST_AXES: Final = 16
_DTYPES: Final[dict[str, np.dtype[Any]]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}

Tensor = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor, as the file stores it."""

    dtype: str  # as in the format: "F32", "BF16", ...
    shape: tuple[int, ...]
    begin: int  # byte in the file
    end: int


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


class Weights:
    """All floating-point tensors of one or more files by name, as float32.

    Those stored as float32 are views of the mapped file, whose pages cost nothing until they are touched; the others
    are converted when taken. Raises `ModelError` for a file that is damaged, and for a name that is not there.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._tensors: dict[str, tuple[Path, str, NDArray[Any]]] = {}
        for path in paths:
            for name, dtype, array in _mapped(path):
                if _modern(name) in self._tensors:
                    raise ModelError(f"{path}: tensor {name[:100]!r} is there twice, which of them counts is unknown")
                self._tensors[_modern(name)] = (path, dtype, array)
        self.names = self._tensors.keys()

    def shaped(self, name: str, *shape: int) -> Tensor:
        """The tensor, which must have this shape. Raises `ModelError` where its shape is another."""
        if name not in self._tensors:
            where = ", ".join(sorted({str(path) for path, _, _ in self._tensors.values()}))
            raise ModelError(f"{where} has no tensor {name!r}: fetch the model again")
        path, dtype, array = self._tensors[name]
        if array.shape != shape:
            raise ModelError(
                f"{path}: tensor {name!r} has shape {array.shape}, config.json asks for {shape}: "
                "the files belong to different models, fetch them again"
            )
        if dtype == "BF16":  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32, copy=False)


def _modern(name: str) -> str:
    """BERT's first checkpoints, and what transformers still saves of them, name a norm's parts as TensorFlow did."""
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _mapped(path: Path) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """Name, dtype and array of each floating-point tensor in a file."""
    places = tensors(path)
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for name, place in places.items():
        dtype = _DTYPES.get(place.dtype)
        if dtype is None:
            continue  # integer tensors are buffers such as position ids: no weights
        if place.end - place.begin != math.prod(place.shape) * dtype.itemsize:
            raise ModelError(f"{path}: tensor {name!r} has not as many bytes as its shape asks for: fetch it again")
        raw = data[place.begin : place.end]
        # The format does not promise alignment: an odd header shifts all tensors.
        aligned = raw if raw.ctypes.data % dtype.itemsize == 0 else raw.copy()
        yield name, place.dtype, np.asarray(aligned.view(dtype).reshape(place.shape))
