"""The page's building blocks. Arguments are HTML, unless they say that they are text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import Final

_UNFIT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that a page may not hold."""


def clean(text: str) -> str:
    """The text with a replacement character for each that a page may not hold."""
    return _UNFIT.sub("\ufffd", text)


def escaped(value: object) -> str:
    """A value as text of the page."""
    return html.escape(clean(str(value)))


def figure(name: str, title: str, caption: str, before: str = "", after: str = "") -> str:
    """The place of a plot of this name, with what it shows."""
    return f"""<figure aria-labelledby="{name}-title {name}-caption">
<h3 id="{name}-title">{title}</h3>
<figcaption id="{name}-caption">{caption}</figcaption>
{before}<div id="{name}"></div>{after}
</figure>"""


def panel(title: str, about: str, inner: str = "") -> str:
    """A box with text or a table."""
    return f'<div class="panel"><h3>{title}</h3><p class="soft">{about}</p>{inner}</div>'


def table(columns: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table; of each column its name and its kind: "number", "text" for what may be long, or ""."""
    kinds = [f' class="{kind}"' if kind else "" for _, kind in columns]
    heads = "".join(f'<th scope="col"{kind}>{name}</th>' for (name, _), kind in zip(columns, kinds, strict=True))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind}>{cell}</td>' for cell, kind in zip(row, kinds, strict=True))}</tr>\n" for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead>\n<tbody>\n{lines}</tbody></table></div>'
