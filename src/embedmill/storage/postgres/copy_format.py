"""Rows with vectors as PostgreSQL's binary COPY reads them, built by NumPy in one buffer.

Formats: PostgreSQL's documentation of COPY (binary format); ``vector_recv`` and ``halfvec_recv`` of pgvector: int16
dimension, int16 zero, then float32 or float16 numbers, all big-endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no extension
TRAILER: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"

_NUMBERS: Final = {"vector": ">f4", "halfvec": ">f2"}


def copy_buffer(
    columns: Mapping[str, NDArray[Any]],
    texts: Mapping[str, Sequence[str | None]] | None = None,
    *,
    vector: str = "vector",
) -> bytes:
    """What ``COPY table (columns) FROM STDIN (FORMAT BINARY)`` is sent: header, a record for each row, trailer.

    `columns` are in the table's order: int64 ``(n,)`` for ``bigint``, int32 ``(n,)`` for ``integer``, bytes of one
    length ``(n,)`` (``S16``) for ``bytea``, and float32 ``(n, dimension)`` for the type that `vector` names: "vector"
    or "halfvec". `texts` are the columns of the types ``text`` and ``json``, which come last; None is NULL.
    Raises `ValueError` for other arrays.
    """
    texts = texts or {}
    rows = {len(values) for values in (*columns.values(), *texts.values())}
    if len(rows) != 1:
        raise ValueError(f"columns of different lengths: {sorted(rows)}")
    fields: list[tuple[Any, ...]] = [("columns", ">i2")]
    for name, values in columns.items():
        fields.append((f"{name} size", ">i4"))
        if values.ndim == 2:
            fields += [(f"{name} dimension", ">i2"), (f"{name} unused", ">i2")]
            fields.append((name, _NUMBERS[vector], (values.shape[1],)))
        else:
            fields.append((name, _scalar(values.dtype)))
    records = np.zeros(rows.pop(), np.dtype(fields))
    records["columns"] = len(columns) + len(texts)
    for name, values in columns.items():
        size = records.dtype[name].itemsize
        if values.ndim == 2:
            records[f"{name} dimension"] = values.shape[1]
            size += 4
        records[f"{name} size"] = size
        records[name] = values
    data = records.tobytes()
    body: Iterable[bytes | memoryview] = _followed(data, records.itemsize, texts) if texts else [data]
    return b"".join([HEADER, *body, TRAILER])


def _followed(data: bytes, size: int, texts: Mapping[str, Sequence[str | None]]) -> Iterator[bytes | memoryview]:
    """The records, each followed by its texts."""
    whole = memoryview(data)
    for row, fields in enumerate(zip(*texts.values(), strict=True)):
        yield whole[row * size : (row + 1) * size]
        for text in fields:
            if text is None:
                yield _NULL
                continue
            encoded = text.encode()
            yield len(encoded).to_bytes(4, "big")
            yield encoded


def read_vector(data: bytes) -> NDArray[np.float32]:
    """A ``vector`` as the server sends it in binary form: ``(dimension,)``."""
    return np.frombuffer(data, ">f4", offset=4).astype(np.float32)


def text_of(vector: NDArray[np.float32]) -> str:
    """A vector as pgvector reads it in text form, without loss."""
    return str(vector.tolist())


def _scalar(dtype: np.dtype[Any]) -> str:
    if dtype in (np.dtype(np.int64), np.dtype(np.int32)):
        return f">i{dtype.itemsize}"
    if dtype.kind == "S":
        return dtype.str
    raise ValueError(f"no binary format is known here for {dtype}")
