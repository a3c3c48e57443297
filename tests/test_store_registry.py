"""Stores by the scheme of their URL: each has one, and what it needs is imported when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import tables
from embedmill.core.errors import StoreNotFound, UsageError
from embedmill.storage.postgres.urls import split_schema
from embedmill.storage.registry import (
    STORES,
    StoreType,
    driver_of,
    list_tables,
    local_files,
    open_store,
    open_table,
    redact_url,
    register,
)
from store_samples import fingerprint


@pytest.mark.parametrize("scheme", sorted({each.scheme for each in STORES} | {"postgres", "postgresql+asyncpg"}))
def test_a_scheme_is_one_store_s(scheme: str) -> None:
    for added in (StoreType(scheme, "elsewhere"), StoreType("unheard-of", "elsewhere", aliases=[scheme])):
        with pytest.raises(UsageError, match=rf"stores of {scheme.replace('+', '.')}:... are registered already"):
            register(added)
    with pytest.raises(UsageError, match="unknown store unheard-of:"):
        driver_of("unheard-of:place")


def test_every_store_answers_for_its_urls() -> None:
    for each in STORES:
        assert driver_of(f"{each.scheme}:place") is driver_of(f"{each.scheme}:another")


@pytest.mark.parametrize("url", ["mysql://u:hush@h/d", "hush", ""])
def test_a_url_of_no_store_is_refused_without_showing_it(url: str) -> None:
    for use in (open_store, local_files, lambda url: open_table(url, "texts")):
        with pytest.raises(UsageError, match=r"sqlite:.*postgresql:") as refused:
            use(url)
        assert "u:hush" not in str(refused.value)
    assert "u:hush" not in redact_url(url)
    assert list_tables(url, schema="embedmill", lock_timeout=1) == []


def test_psycopg_is_imported_only_when_postgresql_is_meant(tmp_path: Path) -> None:
    code = f"""
import sys
from embedmill.storage.registry import open_store, redact_url, STORES
url = "sqlite:{tmp_path}/index.db"
assert "sqlite3" not in sys.modules
open_store(url).close()
assert redact_url(url) == url
assert "psycopg" not in sys.modules and "embedmill.storage.sqlite.table" not in sys.modules
redact_url("postgresql://h/d")
assert "psycopg" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# A backend's own options


@pytest.mark.parametrize(
    ("url", "given", "plain", "schema"),
    [
        ("postgresql://h/d", "embedmill", "postgresql://h/d", "embedmill"),
        ("postgresql://h/d", "docs", "postgresql://h/d", "docs"),
        ("postgresql://h/d?schema=docs", "embedmill", "postgresql://h/d", "docs"),
        ("postgresql://h/d?schema=docs&sslmode=require", "docs", "postgresql://h/d?sslmode=require", "docs"),
        ("postgresql://h/d?schema=my%20docs", "my docs", "postgresql://h/d", "my docs"),
        ("postgresql://h/d?schema=public", "docs", "postgresql://h/d", "docs"),
        ("postgresql://u:a?schema=b@h/d", "docs", "postgresql://u:a?schema=b@h/d", "docs"),
    ],
)
def test_postgresql_s_schema_may_stand_in_the_url(url: str, given: str, plain: str, schema: str) -> None:
    assert split_schema(url, given) == (plain, schema)


def test_a_schema_in_the_url_and_another_one_beside_it_is_one_too_many() -> None:
    for use in (open_store, lambda url, schema: list_tables(url, schema=schema, lock_timeout=1)):
        with pytest.raises(UsageError, match="says schema=docs, and --schema notes: leave one out"):
            use("postgresql://u:hush@127.0.0.1:1/d?schema=docs", schema="notes")


def test_a_store_is_in_the_schema_that_its_url_names(database: str, tmp_path: Path) -> None:
    url = f"{database}&schema=docs" if "?" in database else f"{database}?schema=docs"
    with closing(open_store(url)) as store:
        store.bind(fingerprint(), "model")
        assert store.url == redact_url(url) == redact_url(database)
    with closing(open_store(database, schema="docs", write=False)) as store:
        assert store.status().model == "model"
    with pytest.raises(StoreNotFound):
        open_store(database, write=False)
    tables.make(database, 2)
    shell = tables.shell(tmp_path, url, tables.Within)
    assert shell.json("ingest", "sentences")["embedded"] == 2
    assert [each.table for each in list_tables(database, schema="docs", lock_timeout=1)] == ["public.sentences"]
    assert shell.json("status", "sentences")["model"]
