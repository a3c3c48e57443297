"""What users say beside a tree: what terms mean, and what holds for a part of it."""

from __future__ import annotations

import csv
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from embedmill.core.checks import suggestion
from embedmill.core.errors import SourceError
from embedmill.taxonomy.formats.registry import read_tree
from embedmill.taxonomy.grouping.lists import Grouping
from embedmill.taxonomy.tree import Branch

_FIELDS: Final = {each.name: get_type_hints(Grouping)[each.name] for each in fields(Grouping)}


def read_glosses(path: Path) -> dict[str, str]:
    """Term -> gloss, of a YAML or JSON mapping, or a CSV or TSV of two columns. Raises `SourceError`."""
    if path.suffix.casefold() in (".csv", ".tsv"):
        return _of_table(path)
    return {name: _only(path, name, branch) for name, branch in _branches(path)}


def _of_table(path: Path) -> dict[str, str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, delimiter="\t" if path.suffix.casefold() == ".tsv" else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SourceError(f"{path} cannot be read: {error}") from error
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise SourceError(f"{path}:{number}: {len(row)} columns where there should be 2: the term and its gloss")
    return {term.strip(): gloss.strip() for term, gloss in rows}


def read_overrides(path: Path) -> dict[str, dict[str, Any]]:
    """Name or identifier of a branch -> fields of `Grouping`, of a YAML or JSON mapping of mappings.

    Names of fields may have a hyphen. Raises `SourceError` for what is none, and for a value that does not fit.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, branch in _branches(path):
        values: dict[str, Any] = {}
        for option, inner in _below(path, branch):
            field = option.replace("-", "_")
            if field not in _FIELDS:
                raise SourceError(f"{path}: {name}: there is no option {option!r}{suggestion(field, _FIELDS)}")
            values[field] = _value(path, f"{name}: {option}", _FIELDS[field], _only(path, option, inner))
        found[name] = values
    return found


def _branches(path: Path) -> list[tuple[str, Branch]]:
    return _below(path, read_tree(path, "json" if path.suffix.casefold() == ".json" else "yaml"))


def _below(path: Path, branch: Branch) -> list[tuple[str, Branch]]:
    if branch.terms:
        raise SourceError(
            f"{path}: {branch.name or 'the file'} is a list or a value: expected names, each with a value"
        )
    return [(each.name, each) for each in branch.branches]


def _only(path: Path, name: str, branch: Branch) -> str:
    if branch.branches or len(branch.terms) != 1:
        raise SourceError(f"{path}: {name} has not one value: expected a word, a number or a text")
    return branch.terms[0].text


def _value(path: Path, name: str, kind: type, text: str) -> object:
    try:
        value = kind(text)
        fits = (kind is not int or value >= 1) and (kind is not float or -1 <= value <= 1)
    except ValueError:
        fits = False
    if not fits:
        expected = {int: "a whole number from 1 up", float: "a cosine, from -1 to 1"}.get(kind, "a text")
        raise SourceError(f"{path}: {name} is {text!r}: give {expected}")
    return value
