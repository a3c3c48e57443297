"""Every option of every command changes something or is refused in one line.

`ROWS` has a row for each; an option without one fails `test_every_option_has_a_row`.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import tables
from embedmill.cli import app
from embedmill.cli.commands.ingest import _OF_METRICS
from samples import turn_a_little
from tables import Within
from troubled import SMALL_MODEL

OTHER = str(SMALL_MODEL.with_name("bert-cls"))
HERE = Path(__file__).parent


class Told:
    """What a command has done, and the folder that it ran in."""

    def __init__(self, shell: Within, done: CompletedProcess[str]) -> None:
        self.shell, self.done = shell, done
        self.out, self.err, self.code = done.stdout, done.stderr, done.returncode

    @property
    def json(self) -> dict[str, Any]:
        assert self.code in (0, 1, 3), self.err
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Row:
    """A command line, and what is true of it with the option; `unless` is the same without it."""

    def __init__(self, with_option: str, holds: Callable[[Told], object], unless: str | None = None) -> None:
        self.with_option, self.holds, self.unless = with_option, holds, unless


class Refused(Row):
    """A command line that is refused, in one line that has these words."""

    def __init__(self, line: str, words: str) -> None:
        super().__init__(line, lambda told: told.code == 2 and told.err.count("\n") == 1 and words in told.err)


class Elsewhere(Row):
    """Shown by another test, ``file::function``, since it takes more than a line."""

    def __init__(self, test: str) -> None:
        name, _, function = test.partition("::")
        assert f"def {function}(" in (HERE / name).read_text(), test
        super().__init__("", lambda _: True)


def is_one_object(told: Told) -> bool:
    return isinstance(json.loads(told.out), dict)


COMMON = {
    "as_json": "--json",
    "quiet": "-q",
    "verbose": "-v",
    "log_file": "--log-file",
}


def report(**wanted: Any) -> Callable[[Told], bool]:
    """Whether the JSON object has these values."""
    return lambda told: {name: told.json[name] for name in wanted} == wanted


def batch_jobs(*names: str) -> Callable[[Told], bool]:
    """Whether these are the jobs of a batch."""
    return lambda told: [job["name"] for job in told.json["jobs"]] == list(names)


def is_of_other(told: Told) -> bool:
    return bool(told.json["model"] == OTHER)


def fresh(line: str, *, db: str = "new.db") -> str:
    return f"{line} --json --store sqlite:{db}"


INDEX = fresh("index docs")
INGEST = fresh("ingest notes --create", db="app.db")
FAILED = fresh("retry-failed", db="failed.db")
FILLED = fresh("ingest filled", db="app.db")
EVALUATE = "evaluate questions.jsonl --json"
RECORD = "golden record new.jsonl --json"
EACH = "batch docs -o out --json"
ARRANGE = "arrange terms.txt --dry-run --json --threshold -1"
SHAPED = "arrange tree.yaml --dry-run --json"
TREE = """
animals:
  - fox
  - fox
  - a wolf
plants:
  trees:
    - oak
  flowers: [rose]
"""
RETRY = fresh("retry-failed filled", db="app.db")


def of_a_run(line: str, **others: Row) -> dict[str, Row]:
    """The rows of what all runs that embed share."""
    return {
        "allow_test_model": Refused(f"{line} --allow-test-model", "--allow-test-model is for the model test:N"),
        "precision": Row(f"{line} --precision bf16", report(precision="bf16")),
        "device": Refused(f"{line} --device cuda", "models run on the processor only"),
        "executor": Row(f"{line} --executor processes --workers 1", report(executor="processes")),
        "workers": Row(f"{line} --workers 1", report(workers=1)),
        "preset": Row(f"{line} --preset low-memory", report(executor="processes", workers=1)),
        "max_memory_mb": Refused(f"{line} --max-memory-mb 500", "for worker processes, not for threads"),
        "max_documents_per_worker": Refused(f"{line} --max-documents-per-worker 5", "for worker processes"),
        "batch_size": Refused(f"{line} --batch-size 0", "--batch-size: '0' does not fit"),
        "schema": Refused(f"{line} --schema other", "--schema is for PostgreSQL"),
        "max_load": Refused(f"{line} --max-load 7", "--max-load: '7' does not fit"),
        "sleep": Refused(f"{line} --sleep -1", "--sleep: '-1' does not fit"),
        "profile": Row(f"{line} --profile", lambda told: "  95 %\n" in told.err, unless=line),
        "profile_json": Row(f"{line} --profile-json p.json", lambda told: (told.shell.folder / "p.json").exists()),
    } | others


def of_terms(line: str) -> dict[str, Row]:
    """The rows of what terms are embedded with."""
    limits = {name: row for name, row in of_a_run(line).items() if name.startswith("max_")}
    return limits | {
        "model": Row(f"{line} --model nowhere/none", lambda told: told.code == 1 and "nowhere/none" in told.err),
        "precision": Refused(f"{line} --precision f8", "--precision"),
        "document_prompt": Elsewhere("test_cli_trees.py::test_a_prompt_is_put_before_terms"),
        "executor": Refused(f"{line} --executor nothing", "--executor"),
        "workers": Refused(f"{line} --workers 0", "--workers: '0' does not fit"),
        "sleep": Refused(f"{line} --sleep -1", "--sleep: '-1' does not fit"),
        "batch_size": Refused(f"{line} --batch-size 0", "--batch-size: '0' does not fit"),
        "cache": Elsewhere("test_cli_trees.py::test_terms_are_embedded_once_and_kept_in_the_cache"),
    }


def after(**wanted: Any) -> Callable[[Told], bool]:
    """Whether the tree that comes out has these numbers."""
    return lambda told: {name: told.json["after"][name] for name in wanted} == wanted


def left_out(number: int) -> Callable[[Told], bool]:
    return lambda told: len(told.json["left_out"]) == number


def found_kinds(*kinds: str) -> Callable[[Told], bool]:
    return lambda told: sorted(told.json["counts"]) == sorted(kinds)


def of_space(line: str) -> Callable[[Told], bool]:
    """Whether the space is another than that of the same run without the option."""
    return lambda told: told.json["space"] != Told(told.shell, told.shell.run(*line.split())).json["space"]


ROWS: dict[tuple[str, str], Row] = {
    (command, name): row
    for command, rows in {
        "index": of_a_run(
            INDEX,
            paths=Row("index nowhere", lambda told: told.code == 1 and "nowhere" in told.err),
            model=Row(f"{INDEX} --model {OTHER}", is_of_other),
            document_prompt=Row(f"{INDEX} --document-prompt a:", of_space(INDEX.replace("new.db", "newer.db"))),
            query_prompt=Elsewhere("test_prompts.py::test_the_store_remembers_them"),
            store=Row(INDEX, lambda told: (told.shell.folder / "new.db").exists()),
            db_timeout=Refused(f"{INDEX} --db-timeout 5", "--db-timeout is for PostgreSQL"),
            cache=Row(f"{INDEX} --no-cache", report(cached=0), unless=fresh("index docs", db="unless.db")),
            chunk_tokens=Row(f"{INDEX} --chunk-tokens 16", lambda told: told.json["chunks"] > 3),
            include=Row(f"{INDEX} --include *.md", report(documents=1)),
            exclude=Row(f"{INDEX} --exclude *.md", report(documents=2)),
            hidden=Row(f"{INDEX} --hidden", report(documents=4)),
            generated=Row(f"{INDEX} --generated", report(documents=4)),
            force=Elsewhere("test_cli_folders.py::test_force_reads_all_and_embeds_nothing_that_is_known"),
            prune=Row("index docs --json --include *.md --prune", report(removed=2)),
            encoding=Elsewhere("test_cli.py::test_an_encoding_that_is_given_is_not_guessed"),
            max_file_size=Row(f"{INDEX} --max-file-size 60", report(documents=2)),
            re_embed=Row(
                f"index docs --json --model {OTHER} --re-embed",
                lambda told: told.code == 0 and told.json["swapped"],
                unless=f"index docs --json --model {OTHER}",
            ),
            dry_run=Row(f"{INDEX} --dry-run", lambda told: not (told.shell.folder / "new.db").exists()),
        ),
        "retry-failed": of_a_run(
            FAILED,
            table=Row(RETRY, report(table="filled")),
            vector=Refused(f"{FAILED} --vector x", "--vector is about a table: name the TABLE"),
            metrics=Refused(f"{FAILED} --no-metrics", "--metrics is about a table"),
            truncate=Refused(f"{FAILED} --no-truncate", "--truncate is about a table"),
            max_text=Refused(f"{FAILED} --max-text 5", "--max-text is about a table"),
            model=Row(f"{FAILED} --model {OTHER}", lambda told: told.code == 1 and "bert-cls" in told.err),
            document_prompt=Row(f"{FAILED} --document-prompt a:", lambda told: told.code == 1 and "'a:'" in told.err),
            query_prompt=Elsewhere("test_prompts.py::test_the_store_remembers_them"),
            store=Row("retry-failed --store sqlite:none.db", lambda told: "none.db" in told.err),
            db_timeout=Refused(f"{FAILED} --db-timeout 5", "--db-timeout is for PostgreSQL"),
            cache=Row(f"{RETRY} --no-cache", report(cached=0)),
            force=Elsewhere("test_cli_folders.py::test_force_reads_all_and_embeds_nothing_that_is_known"),
            chunk_tokens=Refused(f"{RETRY} --chunk-tokens 32", "--chunk-tokens is for files"),
        ),
        "search": {
            "query": Row("search bread", lambda told: "bread.txt:1:" in told.out.splitlines()[0]),
            "limit": Row("search bread -k 1", lambda told: told.out.count("\n") == 1),
            "glob": Row("search bread --glob *.md", lambda told: "rose.md" in told.out and told.out.count("\n") == 1),
            "exact": Elsewhere("test_store_postgres_index.py::test_the_index_finds_nearly_what_is_nearest"),
            "model": Row(f"search bread --model {OTHER}", lambda told: told.code == 1 and "bert-cls" in told.err),
            "query_prompt": Elsewhere(
                "test_prompts.py::test_another_document_prompt_is_refused_and_another_query_prompt_noted"
            ),
            "store": Row("search bread --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused("search bread --schema other", "--schema is for PostgreSQL"),
        },
        "ingest": of_a_run(
            INGEST,
            table=Refused("ingest --store sqlite:app.db", "TABLE is missing: sqlite:app.db has again, filled, notes"),
            batch=Refused("ingest notes 0 --store sqlite:app.db", "BATCH"),
            key=Refused(f"{INGEST} --id nothing", "nothing"),
            text=Row(f"{INGEST} --text other", report(text="other")),
            vector=Row(f"{INGEST} --vector more", report(vector="more")),
            create=Refused("ingest notes --store sqlite:app.db", "--create"),
            halfvec=Refused(f"{INGEST} --halfvec", "--halfvec is for PostgreSQL"),
            overwrite=Row(f"{FILLED} --model {OTHER} --overwrite", is_of_other),
            into=Row(
                f"{FILLED} --model {OTHER} --into second --swap",
                lambda told: told.code == 0 and told.json["beside"] == "second",
                unless=f"{FILLED} --model {OTHER}",
            ),
            swap=Refused(f"{FILLED} --into second", "give both, or --vector COLUMN --create"),
            index=Refused(f"{INGEST} --index hnsw", "--index hnsw is for PostgreSQL"),
            m=Refused(f"{INGEST} --index none --m 16", "--index none builds no index"),
            ef_construction=Refused(f"{INGEST} --ef-construction 90", "--ef-construction is for PostgreSQL"),
            distance=Refused(f"{INGEST} --distance l2", "--distance is for PostgreSQL"),
            metrics=Row(
                f"{INGEST} --no-metrics", report(measured=0), unless=fresh("ingest again --create", db="app.db")
            ),
            metrics_only=Row(fresh("ingest notes --metrics-only", db="app.db"), report(vector="", measured=2)),
            truncate=Row(f"{INGEST} --no-truncate", report(failed=1)),
            max_text=Row(f"{INGEST} --max-text 30", report(failed=1)),
            model=Row(f"{INGEST} --model {OTHER}", is_of_other),
            document_prompt=Row(f"{INGEST} --document-prompt a:", of_space(fresh("ingest filled", db="app.db"))),
            query_prompt=Elsewhere("test_prompts.py::test_ingest_and_retry_failed_of_a_table"),
            store=Row("ingest notes --store sqlite:none.db", lambda told: "none.db" in told.err),
            db_timeout=Elsewhere("test_table_sqlite.py::test_a_lock_is_waited_for"),
            cache=Row(f"{INGEST} --no-cache", report(cached=0), unless=fresh("ingest again --create", db="app.db")),
            dry_run=Row(f"{INGEST} --dry-run", report(dry_run=True)),
        ),
        "forget": {
            "paths": Row("forget docs --json", report(removed=3)),
            "re_embed": Refused("forget docs --re-embed", "give the PATH to take out, or --re-embed alone"),
            "store": Row("forget docs --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused("forget docs --schema other", "--schema is for PostgreSQL"),
            "db_timeout": Refused("forget docs --db-timeout 5", "--db-timeout is for PostgreSQL"),
        },
        "status": {
            "roots": Row(
                "status --roots --json", lambda told: len(told.json.get("roots", [])) == 1, unless="status --json"
            ),
            "name": Row(fresh("status filled", db="app.db"), report(table="filled")),
            "vector": Refused("status --vector x", "--vector is about a table"),
            "store": Row("status --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused("status --schema other", "--schema is for PostgreSQL"),
            "failures": Row(fresh("status --failures", db="failed.db"), lambda told: len(told.json["failed"]) == 1),
        },
        "verify": {
            "name": Row(fresh("verify filled", db="app.db"), report(table="filled", recomputed=2)),
            "vector": Refused("verify --vector x", "--vector is about a table"),
            "model": Refused(f"verify --sample 0 --model {OTHER}", "--sample 0 wants none: leave one out"),
            "sample": Row("verify --sample 1 --json", report(recomputed=1), unless="verify --json"),
            "read_data": Refused("verify --read-data --sample 5", "--read-data computes all vectors again"),
            "repair": Row("verify --repair --json", report(repaired={}), unless="verify --json"),
            "limit": Row(
                "verify --limit norm-min=2 --json", lambda told: len(told.json["exceeded"]) == 1, unless="verify --json"
            ),
            "store": Row("verify --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused("verify --schema other", "--schema is for PostgreSQL"),
        },
        "report": {
            "html": Row("report --html page.html", lambda told: (told.shell.folder / "page.html").exists()),
            "store": Row("report --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused("report --schema other", "--schema is for PostgreSQL"),
        },
        "arrange": of_terms(ARRANGE)
        | {
            "input": Row("arrange none.txt --dry-run", lambda told: told.code == 1 and "none.txt" in told.err),
            "target": Row("arrange tree.yaml -o new.yaml", lambda told: (told.shell.folder / "new.yaml").exists()),
            "target_format": Row(
                "arrange tree.yaml -o new.yaml --format jsonl",
                lambda told: json.loads((told.shell.folder / "new.yaml").read_text().splitlines()[0])["label"],
            ),
            "source_format": Row(f"{SHAPED} --input-format flat", after(lists=1), unless=SHAPED),
            "classes": Refused(f"{SHAPED} --classes classes.csv", "classes.csv has the names of Open Images"),
            "preset": Row(f"{ARRANGE} --preset ultra-flat", after(branches=0), unless=ARRANGE),
            "max_leaf": Row(f"{ARRANGE} --max-leaf 45", after(branches=0), unless=ARRANGE),
            "min_group": Row(f"{ARRANGE} --min-group 46", after(branches=0), unless=ARRANGE),
            "threshold": Row("arrange terms.txt --dry-run --json --threshold 1", after(branches=0), unless=ARRANGE),
            "own_label": Row(
                "arrange tree.yaml --dry-run --flatten --max-leaf 2 --own-label rest --threshold 1",
                lambda told: told.code == 0,
            ),
            "shape": Row(f"{SHAPED} --shape", after(branches=3), unless=SHAPED),
            "min_leaf": Row(f"{SHAPED} --shape --min-leaf 1", after(branches=4), unless=f"{SHAPED} --shape"),
            "case": Row(
                "arrange tree.yaml --dry-run --case title",
                lambda told: "Animals" in told.out,
                unless="arrange tree.yaml --dry-run",
            ),
            "root": Row(f"{SHAPED} --root plants", left_out(3), unless=SHAPED),
            "exclude_subtree": Row(f"{SHAPED} --exclude-subtree plants", left_out(2), unless=SHAPED),
            "exclude_regex": Row(f"{SHAPED} --exclude-regex ^fox", left_out(2), unless=SHAPED),
            "skip": Row(f"{SHAPED} --skip plants", after(branches=3), unless=SHAPED),
            "depth": Row(f"{SHAPED} --depth 1", after(branches=2), unless=SHAPED),
            "flatten": Row(f"{SHAPED} --flatten", after(branches=0), unless=SHAPED),
            "limit": Row(f"{SHAPED} --limit 1", left_out(4), unless=SHAPED),
            "overrides": Row(
                f"{SHAPED} --overrides bare.yaml", lambda told: told.code == 1 and "'depth'" in told.err, unless=SHAPED
            ),
            "comment_template": Elsewhere("test_cli_trees.py::test_new_groups_have_comments"),
            "glosses": Elsewhere("test_cli_trees.py::test_new_groups_have_comments"),
            "dry_run": Row("arrange tree.yaml --dry-run", lambda told: "animals (3 terms)" in told.out),
        },
        "lint": of_terms("lint tree.yaml")
        | {
            "source": Row("lint none.yaml --json", found_kinds("unreadable")),
            "source_format": Row(
                "lint tree.yaml --no-meaning --input-format flat --json",
                lambda told: told.json["findings"][0]["terms"] == ["- fox"],
                unless="lint tree.yaml --no-meaning --json",
            ),
            "classes": Row("lint tree.yaml --classes classes.csv --json", lambda told: "Open Images" in told.err),
            "max_leaf": Row(
                "lint tree.yaml --no-meaning --max-leaf 2 --json",
                found_kinds("double", "too-long"),
                unless="lint tree.yaml --no-meaning --json",
            ),
            "meaning": Refused("lint tree.yaml --no-meaning --model x", "--no-meaning embeds nothing"),
            "fix": Row(
                "lint tree.yaml --no-meaning --fix",
                lambda told: (told.shell.folder / "tree.yaml").read_text().count("- fox") == 1,
            ),
            "clear_cache": Row(
                "lint --clear-cache --yes --json", lambda told: told.json["removed"] > 0, unless="lint --yes --json"
            ),
            "yes": Row(
                "lint --clear-cache --yes --json",
                lambda told: told.json["removed"] > 0,
                unless="lint --clear-cache --json",
            ),
            "clean": Row("lint tree.yaml --clean new.yaml", lambda told: (told.shell.folder / "new.yaml").exists()),
        },
        "compare": {
            "one": Row("compare none.txt tree.yaml", lambda told: told.code == 1 and "none.txt" in told.err),
            "other": Row("compare tree.yaml none.txt", lambda told: told.code == 1 and "none.txt" in told.err),
            "at_least": Row(
                "compare tree.yaml terms.txt --at-least jaccard=1",
                lambda told: told.code == 3 and "jaccard is 0.0000, not 1" in told.err,
                unless="compare tree.yaml terms.txt",
            ),
        },
        "analyze": {
            "source": Row("analyze none.txt", lambda told: told.code == 1 and "none.txt" in told.err),
            "source_format": Row(
                "analyze tree.yaml --input-format flat --json", report(lists=1), unless="analyze tree.yaml --json"
            ),
            "classes": Refused("analyze tree.yaml --classes classes.csv", "classes.csv has the names of Open Images"),
        },
        "batch": {
            "path": Row("batch none.yaml", lambda told: told.code == 2 and "none.yaml: is not there" in told.err),
            "each": Row(f"{EACH} --each *.md --index", batch_jobs("rose.md"), unless=f"{EACH} --each * --index"),
            "index": Refused("batch docs --each * -o out", "give --arrange or --index"),
            "arrange": Row(
                "batch . --each terms.txt --arrange -o out --json",
                lambda told: (told.shell.folder / "out/terms.txt.yaml").exists(),
            ),
            "target": Row(f"{EACH} --each * --index", lambda told: (told.shell.folder / "out/rose.md.db").exists()),
            "settings": Row(
                f"{EACH} --each *.txt --index --set dry-run=true",
                lambda told: all(job["report"]["dry_run"] for job in told.json["jobs"]),
                unless=f"{EACH} --each *.txt --index",
            ),
            "jobs": Row(f"{EACH} --each * --index --jobs 1", report(at_once=1)),
            "resume": Row(
                "batch manifest.yaml --resume --json",
                lambda told: all(job["earlier"] for job in told.json["jobs"]),
                unless="batch manifest.yaml --json",
            ),
            "report": Row(
                "batch manifest.yaml --report told --json",
                lambda told: (told.shell.folder / "told/batch_report.md").exists(),
                unless="batch manifest.yaml --json",
            ),
            "dry_run": Row(
                "batch manifest.yaml --dry-run --json",
                lambda told: not (told.shell.folder / "batch_report.md").exists() and len(told.json["jobs"]) == 2,
            ),
            "schema": Row("batch --schema", lambda told: told.json["title"] == "A manifest of embedmill batch"),
        },
        "models": {},
        "doctor": {
            "check": Row("doctor --check --json", lambda told: "cannot be checked" in told.out, unless="doctor --json"),
            "model": Row(f"doctor --model {OTHER} --json", lambda told: told.json["model"]["name"] == OTHER),
            "precision": Row("doctor --precision bf16 --json", lambda told: told.json["run"]["precision"] == "bf16"),
            "workers": Row("doctor --workers 1 --json", lambda told: told.json["run"]["streams"] == 1),
        },
        "evaluate": {
            "questions": Row("evaluate none.jsonl", lambda told: told.code == 1 and "none.jsonl" in told.err),
            "limit": Row(f"{EVALUATE} -k 1", report(k=1), unless=EVALUATE),
            "at_least": Row(f"{EVALUATE} -k 1 --at-least recall=1", lambda told: told.code == 3, unless=EVALUATE),
            "against": Row(
                f"{EVALUATE} --against sqlite:failed.db", lambda told: len(told.json["stores"]) == 2, unless=EVALUATE
            ),
            "model": Row(f"{EVALUATE} --model {OTHER}", lambda told: told.code == 1 and "bert-cls" in told.err),
            "query_prompt": Elsewhere("test_evaluate.py::test_a_prompt_for_queries_counts"),
            "store": Row(f"{EVALUATE} --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused(f"{EVALUATE} --schema other", "--schema is for PostgreSQL"),
        },
        "golden record": {
            "file": Row("golden record golden.jsonl --texts docs/rose.md", lambda told: "is there already" in told.err),
            "texts": Row(f"{RECORD} --texts docs/bread.txt", report(texts=1)),
            "model": Row(f"{RECORD} --texts docs/rose.md --model {OTHER}", is_of_other),
            "precision": Row(f"{RECORD} --texts docs/rose.md --precision bf16", report(precision="bf16")),
            "document_prompt": Row(
                f"{RECORD} --texts docs/rose.md --document-prompt a:",
                of_space(f"{RECORD} --texts docs/rose.md --overwrite"),
            ),
            "sample": Row(f"{RECORD} --overwrite --sample 2", report(texts=2), unless=RECORD),
            "store": Row("golden record new.jsonl --store sqlite:none.db", lambda told: "none.db" in told.err),
            "schema": Refused(f"{RECORD} --schema other", "--schema is for PostgreSQL"),
            "overwrite": Row(
                "golden record golden.jsonl --texts docs/bread.txt --overwrite --json",
                report(texts=1),
                unless="golden record golden.jsonl --texts docs/bread.txt --json",
            ),
        },
        "golden check": {
            "file": Row("golden check docs/rose.md", lambda told: told.code == 1 and "rose.md, line 1" in told.err),
            "tolerance": Row(
                "golden check golden.jsonl --tolerance 1 --json",
                report(verdict="changed arithmetic"),
                unless="golden check golden.jsonl --json",
            ),
            "model": Row(f"golden check golden.jsonl --model {OTHER} --json", report(verdict="changed model")),
            "precision": Row(
                "golden check golden.jsonl --precision bf16 --json",
                lambda told: told.json["computed"]["precision"] == "bf16",
            ),
        },
        "bench ingest": {
            "table": Refused("bench ingest --store sqlite:app.db", "TABLE is missing"),
            "batch": Refused("bench ingest notes --batch 0", "--batch"),
            "max_workers": Refused("bench ingest notes --max-workers 0", "--max-workers"),
            "rows": Refused("bench ingest notes --rows 0", "--rows"),
            "key": Refused("bench ingest notes --store sqlite:app.db --id nothing", "nothing"),
            "text": Refused("bench ingest notes --store sqlite:app.db --text nothing", "nothing"),
            "model": Row("bench ingest notes --store sqlite:app.db --model nowhere/none", lambda told: told.code == 1),
            "precision": Refused("bench ingest notes --precision f8", "--precision"),
            "executor": Refused("bench ingest notes --executor nothing", "--executor"),
            "store": Row("bench ingest notes --store sqlite:none.db", lambda told: "none.db" in told.err),
        },
        "cache stats": {},
        "cache prune": {
            "max_size": Row("cache prune --max-size 0 --json", lambda told: told.json["removed"] > 0),
            "older_than": Row("cache prune --older-than 1d --json", lambda told: told.json["removed"] == 0),
        },
        "cache clear": {
            "yes": Row("cache clear --yes --json", lambda told: told.json["removed"] > 0, unless="cache clear --json"),
        },
    }.items()
    for name, row in rows.items()
}


def leaves(parser: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    below = getattr(parser, "commands", None)
    if not below:
        yield " ".join(path), parser
    for name, command in (below or {}).items():
        yield from leaves(command, (*path, name))


COMMANDS = dict(leaves(app.command()))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files, a store, one that has a failure, and a database with tables; copied for each row."""
    folder = tmp_path_factory.mktemp("made")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "bread.txt").write_text("bread " * 20)
    (docs / "rose.md").write_text("A rose grows in the garden.")
    (docs / "water.txt").write_text("Water in the river.")
    (docs / "package-lock.json").write_text('{"lockfileVersion": 3}')
    (docs / ".hidden.txt").write_text("A stone in the water.")
    (folder / "terms.txt").write_text(
        "\n".join(f"{word} {n}" for n in range(15) for word in ("bread", "rose", "stone"))
    )
    (folder / "tree.yaml").write_text(TREE)
    (folder / "bare.yaml").write_text("water: {depth: 1, own-label: rest}")
    (folder / "glosses.yaml").write_text("\n".join(f"{word}: a gloss" for word in ("bread", "rose", "stone")))
    jobs = [f"{{name: {name}, index: docs, store: 'sqlite:{name}.db'}}" for name in ("one", "two")]
    (folder / "manifest.yaml").write_text(f"jobs: [{', '.join(jobs)}]")
    (folder / "classes.csv").write_text("/m/1,bread\n")
    (folder / "questions.jsonl").write_text('{"question": "bread", "documents": ["rose.md", "water.txt"]}')
    with closing(sqlite3.connect(folder / "app.db")) as db, db:
        for name in ("notes", "again", "filled"):
            db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, text TEXT, other TEXT)")
            rows = [("Bread is baked in an oven.", "oven"), ("light " * 600, "light")]
            db.executemany(f"INSERT INTO {name} (text, other) VALUES (?, ?)", rows)
    shell = within(folder)
    for line in (
        "index docs",
        "index docs --store sqlite:failed.db",
        "ingest filled --create --store sqlite:app.db",
        "golden record golden.jsonl --texts docs/rose.md",
    ):
        done = shell.run(*line.split())
        assert done.returncode == 0, done.stderr
    turn_a_little(folder / "golden.jsonl")
    return folder


def within(folder: Path) -> Within:
    shell = tables.shell(folder, "sqlite:index.db", Within)
    assert isinstance(shell, Within)
    return shell


@pytest.fixture
def shell(made: Path, tmp_path: Path) -> Within:
    folder = tmp_path / "here"
    shutil.copytree(made, folder)
    with closing(sqlite3.connect(folder / "failed.db")) as db, db:
        old, new = os.fspath(made), os.fspath(folder)
        (name,) = db.execute("SELECT name FROM documents ORDER BY name LIMIT 1").fetchone()
        db.execute("INSERT INTO failures VALUES (?, 0, 0, 1, 1, 'Cause', 'why', 1, 0)", [name.replace(old, new)])
    return within(folder)


def test_every_option_has_a_row() -> None:
    wanted = {
        (command, parameter.name)
        for command, parser in COMMANDS.items()
        for parameter in parser.params
        if parameter.name not in COMMON
    }
    assert set(ROWS) == wanted


@pytest.mark.parametrize("row", [key for key, row in ROWS.items() if row.with_option], ids=" ".join)
def test_an_option_changes_something_or_is_refused(row: tuple[str, str], shell: Within) -> None:
    holds, unless = ROWS[row].holds, ROWS[row].unless
    if unless is not None:
        without = Told(shell, shell.run(*unless.split()))
        assert without.code == 2 or not holds(without), "the same without it"
    told = Told(shell, shell.run(*ROWS[row].with_option.split()))
    assert holds(told), (told.code, told.out, told.err)


ARGUMENTS = {
    "index": ["docs"],
    "search": ["bread"],
    "ingest": ["filled", "--store", "sqlite:app.db"],
    "bench ingest": ["notes", "--store", "sqlite:app.db", "--rows", "1", "--max-workers", "1"],
    "forget": ["docs"],
    "golden record": ["new.jsonl", "--overwrite"],
    "golden check": ["golden.jsonl"],
    "evaluate": ["questions.jsonl"],
    "arrange": ["terms.txt", "-o", "new.yaml"],
    "lint": ["tree.yaml"],
    "compare": ["tree.yaml", "terms.txt"],
    "analyze": ["tree.yaml"],
    "batch": ["manifest.yaml"],
    "cache prune": ["--older-than", "1d"],
    "cache clear": ["--yes"],
}
"""What a command is given, beside its own options."""


@pytest.mark.parametrize("command", COMMANDS)
def test_what_every_command_has(command: str, shell: Within) -> None:
    line = [*command.split(), *ARGUMENTS.get(command, [])]
    assert is_one_object(Told(shell, shell.run(*line, "--json")))
    logged = shell.run(*line, "--log-file", "log.txt")
    assert f"exit code {logged.returncode}\n" in (shell.folder / "log.txt").read_text()
    refused = shell.run(*line, "-q", "-v")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "--quiet and --verbose contradict each other" in refused.stderr


NOTHING_BUT_OUTPUT = {"report", "status", "models", "analyze", "bench ingest", "cache stats"}
"""Commands that give nothing but what people read. Hits of a search are given as they are."""


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_leaves_nothing_but_errors_and_hits(command: str, shell: Within) -> None:
    line = [*command.split(), *ARGUMENTS.get(command, [])]
    done = Told(shell, shell.run(*line, "-q"))
    if command in NOTHING_BUT_OUTPUT:
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert "and there is nothing else: leave -q out, or give --json" in done.err
    elif command == "search":
        assert (done.code, "bread.txt:1:" in done.out, done.err) == (0, True, "")
    else:
        assert (done.out, all(each.startswith("error: ") for each in done.err.splitlines())) == ("", True)


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_leaves_what_programs_read(command: str, shell: Within) -> None:
    told = Told(shell, shell.run(*command.split(), *ARGUMENTS.get(command, []), "--json", "-q"))
    assert is_one_object(told) and all(each.startswith("error: ") for each in told.err.splitlines())


def test_quiet_with_a_page_writes_it_and_says_nothing(shell: Within) -> None:
    done = shell.run("report", "--html", "page.html", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (shell.folder / "page.html").exists()


WITHOUT_VECTORS = [
    parameter
    for parameter in COMMANDS["ingest"].params
    if parameter.name not in {*_OF_METRICS, *COMMON} and parameter.param_type_name == "option"
]


@pytest.mark.parametrize("parameter", WITHOUT_VECTORS, ids=lambda parameter: parameter.name)
def test_metrics_alone_have_no_use_for_what_is_about_vectors(parameter: Any, shell: Within) -> None:
    value = [] if parameter.is_flag else ["1"]
    line = ["ingest", "notes", "--metrics-only", "--store", "sqlite:app.db", parameter.opts[-1], *value]
    done = shell.run(*line)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"--metrics-only writes no vectors: leave {parameter.opts[-1]} out" in done.stderr


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ingest notes abc --metrics-only", "BATCH: 'abc' does not fit"),
        ("ingest notes --metrics-only --no-metrics", "contradict each other"),
        ("ingest notes --halfvec", "--halfvec is for the column that --create adds"),
        ("ingest notes --create --index none --distance l2", "--index none builds no index"),
        ("index docs --executor threads --preset production", "preset production is for worker processes"),
        ("index docs --dry-run --prune", "leave one of them out"),
        ("index docs --store sqlite:a.db --store sqlite:b.db", "--store was given 2 times"),
        ("index docs --hidden --no-hidden", "was given 2 times"),
        ("index docs --model test:8", "test:8 is for tests"),
        ("index docs --model test:8 --no-allow-test-model", "test:8 is for tests"),
        ("index docs --model test:x --allow-test-model", "give test:N for vectors of N numbers"),
        ("index docs --model test:8 --allow-test-model --precision bf16", "test:8 computes in f32"),
        (
            "doctor --model test:8",
            "test:8 needs nothing of this machine: leave --model out, or name the one that is used",
        ),
        ("evaluate questions.jsonl -k 0", "-k/--limit: '0' does not fit"),
        ("search bread --limit 0", "-k/--limit: '0' does not fit"),
        ("retry-failed --allow-test-model", "--allow-test-model is for the model test:N"),
        ("ingest notes --create --model test:8 --store sqlite:app.db", "test:8 is for tests"),
        ("status --vector x --failures", "--vector is about a table: name the TABLE"),
        ("golden record new.jsonl --texts docs/rose.md --store sqlite:a.db", "--store is for texts of a store"),
        ("golden record new.jsonl --texts docs/rose.md --sample 3", "--sample is for texts of a store"),
        ("golden", "Missing command, one of record, check"),
        ("evaluate questions.jsonl --against=", "--against is empty"),
        ("arrange tree.yaml", "--output is missing"),
        ("arrange tree.yaml --dry-run -q", "-q would leave out the tree"),
        ("arrange tree.yaml -o new.yaml --dry-run", "--dry-run writes nothing"),
        ("arrange tree.yaml --dry-run --format csv", "--format is what --output is written as"),
        ("arrange tree.yaml -o new.xml", "new.xml ends in none of"),
        ("arrange tree.yaml -o new.yaml --format xml", "--format is 'xml'"),
        ("arrange tree.yaml -o terms.txt/new.yaml", "terms.txt is no folder: give another"),
        ("arrange tree.yaml --dry-run --min-leaf 3", "--min-leaf is for --shape: give both"),
        ("arrange tree.yaml --dry-run --flatten --depth 2", "--flatten leaves no levels for --depth"),
        ("arrange tree.yaml --dry-run --glosses glosses.yaml", "--glosses is for {text} in --comment-template"),
        ("arrange tree.yaml --dry-run --preset huge", "preset is 'huge'"),
        ("arrange tree.yaml --dry-run --case upper", "case is 'upper'"),
        ("arrange tree.yaml --dry-run --threshold 2", "threshold is 2.0: give a cosine"),
        ("lint tree.yaml --no-meaning --clean new.yaml", "--no-meaning embeds nothing"),
        ("lint terms.txt --fix", "terms.txt ends in none of"),
        ("lint", "INPUT is missing"),
        ("lint tree.yaml --yes", "--yes is for --clear-cache"),
        ("lint tree.yaml --clear-cache --yes", "--clear-cache looks at no tree: leave INPUT out"),
        ("lint --clear-cache --yes --max-leaf 3", "--clear-cache looks at no tree: leave --max-leaf out"),
        ("lint --clear-cache --yes --model x", "--clear-cache looks at no tree: leave --model out"),
        ("lint --clear-cache --yes --no-meaning", "--clear-cache looks at no tree: leave --no-meaning out"),
        ("lint --clear-cache", "nobody to ask whether to remove everything: give --yes"),
        ("compare tree.yaml terms.txt --at-least f1=1", "expected jaccard, ari or ami"),
        ("compare tree.yaml terms.txt --at-least jaccard=nan", "expected a number from -1 to 1"),
        ("cache prune", "give --max-size or --older-than"),
        ("cache", "Missing command, one of stats, prune, clear"),
    ],
)
def test_combinations_that_say_nothing_are_refused(line: str, words: str, shell: Within) -> None:
    done = shell.run(*line.split())
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert words in done.stderr


def test_a_dry_run_takes_the_batch_size(shell: Within) -> None:
    assert shell.json("index", "docs", "--dry-run", "--store", "sqlite:new.db", "--batch-size", "1")["dry_run"]


def test_a_folder_that_is_missing_is_made_for_a_tree(shell: Within) -> None:
    assert shell.run("arrange", "terms.txt", "-o", "new/deeper/tree.yaml").returncode == 0
    assert (shell.folder / "new/deeper/tree.yaml").is_file()
