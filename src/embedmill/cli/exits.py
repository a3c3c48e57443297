"""From what a command did, or raised, to the process's exit code and one line that says what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from embedmill.cli import output
from embedmill.cli.exit_codes import DONE, ERROR, USAGE
from embedmill.core.errors import EmbedmillError, UsageError


def run(arguments: Sequence[str]) -> int:
    """Run one command line; all that it has to say has been written when this returns."""
    output.prepare()
    try:
        code = _run(arguments)
        output.flush()
        output.note(f"exit code {code}")
    except OSError as error:  # of standard output itself: a full disk, for example
        output.complain(f"error: cannot write to standard output: {error.strerror or error}")
        return ERROR
    return code


def _run(arguments: Sequence[str]) -> int:
    from typer import BadParameter

    from embedmill.cli.app import command

    wrong_command_line = BadParameter.__mro__[2]  # the base of all: older versions of typer take it from click
    try:
        result = command(*arguments[:1]).main(list(arguments), prog_name="embedmill", standalone_mode=False)
    except EmbedmillError as error:
        output.complain(f"error: {error}", error)
        return USAGE if isinstance(error, UsageError) else ERROR
    except output.CannotWrite:
        raise
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else ERROR
    except Exception as error:
        if isinstance(error, wrong_command_line):
            return _wrong_usage(error)
        if (stores := sys.modules.get("embedmill.storage.registry")) and (damage := stores.damage()):
            output.complain(f"error: {damage}", error)
            return ERROR
        hint = "" if output.verbose() else " (run with -v for the traceback)"
        output.complain(f"error: {type(error).__name__}: {error}{hint}", error)
        return ERROR
    return result if isinstance(result, int) else DONE


def _wrong_usage(error: Exception) -> int:
    message: str = getattr(error, "format_message", error.__str__)()
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "embedmill"
    line = " ".join(message.split()).rstrip(".")
    if context is not None and line.startswith("Usage:"):  # what is said where a group of commands stands alone
        line = f"Missing command, one of {', '.join(context.command.commands)}"
    if path.endswith(" search") and "no such option" in line.casefold():
        line += ": a query that begins with a dash comes after --, as in embedmill search -- '--dry-run'"
    output.complain(f"error: {line}: see {path} --help")
    return USAGE
