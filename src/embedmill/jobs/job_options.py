"""The options of a kind of job: the parameters and settings of the function that does it, with what each may be.

They are read from the function's signature, its typed dictionary of arguments and `embedmill.api.settings`, and stand
nowhere a second time.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, get_args

from embedmill.api import setting_values as values
from embedmill.api.arrange_file import Lengths
from embedmill.api.settings import SETTINGS, Setting, names_of
from embedmill.api.tree_files import InputFormat, OutputFormat
from embedmill.api.value_schemas import SECONDS, SWITCH, TEXT, TEXTS, Schema, one_of, schema_of, whole_numbers
from embedmill.core.rows import IndexOptions
from embedmill.taxonomy.arranging import Case

PathKind = Literal["", "there", "written", "model", "store"]
"""Which path a value is, relative to its manifest: of what must be there, of a file that the job writes, of a model's
folder where it is one, or that within the URL of a store."""

_OBJECTS: Final[Mapping[str, type]] = {"IndexOptions | None": IndexOptions}
"""Parameters that take an object, by their annotation: each field is an option, the first by the parameter's name."""


@dataclass(frozen=True, slots=True)
class JobOption:
    """An option of a kind of job."""

    name: str  # with underscores
    schema: Schema  # of its values
    check: Callable[[Any], Any]  # gives a value of the schema's types as the function takes it, or raises ValueError
    help: str = ""
    path: PathKind = ""
    parameter: str = ""  # that takes an object of which it is a field
    made: type | None = None  # that object's class

    def take(self, value: object) -> Any:
        """The value as the function takes it. Raises `ValueError`, which says what is expected."""
        if not _has_type(value, self.schema):
            raise ValueError(f"expected {_expected(self.schema)}")
        if isinstance(value, float) and value.is_integer():  # 3.0 is a whole number for JSON schema
            value = int(value)
        try:
            return self.check(value)
        except TypeError as error:
            raise ValueError(str(error)) from None


def spelt(name: str) -> str:
    """The option as it is written in a manifest: as on the command line."""
    return name.replace("_", "-")


def known_name(key: str) -> str:
    """The name of an option from its key, with hyphens or underscores."""
    return key.replace("-", "_")


NAME: Final[Schema] = {
    "type": "string",
    "pattern": r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$",  # on one line, and not blank
    "maxLength": 200,
}
"""The schema of a job's name."""

TIMEOUT: Final = JobOption("timeout", SECONDS, values.seconds, "Seconds after which the job is ended. Default: none.")


def parameters_of(function: Callable[..., Any], hidden: frozenset[str]) -> Iterator[JobOption]:
    """The options that are parameters of the function, but for those that are `hidden`."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in hidden or parameter.kind is inspect.Parameter.VAR_KEYWORD:
            continue
        if taken := _OBJECTS.get(parameter.annotation):
            yield from _fields_of(taken, parameter.name)
        else:
            yield _annotated(parameter.name, parameter.annotation)


def arguments_of(options: type) -> Iterator[JobOption]:
    """The options that are keys of a typed dictionary of arguments that are no settings."""
    for name, annotation in options.__annotations__.items():
        yield _annotated(name, annotation.__forward_arg__)


def _annotated(name: str, annotation: str) -> JobOption:
    schema, check = _OF_ANNOTATIONS[annotation]
    return JobOption(name, schema, check, path="there" if annotation.startswith("FilePath") else "")


def settings_of(options: type) -> Iterator[JobOption]:
    """The options that are settings, of a typed dictionary; those that commands have."""
    for name in names_of(options):
        setting = SETTINGS[name]
        if setting.help:
            path: PathKind = "written" if setting.names_file else _PATHS.get(name, "")
            yield JobOption(name, schema_of(setting), _accepted_by(setting), setting.help, path)


def _fields_of(taken: type, parameter: str) -> Iterator[JobOption]:
    for number, field in enumerate(fields(taken)):
        name = field.name if number else parameter
        of_object: Any = {"parameter": parameter, "made": taken}
        if choices := field.metadata.get("choices"):
            yield JobOption(name, one_of(choices), values.one_of(choices), **of_object)
        else:
            least, most = field.metadata["range"]
            yield JobOption(name, whole_numbers(least, most), values.whole_number(least, most), **of_object)


def _accepted_by(setting: Setting) -> Callable[[Any], Any]:
    """The check of a setting, which the command itself makes again: it gets the value as it stands."""

    def check(value: Any) -> Any:
        (setting.check_option or setting.check)(value)
        return value

    return check


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


_MOST: Final = 10**17
_PATHS: Final[Mapping[str, PathKind]] = {"model": "model", "store": "store"}


def _cosine(value: Any) -> float:
    if not -1 <= value <= 1:
        raise ValueError("expected a cosine, from -1 to 1")
    return float(value)


_LITERALS: Final[Mapping[str, tuple[str, ...]]] = {
    "Case | None": get_args(Case),
    "InputFormat | None": get_args(InputFormat),
    "Lengths | None": get_args(Lengths),
    "OutputFormat | None": get_args(OutputFormat),
}

_OF_ANNOTATIONS: Final[Mapping[str, tuple[Schema, Callable[[Any], Any]]]] = {
    "bool": (SWITCH, values.switch),
    "int": (whole_numbers(1, _MOST), values.whole_number(1, _MOST)),
    "int | None": (whole_numbers(1, _MOST), values.whole_number(1, _MOST)),
    "Count | None": (whole_numbers(0, _MOST), values.whole_number(0, _MOST)),
    "ListLength | None": (whole_numbers(2, _MOST), values.whole_number(2, _MOST)),
    "Cosine | None": ({"type": "number", "minimum": -1, "maximum": 1}, _cosine),
    "str": (TEXT, values.text),
    "str | None": (TEXT, values.text),
    "FilePath": (TEXT, values.text),
    "FilePath | None": (TEXT, values.text),
    "Sequence[str]": (TEXTS, _as_list),
    "FilePath | Sequence[FilePath]": (TEXTS, _as_list),
    **{name: (one_of(choices), values.one_of(choices)) for name, choices in _LITERALS.items()},
}


def _has_type(value: object, schema: Schema) -> bool:
    if "anyOf" in schema:
        return any(_has_type(value, each) and value in each.get("enum", [value]) for each in schema["anyOf"])
    match schema["type"]:
        case "array":
            listed = isinstance(value, list) and len(value) >= schema.get("minItems", 0)
            return listed and all(_has_type(item, schema["items"]) for item in value)  # type: ignore[attr-defined]
        case "string":
            return isinstance(value, str) and len(value) >= schema.get("minLength", 0)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return not isinstance(value, bool) and (
                isinstance(value, int) or (isinstance(value, float) and value % 1 == 0)
            )
    return isinstance(value, int | float) and not isinstance(value, bool)


def _expected(schema: Schema) -> str:
    if "anyOf" in schema:
        return " or ".join(_expected(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(schema["enum"])
    words = {"array": "a list of texts", "string": "some text", "boolean": "true or false", "integer": "a whole number"}
    return words.get(schema["type"], "a number")
