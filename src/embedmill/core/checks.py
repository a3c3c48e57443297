"""What arguments must be, and how a wrong one is told: for all that is called from Python."""

from __future__ import annotations

from collections.abc import Iterable

from embedmill.core.errors import UsageError


def whole_number(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """The value, if it is a whole number of this range; no bool, no text, no float. Raises `UsageError`."""
    fits = isinstance(value, int) and not isinstance(value, bool)
    if not fits or value < least or (most is not None and value > most):  # type: ignore[operator]
        upto = "up" if most is None else f"to {most:,}"
        raise UsageError(f"{name} is {value!r}: give a whole number from {least:,} {upto}")
    return value  # type: ignore[return-value]


def one_of(name: str, value: object, choices: Iterable[str]) -> str:
    """The value, if it is one of the choices. Raises `UsageError`, which has the nearest."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{name} is {value!r}: give {' or '.join(known)}{suggestion(value, known)}")
    return value


def switches(**values: object) -> None:
    """Raise `UsageError` for a value that is neither True nor False: text such as "no" would count as True."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise UsageError(f"{name} is {value!r}: give True or False")


def callables(**values: object) -> None:
    """Raise `UsageError` for a value that can be neither called nor left out."""
    for name, value in values.items():
        if value is not None and not callable(value):
            raise UsageError(f"{name} is {value!r:.200}: give a function, or leave it out")


def text_or_none(**values: object) -> None:
    """Raise `UsageError` for a value that is neither text nor None."""
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            raise UsageError(f"{name} is {value!r}: give a name, as text")


def suggestion(value: object, known: Iterable[str]) -> str:
    """``; did you mean 'model'?``, or nothing where no known name is near."""
    from difflib import get_close_matches  # rarely needed, and each command imports this file

    names = {name.casefold(): name for name in known}
    near = get_close_matches(str(value).casefold(), names, n=1, cutoff=0.6)
    return f"; did you mean {names[near[0]]!r}?" if near else ""
