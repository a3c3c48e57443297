"""Settings of a run: from flags, else environment variables, else ``embedmill.toml``, else defaults."""

from __future__ import annotations

import codecs
import functools
import inspect
import logging
import math
import os
import re
import stat
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from embedmill.api.presets import PRESETS
from embedmill.core.checks import meant
from embedmill.core.errors import UsageError
from embedmill.runtime import machine
from embedmill.storage.postgres import DB_TIMEOUT, DEFAULT_SCHEMA
from embedmill.storage.registry import has_schemas

log = logging.getLogger(__name__)

CONFIG_FILE = "embedmill.toml"
PREFIX = "EMBEDMILL_"


_LARGEST_BATCH = 1024  # texts in a call of the model: more are no faster

_EARLIER = {
    "EMBED_MODEL": "model",
    "EMBED_DEVICE": "device",
    "EMBED_PREFIX": "document_prompt",
    "EMBED_BATCH_SIZE": "batch_size",
    "EMBED_WORKERS": "workers",
    "EMBED_SLEEP": "sleep",
}
"""Variables that scripts of this kind have in common -> the setting. embedmill's own win over them."""

_OTHERS = {"EMBEDMILL_CACHE_DIR", "EMBEDMILL_OFFLINE", "EMBEDMILL_WORKER_IMPORTING", "EMBEDMILL_TEST_DSN"}
"""Variables of embedmill's that are no settings."""

PRECISIONS = ("auto", "f32", "bf16")
DEVICES = ("auto", "cpu")
DEFAULT_STORE = "sqlite:.embedmill/index.db"
_STORE_FILE = DEFAULT_STORE.partition(":")[2]
EXECUTORS = ("threads", "processes")

_SHOWN = 200  # characters of a value that does not fit
_DIGITS = 18  # of a whole number; longer ones are no number of anything
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the commands that embed share. Each field is also a flag, a variable and a key of the file."""

    model: str = "all-MiniLM-L6-v2"
    precision: str = "auto"
    device: str = "auto"  # there is one kind: the processor
    document_prompt: str | None = None  # put before each document; None: the store's own, else the model's
    query_prompt: str | None = None  # put before each query; None: the same
    executor: str = "threads"
    max_load: float | None = None  # share of the cores that others leave; None: no look at them
    sleep: float = 0.0  # seconds between two calls of the model
    workers: int | None = None  # threads: calls of the model that run at once; processes: their number
    preset: str = "auto"  # for processes; one that is named means processes
    max_memory_mb: int | None = None  # of a worker process, model included; None: the preset's
    max_documents_per_worker: int | None = None  # calls of the model until a worker is replaced; None: the preset's
    batch_size: int | None = None  # most texts in a call of the model; None: the preset's, or as many as tokens allow
    store: str = DEFAULT_STORE
    schema: str = DEFAULT_SCHEMA  # where in a PostgreSQL database the store lies; means nothing to others
    db_timeout: float = DB_TIMEOUT  # seconds that a lost connection or a lock is borne
    cache: bool = True
    chunk_tokens: int | None = None  # most tokens of a chunk; None: what the model reads
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    hidden: bool = False
    generated: bool = False  # whether to take lock files, source maps, minified code, tables of numbers
    encoding: str | None = None  # of text and HTML files that are not UTF-8; None: as a page declares, else guessed
    max_file_size: int = 64 << 20  # bytes; most larger files are data or logs, not text to search
    embedding_parallel_workers: int | None = None  # worker processes: of runs, and of a ParallelEmbeddingGenerator
    enable_parallel_embeddings: bool = True  # whether there may be worker processes at all


# The same as the keyword arguments of the functions, for type checkers; `check_options` looks at run time.
# None stands for "not given".


class PlaceOptions(TypedDict, total=False):
    """Where the vectors are kept."""

    store: str | None
    schema: str | None
    db_timeout: float | str | None


class RunOptions(PlaceOptions, total=False):
    """What all runs that embed share."""

    model: str | None
    precision: str | None
    device: str | None
    document_prompt: str | None
    query_prompt: str | None
    executor: str | None
    max_load: float | str | None
    sleep: float | str | None
    workers: int | str | None
    preset: str | None
    max_memory_mb: int | str | None
    max_documents_per_worker: int | str | None
    batch_size: int | str | None
    cache: bool | str | None
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


class SearchOptions(TypedDict, total=False):
    """Where a search looks beside the store's URL, and with which model."""

    schema: str | None
    db_timeout: float | str | None
    model: str | None
    precision: str | None
    query_prompt: str | None


_NOT_OF_DOCUMENTS = {
    *PlaceOptions.__annotations__,
    *("model", "document_prompt", "query_prompt"),  # the store itself has noted these
    *("device", "executor", "workers", "preset", "max_memory_mb", "max_documents_per_worker", "batch_size", "cache"),
    *("embedding_parallel_workers", "enable_parallel_embeddings", "sleep", "max_load"),
}
"""Settings that say where and how a run works, and nothing of which documents it makes of what."""


def of_documents(chosen: Settings) -> dict[str, Any]:
    """The settings that decide which documents a run takes and how it cuts them, but for those that are the default."""
    usual = Settings()
    values = {each.name: getattr(chosen, each.name) for each in fields(chosen) if each.name not in _NOT_OF_DOCUMENTS}
    return {name: value for name, value in values.items() if value != getattr(usual, name)}


def known_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values, noted by `of_documents` of this or another version, that are settings of this one."""
    return {name: value for name, value in values.items() if name in _CHECKS}


def check_options(function: Callable[..., Any], given: Mapping[str, Any], kind: type) -> None:
    """Raise `UsageError` for the first option that the function does not have; `kind` is its typed dictionary."""
    for name in given:
        if name in kind.__annotations__:
            continue
        if name in _CHECKS:
            raise UsageError(f"{function.__name__}() has no use for {name}: leave it out")
        known = [*inspect.signature(function).parameters, *kind.__annotations__]
        raise UsageError(f"{function.__name__}() has no option {name!r}{meant(name, known)}")


def settings(
    flags: Mapping[str, Any] | None = None,
    *,
    only: Collection[str] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Gather the settings; a flag that is None was not given.

    `only` names those that the caller uses, None for all: of the others in the environment and the file nothing is
    looked at, so that a value that does not fit stops none but the commands that it is for.

    Raises `UsageError`, which names the place of the value, for an unknown key or a value that does not fit.
    """
    wanted = _CHECKS if only is None else only
    found: dict[str, Any] = {}
    variables = os.environ if environment is None else environment
    above = project_above(flags or {}, environment=variables, folder=folder) if "store" in wanted else None
    contradiction = ""
    for place, layer in {
        CONFIG_FILE: _from_file((folder or Path()) / CONFIG_FILE, wanted) if above is None else _of(above, wanted),
        "environment": _from_environment(variables, wanted),
        "options": _from_flags(flags or {}),
    }.items():
        _follow_parallel(layer, found)
        if "preset" in layer or "executor" in layer:  # these count, and not what the places before say of it
            contradiction = _contradiction(place, layer)
        found |= layer
    if contradiction:
        raise UsageError(f"{contradiction}: leave one of them out")
    _check_use(layer, found)
    if found.get("executor") == "processes":
        chosen = asdict(PRESETS[found.get("preset", "auto")])
        found = {name: value for name, value in chosen.items() if value is not None} | found
    return Settings(**found)


def _check_use(given: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise `UsageError` for an option, as opposed to what serves many runs, that could not change anything."""
    if "schema" in given and not has_schemas(found.get("store", DEFAULT_STORE)):
        raise UsageError("--schema is for PostgreSQL, not for an SQLite file: leave it out, or give another --store")
    if found.get("executor", "threads") == "threads":
        for name in ("max_memory_mb", "max_documents_per_worker"):
            if name in given:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for worker processes, not for threads: give --executor processes, "
                    "or leave it out"
                )


def project_above(
    flags: Mapping[str, Any], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Path | None:
    """The folder above that has the store, or an ``embedmill.toml``, as git finds a repository.

    None where a store is named, where the current folder has one of the two itself, and where there is none up to the
    user's home, the border of the file system, or a folder that everybody may write to.
    """
    variables = os.environ if environment is None else environment
    if flags.get("store") or variables.get(PREFIX + "STORE"):
        return None
    try:
        here = (folder or Path()).resolve(strict=True)
        home = Path.home().resolve()
        device, owner = here.stat().st_dev, here.stat().st_uid
    except (OSError, RuntimeError):  # it has been removed, or nobody has a home
        return None
    if here == home or _marks(here):
        return None
    for place in here.parents:
        marks = _marks(place)
        try:
            found = place.stat()
            if found.st_dev != device or found.st_mode & stat.S_IWOTH:  # as /tmp: nobody's project
                return None
            if marks and {mark.stat().st_uid for mark in marks} <= {os.geteuid(), owner}:
                return place
        except OSError:
            return None
        if marks:
            _name_foreign(place)
            return None
        if place == home:
            return None
    return None


def _marks(folder: Path) -> list[Path]:
    """What makes a folder a project."""
    return [mark for name in (CONFIG_FILE, _STORE_FILE) if os.path.isfile(mark := folder / name)]  # noqa: PTH113


@functools.cache  # said once
def _name_foreign(folder: Path) -> None:
    log.warning("%s has a store of another user's, which is not used: name it with --store", folder)


def _of(folder: Path, wanted: Collection[str]) -> dict[str, Any]:
    """What the file of a project says, with its store and a model's folder as they are called from here."""
    found = _from_file(folder / CONFIG_FILE, wanted)
    scheme, _, path = found.setdefault("store", f"sqlite:{_STORE_FILE}").partition(":")
    if scheme == "sqlite":
        found["store"] = f"sqlite:{folder / Path(path).expanduser()}"
    if "model" in found and (folder / found["model"]).exists():
        found["model"] = str(folder / found["model"])
    return found


def _follow_parallel(layer: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Let the settings of parallel embeddings mean worker processes, where nothing nearer is said of these."""
    if layer.get("enable_parallel_embeddings") is False:
        if layer.get("preset", "auto") == "auto":  # one that is named contradicts it
            layer.setdefault("executor", "threads")
        return
    allowed = {**before, **layer}.get("enable_parallel_embeddings", True)
    if "embedding_parallel_workers" in layer and allowed and layer.setdefault("executor", "processes") == "processes":
        layer.setdefault("workers", layer["embedding_parallel_workers"])


def _contradiction(place: str, layer: dict[str, Any]) -> str:
    """What contradicts itself in one place; "" for nothing. A preset that is named means processes."""
    preset = layer.get("preset", "auto")
    wants = layer.setdefault("executor", "processes") if preset != "auto" else layer.get("executor")
    if preset != "auto" and wants != "processes":
        return f"{place}: preset {preset} is for worker processes, not for threads"
    if wants == "processes" and layer.get("enable_parallel_embeddings") is False:
        return f"{place}: enable_parallel_embeddings is off, and worker processes are asked for"
    return ""


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    for name in flags:
        if name not in _CHECKS:
            raise UsageError(f"unknown setting {name!r}{meant(name, _CHECKS)}")
    return {
        name: _checked(name, value, f"--{name.replace('_', '-')}", _CHECKS | _NARROWER)
        for name, value in flags.items()
        if value is not None
    }


def _from_file(path: Path, wanted: Collection[str]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path} cannot be read: {reason}") from error
    found = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in _CHECKS:
            known = ", ".join(_CHECKS).replace("_", "-")
            near = meant(key, known.split(", "))
            raise UsageError(f"{path}: unknown setting {key!r}{near or f'; known are {known}'}")
        if name in found:
            raise UsageError(f"{path}: {key} stands there twice, with - and with _: leave one of them out")
        if name in wanted:
            found[name] = _checked(name, value, f"{path}: {key}")
    return found


def _from_environment(environment: Mapping[str, str], wanted: Collection[str]) -> dict[str, Any]:
    own = {PREFIX + name.upper(): name for name in _CHECKS}
    for variable in environment:
        if variable.startswith(PREFIX) and variable not in own.keys() | _OTHERS:
            _name_unknown(variable, meant(variable, [*own, *_OTHERS]))
    found = {}
    for variable, name in (_EARLIER | own).items():
        value = environment.get(variable)
        if not value or name not in wanted:
            continue
        if variable == "EMBED_BATCH_SIZE" and value.isdecimal():
            value = str(min(int(value), _LARGEST_BATCH))  # elsewhere it counts rows, too
        found[name] = _checked(name, value, variable, written=True)
    return found


@functools.cache  # said once
def _name_unknown(variable: str, hint: str) -> None:
    log.warning("the environment variable %s is no setting%s", variable, hint)


def _checked(
    name: str,
    value: Any,
    place: str,
    checks: Mapping[str, Callable[[Any], Any]] | None = None,
    *,
    written: bool = False,
) -> Any:
    """The value as the setting has it; `written`: as text with escapes, where those mean something."""
    try:
        if written and name in ("document_prompt", "query_prompt"):
            value = unescaped(value)
        return (checks or _CHECKS)[name](value)
    except (TypeError, ValueError) as error:
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "..."
        raise UsageError(f"{place}: {shown} does not fit: {error}") from None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("expected some text")
    return value


_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def prompt(value: Any) -> str:
    """A prompt: any text that is not blank, with the spaces around it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("expected some text to put before each")
    if "\0" in value or (not value.isprintable() and any("\ud800" <= character <= "\udfff" for character in value)):
        raise ValueError("expected valid UTF-8 without NUL")
    return value


def unescaped(text: str) -> str:
    r"""A prompt as it is given on a command line or in the environment, where ``\n`` and ``\t`` are hard to type.

    Raises `ValueError` for a backslash before anything but ``n``, ``t`` and another backslash.
    """

    def meaning(found: re.Match[str]) -> str:
        if found[1] not in _ESCAPES:
            raise ValueError(r"expected \n, \t or \\ where there is a backslash")
        return _ESCAPES[found[1]]

    return re.sub(r"\\(.?)", meaning, text, flags=re.DOTALL)


def _device(value: Any) -> str:
    if value not in DEVICES:
        raise ValueError("expected auto or cpu: models run on the processor only")
    return str(value)


def _one_of(*choices: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"expected {' or '.join(choices)}")
        return str(value)

    return check


def _number(value: Any, least: int, most: int | None) -> int:
    number = str(value).strip()  # of True, too: which is no number then
    if not number.isdecimal() or len(number) > _DIGITS or int(number) < least or (most and int(number) > most):
        raise ValueError(f"expected a whole number from {least} {f'to {most:,}' if most else 'up'}")
    return int(number)


def _count(least: int, most: int) -> Callable[[Any], int]:
    return functools.partial(_number, least=least, most=most)


def _workers(value: Any) -> int | None:
    """A number from the environment or the file may be meant for a larger machine: it is bounded where it is used."""
    return None if value == "auto" else _number(value, 1, None)


def _workers_here(value: Any) -> int | None:
    return None if value == "auto" else _number(value, 1, machine.most_workers())


def _seconds(value: Any) -> float:
    try:
        seconds = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= 1e6:
        raise ValueError("expected seconds, as in 60 or 0.5")
    return seconds


def _pause(value: Any) -> float:
    return 0.0 if str(value).strip() in ("0", "0.0") else _seconds(value)


def _share(value: Any) -> float:
    try:
        share = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 < share <= 1:
        raise ValueError("expected a share above 0 and up to 1, as in 0.5")
    return share


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    match str(value).lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("expected true or false")


def _patterns(value: Any) -> tuple[str, ...]:
    parts = value.split(os.pathsep) if isinstance(value, str) else list(value)
    return tuple(_text(part) for part in parts)


def size(value: Any) -> int:
    """Bytes from a number or from text such as ``200M`` (binary units: k, M, G)."""
    text = str(value).strip().lower().removesuffix("ib").removesuffix("b")
    if not text:
        raise ValueError("expected bytes, as in 1048576, 200M or 2G")
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "")
    if not number.replace(".", "", 1).isdigit() or isinstance(value, bool):
        raise ValueError("expected bytes, as in 1048576, 200M or 2G")
    return int(float(number) * _UNITS[unit])


def _encoding(value: Any) -> str:
    """Python's name of an encoding of text."""
    try:
        found = codecs.lookup(_text(value))
        b"a".decode(found.name, "replace")  # not one from bytes to bytes, such as base64
    except (LookupError, UnicodeError):
        found = None
    if found is None or found.name in _NO_ENCODINGS:
        raise ValueError("expected the name of an encoding, as in cp1254, latin-1 or shift_jis")
    return found.name


_NO_ENCODINGS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "mbcs", "oem"})
"""Text that is escaped, and what only Windows has."""

_CHECKS: dict[str, Callable[[Any], Any]] = {
    "model": _text,
    "precision": _one_of(*PRECISIONS),
    "device": _device,
    "document_prompt": prompt,
    "query_prompt": prompt,
    "executor": _one_of(*EXECUTORS),
    "max_load": _share,
    "sleep": _pause,
    "workers": _workers,
    "preset": _one_of(*PRESETS),
    "max_memory_mb": _count(1, 1 << 24),
    "max_documents_per_worker": _count(1, 1 << 32),
    "batch_size": _count(1, _LARGEST_BATCH),
    "store": _text,
    "schema": _text,
    "db_timeout": _seconds,
    "cache": _switch,
    "chunk_tokens": _count(16, 1 << 20),
    "include": _patterns,
    "exclude": _patterns,
    "hidden": _switch,
    "generated": _switch,
    "max_file_size": size,
    "encoding": _encoding,
    "embedding_parallel_workers": _workers,
    "enable_parallel_embeddings": _switch,
}
_NARROWER = dict.fromkeys(("workers", "embedding_parallel_workers"), _workers_here)  # of what is given here and now
assert set(_CHECKS) == {field.name for field in fields(Settings)}
