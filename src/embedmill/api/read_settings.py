"""Settings of a run: from options, else environment variables, else ``embedmill.toml``, else defaults."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from embedmill.api.project import CONFIG_FILE, project_above
from embedmill.api.setting_values import unescaped
from embedmill.api.settings import LARGEST_BATCH, PREFIX, PRESETS, SETTINGS, VARIABLES, Settings, names_of, option_name
from embedmill.core.checks import suggestion
from embedmill.core.errors import UsageError
from embedmill.storage.registry import DEFAULT_URL, is_server

log = logging.getLogger(__name__)

_NO_SETTINGS: Final = {
    *("EMBEDMILL_CACHE_DIR", "EMBEDMILL_OFFLINE", "EMBEDMILL_WORKER_IMPORTING"),
    *("EMBEDMILL_TEST_DSN", "EMBEDMILL_TEST_BROWSER"),
}
"""Variables of embedmill's that are no settings."""

_LONGEST_SHOWN: Final = 200  # characters of a value that does not fit


def read_settings(
    options: Mapping[str, Any] | None = None,
    used: type | Iterable[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Gather the settings; an option that is None was not given.

    `used` names those that the caller uses, as one of the typed dictionaries or one by one, None for all: of the
    others in the environment and the file nothing is looked at, so that a value that does not fit stops none but the
    commands that it is for.

    Raises `UsageError`, which names the place of the value, for an unknown key or a value that does not fit.
    """
    wanted = set(names_of(used))
    given = options or {}
    variables = os.environ if environment is None else environment
    above = project_above(given, environment=variables, folder=folder) if "store" in wanted else None
    found: dict[str, Any] = {}
    contradiction = ""
    for place, layer in {
        CONFIG_FILE: _of_file((folder or Path()) / CONFIG_FILE, wanted) if above is None else _of(above, wanted),
        "environment": _of_environment(variables, wanted),
        "options": _of_options(given),
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
    if "schema" in given and not is_server(found.get("store", DEFAULT_URL)):
        raise UsageError("--schema is for PostgreSQL, not for an SQLite file: leave it out, or give another --store")
    if found.get("executor", "threads") == "threads":
        for name in ("max_memory_mb", "max_documents_per_worker"):
            if name in given:
                raise UsageError(
                    f"{option_name(name)} is for worker processes, not for threads: give --executor processes, "
                    "or leave it out"
                )


def _of(folder: Path, wanted: Collection[str]) -> dict[str, Any]:
    """What the file of a project says, with its store and a model's folder as they are called from here."""
    found = _of_file(folder / CONFIG_FILE, wanted)
    scheme, _, path = found.setdefault("store", DEFAULT_URL).partition(":")
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


def _of_options(options: Mapping[str, Any]) -> dict[str, Any]:
    for name in options:
        if name not in SETTINGS:
            raise UsageError(f"unknown setting {name!r}{suggestion(name, SETTINGS)}")
    return {
        name: _checked(name, value, option_name(name), SETTINGS[name].check_option)
        for name, value in options.items()
        if value is not None
    }


def _of_file(path: Path, wanted: Collection[str]) -> dict[str, Any]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    import tomllib

    try:
        values = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    found = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in SETTINGS:
            known = ", ".join(SETTINGS).replace("_", "-")
            near = suggestion(key, known.split(", "))
            raise UsageError(f"{path}: unknown setting {key!r}{near or f'; known are {known}'}")
        if name in found:
            raise UsageError(f"{path}: {key} stands there twice, with - and with _: leave one of them out")
        if name in wanted:
            found[name] = _checked(name, value, f"{path}: {key}")
    return found


def _of_environment(environment: Mapping[str, str], wanted: Collection[str]) -> dict[str, Any]:
    for variable in unknown_variables(environment):
        _name_unknown(variable, suggestion(variable, [*VARIABLES.values(), *_NO_SETTINGS]))
    common = [(name, setting.variable) for name, setting in SETTINGS.items() if setting.variable]
    found = {}
    for name, variable in [*common, *VARIABLES.items()]:
        value = environment.get(variable)
        if not value or name not in wanted:
            continue
        if variable == "EMBED_BATCH_SIZE" and value.isdecimal():
            value = str(min(int(value), LARGEST_BATCH))  # elsewhere it counts rows, too
        found[name] = _checked(name, value, variable, written=True)
    return found


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none."""
    known = {*VARIABLES.values(), *_NO_SETTINGS}
    return [variable for variable in environment if variable.startswith(PREFIX) and variable not in known]


@functools.cache  # said once
def _name_unknown(variable: str, hint: str) -> None:
    log.warning("the environment variable %s is no setting%s", variable, hint)


def _checked(
    name: str, value: Any, place: str, check: Callable[[Any], Any] | None = None, *, written: bool = False
) -> Any:
    """The value as the setting has it; `written`: as text with escapes, where those mean something."""
    try:
        if written and SETTINGS[name].escapes:
            value = unescaped(value)
        return (check or SETTINGS[name].check)(value)
    except (TypeError, ValueError) as error:
        shown = repr(value)
        if len(shown) > _LONGEST_SHOWN:
            shown = shown[:_LONGEST_SHOWN] + "..."
        raise UsageError(f"{place}: {shown} does not fit: {error}") from None
