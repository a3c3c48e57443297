"""``embedmill search``."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from embedmill.api.settings import RunOptions
from embedmill.cli import exit_codes, options, output, parser
from embedmill.core.errors import UsageError

if TYPE_CHECKING:
    from embedmill.core.documents import Hit

_LONGEST: Final = 1_000_000  # bytes of a query on standard input


def register(commands: typer.Typer) -> None:
    """Add the command."""
    parser.add(
        commands,
        "embedmill search 'how are passwords stored'",
        "embedmill search 'retry after a timeout' -k 3 --glob 'src/**/*.py'",
        "git log -1 --format=%B | embedmill search -",
        "embedmill search 'opening hours' --json | jq -r '.hits[].document'",
        notes="A terminal gets each hit with some of its lines; a pipe one line a hit, path:line: score text. "
        "--store and --schema are also read from the environment (EMBEDMILL_STORE) and from ./embedmill.toml.",
    )(search)


def search(
    *,
    query: Annotated[
        str,
        typer.Argument(metavar="QUERY", help="What to look for, in your own words; - reads it from standard input."),
    ],
    limit: Annotated[
        str, typer.Option("-k", "--limit", metavar="N", help="Most hits to show. Default: 10.", show_default=False)
    ] = "10",
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
        bool,
        typer.Option("--exact", help="Compare every chunk, also where the store has an index that is faster."),
    ] = False,
    given: Annotated[RunOptions, options.Given("model", "query_prompt", "store", "schema", model=options.STORE_MODEL)],
    as_json: bool,
    quiet: bool,
) -> int:
    """Find what is nearest in meaning to a query."""
    query = _read() if query == "-" else _valid(query)
    if not query.strip():
        raise UsageError("the query is empty: say what to look for")
    if not all(pattern.strip() for pattern in glob or ()):
        raise UsageError("--glob is empty: give a pattern, as in '*.md', or leave it out")
    count = options.whole_number(limit, "--limit")
    from embedmill.api.search import Searcher

    options.tell_store(given, quiet=quiet)
    with Searcher(
        given.get("store"),
        schema=given.get("schema"),
        model=given.get("model"),
        query_prompt=given.get("query_prompt"),
    ) as searcher:
        hits = searcher.search(query, k=count, glob=glob or None, exact=exact)
    if as_json:
        output.emit({"query": query, "hits": [_as_json(hit) for hit in hits]})
    elif hits:
        output.say(_for_people(hits, query) if output.is_terminal(sys.stdout) else _for_pipes(hits))
    elif not quiet:
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


def _as_json(hit: Hit) -> dict[str, object]:
    return {
        "document": hit.document,
        "chunk": hit.chunk,
        "start": hit.start,
        "end": hit.end,
        "line": hit.line,
        "end_line": hit.end_line,
        "page": hit.page,
        "score": hit.score,
        "text": hit.text,
        "context": hit.context,
    }


def _for_pipes(hits: list[Hit]) -> str:
    from embedmill.cli.render.snippets import in_one_line
    from embedmill.cli.render.wording import place

    return "\n".join(
        f"{place(hit.document, hit.line, page=hit.page)}: {hit.score:.3f} {output.one_line(in_one_line(hit.text))}"
        for hit in hits
    )


def _for_people(hits: list[Hit], query: str) -> str:
    from embedmill.cli.render.snippets import clipped, snippet
    from embedmill.cli.render.wording import place

    width = shutil.get_terminal_size().columns
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if coloured and text else text

    blocks = []
    for hit in hits:
        name = output.one_line(place(hit.document, hit.line, page=hit.page))
        context = clipped(output.one_line(hit.context.replace("\n", " > ")), width - len(name) - 9)
        head = f"{paint(name, '1;36')}  {paint(f'{hit.score:.3f}', '33')}"
        lines = [f"{head}  {paint(context, '1')}" if context else head]
        lines += [paint(clipped("    " + output.one_line(line), width), "2") for line in snippet(hit.text, query)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
