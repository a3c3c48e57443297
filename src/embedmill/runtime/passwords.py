"""URLs as they may be shown, wherever in a text they stand: without their passwords."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

_PASSWORD: Final = re.compile(
    r"(?:(?<=postgresql://)|(?<=postgres://)|(?<=[+]psycopg://)|(?<=[+]psycopg2://)|(?<=[+]asyncpg://)"
    r"|(?<=[+]pg8000://))([^\s/@:]*):\S*@"  # a slash in it, too
    r"|(?<=//)([^\s/@:]*):[^\s/]*@|(?<=[?&\s]password=)[^\s&]+",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """The text without the passwords of the URLs in it."""
    return _PASSWORD.sub(lambda found: f"{found[found.lastindex]}:***@" if found.lastindex else "***", text)


def without_password(url: str) -> str:
    """A URL that may be shown and used: its password then comes from elsewhere, such as PGPASSWORD or ``~/.pgpass``."""
    bare = _PASSWORD.sub(lambda found: f"{found[found.lastindex]}@" if found.lastindex else "", url)
    address, mark, query = bare.partition("?")
    kept = [each for each in query.split("&") if "password" not in unquote(each.partition("=")[0]).lower()]
    return address + mark * bool(kept) + "&".join(kept)
