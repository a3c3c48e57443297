"""Which table and which columns are meant."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from embedmill.core.errors import StoreError, UsageError
from embedmill.storage.catalog import CatalogEntry

TEXT_NAMES: Final = ("text", "content", "body", "sentence", "document", "passage", "chunk", "description")
"""Names of columns that hold what is to be embedded, the most telling first."""

VECTOR_NAME: Final = "embedding"
"""The name of the vector column where none is given and several, or none, are there."""

_METRICS: Final = ("characters", "words", "tokens", "frequency", "text_hash", "text_digest")
"""The columns of a table of metrics beside those of the key."""

_LONGEST_NAME: Final = 63  # bytes: PostgreSQL cuts longer ones silently

_PLAIN: Final = re.compile(r"\w+")
"""A part of a name that needs no quotes, neither here nor in a sentence."""

_QUOTED: Final = re.compile(r'"((?:[^"]|"")*)"(?!")')
"""A part that has quotes; those in it stand twice."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, as its database describes it."""

    name: str
    type: str  # as it is written in SQL
    is_text: bool
    is_vector: bool  # and may be filled
    not_null: bool = False
    generated: bool = False


def parts(name: str) -> list[tuple[str, bool]]:
    """The parts of a table's name, each with whether it was quoted: ``app."My Table"`` has two.

    Raises `UsageError` for what is no name.
    """
    found: list[tuple[str, bool]] = []
    rest: str | None = name.strip()
    while rest is not None:
        quoted = _QUOTED.match(rest)
        if rest.startswith('"') and quoted is None:
            raise UsageError(f"table {name!r}: a quote is not closed")
        end = quoted.end() if quoted else (rest + ".").index(".")
        part = quoted[1].replace('""', '"') if quoted else rest[:end]
        if not _is_name(part) or rest[end : end + 1] not in ("", "."):
            raise UsageError(f"table {name!r}: give TABLE or SCHEMA.TABLE, with odd names in double quotes")
        found.append((part, quoted is not None))
        rest = rest[end + 1 :] if len(rest) > end else None
    if len(found) > 2:
        raise UsageError(
            f"table {name!r} has {len(found)} parts: give TABLE or SCHEMA.TABLE; --store names the database"
        )
    return found


def shown(names: Iterable[str]) -> str:
    """The name of a table, or of one in a schema, as people may give it back: `parts` reads these names in it."""
    return ".".join(name if _PLAIN.fullmatch(name) else quoted(name) for name in names)


def quoted(name: str) -> str:
    """A name as an identifier in SQL, whatever characters it has; `parts` reads it too."""
    return '"' + name.replace('"', '""') + '"'


def named(columns: Sequence[Column], given: str, option: str, table: str) -> Column:
    """The column that an option names: by its exact name, else without regard to case or quotes around it.

    Raises `UsageError`, which lists the columns.
    """
    found = _match(columns, given)
    if found is None:
        raise UsageError(f"{option}: {table} has no column {given!r}; it has {_list(columns)}")
    return found


def _match(columns: Sequence[Column], given: str) -> Column | None:
    plain = unquoted(given)
    for wanted in (given, plain):
        for column in columns:
            if column.name == wanted:
                return column
    alike = [column for column in columns if column.name.casefold() == plain.casefold()]
    return alike[0] if len(alike) == 1 else None


def unquoted(given: str) -> str:
    """A name without the quotes that a user may have put around it."""
    return given[1:-1].replace('""', '"') if len(given) > 2 and given[0] == given[-1] == '"' else given


def choose_key(
    columns: Sequence[Column],
    unique: Sequence[tuple[bool, list[str]]],
    given: Sequence[str],
    before: CatalogEntry | None,
    table: str,
) -> list[str]:
    """The names of the columns that tell rows apart: those given, else as `before`, else those of the primary key.

    `unique` are the table's unique indexes that tell every row: whether it is the primary key's, and its columns in
    order. Raises `UsageError` where none of them fits.
    """
    if given:
        wanted = {named(columns, name, "--id", table).name for name in given}
        fitting = [names for _, names in unique if set(names) == wanted]
        if not fitting:
            raise UsageError(
                f"--id: {table} has no unique index on {', '.join(given)} whose columns are NOT NULL: rows could not "
                "be told apart; name the columns of one, or create it"
            )
        return fitting[0]
    if before is not None and before.keys in [names for _, names in unique]:
        return before.keys
    for is_primary, names in unique:
        if is_primary:
            return names
    usable = "; ".join(", ".join(names) for _, names in unique)
    hint = f"unique are {usable}" if usable else "a unique index on NOT NULL columns will do"
    raise UsageError(f"{table} has no primary key: name the columns that tell its rows apart with --id: {hint}")


def meant_text(columns: Sequence[Column], given: str | None, before: CatalogEntry | None) -> str | None:
    """The text column that a user means: the one given, else the one that was read before, if it is still there."""
    if given is None and before is not None and before.text in [column.name for column in columns]:
        return before.text
    return given


def choose_text(columns: Sequence[Column], keys: Sequence[str], given: str | None, table: str) -> Column:
    """The column to embed: the one given, the only one with text, or the one with the most telling name.

    Raises `UsageError` where there is none, or the choice is not clear.
    """
    if given is not None:
        column = named(columns, given, "--text", table)
        if not column.is_text:
            raise UsageError(
                f"--text: {table}.{column.name} is {column.type or 'of no type'}, not text: name another column"
            )
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
    columns: Sequence[Column], given: str | None, table: str, *, create: bool, kinds: str, option: str
) -> Column | str:
    """The column to fill, or the name of the one to create.

    `kinds` says which types fit, `option` is the one that names the column. Raises `UsageError` where there is none and
    none is to be created, where the one named is of another type, and where the choice is not clear.
    """
    wanted = given if given is not None else VECTOR_NAME
    there = [column.name for column in columns]
    if given is None:
        vectors = [column for column in columns if column.is_vector]
        if len(vectors) == 1:
            return vectors[0]
        if len(vectors) > 1 and VECTOR_NAME not in [column.name for column in vectors]:
            raise UsageError(f"{table} has several columns for vectors: name one with --vector: {_names(vectors)}")
    if create and _match(columns, wanted) is None:
        new = unquoted(wanted)
        if not _is_name(new) or len(new.encode()) > _LONGEST_NAME:
            raise UsageError(f"{option}: {new!r} cannot be a column's name: give 1 to {_LONGEST_NAME} bytes")
        return new
    if given is None and wanted not in there:
        raise UsageError(f"{table} has no column for vectors: --create adds one named {wanted}, --vector names another")
    column = named(columns, wanted, option, table)
    if not column.is_vector:
        what = "generated" if column.generated else f"{column.type or 'of no type'}, not {kinds}"
        raise UsageError(f"{option}: {table}.{column.name} is {what}: {another_column(option)}")
    return column


def another_column(option: str) -> str:
    """For messages: what to do where the column that an option names does not fit."""
    added = "--create adds it" if option == "--vector" else "it need not be there"
    return f"name another column with {option} ({added})"


def without(columns: Sequence[Column], beside: str | None) -> list[Column]:
    """The columns without the one of this name, where that is not the only one for vectors."""
    named_so = _match(columns, beside) if beside is not None else None
    left = [column for column in columns if column is not named_so]
    return left if any(column.is_vector for column in left) else list(columns)


@contextmanager
def optional(needed: bool) -> Iterator[None]:
    """Choosing a column that will do no harm if there is none, unless it is needed."""
    try:
        yield
    except UsageError:
        if needed:
            raise


def metrics_name(table: str) -> str:
    """``<table>_metrics``, within the 63 bytes of a name in PostgreSQL; names that are cut differ as whole ones do."""
    name = f"{table}_metrics"
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    ending = f"_{hashlib.sha256(table.encode()).hexdigest()[:8]}_metrics"
    return table.encode()[: _LONGEST_NAME - len(ending)].decode(errors="ignore") + ending


def check_metrics_keys(keys: Sequence[str], table: str, metrics: str) -> None:
    """Raise `StoreError` where a key column has the name of a metric, so that the table `metrics` cannot hold both."""
    taken = [name for name in keys if name in _METRICS]
    if taken:
        raise StoreError(
            f"{table}: its key column {taken[0]} has the name of a column of {metrics}: rename it, or give --no-metrics"
        )


def check_metrics_table(found: Iterable[str], metrics: str) -> None:
    """Raise `StoreError` where the table of metrics, which has these columns, is another's."""
    missing = {*_METRICS} - set(found)
    if missing:
        raise StoreError(
            f"{metrics} is no table of embedmill's (it has no {', '.join(sorted(missing))}): rename it, or give "
            "--no-metrics"
        )


def no_such_table(name: str, where: str, others: Sequence[str]) -> UsageError:
    """The error for a table that is not there; names those of the others, as they are shown, that are spelled alike."""
    near = difflib.get_close_matches(name, others, n=3, cutoff=0.5)
    hint = f": did you mean {' or '.join(near)}?" if near else ": check the name and --store"
    return UsageError(f"there is no table {name} in {where}{hint}")


def _is_name(text: str) -> bool:
    """Whether a database could know it: names from the command line need not be valid Unicode."""
    try:
        return bool(text.encode()) and "\0" not in text
    except UnicodeEncodeError:
        return False


def _names(columns: Sequence[Column]) -> str:
    return ", ".join(column.name for column in columns)


def _list(columns: Sequence[Column]) -> str:
    return ", ".join(f"{column.name} ({column.type})" if column.type else column.name for column in columns)
