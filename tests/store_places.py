"""Where the tests of all stores put theirs: an SQLite file, a schema of a PostgreSQL database, memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

_numbers = itertools.count()


def sqlite_place(request: pytest.FixtureRequest) -> dict[str, str]:
    folder = request.getfixturevalue("tmp_path_factory").mktemp("place")
    return {"url": f"sqlite:{folder}/store/index.db"}


def postgres_place(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"url": request.getfixturevalue("own_database"), "schema": f"store {next(_numbers)}"}


def memory_place(request: pytest.FixtureRequest) -> dict[str, str]:
    return {"url": f"memory:{next(_numbers)}"}


PLACES: dict[str, Callable[[pytest.FixtureRequest], dict[str, str]]] = {  # scheme -> where a new store may be
    "sqlite": sqlite_place,
    "postgresql": postgres_place,
    "memory": memory_place,
}

DURABLE = ["sqlite", "postgresql"]
"""Those that outlive their process, and whose rows tests look at and change by SQL, behind the store's back."""
