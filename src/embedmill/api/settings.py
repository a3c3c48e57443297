"""The table of settings.

A field of `Settings` is an option of the commands, an environment variable and a key of ``embedmill.toml`` at once; one
of the typed dictionaries below has it once more, as a keyword argument of the functions that take it. A setting that
is added here is added everywhere.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, NamedTuple, TypedDict, TypeVar

from embedmill.api import setting_values as values
from embedmill.core.checks import suggestion
from embedmill.core.defaults import DEFAULT_MODEL
from embedmill.core.errors import UsageError
from embedmill.storage.driver import DB_TIMEOUT, DEFAULT_SCHEMA
from embedmill.storage.registry import DEFAULT_URL, known_urls

T = TypeVar("T")

PREFIX: Final = "EMBEDMILL_"  # of environment variables
PRECISIONS: Final = ("auto", "f32", "bf16")
DEVICES: Final = ("auto", "cpu")
EXECUTORS: Final = ("threads", "processes")
LARGEST_BATCH: Final = 1024  # texts in a call of the model: more are no faster

# A replacement takes some 0.6 s of a core for the default model. Calls of the shortest texts take 0.02 s of one (16
# texts of 16 tokens), so that 2,000 calls keep the cost of replacing workers below 2 %, whatever the texts.


@dataclass(frozen=True, slots=True)
class Preset:
    """What a preset decides, where the user has not; None for what it leaves open."""

    workers: int | None
    max_documents_per_worker: int | None  # calls of the model
    max_memory_mb: int  # of one worker in all, its model included
    batch_size: int | None  # most texts in one call of the model


PRESETS: Final = {
    "auto": Preset(None, None, 1000, None),  # the number of workers is measured
    "development": Preset(2, 2000, 1000, 32),
    "production": Preset(3, 5000, 1500, 32),
    "low-memory": Preset(1, 2000, 500, 16),
}


class Setting(NamedTuple):
    """What is known of a setting beside its name and default."""

    check: Callable[[Any], Any]  # gives the value as the setting has it, or raises ValueError or TypeError
    help: str = ""  # of the option; "" where commands have none
    metavar: str | None = None
    choices: Sequence[str] = ()  # where there are few
    check_option: Callable[[Any], Any] | None = None  # narrower: of what is given here and now
    variable: str = ""  # that scripts of this kind have in common; embedmill's own wins over it
    escapes: bool = False  # whether \n and \t in the environment and on the command line mean a line break and a tab
    names_file: bool = False  # whether it is the path of a file that the run writes
    selects: bool = False  # whether it decides which documents a run makes of what, and not where and how it works


def _setting(default: T, check: Callable[[Any], T], help: str = "", metavar: str | None = None, **more: Any) -> T:  # noqa: A002
    return field(default=default, metadata={"": Setting(check, help, metavar, **more)})


def _choice(default: str, choices: Collection[str], help: str, *, note: str = "", **more: Any) -> str:  # noqa: A002
    check = values.one_of(choices, note)
    return _setting(default, check, help, "|".join(choices), choices=tuple(choices), **more)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the commands that embed share, in the order of their options."""

    model: str = _setting(
        DEFAULT_MODEL,
        values.text,
        f"The model: a repository's name or a folder with its files. Default: {DEFAULT_MODEL}.",
        "NAME|FOLDER",
        variable="EMBED_MODEL",
    )
    precision: str = _choice(
        "auto",
        PRECISIONS,
        "What the model computes in. Default: auto, which is bf16 where the processor has it, else f32.",
        selects=True,
    )
    device: str = _choice(
        "auto",
        DEVICES,
        "Where the model runs: on the processor; there is nothing else yet. Default: auto.",
        note=": models run on the processor only",
        variable="EMBED_DEVICE",
    )
    document_prompt: str | None = _setting(  # None: the store's own, else the model's
        None,
        values.prompt,
        r"What is put before each document, as in 'passage: '; \n is a line break. Default: what the store has "
        "noted, else what the model's files say.",
        "TEXT",
        escapes=True,
        variable="EMBED_PREFIX",
    )
    query_prompt: str | None = _setting(  # None: the same
        None,
        values.prompt,
        r"What is put before each query, as in 'query: '; \n is a line break. Noted in the store. Default: what "
        "the store has noted, else what the model's files say.",
        "TEXT",
        escapes=True,
    )
    allow_test_model: bool = _setting(
        False,
        values.switch,
        "Whether the model test:N, whose vectors of N numbers mean nothing, may fill a store or table: for tests of "
        "your own programs. Default: no.",
    )
    executor: str = _choice(
        "threads",
        EXECUTORS,
        "Where the model runs: in threads of this process, or in worker processes that may crash, leak and hang "
        "without harm to the run. Default: threads.",
    )
    workers: int | None = _setting(  # threads: calls of the model that run at once; processes: their number
        None,
        values.workers,
        "Calls of the model that run at once, at most one for each core, or worker processes. Default: one call "
        "for each core; the number of processes is measured at the run's beginning.",
        "N",
        check_option=values.workers_here,
        variable="EMBED_WORKERS",
    )
    preset: str = _choice(  # for processes; one that is named means processes
        "auto",
        PRESETS,
        "Workers, restarts, memory and batches of worker processes: 2 workers, each replaced after 2,000 calls "
        "of the model or at 1,000 MB, 32 texts a call (development); 3, 5,000, 1,500, 32 (production); "
        "1, 2,000, 500, 16 (low-memory). One other than auto means --executor processes; what is "
        "set itself wins over it. Default: auto.",
    )
    max_load: float | None = _setting(  # share of the cores that others leave; None: no look at them
        None,
        values.share,
        "Take at most so much of the cores that other programs leave, as in 0.8: fewer calls of the model, or "
        "workers, run at once while the machine is busy, more again afterwards, and always one. Default: all cores.",
        "SHARE",
    )
    sleep: float = _setting(  # seconds between two calls of the model
        0.0,
        values.pause,
        "Rest for so long after each call of the model, in each stream or worker, to stay polite. Default: 0.",
        "SECONDS",
        variable="EMBED_SLEEP",
    )
    max_memory_mb: int | None = _setting(  # of a worker process, model included; None: the preset's
        None,
        values.whole_number(1, 1 << 24),
        "Replace a worker process that takes so much, its model included. Default: 1000.",
        "MB",
    )
    max_documents_per_worker: int | None = (
        _setting(  # calls of the model until a worker is replaced; None: the preset's
            None,
            values.whole_number(1, 1 << 32),
            "Replace a worker process after N calls of the model, each of a batch of texts. Default: never.",
            "N",
        )
    )
    batch_size: int | None = _setting(  # None: the preset's, or as many as tokens allow
        None,
        values.whole_number(1, LARGEST_BATCH),
        "Most texts in one call of the model. Default: as many as tokens allow.",
        "N",
        variable="EMBED_BATCH_SIZE",
    )
    profile: bool = _setting(
        False,
        values.switch,
        "Whether to write to standard error where the time went: each stage's share, calls, mean and 95th percentile. "
        "Default: no.",
    )
    profile_json: str | None = _setting(
        None, values.text, "Write the same to a file, as JSON.", "FILE", names_file=True
    )
    store: str = _setting(
        DEFAULT_URL, values.text, f"Where the vectors are kept: {known_urls()}. Default: {DEFAULT_URL}.", "URL"
    )
    schema: str = _setting(
        DEFAULT_SCHEMA,
        values.text,
        "Where in a PostgreSQL database the store lies; created by the first run. Default: embedmill.",
        "NAME",
    )
    db_timeout: float = _setting(
        DB_TIMEOUT,
        values.seconds,
        "How long a lost connection to PostgreSQL, or a lock, is borne before the run is given up. Default: 60.",
        "SECONDS",
    )
    cache: bool = _setting(
        True, values.switch, "Whether to use the vectors that earlier runs of any store left. Default: yes."
    )
    chunk_tokens: int | None = _setting(
        None,
        values.whole_number(16, 1 << 20),
        "Most tokens of a chunk. Default: what the model reads at once.",
        "N",
        selects=True,
    )
    include: tuple[str, ...] = _setting(
        (),
        values.patterns,
        "Take only files that match, as in '*.{md,rst}'; gitignore syntax; may be repeated.",
        "PATTERN",
        selects=True,
    )
    exclude: tuple[str, ...] = _setting(
        (),
        values.patterns,
        "Leave out what matches, as in 'drafts/'; gitignore syntax; may be repeated.",
        "PATTERN",
        selects=True,
    )
    hidden: bool = _setting(
        False,
        values.switch,
        "Whether to take files and folders whose name begins with a dot. Default: no.",
        selects=True,
    )
    generated: bool = _setting(
        False,
        values.switch,
        "Whether to take lock files, source maps, minified code and large tables of numbers. Default: no.",
        selects=True,
    )
    max_file_size: int = _setting(  # bytes; most larger files are data or logs, not text to search
        64 << 20, values.size, "Leave larger files out, as in 200M or 1G. Default: 64M.", "SIZE", selects=True
    )
    encoding: str | None = _setting(
        None,
        values.encoding,
        "The encoding of text and HTML files that are not UTF-8, as in cp1254. Default: what a page declares, "
        "else guessed.",
        "NAME",
        selects=True,
    )
    log_file: str | None = _setting(  # of the command line: in a library it is the program that says where logs go
        None,
        values.text,
        "Append all messages to a file, with times, levels and tracebacks, whatever is shown. Default: none.",
        "FILE",
        names_file=True,
    )
    embedding_parallel_workers: int | None = _setting(  # processes: of runs, and of a ParallelEmbeddingGenerator
        None, values.workers, check_option=values.workers_here
    )
    enable_parallel_embeddings: bool = _setting(True, values.switch)  # whether there may be worker processes at all


SETTINGS: Final[Mapping[str, Setting]] = {each.name: each.metadata[""] for each in fields(Settings)}

VARIABLES: Final = {name: f"{PREFIX}{name.upper()}" for name in SETTINGS}
"""Setting -> its environment variable."""


# The same as keyword arguments of the functions, for type checkers, each with the types that a caller may give;
# `check_options` looks at run time. None stands for "not given".


class DatabaseOptions(TypedDict, total=False):
    """How the database of a store is used."""

    schema: str | None
    db_timeout: float | str | None


class _ModelOptions(TypedDict, total=False):
    model: str | None
    precision: str | None
    query_prompt: str | None


class StoreOptions(DatabaseOptions, total=False):
    """Where the vectors are kept."""

    store: str | None


class SearchOptions(DatabaseOptions, _ModelOptions, total=False):
    """Where a search looks beside the store's URL, and with which model."""


class GoldenOptions(StoreOptions, total=False):
    """What the vectors of a golden set are computed with, and the store that its texts may come from."""

    model: str | None
    precision: str | None
    document_prompt: str | None


class TermOptions(TypedDict, total=False):
    """What terms are embedded with."""

    model: str | None
    precision: str | None
    document_prompt: str | None
    executor: str | None
    workers: int | str | None
    max_load: float | str | None
    sleep: float | str | None
    max_memory_mb: int | str | None
    max_documents_per_worker: int | str | None
    batch_size: int | str | None
    cache: bool | str | None


class MetricsOptions(StoreOptions, total=False):
    """What the metrics of a table's rows are counted with."""

    model: str | None
    document_prompt: str | None


class RunOptions(StoreOptions, TermOptions, _ModelOptions, total=False):
    """What all runs that embed share."""

    allow_test_model: bool | str | None
    device: str | None
    preset: str | None
    profile: bool | str | None
    profile_json: str | None
    embedding_parallel_workers: int | str | None
    enable_parallel_embeddings: bool | str | None


class DocumentOptions(RunOptions, total=False):
    """What runs over documents share."""

    chunk_tokens: int | str | None


class FileOptions(DocumentOptions, total=False):
    """Which files are taken."""

    include: str | Sequence[str] | None
    exclude: str | Sequence[str] | None
    hidden: bool | str | None
    generated: bool | str | None
    max_file_size: int | str | None
    encoding: str | None


def names_of(options: type | Iterable[str] | None) -> list[str]:
    """The settings of one of the dictionaries above, in the order of `Settings`; None for all."""
    if options is None:
        return list(SETTINGS)
    names = set(options.__annotations__ if isinstance(options, type) else options)
    return [name for name in SETTINGS if name in names]


def option_name(name: str) -> str:
    """The setting as it is given on a command line."""
    return "--" + name.replace("_", "-")


def check_options(function: Callable[..., Any], given: Mapping[str, Any], options: type) -> None:
    """Raise `UsageError` for the first option that the function does not have; `options` is its typed dictionary."""
    for name in given:
        if name in options.__annotations__:
            continue
        if name in SETTINGS:
            raise UsageError(f"{function.__name__}() has no use for {name}: leave it out")
        known = [*inspect.signature(function).parameters, *options.__annotations__]
        raise UsageError(f"{function.__name__}() has no option {name!r}{suggestion(name, known)}")


def selecting(chosen: Settings) -> dict[str, Any]:
    """The settings that decide which documents a run takes and how it cuts them, but for those that are the default."""
    usual = Settings()
    return {
        name: value
        for name, setting in SETTINGS.items()
        if setting.selects and (value := getattr(chosen, name)) != getattr(usual, name)
    }


def known_settings(noted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values, noted by `selecting` of this or another version, that are settings of this one."""
    return {name: value for name, value in noted.items() if name in SETTINGS}
