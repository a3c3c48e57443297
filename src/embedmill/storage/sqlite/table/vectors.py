"""What stands in a vector column of SQLite's: BLOBs of numbers of 32 bits, as sqlite-vec reads them."""

from __future__ import annotations

import numpy as np

from embedmill.core.errors import SpaceMismatch
from embedmill.core.vectors import Vector
from embedmill.storage.sqlite.table.database import Database
from embedmill.storage.sqlite.table.statements import Statements, ValueRow
from embedmill.storage.sqlite.table.table_spec import TableSpec


def encode(vector: Vector) -> bytes:
    """A vector as it is written: little-endian."""
    return vector.astype("<f4", copy=False).tobytes()


def decode(blob: bytes) -> Vector:
    """A vector that was written so."""
    return np.frombuffer(blob, "<f4").astype(np.float32)


def first(database: Database, statements: Statements) -> tuple[str, int]:
    """Type and size in bytes of the first value in the column; "null" where there is none."""
    spec = statements.spec
    if spec.vector and not spec.missing:
        for page in database.pages(statements.values, None, ValueRow, first=10):
            for row in page:
                if row.kind != "null":
                    return row.kind, row.size
    return "null", 0


def check_declared(spec: TableSpec, dimension: int, model: str) -> None:
    """Raise `SpaceMismatch` where the column is declared for vectors of another length than the model's."""
    if spec.dimension not in (None, dimension):
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} is declared for {spec.dimension:,} dimensions, the vectors of {model} "
            f"have {dimension:,}: name another column with --vector (--create adds it), or a --model that fits"
        )


def check(database: Database, statements: Statements, dimension: int, model: str) -> None:
    """Raise `SpaceMismatch` where the column holds something else than vectors of the model's dimension."""
    spec = statements.spec
    kind, size = first(database, statements)
    if kind not in ("null", "blob") or size % 4:
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} holds values that are no vectors (float32, as sqlite-vec reads them): "
            "name another column with --vector (--create adds it), or give --overwrite"
        )
    if kind == "blob" and size != 4 * dimension:
        raise SpaceMismatch(
            f"{spec.title}.{spec.vector} has vectors of {size // 4:,} dimensions, those of {model} have "
            f"{dimension:,}: name another column with --vector (--create adds it), a --model that fits, or give "
            "--overwrite"
        )
