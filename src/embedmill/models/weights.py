"""Tensors of safetensors files, mapped rather than read: pages that are never touched cost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedmill.core.errors import ModelError
from embedmill.models.safetensors import tensors

Tensor = NDArray[np.float32]

_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


class Weights(Mapping[str, Tensor]):
    """All tensors of one or more files by name, as float32.

    Those stored as float32 are views of the mapped file; the others are converted when taken.
    Raises `ModelError` for a file that is damaged, and for a name that is not there.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._tensors: dict[str, tuple[Path, str, NDArray[Any]]] = {}
        for path in paths:
            for name, dtype, array in _tensors(path):
                if _modern(name) in self._tensors:
                    raise ModelError(f"{path}: tensor {name[:100]!r} is there twice, which of them counts is unknown")
                self._tensors[_modern(name)] = (path, dtype, array)
        self._where = ", ".join(sorted({str(path) for path, _, _ in self._tensors.values()}))

    def __getitem__(self, name: str) -> Tensor:
        try:
            _, dtype, array = self._tensors[name]
        except KeyError:
            raise ModelError(f"{self._where} has no tensor {name!r}: fetch the model again") from None
        if dtype == "BF16":  # the upper half of a float32
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array.astype(np.float32, copy=False)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def shaped(self, name: str, *shape: int) -> Tensor:
        """The tensor, which must have this shape.

        Raises `ModelError` where its shape is another.
        """
        tensor = self[name]
        if tensor.shape != shape:
            path = self._tensors[name][0]
            raise ModelError(
                f"{path}: tensor {name!r} has shape {tensor.shape}, config.json asks for {shape}: "
                "the files belong to different models, fetch them again"
            )
        return tensor


def _modern(name: str) -> str:
    """BERT's first checkpoints, and what transformers still saves of them, name a norm's parts as TensorFlow did."""
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _tensors(path: Path) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """Name, dtype and array of each floating-point tensor in a file."""
    places = tensors(path)
    data = np.memmap(path, dtype=np.uint8, mode="r")
    for name, place in places.items():
        dtype = _DTYPES.get(place.dtype)
        if dtype is None:
            continue  # integer tensors are buffers such as position ids: no weights
        if not place.holds(dtype.itemsize):
            raise ModelError(f"{path}: tensor {name!r} has not as many bytes as its shape asks for: fetch it again")
        raw = data[place.begin : place.end]
        # The format does not promise alignment: an odd header shifts all tensors.
        aligned = raw if raw.ctypes.data % dtype.itemsize == 0 else raw.copy()
        yield name, place.dtype, np.asarray(aligned.view(dtype).reshape(place.shape))
