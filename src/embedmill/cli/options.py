"""The options that commands share.

None stands for "not given": `embedmill.api.settings.settings` then asks the environment and the file.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any

import typer

from embedmill.core.errors import UsageError
from embedmill.storage.registry import DEFAULT_URL, known_urls

SETTINGS_NOTE = (
    "Each option that takes a value, and each that has a --no- form, is also read from the environment "
    "(EMBEDMILL_STORE for --store) and from ./embedmill.toml (chunk-tokens = 128). Options win over the "
    "environment, the environment over the file."
)
TABLE_NOTE = " What is about the table itself is given as options only."
PLACE_NOTE = "--store and --schema are also read from the environment (EMBEDMILL_STORE) and from ./embedmill.toml."


_EVERYWHERE = frozenset(("as_json", "quiet", "verbose"))


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002
    """An option whose default is told in its help."""
    return typer.Option(*names, help=help, show_default=False, **more)


Model = Annotated[
    str | None,
    option(
        "--model",
        metavar="NAME|FOLDER",
        help="The model: a repository's name or a folder with its files. Default: all-MiniLM-L6-v2.",
    ),
]
StoreModel = Annotated[
    str | None,
    option(
        "--model",
        metavar="NAME|FOLDER",
        help="Where the store's model lies. Default: found by the name that the store has noted.",
    ),
]
NotedModel = Annotated[
    str | None,
    option(
        "--model",
        metavar="NAME|FOLDER",
        help="Where the model lies that the store or table is filled with. Default: found by the name noted there.",
    ),
]
Precision = Annotated[
    str | None,
    option(
        "--precision",
        metavar="auto|f32|bf16",
        help="What the model computes in. Default: auto, which is bf16 where the processor has it, else f32.",
        autocompletion=lambda: ["auto", "f32", "bf16"],
    ),
]
Device = Annotated[
    str | None,
    option(
        "--device",
        metavar="auto|cpu",
        help="Where the model runs: on the processor; there is nothing else yet. Default: auto.",
        autocompletion=lambda: ["auto", "cpu"],
    ),
]
DocumentPrompt = Annotated[
    str | None,
    option(
        "--document-prompt",
        metavar="TEXT",
        help=r"What is put before each document, as in 'passage: '; \n is a line break. Default: what the store has "
        "noted, else what the model's files say.",
    ),
]
QueryPrompt = Annotated[
    str | None,
    option(
        "--query-prompt",
        metavar="TEXT",
        help=r"What is put before each query, as in 'query: '; \n is a line break. Noted in the store. Default: what "
        "the store has noted, else what the model's files say.",
    ),
]
Executor = Annotated[
    str | None,
    option(
        "--executor",
        metavar="threads|processes",
        help="Where the model runs: in threads of this process, or in worker processes that may crash, leak and hang "
        "without harm to the run. Default: threads.",
        autocompletion=lambda: ["threads", "processes"],
    ),
]
Workers = Annotated[
    str | None,
    option(
        "--workers",
        metavar="N",
        help="Calls of the model that run at once, at most one for each core, or worker processes. Default: one call "
        "for each core; the number of processes is measured at the run's beginning.",
    ),
]
WorkersOrAuto = Annotated[
    str | None,
    option(
        "--workers",
        metavar="N|auto",
        help="Calls of the model that run at once, at most one for each core, or worker processes, and threads that "
        "write. Default: auto: a call for each core, and as many rows in flight and writers as turn out to be needed.",
    ),
]
MaxLoad = Annotated[
    str | None,
    option(
        "--max-load",
        metavar="SHARE",
        help="Take at most so much of the cores that other programs leave, as in 0.8: fewer calls of the model, or "
        "workers, run at once while the machine is busy, more again afterwards, and always one. Default: all cores.",
    ),
]
Sleep = Annotated[
    str | None,
    option(
        "--sleep",
        metavar="SECONDS",
        help="Rest for so long after each call of the model, in each stream or worker, to stay polite. Default: 0.",
    ),
]
Preset = Annotated[
    str | None,
    option(
        "--preset",
        metavar="auto|development|production|low-memory",
        help="Workers, restarts, memory and batches of worker processes: 2 workers, each replaced after 2,000 calls "
        "of the model or at 1,000 MB, 32 texts a call (development); 3, 5,000, 1,500, 32 (production); "
        "1, 2,000, 500, 16 (low-memory). One other than auto means --executor processes; what is "
        "set itself wins over it. Default: auto.",
        autocompletion=lambda: ["auto", "development", "production", "low-memory"],
    ),
]
MaxMemory = Annotated[
    str | None,
    option(
        "--max-memory-mb",
        metavar="MB",
        help="Replace a worker process that takes so much, its model included. Default: 1000.",
    ),
]
MaxDocuments = Annotated[
    str | None,
    option(
        "--max-documents-per-worker",
        metavar="N",
        help="Replace a worker process after N calls of the model, each of a batch of texts. Default: never.",
    ),
]
BatchSize = Annotated[
    str | None,
    option("--batch-size", metavar="N", help="Most texts in one call of the model. Default: as many as tokens allow."),
]
Store = Annotated[
    str | None,
    option(
        "--store",
        metavar="URL",
        help=f"Where the vectors are kept: {known_urls()}. Default: {DEFAULT_URL}.",
    ),
]
Database = Annotated[
    str | None,
    option(
        "--store",
        metavar="URL",
        help=f"The database that has the table: {known_urls()}.",
    ),
]
Schema = Annotated[
    str | None,
    option(
        "--schema",
        metavar="NAME",
        help="Where in a PostgreSQL database the store lies; created by the first run. Default: embedmill.",
    ),
]
NotesSchema = Annotated[
    str | None,
    option(
        "--schema",
        metavar="NAME",
        help="Where in a PostgreSQL database embedmill notes which rows are done; created by the first run. "
        "Default: embedmill.",
    ),
]
EitherSchema = Annotated[
    str | None,
    option(
        "--schema",
        metavar="NAME",
        help="Where in a PostgreSQL database the store, and what is noted of tables, lies. Default: embedmill.",
    ),
]
FilledTable = Annotated[
    str | None,
    typer.Argument(metavar="TABLE", help="A table that ingest has filled. Default: the store.", show_default=False),
]
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
    str | None,
    option("--max-text", metavar="N", help="Texts of rows that have more characters fail. Default: 100000."),
]
DbTimeout = Annotated[
    str | None,
    option(
        "--db-timeout",
        metavar="SECONDS",
        help="How long a lost connection to PostgreSQL, or a lock, is borne before the run is given up. Default: 60.",
    ),
]
Cache = Annotated[
    bool | None,
    option("--cache/--no-cache", help="Whether to use the vectors that earlier runs of any store left. Default: yes."),
]
ChunkTokens = Annotated[
    str | None,
    option("--chunk-tokens", metavar="N", help="Most tokens of a chunk. Default: what the model reads at once."),
]
Include = Annotated[
    list[str] | None,
    option(
        "--include",
        metavar="PATTERN",
        help="Take only files that match, as in '*.{md,rst}'; gitignore syntax; may be repeated.",
    ),
]
Exclude = Annotated[
    list[str] | None,
    option(
        "--exclude",
        metavar="PATTERN",
        help="Leave out what matches, as in 'drafts/'; gitignore syntax; may be repeated.",
    ),
]
Hidden = Annotated[
    bool | None,
    option("--hidden/--no-hidden", help="Whether to take files and folders whose name begins with a dot. Default: no."),
]
Generated = Annotated[
    bool | None,
    option(
        "--generated/--no-generated",
        help="Whether to take lock files, source maps, minified code and large tables of numbers. Default: no.",
    ),
]
MaxFileSize = Annotated[
    str | None,
    option("--max-file-size", metavar="SIZE", help="Leave larger files out, as in 200M or 1G. Default: 64M."),
]
Encoding = Annotated[
    str | None,
    option(
        "--encoding",
        metavar="NAME",
        help="The encoding of text and HTML files that are not UTF-8, as in cp1254. Default: what a page declares, "
        "else guessed.",
    ),
]
DryRun = Annotated[
    bool,
    option("--dry-run", help="Say what would be done and how long it would take; store nothing."),
]
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
AsJson = Annotated[
    bool,
    option("--json", help="Print one JSON object on standard output, and nothing else there."),
]
Quiet = Annotated[
    bool,
    option("-q", "--quiet", help="No progress, no warnings, no summary: only errors."),
]
Verbose = Annotated[
    int,
    option("-v", "--verbose", count=True, help="More messages, and a traceback with errors; -vv for all messages."),
]


def given(**options: Any) -> dict[str, Any]:
    """The options that were given, as flags for `embedmill.api.settings.settings`."""
    return {name: value for name, value in options.items() if value is not None and value != []}


def refuse_others(context: typer.Context, used: Collection[str], why: str) -> None:
    """Raise `UsageError` for an option, or an argument, that was given and is not among those `used`."""
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in used or name in _EVERYWHERE:
            continue
        as_given = (context.params.get(name) is False and parameter.secondary_opts) or parameter.opts
        shown = as_given[-1] if parameter.param_type_name == "option" else name.upper()
        raise UsageError(f"{why}: leave {shown} out")


def prompts(**texts: str | None) -> dict[str, str]:
    """The prompts that were given, their escapes resolved. Raises `UsageError`, which names the option."""
    from embedmill.api.settings import unescaped

    found = {}
    for name, text in texts.items():
        if text is not None:
            try:
                found[name] = unescaped(text)
            except ValueError as error:
                raise UsageError(f"--{name.replace('_', '-')}: {text[:200]!r} does not fit: {error}") from None
    return found


def of_rows(metrics: bool | None, truncate: bool | None, max_text: str | None) -> dict[str, Any]:
    """How the texts of rows are taken, as arguments of `embedmill.api.ingest.ingest`."""
    most = None if max_text is None else whole_number(max_text, "--max-text")
    return given(metrics=metrics, truncate=truncate, max_text=most)


def check_store(about: dict[str, Any]) -> None:
    """Raise `UsageError` where options were given that are about a table, and no TABLE."""
    for name in about:
        raise UsageError(f"--{name.replace('_', '-')} is about a table: name the TABLE")


def whole_number(text: str, name: str, least: int = 1) -> int:
    """A number from `least` up; raises `UsageError`, which names the option."""
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name}: {text!r} does not fit: expected a whole number from {least} up")
    return int(text)


def tell_store(given: dict[str, Any], *, quiet: bool) -> None:
    """Say which store is used where none is named and it lies in a folder above."""
    from embedmill.api.settings import PlaceOptions, project_above, settings
    from embedmill.cli.output import complain

    if not quiet and (folder := project_above(given)) is not None:
        from embedmill.storage.registry import redact_url

        url = redact_url(settings(given, only=PlaceOptions.__annotations__).store)
        complain(f"using the store {url}, of the folder {folder}")
