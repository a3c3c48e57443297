"""Tensors of safetensors files, mapped rather than read: pages that are never touched cost nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedmill.errors import ModelError

Tensor = NDArray[np.float32]

_HEADER_LENGTH = 8  # bytes, little-endian, before the JSON header: the format's own definition
_MAX_HEADER = 100 << 20  # bytes; the format's own bound
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
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        length = int(data[:_HEADER_LENGTH].view("<u8")[0])
        if length > min(_MAX_HEADER, data.size - _HEADER_LENGTH):
            raise ValueError("its header is longer than the file")
        body = data[_HEADER_LENGTH + length :]
        header = json.loads(bytes(data[_HEADER_LENGTH : _HEADER_LENGTH + length]))
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] not in _DTYPES:
                continue  # integer tensors are buffers such as position ids: no weights
            dtype, shape, (begin, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
            if not (0 <= begin <= end <= body.size and end - begin == math.prod(shape) * dtype.itemsize):
                raise ValueError(f"tensor {name!r} lies outside of the file")
            raw = body[begin:end]
            # The format does not promise alignment: an odd header shifts all tensors.
            aligned = raw if raw.ctypes.data % dtype.itemsize == 0 else raw.copy()
            yield name, entry["dtype"], np.asarray(aligned.view(dtype).reshape(shape))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(f"{path} is no complete safetensors file ({error}): fetch the model again") from error
