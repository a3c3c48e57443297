"""``embedmill index``."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from embedmill.api.settings import FileOptions
from embedmill.cli import options, parser


@parser.command(
    "embedmill index docs src",
    "embedmill index . --include '*.md' --exclude drafts/",
    "embedmill index . --exclude drafts/ --prune",
    "embedmill index ~/notes --store sqlite:notes.db --dry-run",
    "embedmill index docs --store postgresql://ada@localhost/app --schema docs",
    "embedmill index corpus --executor processes --workers 4",
    "embedmill index docs src --model BAAI/bge-small-en-v1.5 --re-embed",
    notes=options.SETTINGS_NOTE,
)
def index(
    *,
    paths: Annotated[list[str], options.argument("PATH", "Files and folders.")],
    given: FileOptions,
    prune: options.Prune = False,
    force: options.Force = False,
    re_embed: options.ReEmbed = False,
    dry_run: options.DryRun = False,
    as_json: bool,
) -> int:
    """Bring a store up to date with files.

    Only what has changed is read again, and only what no earlier run has embedded is embedded. What has
    vanished from the folders is removed from the store; what is there and now left out by an option stays, unless
    --prune is given. A run may be stopped at any time: the next one goes on.
    """
    from embedmill.api import index as api
    from embedmill.api.read_settings import read_settings
    from embedmill.cli.runs import run_on_store

    options.tell_store(given)
    chosen = read_settings(given, FileOptions)
    # A second one, for the total: the run's own counts what it leaves out.
    source = api.files(paths, chosen, least=0 if prune else 1)
    job = partial(api.index, paths, dry_run=dry_run, prune=prune, force=force, re_embed=re_embed, **given)
    return run_on_store(job, source, given, as_json=as_json)
