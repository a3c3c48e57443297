"""A model's JSON files come from strangers: every value is checked as it is taken."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from embedmill.core.errors import ModelError

_HIGHEST: Final = 1 << 24  # of numbers, where nothing else bounds them
MAX_BYTES = 8 << 20  # the largest known config files have some 100 KB; a tokenizer.json is not read here


_REMEDIES: Final = {
    errno.EACCES: "ask for the right to read it",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "end other programs, or raise the machine's limit of open files",
    errno.ENOMEM: "free memory, or raise the limit",
}


def unreadable(path: Path, error: OSError) -> ModelError:
    """The error for a file that the system does not give; only where nothing else says why is it the file's own."""
    return ModelError(f"{path}: cannot be read ({error.strerror}): {_REMEDIES.get(error.errno or 0, 'fetch it again')}")


def check_size(path: Path, most: int) -> None:
    """Raise `ModelError` for what is no file, so that reading it might never end, or a larger one than any model's."""
    if not path.is_file():
        raise ModelError(f"{path}: is no regular file: fetch the model again")
    if path.stat().st_size > most:
        raise ModelError(f"{path}: larger than {most >> 20} MiB, which no model's is")


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises `ModelError` where it cannot be read or is no JSON."""
    try:
        check_size(path, MAX_BYTES)
        return json.loads(path.read_bytes())
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: not valid JSON ({error}): fetch the model again") from error


class Config:
    """One JSON object. Errors name the file and the field. A field that is null counts as missing."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path = path
        self._values = values

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read the file, which must hold an object."""
        values = read_json(path)
        if not isinstance(values, dict):
            raise ModelError(f"{path}: must hold a JSON object, not {_kind(values)}")
        return cls(path, values)

    @classmethod
    def read_if_there(cls, path: Path) -> Config:
        """Read the file; where there is none, nothing is set."""
        return cls.read(path) if path.exists() else cls(path, {})

    def has(self, name: str) -> bool:
        """Whether the field is set."""
        return self._values.get(name) is not None

    def first(self, *names: str) -> str:
        """The first of these names that is set; the first of all where none is."""
        return next((name for name in names if self.has(name)), names[0])

    def value(self, name: str) -> Any:
        """The field as it is, unchecked; None where it is missing."""
        return self._values.get(name)

    def integer(self, name: str, default: int | None = None, *, low: int = 1, high: int = _HIGHEST) -> int:
        """A whole number from `low` to `high`."""
        wanted = f"a whole number from {low} to {high}"
        return int(self._checked(name, default, wanted, lambda value: type(value) is int and low <= value <= high))

    def limit(self, name: str) -> int | None:
        """A length limit, which some files write as 1e30 for "none": then, or where it is missing, None."""
        if not self.has(name):
            return None
        value = self._checked(name, None, "a whole number of tokens", lambda value: _is_number(value) and value >= 1)
        return int(value) if value <= _HIGHEST else None

    def number(self, name: str, default: float | None = None) -> float:
        """A finite number that is not negative."""
        return float(
            self._checked(name, default, "a number", lambda value: _is_number(value) and 0 <= value < math.inf)
        )

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """True or false."""
        return bool(self._checked(name, default, "true or false", lambda value: isinstance(value, bool)))

    def text(self, name: str, default: str | None = None) -> str:
        """A string."""
        return str(self._checked(name, default, "a string", lambda value: isinstance(value, str)))

    def object(self, name: str) -> Config:
        """An object within this one; nothing is set in it where it is missing."""
        return Config(self.path, self._checked(name, {}, "an object", lambda value: isinstance(value, dict)))

    def names(self) -> list[str]:
        """The fields that are set."""
        return [name for name in self._values if self.has(name)]

    def wrong(self, name: str, wanted: str, value: Any) -> ModelError:
        """The error to raise where a field's value cannot be right."""
        shown = repr(value) if len(repr(value)) <= 60 else _kind(value)
        return ModelError(f"{self.path}: {name!r} must be {wanted}, not {shown}")

    def _checked(self, name: str, default: Any, wanted: str, fits: Callable[[Any], bool]) -> Any:
        value = default if self._values.get(name) is None else self._values[name]
        if value is None:
            raise ModelError(f"{self.path}: {name!r} is missing: the model's files are incomplete")
        if not fits(value):
            raise self.wrong(name, wanted, value)
        return value


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
