"""What a search has found, for programs, pipes and terminals."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from embedmill.cli.output import one_line
from embedmill.cli.render.snippets import clipped, in_one_line, snippet
from embedmill.cli.render.wording import place
from embedmill.core.documents import Hit


def json_object(hit: Hit) -> dict[str, object]:
    """A hit for programs."""
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


def for_pipes(hits: Sequence[Hit]) -> str:
    """A line a hit: ``path:line: score text``."""
    return "\n".join(
        f"{place(hit.document, hit.line, page=hit.page)}: {hit.score:.3f} {one_line(in_one_line(hit.text))}"
        for hit in hits
    )


def for_people(hits: Sequence[Hit], query: str) -> str:
    """Each hit with some of its lines, for a terminal."""
    width = shutil.get_terminal_size().columns
    coloured = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if coloured and text else text

    blocks = []
    for hit in hits:
        name = one_line(place(hit.document, hit.line, page=hit.page))
        context = clipped(one_line(hit.context.replace("\n", " > ")), width - len(name) - 9)
        head = f"{paint(name, '1;36')}  {paint(f'{hit.score:.3f}', '33')}"
        lines = [f"{head}  {paint(context, '1')}" if context else head]
        lines += [paint(clipped("    " + one_line(line), width), "2") for line in snippet(hit.text, query)]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
