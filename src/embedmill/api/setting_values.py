"""What the values of settings may be.

Each check gives the value as the setting has it, or raises `ValueError` or `TypeError`. Values come from Python, from
``embedmill.toml``, or as text from the command line and the environment.
"""

from __future__ import annotations

import codecs
import functools
import math
import os
import re
from collections.abc import Callable, Collection
from typing import Any, Final

_DIGITS: Final = 18  # of a whole number; longer ones are no number of anything
LONGEST_TIME: Final = 1e6  # seconds: eleven days
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_ESCAPES: Final = {"n": "\n", "t": "\t", "\\": "\\"}

_NO_ENCODINGS: Final = frozenset(
    {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "mbcs", "oem"}
)
"""Text that is escaped, and what only Windows has."""


def text(value: Any) -> str:
    """Any text but none."""
    if not isinstance(value, str) or not value:
        raise ValueError("expected some text")
    return value


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


def one_of(choices: Collection[str], note: str = "") -> Callable[[Any], str]:
    """One of these; `note` says why there are no others."""

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"expected {' or '.join(choices)}{note}")
        return str(value)

    return check


def _number(value: Any, least: int, most: int | None) -> int:
    number = str(value).strip()  # of True, too: which is no number then
    if not number.isdecimal() or len(number) > _DIGITS or int(number) < least or (most and int(number) > most):
        raise ValueError(f"expected a whole number from {least} {f'to {most:,}' if most else 'up'}")
    return int(number)


def whole_number(least: int, most: int) -> Callable[[Any], int]:
    """A number of this range, both ends included."""
    return functools.partial(_number, least=least, most=most)


def workers(value: Any) -> int | None:
    """A number from the environment or the file may be meant for a larger machine: it is bounded where it is used."""
    return None if value == "auto" else _number(value, 1, None)


def workers_here(value: Any) -> int | None:
    """A number that is given here and now is meant for this machine."""
    from embedmill.runtime import machine

    return None if value == "auto" else _number(value, 1, machine.most_workers())


def _positive(value: Any, most: float, expected: str) -> float:
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number <= most:
        raise ValueError(f"expected {expected}")
    return number


def seconds(value: Any) -> float:
    """Some time."""
    return _positive(value, LONGEST_TIME, f"seconds, as in 60 or 0.5, at most {LONGEST_TIME:,.0f}")


def pause(value: Any) -> float:
    """Some time, or none."""
    return 0.0 if str(value).strip() in ("0", "0.0") else seconds(value)


def share(value: Any) -> float:
    """A part of a whole."""
    return _positive(value, 1, "a share above 0 and up to 1, as in 0.5")


def switch(value: Any) -> bool:
    """Yes or no, also as the words that files and variables have for it."""
    if isinstance(value, bool):
        return value
    match str(value).lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError("expected true or false")


def patterns(value: Any) -> tuple[str, ...]:
    """Several, as text apart as the paths of PATH are."""
    parts = value.split(os.pathsep) if isinstance(value, str) else list(value)
    return tuple(text(part) for part in parts)


def size(value: Any) -> int:
    """Bytes from a number or from text such as ``200M`` (binary units: k, M, G)."""
    text = str(value).strip().lower().removesuffix("ib").removesuffix("b")
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS and text else (text, "")
    if not number.replace(".", "", 1).isdecimal() or len(number) > _DIGITS or isinstance(value, bool):
        raise ValueError("expected bytes, as in 1048576, 200M or 2G")
    return int(float(number) * _UNITS[unit])


def encoding(value: Any) -> str:
    """Python's name of an encoding of text."""
    try:
        found = codecs.lookup(text(value))
        b"a".decode(found.name, "replace")  # not one from bytes to bytes, such as base64
    except (LookupError, UnicodeError):
        found = None
    if found is None or found.name in _NO_ENCODINGS:
        raise ValueError("expected the name of an encoding, as in cp1254, latin-1 or shift_jis")
    return found.name
