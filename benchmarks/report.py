"""The bars and what was measured, from the files in benchmarks/results, so that no figure is typed by hand.

Prints the tables; with ``--write`` puts them in README.md and docs/processes.md, between their two markers.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from results import FOLDER, Bar, bars_table

_ROOT = Path(__file__).parents[1]
_PAGES = {  # page -> the results that it shows; None for all
    _ROOT / "benchmarks" / "README.md": None,
    _ROOT / "docs" / "processes.md": ("pool", "kills", "soak"),
    _ROOT / "docs" / "tables.md": ("ingest",),
}
_BEGIN, _END = "<!-- measured: written by report.py -->", "<!-- /measured -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables in the pages")
    arguments = parser.parse_args()
    found = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
    tables = {name: _section(result) for name, result in found.items() if result["bars"]}
    print("\n\n".join(tables.values()) or "Nothing has been measured yet.")
    if arguments.write:
        for page, names in _PAGES.items():
            _put(page, "\n\n".join(tables[name] for name in names or tables if name in tables))


def _put(page: Path, text: str) -> None:
    before, _, rest = page.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    if not after:
        raise SystemExit(f"{page.name} has no markers {_BEGIN} and {_END}")
    page.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


def _section(result: dict[str, Any]) -> str:
    known = {field.name for field in fields(Bar)}
    bars = [Bar(**{key: value for key, value in bar.items() if key in known}) for bar in result["bars"]]
    return f"`{result['name']}.py`, {_machine(result)}:\n\n{bars_table(bars)}"


def _machine(result: dict[str, Any]) -> str:
    facts = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{result['date']}, on {facts['processor']} ({', '.join(facts['features'])}), {facts['cores']} cores, "
        f"{facts['memory GiB']} GiB, {facts['system']}, Python {facts['python']}, {packages}"
    )


if __name__ == "__main__":
    main()
