"""The commands, gathered."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embedmill.cli import parser
from embedmill.cli.commands import (
    bench,
    cache,
    doctor,
    forget,
    index,
    ingest,
    models,
    retry_failed,
    search,
    status,
    verify,
)

app = parser.group(
    name="embedmill",
    help="Turn files into vectors in your own database, and search them by meaning.",
    epilog="\b\nExamples:\n  embedmill index docs src\n  embedmill search 'how are passwords stored'",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from embedmill import __version__
        from embedmill.cli.output import say

        say(f"embedmill {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
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


for group in (index, retry_failed, search, ingest, status, verify, forget, models, doctor, bench, cache):
    group.register(app)


def command() -> Any:
    """The parser with all commands."""
    return parser.build(app)
