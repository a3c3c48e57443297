"""Which table and which columns are meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from embedmill.errors import UsageError

TEXT_NAMES: Final = ("text", "content", "body", "sentence", "document", "passage", "chunk", "description")
"""Names of columns that hold what is to be embedded, the most telling first."""

VECTOR_NAME: Final = "embedding"
"""The name of the vector column where none is given and several, or none, are there."""


LONGEST_NAME: Final = 63
"""Bytes: PostgreSQL cuts longer ones silently."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, as its database describes it."""

    name: str
    type: str  # as it is written in SQL
    is_text: bool
    is_vector: bool
    not_null: bool = False


def parts(name: str) -> list[tuple[str, bool]]:
    """The parts of a table's name, each with whether it was quoted: ``app."My Table"`` has two.

    Raises `UsageError` for what is no name.
    """
    found: list[tuple[str, bool]] = []
    rest = name.strip()
    while True:
        if rest.startswith('"'):
            end = 1
            while (end := rest.find('"', end)) != -1 and rest[end : end + 2] == '""':
                end += 2
            if end == -1:
                raise UsageError(f"table {name!r}: a quote is not closed")
            part, rest, quoted = rest[1:end].replace('""', '"'), rest[end + 1 :], True
        else:
            part, dot, after = rest.partition(".")
            rest, quoted = dot + after, False
        if not part or "\0" in part:
            raise UsageError(f"table {name!r}: give TABLE or SCHEMA.TABLE, with odd names in double quotes")
        found.append((part, quoted))
        if not rest:
            break
        if not rest.startswith("."):
            raise UsageError(f"table {name!r}: give TABLE or SCHEMA.TABLE, with odd names in double quotes")
        rest = rest[1:]
    if len(found) > 2:
        raise UsageError(
            f"table {name!r} has {len(found)} parts: give TABLE or SCHEMA.TABLE; --store names the database"
        )
    return found


def named(columns: Sequence[Column], given: str, option: str, table: str) -> Column:
    """The column that an option names: by its exact name, else without regard to case or quotes around it.

    Raises `UsageError`, which lists the columns.
    """
    found = _match(columns, given)
    if found is None:
        raise UsageError(f"{option}: {table} has no column {given!r}; it has {_list(columns)}")
    return found


def _match(columns: Sequence[Column], given: str) -> Column | None:
    plain = _unquoted(given)
    for wanted in (given, plain):
        for column in columns:
            if column.name == wanted:
                return column
    alike = [column for column in columns if column.name.casefold() == plain.casefold()]
    return alike[0] if len(alike) == 1 else None


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if len(name) > 2 and name[0] == name[-1] == '"' else name


def choose_text(columns: Sequence[Column], keys: Sequence[str], given: str | None, table: str) -> Column:
    """The column to embed: the one given, the only one with text, or the one with the most telling name.

    Raises `UsageError` where there is none, or the choice is not clear.
    """
    if given is not None:
        column = named(columns, given, "--text", table)
        if not column.is_text:
            raise UsageError(f"--text: {table}.{column.name} is {column.type}, not text: name another column")
        return column
    texts = [column for column in columns if column.is_text]
    candidates = [column for column in texts if column.name not in keys] or texts
    if not candidates:
        raise UsageError(f"{table} has no column with text; it has {_list(columns)}")
    if len(candidates) == 1:
        return candidates[0]
    for name in TEXT_NAMES:
        telling = [column for column in candidates if column.name.lower() == name]
        if len(telling) == 1:
            return telling[0]
        if telling:
            candidates = telling
            break
    raise UsageError(f"{table} has several columns with text: name one with --text: {_names(candidates)}")


def choose_vector(
    columns: Sequence[Column], given: str | None, table: str, *, create: bool, kinds: str
) -> Column | str:
    """The column to fill, or the name of the one to create.

    `kinds` says which types fit. Raises `UsageError` where there is none and none is to be created, where the one
    named is of another type, and where the choice is not clear.
    """
    wanted = given if given is not None else VECTOR_NAME
    there = [column.name for column in columns]
    if given is None:
        vectors = [column for column in columns if column.is_vector]
        if len(vectors) == 1 and not (create and VECTOR_NAME not in there):
            return vectors[0]
        if len(vectors) > 1 and VECTOR_NAME not in [column.name for column in vectors]:
            raise UsageError(f"{table} has several columns for vectors: name one with --vector: {_names(vectors)}")
    if create and _match(columns, wanted) is None:
        new = _unquoted(wanted)
        if not 1 <= len(new.encode()) <= LONGEST_NAME or "\0" in new:
            raise UsageError(f"--vector: {new!r} cannot be a column's name: give 1 to {LONGEST_NAME} bytes")
        return new
    if given is None and wanted not in there:
        raise UsageError(f"{table} has no column for vectors: --create adds one named {wanted}, --vector names another")
    column = named(columns, wanted, "--vector", table)
    if not column.is_vector:
        raise UsageError(
            f"--vector: {table}.{column.name} is {column.type or 'of no type'}, not {kinds}: name another column, "
            "or add one with --create"
        )
    return column


def no_such_table(name: str, where: str, others: Sequence[str]) -> UsageError:
    """The error for a table that is not there; names the ones that are spelled alike."""
    near = difflib.get_close_matches(name, others, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(near)}?" if near else ": check the name and --store"
    return UsageError(f"there is no table {name} in {where}{hint}")


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _list(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name} ({column.type})" if column.type else column.name for column in columns)
