"""Commands that a user may run next, as they can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from embedmill.cli.output import complain, one_line
from embedmill.runtime.passwords import without_password

WHERE: Final = ("vector", "store", "schema")
"""The options that say what a command acts on."""

ALLOWED: Final = "allow_test_model"
"""The option without which nothing is filled from the model for tests."""

HOW: Final = ("metrics", "truncate", "max_text")
"""Those that say how the texts of a table's rows are taken."""


def command(*words: object, given: Mapping[str, Any], kept: Sequence[str] = WHERE) -> str:
    """The line of a command.

    Of the options `given` on the command line just now those `kept` come with it; what the environment or the file
    says holds for the next command too. A password is left out.
    """
    line = ["embedmill", *map(str, words)]
    for name in kept:
        value, option = given.get(name), name.replace("_", "-")
        if isinstance(value, bool):
            line.append(f"--{option}" if value else f"--no-{option}")
            continue
        for each in value if isinstance(value, list) else [] if value is None else [value]:
            line += [f"--{option}", without_password(each) if name == "store" else str(each)]
    return one_line(shlex.join(line))


def with_model(model: str | None, *words: object, given: Mapping[str, Any], kept: Sequence[str] = WHERE) -> str:
    """The line of a command that fills a store or table from this model; the one for tests has to be allowed."""
    from embedmill.embedders.testing import is_test_model

    allowed = {ALLOWED: True} if is_test_model(model) else {}
    return command(*words, given={**given, **allowed}, kept=(*kept, ALLOWED))


def tell_tables(word: str, given: Mapping[str, Any]) -> None:
    """Where the database has tables that ingest has filled, say how the command is given for one of them."""
    from embedmill.api.read_settings import read_settings
    from embedmill.api.settings import StoreOptions
    from embedmill.storage.registry import list_tables

    chosen = read_settings(given, StoreOptions)
    tables = list_tables(chosen.store, schema=chosen.schema, lock_timeout=chosen.db_timeout)
    if tables:
        line = command(word, tables[0].table, given={**given, **of_column(tables[0].vector)})
        complain(f"the tables of this database are each given by name: {line}")


def of_column(vector: str) -> dict[str, str]:
    """The option that names a vector column where that is needed."""
    from embedmill.storage.columns import VECTOR_NAME

    return {} if vector == VECTOR_NAME else {"vector": vector}
