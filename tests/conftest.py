"""What several test files share: the model fixtures and the real model."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

import servers
from embedmill.models import ModelFiles, locate
from embedmill.runtime.folders import cache_folder
from store_places import PLACES
from table_places import TABLE_PLACES, Place

FIXTURES = Path(__file__).parent / "fixtures"

# The machine may be busy, and what one run passes the next one does.
hypothesis.settings.register_profile("any speed", deadline=None, derandomize=True)
hypothesis.settings.load_profile("any speed")

_caches = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give all processes of this session caches of their own, in which only the models are the user's."""
    if hasattr(config, "workerinput"):
        return  # a worker of xdist has the environment of the process that starts it
    models = cache_folder() / "models"
    models.mkdir(parents=True, exist_ok=True)
    config.stash[_caches] = caches = Path(tempfile.mkdtemp(prefix="embedmill-caches-"))
    (caches / "embedmill").mkdir()
    (caches / "embedmill" / "models").symlink_to(models)
    os.environ.pop("EMBEDMILL_CACHE_DIR", None)
    os.environ["XDG_CACHE_HOME"] = str(caches)


def pytest_unconfigure(config: pytest.Config) -> None:
    if caches := config.stash.get(_caches, None):
        shutil.rmtree(caches, ignore_errors=True)


@pytest.fixture(scope="session")
def fixture_models() -> Path:
    """The folder of the small models (see scripts/make_model_fixtures.py)."""
    return FIXTURES / "models"


@pytest.fixture(scope="session")
def references() -> Path:
    """The folder with the reference vectors of the real model."""
    return FIXTURES / "references"


@pytest.fixture(scope="session")
def real_model() -> ModelFiles:
    """The default model, fetched at first use into the user's own cache, which `pytest_configure` links to."""
    return locate("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def server() -> Iterator[servers.Server]:
    """A PostgreSQL server with pgvector, for the whole session."""
    started = servers.start()
    yield started
    started.close()


@pytest.fixture
def database(server: servers.Server) -> Iterator[str]:
    """The URL of a new database with pgvector."""
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(scope="module")
def shared(server: servers.Server) -> Iterator[str]:
    """A database for all tests of this file, each of which clears it."""
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(scope="module")
def own_database(server: servers.Server) -> Iterator[str]:
    """A database for the stores of these tests, each in a schema of its own."""
    url = server.create()
    yield url
    server.drop(url)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> dict[str, str]:
    """The arguments of `open_store` that name a store; there is none yet."""
    return PLACES[request.param](request)


@pytest.fixture(params=TABLE_PLACES)
def table_place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A database for the user's tables; it is empty."""
    with TABLE_PLACES[request.param](request) as place:
        yield place
