"""The table of the kinds of jobs: which commands a batch can run, and what is to be known of each."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from embedmill.api import index as documents
from embedmill.api import ingest as rows
from embedmill.api import setting_values as values
from embedmill.api.arrange_file import ArrangementOptions, arrange_file, check_arrange_file
from embedmill.api.settings import SETTINGS, FileOptions, MetricsOptions, RunOptions, Settings, TermOptions
from embedmill.api.value_schemas import SWITCH
from embedmill.core.errors import UsageError
from embedmill.jobs.job_options import TIMEOUT, JobOption, arguments_of, parameters_of, settings_of
from embedmill.runtime.outputs import file_key
from embedmill.storage.driver import DEFAULT_SCHEMA
from embedmill.storage.registry import identity_of, local_files, redact_url

_WATCHING: Final = frozenset(["on_progress", "on_start"])


class Written(NamedTuple):
    """What a job writes, and no other job of the batch may."""

    key: str  # equal for two jobs that write the same
    told: str  # in messages; without a password
    remedy: str  # what to do where two do


@dataclass(frozen=True, eq=False, slots=True)
class JobKind:
    """A command that jobs may run."""

    function: Callable[..., Any]  # of `embedmill.api`; takes `on_progress` and `on_start` beside the job's arguments
    check: Callable[..., Settings]  # refuses what the function refuses before it begins; takes some of its arguments
    settings: type  # the typed dictionary of the function's settings
    input: str  # the parameter that the key with the command's name gives
    writes: Callable[[Mapping[str, Any], Settings], Iterator[Written]]
    check_input: Callable[[Any, Settings], object] = lambda _, __: None  # the same of the input, which is there
    total: Callable[[Any, Settings], int] | None = None  # of an input, where its progress does not tell: see `amount`
    input_is_path: bool = False
    arguments: type | None = None  # the typed dictionary of further arguments of the function, which are no settings
    store_is_there: bool = False  # whether the store must be there before
    hidden: frozenset[str] = frozenset()  # parameters that the command has no options for
    output: str = ""  # the option that names what the job writes, where it is a path: a matrix tells them apart by it
    output_suffix: str = ""  # of outputs that are named after the input's files; "": the file's own
    variants: Mapping[str, JobKind] = field(default_factory=dict)  # by the switch that chooses them

    def variant(self, arguments: Mapping[str, Any]) -> JobKind:
        """The kind itself, or the one that a switch among the arguments chooses."""
        return next((kind for name, kind in self.variants.items() if arguments.get(name) is True), self)


@functools.cache
def options_of(kind: JobKind) -> Mapping[str, JobOption]:
    """The options of a kind by name: its parameters, the switches to its variants, its settings and the timeout."""
    switches = [JobOption(name, SWITCH, values.switch) for name in kind.variants]
    hidden = _WATCHING | kind.hidden | {kind.input}
    arguments = [] if kind.arguments is None else arguments_of(kind.arguments)
    found = [*parameters_of(kind.function, hidden), *arguments, *switches, *settings_of(kind.settings), TIMEOUT]
    options = {option.name: option for option in found}
    if kind.output and options[kind.output].path == "there":
        options[kind.output] = replace(options[kind.output], path="written")
    return options


@functools.cache
def input_of(kind: JobKind) -> JobOption:
    """What the key with the command's name gives."""
    (found,) = (option for option in parameters_of(kind.function, _WATCHING) if option.name == kind.input)
    return replace(found, path="there") if kind.input_is_path else found


def all_options(kind: JobKind) -> Mapping[str, JobOption]:
    """The options of a kind and of its variants."""
    return {name: option for each in (*kind.variants.values(), kind) for name, option in options_of(each).items()}


def check_arguments(kind: JobKind, arguments: Mapping[str, Any]) -> Settings:
    """The settings of a job with these arguments. Raises what its command raises before it begins."""
    further = () if kind.arguments is None else kind.arguments.__annotations__
    known = {*inspect.signature(kind.check).parameters, *further, *SETTINGS}
    chosen = kind.check(**{name: value for name, value in arguments.items() if name in known})
    kind.check_input(arguments[kind.input], chosen)
    return chosen


def bound(command: str, arguments: Mapping[str, Any]) -> partial[Any]:
    """The call that does a job; `on_progress` and `on_start` may be added. It gives the report of its command."""
    kind = JOB_KINDS[command]
    chosen = kind.variant(arguments)
    return partial(chosen.function, **{k: v for k, v in arguments.items() if k not in kind.variants})


def total_of(command: str, arguments: Mapping[str, Any]) -> int | None:
    """What the amount of a job's progress will be in the end, where that takes a look; None where it does not."""
    kind = JOB_KINDS[command].variant(arguments)
    return None if kind.total is None else kind.total(arguments[kind.input], check_arguments(kind, arguments))


def outputs_are_there(job_command: str, arguments: Mapping[str, Any]) -> bool:
    """Whether the files that a job has written, or its store, are still there; of what lies on a server nobody asks."""
    if arguments.get("dry_run"):
        return True
    options = options_of(JOB_KINDS[job_command].variant(arguments))
    written = [value for name, value in arguments.items() if name in options and options[name].path == "written"]
    if store := arguments.get("store"):
        written += local_files(store)[:1]
    return all(os.path.lexists(path) for path in written)


def kind_of(command: str) -> JobKind:
    """The kind of this name. Raises `UsageError`, which has those there are."""
    found = JOB_KINDS.get(command)
    if found is None:
        raise UsageError(f"{command!r} is no command of a batch: give one of {', '.join(JOB_KINDS)}")
    return found


def _bytes_of_files(paths: Any, chosen: Settings) -> int:
    return documents.files(paths, chosen, least=0).amount()


def _written_store(arguments: Mapping[str, Any], chosen: Settings) -> Iterator[Written]:
    if not arguments.get("dry_run"):
        files = local_files(chosen.store)  # the first is that of the store; a job may name it as a file too
        key = file_key(files[0]) if files else identity_of(chosen.store, chosen.schema)
        if key is not None:
            yield Written(key, f"the store {redact_url(chosen.store)}", "give it another store")


def _written_column(arguments: Mapping[str, Any], chosen: Settings) -> Iterator[Written]:
    column = arguments.get("into") or arguments.get("vector")
    if not arguments.get("dry_run"):
        told = f"the column {column or 'for the vectors'} of the table {arguments['table']}"
        yield Written(*_of_table(arguments, chosen, f"column {column}", told), "give it another table or column")


def _written_metrics(arguments: Mapping[str, Any], chosen: Settings) -> Iterator[Written]:
    told = f"the metrics of the table {arguments['table']}"
    yield Written(*_of_table(arguments, chosen, "metrics", told), "leave one of them out")


def _only_files(arguments: Mapping[str, Any], chosen: Settings) -> Iterator[Written]:
    """What it writes are files that options name."""
    yield from ()


def _check_file(path: str, _: Settings) -> None:
    if Path(path).is_dir():
        raise UsageError(f"{path} is a folder: give a file with terms")


def _of_table(arguments: Mapping[str, Any], chosen: Settings, what: str, told: str) -> tuple[str, str]:
    database = identity_of(chosen.store, DEFAULT_SCHEMA)  # wherever in it embedmill's notes of the table lie
    key = f"{database} table {arguments['table']} {what}"
    return key, f"{told} in {redact_url(chosen.store)}"


JOB_KINDS: Final[Mapping[str, JobKind]] = {
    "index": JobKind(
        documents.index,
        documents.check_index,
        FileOptions,
        input="paths",
        total=_bytes_of_files,
        input_is_path=True,
        check_input=partial(documents.files, least=0),
        writes=_written_store,
        output="store",
        output_suffix=".db",
    ),
    "ingest": JobKind(
        rows.ingest,
        rows.check_ingest,
        RunOptions,
        input="table",
        store_is_there=True,
        hidden=frozenset(["again"]),  # that is retry-failed
        writes=_written_column,
        variants={
            "metrics_only": JobKind(
                rows.measure,
                rows.check_measure,
                MetricsOptions,
                input="table",
                store_is_there=True,
                writes=_written_metrics,
            )
        },
    ),
    "arrange": JobKind(
        arrange_file,
        check_arrange_file,
        TermOptions,
        input="input",
        input_is_path=True,
        check_input=_check_file,
        arguments=ArrangementOptions,
        writes=_only_files,
        output="output",
        output_suffix=".yaml",
    ),
}
"""The commands by their names, which are the keys that jobs are known by."""

COMMAND_NAMES: Final[Mapping[str, str]] = {name.replace("-", "_"): name for name in JOB_KINDS}
"""The same by their keys, with underscores."""
