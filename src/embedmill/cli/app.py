"""The commands, gathered."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, Final

import typer

from embedmill.cli import parser

COMMANDS: Final = (
    "index",
    "retry-failed",
    "search",
    "ingest",
    "status",
    "verify",
    "golden",
    "evaluate",
    "report",
    "forget",
    "arrange",
    "lint",
    "compare",
    "analyze",
    "batch",
    "models",
    "doctor",
    "bench",
    "cache",
)
"""In the order of the help. Each stands in the module of its name."""


def _show_version(wanted: bool) -> None:
    if wanted:
        from embedmill import __version__
        from embedmill.cli.output import say

        say(f"embedmill {__version__}")
        raise typer.Exit


def _embedmill(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> int:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        return 2
    return 0


def command(first: str = "") -> Any:
    """The parser with all commands, or with the one that the first word names: to make them all takes its time."""
    words = [name.replace("-", "_") for name in ([first] if first in COMMANDS else COMMANDS)]
    app = parser.group(
        *(getattr(import_module(f"embedmill.cli.commands.{word}"), word) for word in words),
        name="embedmill",
        help="Turn files into vectors in your own database, and search them by meaning.",
        epilog="\b\nExamples:\n  embedmill index docs src\n  embedmill search 'how are passwords stored'",
    )
    app.callback(invoke_without_command=True)(_embedmill)
    return parser.build(app)
