"""Stores, by the scheme of their URL. A new kind of store is one entry in `STORES`, and a package."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from embedmill.core.errors import UsageError
from embedmill.storage.driver import DB_TIMEOUT, DEFAULT_SCHEMA, Driver, ScratchTable, TableDriver, TableRequest
from embedmill.storage.postgres import urls

if TYPE_CHECKING:
    from embedmill.core.interfaces.store import Store
    from embedmill.core.interfaces.table import Table
    from embedmill.storage.catalog import ListedTable

DEFAULT_URL: Final = "sqlite:.embedmill/index.db"


@dataclass(frozen=True, slots=True)
class StoreType:
    """A kind of store."""

    scheme: str
    module: str  # imported when a URL is of this scheme; its `DRIVER` answers for it
    url: str = ""  # how a URL is written, where help is to say so
    aliases: Sequence[str] = ()  # other schemes that mean the same
    is_server: bool = False  # then --schema and --db-timeout mean something
    extra: str = ""  # that has to be installed
    modules: Sequence[str] = ()  # which the extra brings


_BY_SCHEME: Final[dict[str, StoreType]] = {}  # aliases too


def register(added: StoreType) -> None:
    """Make a kind of store known. Raises `UsageError` where one of its schemes is another's."""
    for scheme in (added.scheme, *added.aliases):
        if _BY_SCHEME.get(scheme, added) != added:
            raise UsageError(f"stores of {scheme}:... are registered already: {_BY_SCHEME[scheme].module}")
    _BY_SCHEME.update(dict.fromkeys((added.scheme, *added.aliases), added))


STORES: Final = (
    StoreType("sqlite", "embedmill.storage.sqlite.driver", url="sqlite:PATH"),
    StoreType(
        "postgresql",
        "embedmill.storage.postgres.driver",
        url="postgresql://USER@HOST/DATABASE",
        aliases=urls.ALIASES,
        is_server=True,
        extra="postgres",
        modules=("psycopg", "psycopg_pool"),
    ),
    StoreType("memory", "embedmill.storage.memory.driver"),
)
for _each in STORES:
    register(_each)


def known_urls() -> str:
    """How the URLs of stores are written, for help."""
    return " or ".join(each.url for each in STORES if each.url)


def extras() -> dict[str, Sequence[str]]:
    """The extras of embedmill that stores need, each with the modules that it brings."""
    return {each.extra: each.modules for each in STORES if each.extra}


def is_server(url: str) -> bool:
    """Whether a store of this URL is on a server: --schema and --db-timeout mean something, or may in one not known."""
    found = _type_of(url)
    return found is None or found.is_server


def _type_of(url: str) -> StoreType | None:
    scheme, colon, _ = url.partition(":")
    return _BY_SCHEME.get(scheme.lower() if "+" in scheme else scheme) if colon else None  # as SQLAlchemy reads it


def driver_of(url: str) -> Driver:
    """What answers for the stores of this URL's scheme. Raises `UsageError` where there is nothing."""
    found = _type_of(url)
    if found is None:
        known = ", ".join(f"{each}:..." for each in _BY_SCHEME if "+" not in each)
        raise UsageError(f"unknown store {_without_path(url)}: give one of {known}")
    driver: Driver = import_module(found.module).DRIVER
    return driver


def _table_driver(url: str) -> TableDriver:
    driver = driver_of(url) if _type_of(url) else None
    if not isinstance(driver, TableDriver):
        raise UsageError(f"no tables are known in {_without_path(url)}: give --store sqlite:... or postgresql://...")
    return driver


def _without_path(url: str) -> str:
    scheme, colon, _ = url.partition(":")
    return f"{scheme}:..." if colon else repr(url)  # the rest may hold a password


def open_store(
    url: str = DEFAULT_URL,
    *,
    write: bool = True,
    create: bool = True,
    schema: str = DEFAULT_SCHEMA,
    db_timeout: float = DB_TIMEOUT,
) -> Store:
    """Open a store.

    `write` takes the store's writer lock until `close`; readers work meanwhile. `create` begins a new store
    where there is none, and means nothing to a reader: reading never creates a store. `schema` is where in a
    PostgreSQL database the store lies, and `db_timeout` the seconds for which a lost connection to it is made anew;
    other stores have no use for them.

    Raises `UsageError` for a URL that no store knows, `StoreBusy` where another run is writing, `MissingExtra` where
    a package that the store needs is not installed, and `StoreError` where there is no store or it cannot be used.
    """
    from embedmill.storage.second_space import rooted

    driver = driver_of(url)
    backend = driver.open_store(url, write=write, create=create, schema=schema, db_timeout=db_timeout)
    _opened[url] = driver
    return rooted(backend)


_opened: Final[dict[str, Driver]] = {}


def damage() -> str:
    """What is damaged in a store that this process has opened, in one line; "" where nothing is known to be.

    For errors that damaged values lead to far from where they were read.
    """
    return next((found for url, driver in _opened.items() if (found := driver.find_damage(url))), "")


def local_files(url: str) -> list[str]:
    """The files of this machine that hold a store, absolute: a source must not take them for documents."""
    return driver_of(url).local_files(url)


def redact_url(url: str) -> str:
    """The URL of a store as it may stand in a report, before there is a store: without a password."""
    return driver_of(url).redact_url(url) if _type_of(url) else _without_path(url)


def identity_of(url: str, schema: str) -> str | None:
    """What tells a store from others, for this machine; None for one that ends with its process."""
    return driver_of(url).identity(url, schema)


def open_table(url: str, name: str, **options: Any) -> Table:
    """Find a table in a database, and choose its columns; changes nothing yet.

    `options` are the fields of a `TableRequest`. Raises `UsageError` for a URL that no database knows and for a table
    or column that is not there, does not fit or is not clear; `StoreError` where the database cannot be used.
    """
    return _table_driver(url).open_table(url, name, TableRequest(**options))


def list_tables(url: str, *, schema: str, lock_timeout: float) -> list[ListedTable]:
    """The tables of a database that have been filled, or begun, and are still there.

    `schema` is where a PostgreSQL database knows of them; locks on an SQLite file are waited for up to `lock_timeout`
    seconds. Empty where there is no such database, or a store in its place.

    Raises `StoreError` where it cannot be used.
    """
    driver = driver_of(url) if _type_of(url) else None
    return driver.list_tables(url, schema=schema, lock_timeout=lock_timeout) if isinstance(driver, TableDriver) else []


def table_names(url: str, *, schema: str, lock_timeout: float) -> list[str]:
    """The tables of a database that are not embedmill's, as a command takes their names.

    Arguments are those of `list_tables`. Raises `UsageError` and `StoreError`.
    """
    from embedmill.storage.columns import shown

    found = _table_driver(url).user_tables(url, schema=schema, lock_timeout=lock_timeout)
    metrics = {(place, f"{name}_metrics") for place, name in found}
    return sorted(shown(filter(None, row)) for row in found if row not in metrics)


def scratch_table(url: str, texts: Sequence[str]) -> AbstractContextManager[ScratchTable]:
    """A new table with these texts in the same kind of database, gone at the end of the context.

    Raises `StoreError` where this user may not create it.
    """
    return _table_driver(url).scratch_table(url, texts)
