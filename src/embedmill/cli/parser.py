"""typer, with plain help and without the conversion of values, which settings and commands do themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.main import get_command

from embedmill.cli.options import expanded
from embedmill.core.errors import UsageError

HELP = ["-h", "--help"]

F = TypeVar("F", bound=Callable[..., Any])


def group(**options: Any) -> typer.Typer:
    """A set of commands."""
    return typer.Typer(
        rich_markup_mode=None,  # rich would cost its import before the first word of help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP},
        **options,
    )


def add(commands: typer.Typer, *examples: str, notes: str = "", name: str | None = None) -> Callable[[F], F]:
    """Make a function a command of the group; its help ends with the examples, then the notes."""
    # "\b" keeps the lines of a paragraph as they are.
    parts = ["\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples), notes]
    command = commands.command(name, epilog="\n\n".join(part for part in parts if part))

    def register(function: F) -> F:
        command(expanded(function))
        return function

    return register


def build(commands: typer.Typer) -> Any:
    """The parser for a set of commands and all below it."""
    parser = get_command(commands)
    _take_as_given(parser)
    _take_once(parser)
    return parser


class _AsGiven:
    """Hands values on as they were given: text, lists of text, switches, counts."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        return list(value or ()) if several else value


def _take_as_given(parser: Any) -> None:
    """Keep typer from converting values.

    Since 0.26 it does so, even for those not given, by means of pydantic, whose import takes longer than all else
    that a short command does. Other versions do not look at this, and convert text to text.
    """
    context = typer.Context(parser, help_option_names=HELP)  # --help is made, once, as the context names it
    for parameter in parser.get_params(context):
        parameter._runtime_param = _AsGiven()  # noqa: SLF001
    for below in getattr(parser, "commands", {}).values():
        _take_as_given(below)


def _take_once(parser: Any) -> None:
    """Refuse an option of one value that is given again, of which the last would count and the others be lost."""
    make = parser.make_parser

    def made(context: Any) -> Any:
        words = make(context)
        parse = words.parse_args

        def parsed(args: list[str]) -> Any:
            found = parse(args)
            if not context.resilient_parsing:  # of a command line that is being completed
                _check_repeats(found[2])
            return found

        words.parse_args = parsed
        return words

    parser.make_parser = made
    for below in getattr(parser, "commands", {}).values():
        _take_once(below)


def _check_repeats(given: list[Any]) -> None:
    """Raise `UsageError` where one of these parameters, of which each stands as often as it was given, is not to."""
    for parameter, times in Counter(given).items():
        if times == 1 or parameter.param_type_name != "option" or parameter.multiple or parameter.count:
            continue
        if not parameter.is_flag or parameter.secondary_opts:  # else it is a switch, which says the same again
            names = "/".join([*parameter.opts, *parameter.secondary_opts])
            raise UsageError(f"{names} was given {times} times, and counts once: leave the others out")
