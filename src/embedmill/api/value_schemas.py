"""What the checks of `embedmill.api.setting_values` take, as JSON schema, where values come with a type.

Text that stands for a number, as the command line and the environment have it, is not among them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from embedmill.api import setting_values as values
from embedmill.api.settings import Setting

Schema = Mapping[str, Any]

TEXT: Final[Schema] = {"type": "string", "minLength": 1}
SWITCH: Final[Schema] = {"type": "boolean"}
TEXTS: Final[Schema] = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
SECONDS: Final[Schema] = {"type": "number", "exclusiveMinimum": 0, "maximum": values.LONGEST_TIME}

_OF_CHECKS: Final[Mapping[Callable[[Any], Any], Schema]] = {
    values.text: TEXT,
    values.prompt: {"type": "string", "pattern": r"\S"},
    values.workers: {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "enum": ["auto"]}]},
    values.seconds: SECONDS,
    values.pause: {**SECONDS, "exclusiveMinimum": None, "minimum": 0},
    values.share: {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    values.switch: SWITCH,
    values.patterns: TEXTS,
    values.size: {
        "anyOf": [
            {"type": "integer", "minimum": 0},
            {"type": "string", "pattern": r"^([0-9]{1,17}\.?|[0-9]{1,8}\.[0-9]{1,8})[kKmMgG]?([iI]?[bB])?$"},
        ]
    },
    values.encoding: TEXT,
}


def whole_numbers(least: int | None = 1, most: int | None = None) -> Schema:
    """The schema of a whole number."""
    return _without_none({"type": "integer", "minimum": least, "maximum": most})


def one_of(choices: tuple[str, ...]) -> Schema:
    """The schema of a choice."""
    return {"type": "string", "enum": list(choices)}


def schema_of(setting: Setting) -> Schema:
    """The schema of a setting's values."""
    if setting.choices:
        return one_of(tuple(setting.choices))
    if isinstance(setting.check, partial):
        return whole_numbers(**setting.check.keywords)
    return _without_none(_OF_CHECKS[setting.check])


def _without_none(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if value is not None}
