"""``embedmill doctor``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from embedmill.api.settings import RunOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.core.errors import EmbedmillError, UsageError
from embedmill.storage.registry import extras

if TYPE_CHECKING:
    from embedmill.api.settings import Settings

_FEATURES: Final = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
"""Those that decide how fast a model runs, as Linux names them."""

_PACKAGES: Final = ("embedmill", "openvino", "tokenizers", "numpy", "huggingface-hub")

_EXTRAS: Final = {
    "documents": ("bs4", "lxml", "mammoth", "markdownify", "pdfplumber", "pypdfium2", "pptx", "striprtf"),
    "report": ("bokeh",),
    "taxonomies": ("ruamel", "sklearn", "threadpoolctl"),
    **extras(),
}
"""Extra -> the modules that it brings."""

_WAL_RESET_BUG: Final = ((3, 7, 0), (3, 51, 2))
"""First and last version of SQLite in which several writers may damage a file: https://sqlite.org/wal.html"""

_OFFLINE: Final = ("EMBEDMILL_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


@parser.command(
    "embedmill doctor",
    "embedmill doctor --model BAAI/bge-small-en-v1.5",
    "embedmill doctor --check",
    "embedmill doctor --json",
    notes=options.SETTINGS_NOTE,
)
def doctor(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Prove that this machine computes right vectors: all texts of the golden set of the default model, "
            "which comes with embedmill, are embedded and compared.",
        ),
    ] = False,
    given: Annotated[RunOptions, options.Given("model", "precision", "workers")],
    as_json: bool,
) -> int:
    """Say what this machine would run.

    Looks at its processor, memory, libraries and model, embeds a few texts where the model is on this machine, and
    names what keeps embedmill from running. Nothing is fetched. The exit code is 0 where embedmill is ready, else 1.
    """
    from importlib.util import find_spec

    from embedmill.api.read_settings import read_settings
    from embedmill.embedders.testing import is_test_model

    used = ("model", "precision", "workers", "executor", "preset")
    chosen = read_settings(given, used)
    if is_test_model(chosen.model):
        remedy = "leave --model out, or name" if given.get("model") else "give --model"
        raise UsageError(f"{chosen.model} needs nothing of this machine: {remedy} the one that is used here")
    problems: list[str] = []
    facts = {
        "processor": _processor(),
        "memory": _memory(),
        "versions": _versions(problems),
        "sqlite": _sqlite(),
        "cache": _cache(problems),
        "model": _model(chosen, problems),
        "run": _run(chosen),
        "extras": {extra: all(map(find_spec, modules)) for extra, modules in _EXTRAS.items()},
    }
    facts["trial"] = _trial(facts["model"], facts["run"]["precision"], problems, check=check)
    if as_json:
        output.emit({"ready": not problems, "problems": problems} | facts)
    elif output.quiet():
        for problem in problems:
            output.complain(f"error: {problem}")
    else:
        output.say(_text(facts))
        for problem in problems:
            output.say(f"problem: {problem}")
        output.say("not ready" if problems else "ready")
    return exit_codes.ERROR if problems else exit_codes.DONE


def _processor() -> dict[str, Any]:
    from embedmill.runtime import machine

    known = machine.features()
    return {
        "name": machine.processor(),
        "features": {feature: feature in known for feature in _FEATURES},
        "cores": machine.cores(),
        "cores_of_machine": os.cpu_count(),
        "cores_by_affinity": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cores_by_cgroup": machine.cpu_quota(),
    }


def _memory() -> dict[str, int]:
    import psutil

    from embedmill.runtime import machine

    return {"usable_bytes": machine.memory(), "bytes_of_machine": int(psutil.virtual_memory().total)}


def _versions(problems: list[str]) -> dict[str, str | None]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    try:
        import openvino

        openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
    except Exception as error:  # whatever a broken installation raises
        reason = " ".join(str(error).split())
        problems.append(f"openvino cannot be used ({type(error).__name__}: {reason}): pip install -U openvino")
    return found


def _sqlite() -> dict[str, Any]:
    import sqlite3

    first, last = _WAL_RESET_BUG
    return {"version": sqlite3.sqlite_version, "wal_reset_bug": first <= sqlite3.sqlite_version_info <= last}


def _cache(problems: list[str]) -> dict[str, Any]:
    from embedmill.runtime.folders import cache_folder

    folder = cache_folder()
    there: Path = folder
    while not there.exists():
        there = there.parent
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    if not writable:
        problems.append(f"the cache folder {folder} cannot be written: set EMBEDMILL_CACHE_DIR to one that can")
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {"folder": str(folder), "writable": writable, "bytes": sum(path.stat().st_size for path in files)}


def _model(chosen: Settings, problems: list[str]) -> dict[str, Any]:
    from embedmill.models import available, locate, read_card
    from embedmill.models.locate import canonical

    before = len(problems)
    offline = any(os.environ.get(name, "").lower() in ("1", "on", "yes", "true") for name in _OFFLINE)
    found = None
    try:
        if Path(chosen.model).expanduser().exists():
            found = locate(chosen.model)
            read_card(found)
        else:
            name = canonical(chosen.model)
            found = next((files for files in available() if files.name == name), None)
    except EmbedmillError as error:
        problems.append(str(error))
    else:
        if found is None and offline:
            problems.append(
                f"{chosen.model} is not on this machine, and fetching is switched off: give --model a folder"
            )
    return {
        "name": found.name if found else chosen.model,
        "found": found is not None,
        "origin": found.origin if found else None,
        "folder": str(found.folder) if found else None,
        "offline": offline,
        "usable": len(problems) == before,
    }


def _trial(model: dict[str, Any], precision: str, problems: list[str], *, check: bool) -> dict[str, Any]:
    """How the model has done; nothing where it was not tried."""
    if problems:
        return {}
    if not model["folder"]:
        if check:
            problems.append(
                f"nothing was checked: {model['name']} is not on this machine, a first run with it fetches it"
            )
        return {}
    from embedmill.api.golden import packaged_golden
    from embedmill.api.try_model import try_model

    trial = try_model(model["name"], model["folder"], precision, packaged_golden(), check=check)
    problems += trial.problems
    return {
        "embedded": trial.texts > 0,
        "compared": trial.lowest_cosine is not None,
        "texts": trial.texts,
        "lowest_cosine": trial.lowest_cosine,
        "seconds": trial.seconds,
    }


def _run(chosen: Settings) -> dict[str, Any]:
    from embedmill.api.assemble import streams_of
    from embedmill.api.embedders import native_precision
    from embedmill.runtime import machine

    return {
        "precision": native_precision() if chosen.precision == "auto" else chosen.precision,
        "auto_precision": native_precision(),
        "executor": chosen.executor,
        "streams": streams_of(chosen),
        "threads": machine.cores(),
    }


def _tried(trial: dict[str, Any]) -> str:
    if not trial:
        return "none, for want of the model"
    if not trial["embedded"]:
        return "the model does not embed, see below"
    compared = "the same alone and among others"
    if trial["compared"]:
        compared = f"lowest cosine {trial['lowest_cosine']:.5f} to the vectors that are known"
    return f"{trial['texts']} texts embedded in {trial['seconds']:.1f} s, {compared}"


def _text(facts: dict[str, Any]) -> str:
    from embedmill.cli.render.wording import in_bytes, table

    processor, memory, sqlite, cache, model, run = (
        facts[name] for name in ("processor", "memory", "sqlite", "cache", "model", "run")
    )
    quota = processor["cores_by_cgroup"]
    limits = [f"{processor['cores_of_machine']} in the machine", f"{processor['cores_by_affinity']} by affinity"]
    limits.append("no cgroup quota" if quota is None else f"{quota:g} by cgroup quota")
    present = [name for name, there in processor["features"].items() if there]
    missing = [name for name, there in processor["features"].items() if not there]
    affected = " (has the WAL-reset bug, which needs several writers: here there is one)"
    if model["found"] and model["usable"]:
        where = f"{model['name']}, from {model['origin']}: {model['folder']}"
    elif model["usable"]:
        where = f"{model['name']}: not here yet, fetched when it is first used"
    else:
        where = f"{model['name']}: not usable, see below"
    return table(
        [
            ("processor", processor["name"]),
            ("features", f"{', '.join(present) or 'none'}" + (f"; without {', '.join(missing)}" if missing else "")),
            ("cores", f"{processor['cores']} usable: {', '.join(limits)}"),
            ("memory", f"{in_bytes(memory['usable_bytes'])} usable of {in_bytes(memory['bytes_of_machine'])}"),
            ("versions", ", ".join(f"{name} {number}" for name, number in facts["versions"].items())),
            ("sqlite", sqlite["version"] + (affected if sqlite["wal_reset_bug"] else "")),
            ("cache", f"{cache['folder']} ({in_bytes(cache['bytes'])}{'' if cache['writable'] else ', not writable'})"),
            ("model", where),
            ("trial", _tried(facts["trial"])),
            ("precision", f"{run['precision']} (auto is {run['auto_precision']} here)"),
            ("executor", f"{run['executor']}: {run['streams']} streams over {run['threads']} threads"),
            (
                "extras",
                ", ".join(f"{name} {'installed' if there else 'missing'}" for name, there in facts["extras"].items()),
            ),
        ]
    )
