"""typer, with plain help and without the conversion of values, which settings and commands do themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

F = TypeVar("F", bound=Callable[..., Any])


class _AsGiven:
    """Hands values on as they were given: text, lists of text, switches.

    Since 0.26 typer converts every value, even those not given, by means of pydantic, whose import takes longer
    than all else that a short command does. Other versions of typer do not look at this.
    """

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        return list(value or ()) if several else value


class _Command(TyperCommand):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            parameter._runtime_param = _AsGiven()  # type: ignore[attr-defined]  # noqa: SLF001


class _Group(TyperGroup):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        for parameter in self.params:
            parameter._runtime_param = _AsGiven()  # type: ignore[attr-defined]  # noqa: SLF001


def group(**options: Any) -> typer.Typer:
    """A set of commands."""
    return typer.Typer(
        cls=_Group,
        rich_markup_mode=None,  # rich would cost its import before the first word of help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        **options,
    )


def add(commands: typer.Typer, *examples: str, notes: str = "", name: str | None = None) -> Callable[[F], F]:
    """Make a function a command of the group; its help ends with the examples, then the notes."""
    # "\b" keeps the lines of a paragraph as they are.
    parts = ["\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples), notes]
    return commands.command(name, cls=_Command, epilog="\n\n".join(part for part in parts if part))
