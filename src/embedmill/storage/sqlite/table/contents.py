"""What stands in the columns of an SQLite table, where any row may hold any type: texts, and BLOBs for vectors.

Vectors are numbers of 32 bits, as sqlite-vec reads them.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

import numpy as np

from embedmill.core.errors import SpaceMismatch
from embedmill.core.rows import too_long
from embedmill.core.vectors import Cause, Vector
from embedmill.storage.columns import another_column
from embedmill.storage.sqlite.table.database import Database
from embedmill.storage.sqlite.table.rows import ValueRow
from embedmill.storage.sqlite.table.statements import Statements
from embedmill.storage.sqlite.table.table_spec import TableSpec

Content = str | bytes
"""A text, maybe with surrogates in place of what is not valid UTF-8; or a BLOB."""

_SURROGATE: Final = re.compile("[\udc80-\udcff]")


def digest(content: Content) -> bytes:
    """SHA-256 of a text, as `embedmill.core.documents.text_hash` makes it; another for a BLOB of the same bytes."""
    if isinstance(content, bytes):
        return sha256(b"BLOB\0" + content).digest()
    return sha256(content.encode("utf-8", "surrogateescape")).digest()


def print_of(vector: bytes) -> bytes:
    """What a vector is known by: a hash of it."""
    return sha256(vector).digest()[:16]


def is_text(content: Content) -> bool:
    """Whether it is a text, and valid."""
    return isinstance(content, str) and (content.isascii() or _SURROGATE.search(content) is None)


def unfit(content: Content, longest: int) -> Cause | None:
    """Why it cannot be embedded, as far as its type and length say."""
    if isinstance(content, bytes):
        return Cause("NotText", f"the value is a BLOB of {len(content):,} bytes, not a text")
    if len(content) > longest:
        return too_long(len(content), longest)
    return None if is_text(content) else Cause("NotUnicode", "the text is not valid UTF-8")


def encode(vector: Vector) -> bytes:
    """A vector as it is written: little-endian."""
    return vector.astype("<f4", copy=False).tobytes()


def decode(blob: bytes) -> Vector:
    """A vector that was written so."""
    return np.frombuffer(blob, "<f4").astype(np.float32)


def first_vector(database: Database, statements: Statements) -> tuple[str, int]:
    """Type and size in bytes of the first value in the column; "null" where there is none."""
    spec = statements.spec
    if spec.vector and not spec.missing:
        for page in database.pages(statements.values, None, ValueRow, first=10):
            for row in page:
                if row.kind != "null":
                    return row.kind, row.size
    return "null", 0


def check_dimension(spec: TableSpec, dimension: int, model: str) -> None:
    """Raise `SpaceMismatch` where the column is declared for vectors of another length than the model's."""
    if spec.dimension not in (None, dimension):
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} is declared for {spec.dimension:,} dimensions, the vectors of {model} "
            f"have {dimension:,}: {another_column(spec.option)}, or a --model that fits"
        )


def check_vectors(database: Database, statements: Statements, dimension: int, model: str) -> None:
    """Raise `SpaceMismatch` where the column holds something else than vectors of the model's dimension."""
    spec = statements.spec
    kind, size = first_vector(database, statements)
    if kind not in ("null", "blob") or size % 4:
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} holds values that are no vectors (float32, as sqlite-vec reads them): "
            f"{another_column(spec.option)}, or give --overwrite"
        )
    if kind == "blob" and size != 4 * dimension:
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} has vectors of {size // 4:,} dimensions, those of {model} have "
            f"{dimension:,}: {another_column(spec.option)}, a --model that fits, or give --overwrite"
        )
