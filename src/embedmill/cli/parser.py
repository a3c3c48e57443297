"""typer, with plain help and without the conversion of values, which settings and commands do themselves.

A command's parameter `given`, typed as one of the dictionaries of `embedmill.api.settings`, stands for an option for
each of its settings; the options that all commands have are added to each.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Final, NamedTuple, get_args, get_type_hints

import typer
from typer.main import get_command

from embedmill.api.read_settings import read_settings
from embedmill.api.setting_values import unescaped
from embedmill.api.settings import SETTINGS, Settings, names_of, option_name
from embedmill.cli import output
from embedmill.cli.options import Given, given, option
from embedmill.core.errors import UsageError

HELP = ["-h", "--help"]

_COMMON: Final[Mapping[str, tuple[Any, Any]]] = {
    "as_json": (
        Annotated[bool, option("--json", help="Print one JSON object on standard output, and nothing else there.")],
        False,
    ),
    "quiet": (
        Annotated[
            bool,
            option(
                "-q",
                "--quiet",
                help="No progress, no warnings, no summary, no hints: only errors, hits, and what --json prints.",
            ),
        ],
        False,
    ),
    "verbose": (
        Annotated[
            int,
            option(
                "-v", "--verbose", count=True, help="More messages, and a traceback with errors; -vv for all messages."
            ),
        ],
        0,
    ),
}
"""The options that all commands have: type and default."""

_COMMON_SETTINGS: Final = ("log_file",)
"""The settings that all commands have."""


class Command(NamedTuple):
    """A function that is a command of its name."""

    function: Callable[..., int]
    epilog: str


def command(*examples: str, notes: str = "") -> Callable[[Callable[..., int]], Command]:
    """Make a function a command; its help ends with the examples, then the notes."""
    # "\b" keeps the lines of a paragraph as they are.
    parts = ["\b\nExamples:\n" + "\n".join(f"  {example}" for example in examples), notes]
    return lambda function: Command(function, "\n\n".join(part for part in parts if part))


def group(*commands: Command | typer.Typer, **options: Any) -> typer.Typer:
    """A set of commands and groups."""
    made = typer.Typer(
        rich_markup_mode=None,  # rich would cost its import before the first word of help
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP},
        **options,
    )
    for each in commands:
        if isinstance(each, Command):
            made.command(epilog=each.epilog)(_expanded(each.function))
        else:
            made.add_typer(each)
    return made


def _expanded(function: Callable[..., int]) -> Callable[..., int]:
    """The function as typer is to read it: with an option for each setting of `given`, and those of all commands."""
    parameters, settings = [], []
    hints = get_type_hints(function, include_extras=True)
    taken = inspect.signature(function).parameters
    for name, parameter in taken.items():
        if name == "given":
            settings = _options_of(hints[name])
            parameters += settings
        elif name not in _COMMON:
            parameters.append(_parameter(name, hints[name], parameter.default))
    parameters += [_parameter(name, *_option_of(name, {})) for name in _COMMON_SETTINGS]
    parameters += [_parameter(name, *declared) for name, declared in _COMMON.items()]

    def command(**values: Any) -> int:
        output.configure(quiet=values["quiet"], verbose=values["verbose"])
        chosen = read_settings({name: values[name] for name in _COMMON_SETTINGS}, _COMMON_SETTINGS)
        if chosen.log_file is not None:
            output.log_to(chosen.log_file, _store_files(values) if "store" in values else [])
        if settings:
            values["given"] = _unescaped(given(**{each.name: values[each.name] for each in settings}))
        return function(**{name: values[name] for name in taken})

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__annotations__ = {}  # all is in the signature
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _store_files(values: Mapping[str, Any]) -> list[str]:
    """The files of the store that a command with these values has."""
    from embedmill.storage.registry import local_files

    return local_files(read_settings({"store": values["store"]}, ("store",)).store)


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _options_of(kind: Any) -> list[inspect.Parameter]:
    """The options of a typed dictionary, which may be annotated by a `Given`."""
    options, *annotated = get_args(kind) or [kind]
    told = annotated[0] if annotated else Given()
    names = [name for name in told.only or names_of(options) if SETTINGS[name].help]
    return [_parameter(name, *_option_of(name, told.words.get(name, {}))) for name in names]


def _option_of(name: str, instead: Mapping[str, str]) -> tuple[Any, None]:
    """Type and default of a setting's option; its metavar and help may be others than the setting's."""
    setting, default, words = SETTINGS[name], getattr(Settings(), name), option_name(name)
    switch = isinstance(default, bool)
    made = option(
        f"{words}/--no-{words[2:]}" if switch else words,
        autocompletion=(lambda: list(setting.choices)) if setting.choices else None,
        metavar=instead.get("metavar", setting.metavar),
        help=instead.get("help", setting.help),
    )
    kind: Any = bool if switch else list[str] if isinstance(default, tuple) else str
    return Annotated[kind | None, made], None


def _unescaped(found: dict[str, Any]) -> dict[str, Any]:
    """The settings, the escapes of prompts resolved. Raises `UsageError`, which names the option."""
    for name, value in found.items():
        if SETTINGS[name].escapes:
            try:
                found[name] = unescaped(value)
            except ValueError as error:
                raise UsageError(f"{option_name(name)}: {value[:200]!r} does not fit: {error}") from None
    return found


def refuse_others(context: typer.Context, used: Collection[str], why: str) -> None:
    """Raise `UsageError` for an option, or an argument, that was given and is not among those `used`."""
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if source is None or source.name != "COMMANDLINE" or name in {*used, *_COMMON, *_COMMON_SETTINGS}:
            continue
        as_given = (context.params.get(name) is False and parameter.secondary_opts) or parameter.opts
        shown = as_given[-1] if parameter.param_type_name == "option" else parameter.metavar or name.upper()
        raise UsageError(f"{why}: leave {shown} out")


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
