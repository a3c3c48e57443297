"""The options of the commands.

A command's parameter `given`, typed as one of the dictionaries of `embedmill.api.settings`, stands for an option for
each of its settings. None stands for "not given": `embedmill.api.read_settings` then asks the environment and the file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final

import typer

from embedmill.api.settings import StoreOptions, option_name
from embedmill.cli import output
from embedmill.core.errors import UsageError
from embedmill.storage.registry import known_urls

SETTINGS_NOTE = (
    "Each option that takes a value, and each that has a --no- form, is also read from the environment "
    "(EMBEDMILL_STORE for --store) and from ./embedmill.toml (chunk-tokens = 128). Options win over the "
    "environment, the environment over the file."
)
TABLE_NOTE = " What is about the table itself is given as options only."
STORE_NOTE = "--store and --schema are also read from the environment (EMBEDMILL_STORE) and from ./embedmill.toml."

_MOST_NAMED: Final = 20  # tables in an error


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002
    """An option whose default is told in its help."""
    return typer.Option(*names, help=help, show_default=False, **more)


def argument(metavar: str, help: str) -> Any:  # noqa: A002
    """The same for an argument."""
    return typer.Argument(metavar=metavar, help=help, show_default=False)


# What `Given` says of settings that mean something else in some commands.
STORE_MODEL: Final = {"help": "Where the store's model lies. Default: found by the name that the store has noted."}
STORE_PROMPT: Final = {
    "help": r"What is put before each question, as in 'query: '; \n is a line break. Default: what the store has "
    "noted, else what the model's files say."
}
NOTED_MODEL: Final = {
    "help": "Where the model lies that the store or table is filled with. Default: found by the name noted there."
}
WORKERS_OR_AUTO: Final = {
    "metavar": "N|auto",
    "help": "Calls of the model that run at once, at most one for each core, or worker processes, and threads that "
    "write. Default: auto: a call for each core, and as many rows in flight and writers as turn out to be needed.",
}
DATABASE: Final = {"help": f"The database that has the table: {known_urls()}."}
NOTES_SCHEMA: Final = {
    "help": "Where in a PostgreSQL database embedmill notes which rows are done; created by the first run. "
    "Default: embedmill."
}
READ_SCHEMA: Final = {"help": "Where in a PostgreSQL database the store lies. Default: embedmill."}
EITHER_SCHEMA: Final = {
    "help": "Where in a PostgreSQL database the store, and what is noted of tables, lies. Default: embedmill."
}
FilledTable = Annotated[str | None, argument("TABLE", "A table that ingest has filled. Default: the store.")]
FilledVector = Annotated[
    str | None,
    option(
        "--vector", metavar="COLUMN", help="With TABLE: its column of vectors. Default: the only one, or embedding."
    ),
]
Key = Annotated[
    list[str] | None,
    option(
        "--id",
        metavar="COLUMN",
        help="A column that tells rows apart; may be repeated. Default: those of the primary key.",
    ),
]
Text = Annotated[
    str | None,
    option(
        "--text",
        metavar="COLUMN",
        help="The column to embed. Default: the only one with text, or one named text, content, body or the like.",
    ),
]
Metrics = Annotated[
    bool | None,
    option(
        "--metrics/--no-metrics",
        help="Whether to write characters, words, tokens and frequency of each text to TABLE_metrics. Default: yes.",
    ),
]
Truncate = Annotated[
    bool | None,
    option(
        "--truncate/--no-truncate",
        help="Whether a row's text that is longer than what the model reads is cut, or fails. Default: cut.",
    ),
]
MaxText = Annotated[
    str | None, option("--max-text", metavar="N", help="Texts of rows that have more characters fail. Default: 100000.")
]
DryRun = Annotated[bool, option("--dry-run", help="Say what would be done and how long it would take; store nothing.")]
Prune = Annotated[
    bool,
    option(
        "--prune",
        help="Take out of the store what this run's options leave out, though an earlier run had taken it, and what "
        "lies in files and folders that are gone.",
    ),
]
Force = Annotated[
    bool,
    option(
        "--force",
        help="Read every file, also one whose size and times are as before. What is known is not embedded anew.",
    ),
]


ReEmbed = Annotated[
    bool,
    option(
        "--re-embed",
        help="Where the store has vectors of another model: embed all anew with this one. Searches go on from what is "
        "there until it is done; the same command goes on after a stop.",
    ),
]


class Given:
    """Of a parameter `given`: `only` these settings of the dictionary, and other words for some of the options."""

    def __init__(self, *only: str, **words: Mapping[str, str]) -> None:
        self.only, self.words = only, words


def given(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value != []}


def of_rows(metrics: bool | None, truncate: bool | None, max_text: str | None) -> dict[str, Any]:
    """How the texts of rows are taken, as arguments of `embedmill.api.ingest.ingest`."""
    most = None if max_text is None else whole_number(max_text, "--max-text")
    return given(metrics=metrics, truncate=truncate, max_text=most)


def check_store(about: dict[str, Any]) -> None:
    """Raise `UsageError` where options were given that are about a table, and no TABLE."""
    for name in about:
        raise UsageError(f"{option_name(name)} is about a table: name the TABLE")


def whole_number(text: str, name: str, least: int = 1) -> int:
    """A number from `least` up; raises `UsageError`, which names the option."""
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name}: {text!r} does not fit: expected a whole number from {least} up")
    return int(text)


def check_quiet(what: str, *, as_json: bool, instead: str = "--json") -> None:
    """Raise `UsageError` under ``-q`` for a command that gives nothing but `what` people read."""
    if output.quiet() and not as_json:
        raise UsageError(f"-q would leave out {what}, and there is nothing else: leave -q out, or give {instead}")


def number(text: str, name: str) -> float:
    """A number; raises `UsageError`, which names the option."""
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{name}: {text!r} does not fit: expected a number, as in 0.9") from None


def gate(text: str, measures: Sequence[str], lowest: float = 0) -> tuple[str, float]:
    """What ``--at-least NAME=VALUE`` says, a value from `lowest` to 1; raises `UsageError`."""
    name, _, value = text.partition("=")
    if name not in measures or not value:
        *others, last = measures
        expected = f"{', '.join(others)} or {last}, as in {measures[0]}=0.9"
        raise UsageError(f"--at-least: {text!r} does not fit: expected {expected}")
    least = number(value, "--at-least")
    if not lowest <= least <= 1:
        raise UsageError(f"--at-least: {text!r} does not fit: expected a number from {lowest:g} to 1")
    return name, least


def store_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the settings that say where the store is."""
    return {name: value for name, value in given.items() if name in StoreOptions.__annotations__}


def tell_store(given: Mapping[str, Any]) -> None:
    """Say which store is used where none is named and it lies in a folder above."""
    from embedmill.api.project import project_above
    from embedmill.api.read_settings import read_settings

    if not output.quiet() and (folder := project_above(given)) is not None:
        from embedmill.storage.registry import redact_url

        url = redact_url(read_settings(store_options(given), StoreOptions).store)
        output.complain(f"using the store {url}, of the folder {folder}")


def missing_table(given: Mapping[str, Any]) -> UsageError:
    """The error where TABLE is left out; names the tables that there are."""
    from embedmill.api.read_settings import read_settings
    from embedmill.storage.registry import redact_url, table_names

    chosen = read_settings(store_options(given), StoreOptions)
    found = table_names(chosen.store, schema=chosen.schema, lock_timeout=chosen.db_timeout)
    there = ", ".join(found[:_MOST_NAMED])
    there += f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    where = output.masked(redact_url(chosen.store))
    return UsageError(f"TABLE is missing: {where} has {there}" if found else f"TABLE is missing: {where} has none")
