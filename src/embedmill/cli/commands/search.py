"""``embedmill search``."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from embedmill.api.settings import RunOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.core.errors import UsageError

_LONGEST: Final = 1_000_000  # bytes of a query on standard input


@parser.command(
    "embedmill search 'how are passwords stored'",
    "embedmill search 'retry after a timeout' -k 3 --glob 'src/**/*.py'",
    "git log -1 --format=%B | embedmill search -",
    "embedmill search 'opening hours' --json | jq -r '.hits[].document'",
    notes="A terminal gets each hit with some of its lines; a pipe one line a hit, path:line: score text. "
    "--store and --schema are also read from the environment (EMBEDMILL_STORE) and from ./embedmill.toml.",
)
def search(
    *,
    query: Annotated[
        str, options.argument("QUERY", "What to look for, in your own words; - reads it from standard input.")
    ],
    limit: Annotated[str, options.option("-k", "--limit", metavar="N", help="Most hits to show. Default: 10.")] = "10",
    glob: Annotated[
        list[str] | None,
        options.option(
            "--glob",
            metavar="PATTERN",
            help="Only documents whose path fits, as in '*.{md,rst}', 'src/**/*.py', or a folder's name; '!drafts' "
            "leaves out; may be repeated.",
        ),
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare every chunk, also where the store has an index that is faster.")
    ] = False,
    given: Annotated[
        RunOptions,
        options.Given(
            *("model", "query_prompt", "store", "schema"), model=options.STORE_MODEL, schema=options.READ_SCHEMA
        ),
    ],
    as_json: bool,
) -> int:
    """Find what is nearest in meaning to a query."""
    query = _read() if query == "-" else _valid(query)
    if not query.strip():
        raise UsageError("the query is empty: say what to look for")
    if not all(pattern.strip() for pattern in glob or ()):
        raise UsageError("--glob is empty: give a pattern, as in '*.md', or leave it out")
    count = options.whole_number(limit, "-k/--limit")
    from embedmill.api.search import Searcher
    from embedmill.cli.render import hits as render

    options.tell_store(given)
    searcher = Searcher(
        given.get("store"), schema=given.get("schema"), model=given.get("model"), query_prompt=given.get("query_prompt")
    )
    try:
        hits = searcher.search(query, k=count, glob=glob or None, exact=exact)
    finally:
        searcher.close_store()
    if as_json:
        output.emit({"query": query, "hits": [render.json_object(hit) for hit in hits]})
    elif hits:
        output.say(render.for_people(hits, query) if output.is_terminal(sys.stdout) else render.for_pipes(hits))
    elif not output.quiet():
        output.complain("nothing found")
    return exit_codes.DONE


def _read() -> str:
    """The query from standard input. Raises `UsageError` where that is no text, or too much of it."""
    if sys.stdin is None:
        raise UsageError("the query is to come from standard input, which is closed")
    data = sys.stdin.buffer.read(_LONGEST + 1)
    if len(data) > _LONGEST:
        raise UsageError(
            f"the query on standard input has more than {_LONGEST:,} bytes: a model reads some hundred words"
        )
    try:
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"the query on standard input is not valid UTF-8 (byte {error.start + 1:,})") from None


def _valid(query: str) -> str:
    """The query, where it is text: other bytes of a command line come as lone surrogates."""
    try:
        query.encode()
    except UnicodeEncodeError:
        raise UsageError("the query is not valid UTF-8: check the encoding of the terminal or script") from None
    return query
