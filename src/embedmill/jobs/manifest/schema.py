"""The JSON schema of manifests, made from the table of the kinds of jobs: for editors, and for other programs.

It knows of types and bounds. What the machine, the files and a job's options together decide, only reading a manifest
tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from embedmill.jobs.job_kinds import JOB_KINDS, JobKind, all_options, input_of, options_of
from embedmill.jobs.job_options import NAME, JobOption, spelt

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """The schema of a manifest, in the dialect of 2020-12."""
    kinds = [
        (command, variant, switch)
        for command, kind in JOB_KINDS.items()
        for switch, variant in [("", kind), *kind.variants.items()]
    ]
    every = _every_option()
    matrix = {"$ref": "#/$defs/matrix"}
    return {
        "$schema": _DIALECT,
        "title": "A manifest of embedmill batch",
        "type": "object",
        "properties": {
            "defaults": _mapping(_keys(every)),
            "jobs": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/job"}},
            "matrix": {"anyOf": [matrix, {"type": "array", "minItems": 1, "items": matrix}]},
        },
        "additionalProperties": False,
        "anyOf": [{"required": ["jobs"]}, {"required": ["matrix"]}],
        "$defs": {
            "job": {"anyOf": [_job(command, kind, switch) for command, kind, switch in kinds]},
            "matrix": _matrix(every),
        },
    }


def _every_option() -> dict[str, JobOption]:
    """Those of all kinds; one that has other values in another kind takes both."""
    every: dict[str, JobOption] = {}
    for kind in JOB_KINDS.values():
        for name, option in all_options(kind).items():
            first = every.setdefault(name, option)
            if option.schema != first.schema:
                every[name] = replace(first, schema={"anyOf": [first.schema, option.schema]}, help="")
    return every


def _job(command: str, kind: JobKind, switch: str) -> dict[str, Any]:
    """The schema of a job of this command, with the switch that chooses this kind of it, or without any."""
    switches: dict[str, Any] = {spelt(name): {"const": False} for name in JOB_KINDS[command].variants}
    if switch:
        switches = {spelt(switch): {"const": True}}
    keys = {"name": NAME, command: input_of(kind).schema, **_keys(options_of(kind)), **switches}
    return _mapping(keys, command, *([spelt(switch)] if switch else []))


def _matrix(every: Mapping[str, JobOption]) -> dict[str, Any]:
    inputs: dict[str, Any] = {command: input_of(kind).schema for command, kind in JOB_KINDS.items()}
    values = inputs | {
        # A key may be a command and an option of another one.
        key: {"anyOf": [schema, inputs[key]]} if key in inputs else schema
        for key, schema in _keys(every).items()
    }
    axes = {key: {"type": "array", "minItems": 1, "uniqueItems": True, "items": each} for key, each in values.items()}
    parts = {"base": _mapping({"name": NAME, **values}), "axes": {**_mapping(axes), "minProperties": 1}}
    return _mapping(parts, "axes")


def _mapping(keys: Mapping[str, Any], *required: str) -> dict[str, Any]:
    """A mapping of these keys and no others; keys with hyphens may have underscores, which no editor proposes."""
    others = {f"^{key.replace('-', '_')}$": schema for key, schema in keys.items() if "-" in key}
    made = {"type": "object", "properties": dict(keys), "additionalProperties": False}
    made |= {"patternProperties": others} if others else {}
    wanted = [
        {"anyOf": [{"required": [each]} for each in dict.fromkeys((key, key.replace("-", "_")))]} for key in required
    ]
    return made | ({"allOf": wanted} if wanted else {})


def _keys(options: Mapping[str, JobOption]) -> dict[str, Any]:
    return {
        spelt(name): {**option.schema, **({"description": option.help} if option.help else {})}
        for name, option in options.items()
    }
