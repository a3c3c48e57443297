"""How the package is laid out: few rooms and floors, no circles, short functions, names that mean one thing."""

from __future__ import annotations

import ast
import graphlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import embedmill

PACKAGE = Path(embedmill.__file__).parent
FILES = {path.relative_to(PACKAGE): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
FLOORS, CONTRACT, FUNCTION = 9, 140, 60  # at most: floors, lines of a contract's file, lines of a function
ROOMS = 20

ANSWERS = {"CatalogRow", "Connection", "MetricsStatements", "SqlParts", "Statements", "TableSpec"}
"""Classes that both databases have, each of its own: their answers to what one table promises."""


def name(path: Path) -> str:
    """The module that a file is."""
    return ".".join(["embedmill", *path.with_suffix("").parts]).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, wherever in it that stands."""
    modules = {name(each) for each in FILES}
    for node in ast.walk(FILES[path]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}:{node.lineno}: a relative import"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from inner & modules
            if inner - modules and node.module in modules:
                yield node.module


def test_rooms_are_few() -> None:
    rooms = {path.parts[0] for path in FILES} - {"__init__.py", "__main__.py"}
    assert len(rooms) <= ROOMS, sorted(rooms)
    assert all((PACKAGE / room / "__init__.py").is_file() for room in rooms), "a room is a folder"


def test_floors_are_few() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (floors,) = (each["layers"] for each in contracts if each.get("containers") == ["embedmill"])
    assert len(floors) <= FLOORS


def test_no_file_imports_one_that_imports_it() -> None:
    """Not even for types, or within a function."""
    graphlib.TopologicalSorter({name(path): set(imports(path)) for path in FILES}).prepare()


def test_contracts_are_short() -> None:
    long = {
        str(path): lines
        for path in FILES
        if path.parts[:2] == ("core", "interfaces")
        and (lines := len((PACKAGE / path).read_text().splitlines())) > CONTRACT
    }
    assert not long


def test_functions_are_short() -> None:
    long = {
        f"{path}: {node.name}": lines
        for path, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION
    }
    assert not long


def test_a_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for path, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path))
    twice = {each: where for each, where in places.items() if len(where) > 1}
    assert {each: where for each, where in twice.items() if each not in ANSWERS} == {}
    for each in ANSWERS:
        assert [where.split("/")[:2] for where in twice[each]] == [["storage", "postgres"], ["storage", "sqlite"]]


def test_every_folder_says_what_it_is() -> None:
    folders = {folder for path in FILES for folder in path.parents}
    silent = [str(folder) for folder in folders if not ast.get_docstring(FILES[folder / "__init__.py"])]
    assert not silent


def test_the_page_where_to_change_what_names_what_is_there() -> None:
    root = Path(__file__).parents[1]
    text = (root / "docs" / "where-to-change.md").read_text()
    named = re.findall(r"`([\w./-]+/[\w.-]*)`", text)
    assert len(named) > 40
    assert not [each for each in named if not ((PACKAGE / each).exists() or (root / each).exists())]


def test_stores_know_nothing_of_one_another() -> None:
    """A kind of store is a folder with a driver; import-linter knows only those that it names."""
    kinds = {
        path.parts[1] for path in FILES if path.parts[0] == "storage" and path.name == "driver.py" and path.parts[2:]
    }
    assert {"memory", "postgres", "sqlite"} <= kinds
    for path in FILES:
        if path.parts[0] == "storage" and path.parts[1] in kinds:
            others = kinds - {path.parts[1]}
            assert not [each for each in imports(path) if each.split(".")[2:3] and each.split(".")[2] in others], path
