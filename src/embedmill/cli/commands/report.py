"""``embedmill report``."""

from __future__ import annotations

from typing import Annotated

from embedmill.api.settings import StoreOptions
from embedmill.cli import exit_codes, options, output, parser


@parser.command(
    "embedmill report",
    "embedmill report --html report.html",
    "embedmill report --store postgresql://ada@localhost/app --schema docs --json",
    notes="The page needs nothing beside itself, and loads nothing. Whoever has it has the beginnings of the texts. "
    + options.STORE_NOTE,
)
def report(
    *,
    given: Annotated[StoreOptions, options.Given("store", "schema", schema=options.EITHER_SCHEMA)],
    html: Annotated[
        str | None, options.option("--html", metavar="FILE", help="Write a page with plots and a map of the chunks.")
    ] = None,
    as_json: bool,
) -> int:
    """Show what a store holds and how runs went.

    Documents by folder, lengths of chunks, duplicates, how alike the vectors are and how many dimensions they use; and
    the last runs of this user on this machine, over the store and over tables beside it.
    """
    from embedmill.api.read_settings import read_settings
    from embedmill.api.report import check_page, read_report, write_page
    from embedmill.cli.render.report import summary
    from embedmill.cli.render.wording import in_bytes

    if html is None:
        options.check_quiet("the report", as_json=as_json, instead="--json or --html")
    chosen = read_settings(given, StoreOptions)
    if html is not None:
        check_page(html, chosen)
    options.tell_store(given)
    found = read_report(chosen)
    size = None if html is None else write_page(found, html, chosen)
    if as_json:
        written = {} if size is None else {"html": html, "html_bytes": size}
        output.emit(found.to_dict() | {"store": output.masked(found.url)} | written)
        return exit_codes.DONE
    if output.quiet():
        return exit_codes.DONE
    output.say(summary(found))
    if size is not None:
        output.complain(f"written: {html} ({in_bytes(size)})")
    return exit_codes.DONE
