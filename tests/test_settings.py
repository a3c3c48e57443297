"""Settings: where they come from, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedmill.api.read_settings import read_settings
from embedmill.api.settings import Settings, StoreOptions
from embedmill.core.errors import UsageError
from embedmill.runtime import machine

MOST = f"{machine.most_workers():,}"


def gather(tmp_path: Path, file: str = "", flags: dict[str, Any] | None = None, **environment: str) -> Settings:
    (tmp_path / "embedmill.toml").write_text(file)
    return read_settings(flags, environment=environment, folder=tmp_path)


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = 'model = "file"\nprecision = "f32"\nworkers = 1'
    found = gather(tmp_path, file, {"model": "flag"}, EMBEDMILL_MODEL="variable", EMBEDMILL_PRECISION="bf16")
    assert (found.model, found.precision, found.workers) == ("flag", "bf16", 1)


def test_embed_workers_is_read(tmp_path: Path) -> None:
    assert gather(tmp_path, EMBED_WORKERS="3").workers == 3
    assert gather(tmp_path, EMBED_WORKERS="3", EMBEDMILL_WORKERS="2").workers == 2


def test_a_flag_that_was_not_given_counts_for_nothing(tmp_path: Path) -> None:
    assert gather(tmp_path, 'model = "file"', {"model": None, "cache": None}).model == "file"


def test_sizes_and_lists(tmp_path: Path) -> None:
    found = gather(tmp_path, 'max-file-size = "1.5k"\nexclude = ["a", "b/"]', EMBEDMILL_CACHE="off")
    assert (found.max_file_size, found.exclude, found.cache) == (1536, ("a", "b/"), False)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ('precision = "f16"', "precision: 'f16' does not fit: expected auto or f32 or bf16"),
        ("workers = 0", "workers: 0 does not fit: expected a whole number from 1 up"),
        ('workers = "two"', "expected a whole number from 1 up"),
        ("workers = true", "expected a whole number"),
        ('max-file-size = ""', "expected bytes, as in"),
        ('max-file-size = "lots"', "expected bytes, as in"),
        ("chunk-tokens = 1", "expected a whole number from 16"),
        ('colour = "blue"', "unknown setting 'colour'; known are model, precision"),
        ("model = ", "embedmill.toml cannot be read"),
        ('model = ""', "expected some text"),
    ],
)
def test_a_wrong_value_is_told_with_its_place(tmp_path: Path, file: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        gather(tmp_path, file)
    assert said in str(caught.value)
    assert "embedmill.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("EMBED_WORKERS", "x"), ("EMBEDMILL_PRECISION", "int4")])
def test_a_wrong_variable_is_named(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(UsageError, match=name):
        gather(tmp_path, **{name: value})


def test_a_preset_means_processes_unless_something_nearer_says_threads(tmp_path: Path) -> None:
    assert gather(tmp_path, 'preset = "production"').executor == "processes"
    assert gather(tmp_path, 'preset = "production"').max_documents_per_worker == 5000
    assert gather(tmp_path, 'preset = "production"', {"executor": "threads"}).executor == "threads"
    assert gather(tmp_path, 'executor = "threads"', {"preset": "low-memory"}).workers == 1
    assert gather(tmp_path, 'workers = 2\npreset = "production"').workers == 2
    both = 'executor = "threads"\npreset = "production"'
    assert gather(tmp_path, both, {"executor": "processes"}).executor == "processes"
    with pytest.raises(UsageError, match=r"embedmill.toml: preset production is for worker processes, not for threads"):
        gather(tmp_path, both)


def test_a_number_of_workers_for_a_larger_machine_does_not_stop_what_uses_none(tmp_path: Path) -> None:
    """The environment and the file serve other machines too; an option is meant for this one."""
    assert gather(tmp_path, EMBED_WORKERS="1000").workers == 1000
    assert gather(tmp_path, "workers = 1000").workers == 1000
    with pytest.raises(UsageError, match=f"--workers: 1000 does not fit: expected a whole number from 1 to {MOST}"):
        gather(tmp_path, flags={"workers": 1000})
    with pytest.raises(UsageError, match=r"EMBED_WORKERS: '9{30}' does not fit"):
        gather(tmp_path, EMBED_WORKERS="9" * 30)


@pytest.mark.parametrize(
    ("file", "environment"),
    [
        ("workers = 0", {}),
        ('executor = "threads"\npreset = "production"', {}),
        ("", {"EMBEDMILL_CHUNK_TOKENS": "many"}),
        ("", {"EMBEDMILL_EXECUTOR": "threads", "EMBEDMILL_PRESET": "production"}),
        ("", {"EMBED_WORKERS": "x"}),
    ],
)
def test_what_the_caller_does_not_use_does_not_stop_it(tmp_path: Path, file: str, environment: dict[str, str]) -> None:
    (tmp_path / "embedmill.toml").write_text(f'{file}\nstore = "sqlite:other.db"'.strip())
    found = read_settings(None, StoreOptions, environment=environment, folder=tmp_path)
    assert found.store == "sqlite:other.db"
    with pytest.raises(UsageError):
        read_settings(environment=environment, folder=tmp_path)


def test_parallel_embeddings_mean_worker_processes(tmp_path: Path) -> None:
    """The settings of an earlier system."""
    found = gather(tmp_path, "embedding_parallel_workers = 2")
    assert (found.executor, found.workers, found.max_memory_mb) == ("processes", 2, 1000)
    assert gather(tmp_path, "embedding-parallel-workers = 2\nworkers = 1").workers == 1
    found = gather(tmp_path, "embedding_parallel_workers = 2", {"executor": "threads"})
    assert found.executor == "threads"
    found = gather(tmp_path, "workers = 2", EMBEDMILL_EMBEDDING_PARALLEL_WORKERS="1")
    assert (found.executor, found.workers) == ("processes", 1)
    found = gather(tmp_path, flags={"embedding_parallel_workers": 3})
    assert (found.executor, found.workers) == ("processes", 3)


def test_parallel_embeddings_that_are_switched_off(tmp_path: Path) -> None:
    off = "enable_parallel_embeddings = false"
    assert gather(tmp_path, f"{off}\nembedding_parallel_workers = 2").executor == "threads"
    assert gather(tmp_path, off, EMBEDMILL_EMBEDDING_PARALLEL_WORKERS="2").executor == "threads"
    assert gather(tmp_path, 'preset = "production"', EMBEDMILL_ENABLE_PARALLEL_EMBEDDINGS="no").executor == "threads"
    assert gather(tmp_path, off, {"executor": "processes"}).executor == "processes"  # which is nearer
    for contradicting in ('executor = "processes"', 'preset = "production"'):
        with pytest.raises(UsageError, match=r"embedmill.toml: .*: leave one of them out"):
            gather(tmp_path, f"{off}\n{contradicting}")
