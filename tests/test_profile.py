"""Where a run's time goes: what is counted, and where it is written."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedmill
import tables
from cli_runs import Shell
from embedmill.runtime.stages import Profile, Stages
from samples import prose
from troubled import SMALL_MODEL

STAGES = {"read", "chunk", "lookup", "embed", "validate", "search", "write"}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    (tmp_path / "docs").mkdir()
    for number in range(6):
        (tmp_path / "docs" / f"{number}.txt").write_text(prose(number, 3))
    return tables.shell(tmp_path, "sqlite:index.db")


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_mean_and_percentile_are_as_defined(seconds: list[float]) -> None:
    profile = Profile()
    stages = profile.stages()
    for each in seconds:
        stages.add("read", each)
    found = profile.result()["read"]
    assert (found.calls, found.seconds) == (len(seconds), stages["read"])
    assert found.mean == pytest.approx(np.mean(seconds))
    assert found.p95 == np.percentile(seconds, 95, method="inverted_cdf")


def test_of_many_calls_a_sample_is_kept() -> None:
    profile = Profile()
    for number in range(50_000):
        profile.note("read", float(number))
    found = profile.result()["read"]
    assert (found.calls, found.mean) == (50_000, 24_999.5)
    assert found.p95 == pytest.approx(47_500, rel=0.01)


def test_each_item_is_timed_and_the_end_reaches_what_is_run() -> None:
    ended = []

    def run(items: Iterable[int]) -> Iterator[int]:
        try:
            taken = iter(items)
            held = [next(taken), next(taken)]
            while held:
                yield 10 * held.pop(0)
                held += [each for each in [next(taken, None)] if each is not None]
        finally:
            ended.append(True)

    profile = Profile()
    assert list(profile.stages().timed("embed", run)(range(5))) == [0, 10, 20, 30, 40]
    assert profile.result()["embed"].calls == 5
    begun = profile.stages().timed("embed", run)(range(5))
    assert next(iter(begun)) == 0
    begun.close()  # type: ignore[attr-defined]
    assert ended == [True, True]
    assert Stages().timed("embed", run) is run


def profile_in(shell: Shell) -> dict[str, Any]:
    found = json.loads((shell.folder / "profile.json").read_text())
    for stage in found["stages"].values():
        assert stage["calls"] > 0 and stage["seconds"] >= 0
        assert stage["share"] == pytest.approx(stage["seconds"] / found["seconds"])
        assert stage["mean"] == pytest.approx(stage["seconds"] / stage["calls"])
    return dict(found["stages"])


def test_index_writes_its_stages(shell: Shell) -> None:
    report = shell.json("index", "docs", "--profile-json", "profile.json", "--batch-size", "1")
    assert set(report["stages"]) == STAGES
    found = profile_in(shell)
    assert set(found) == STAGES
    assert found["read"]["calls"] == 6
    assert found["embed"]["calls"] == found["validate"]["calls"] == report["embedded"] > 6


def test_ingest_and_retry_failed_write_theirs(shell: Shell, database: str) -> None:
    tables.make(database, ["one", "two", ""])
    shell.json("ingest", "sentences", "--store", database, "--profile-json", "profile.json", code=3)
    found = profile_in(shell)
    assert {"read", "tokenise", "lookup", "embed", "validate", "write"} <= set(found)
    shell.json("retry-failed", "sentences", "--store", database, "--profile-json", "profile.json", code=3)
    assert "read" in profile_in(shell)


def test_the_table_is_for_people(shell: Shell) -> None:
    done = shell.run("index", "docs", "-q", env=shell.environment | {"EMBEDMILL_PROFILE": "1"})
    assert (done.returncode, done.stdout) == (0, "")
    head, *lines = done.stderr.splitlines()
    assert head.split() == ["stage", "seconds", "share", "calls", "mean", "95", "%"]
    assert {line.split()[0] for line in lines} == STAGES | {"in"}
    assert shell.run("index", "docs", "--no-profile", env=shell.environment | {"EMBEDMILL_PROFILE": "1"}).stderr == ""


def test_a_run_that_fails_writes_what_it_has(shell: Shell) -> None:
    assert shell.run("index", "docs", "--model", str(SMALL_MODEL.with_name("bert-cls"))).returncode == 0
    done = shell.run("index", "docs", "--force", "--profile-json", "profile.json")
    assert done.returncode == 1 and "bert-cls" in done.stderr
    assert json.loads((shell.folder / "profile.json").read_text())["stages"] == {}


def test_a_folder_that_is_missing_is_made(shell: Shell) -> None:
    shell.json("index", "docs", "--profile-json", "new/deeper/profile.json")
    assert set(json.loads((shell.folder / "new/deeper/profile.json").read_text())["stages"]) == STAGES


def test_it_is_no_document(shell: Shell) -> None:
    for _ in range(2):
        assert shell.json("index", "docs", "--profile-json", "docs/profile.json")["documents"] == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--profile-json", "docs/0.txt/p.json"],
            "docs/0.txt is no folder: give another file",
        ),
        (["--profile-json", "docs"], "--profile-json: docs cannot be written: it is a folder: give another file"),
        (["--profile-json", ""], "--profile-json: '' does not fit"),
        (["--dry-run", "--profile-json", "p.json"], "--dry-run embeds a sample alone: leave --profile-json out"),
        (["--dry-run", "--profile"], "--dry-run embeds a sample alone: leave --profile out"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(shell: Shell, options: list[str], said: str) -> None:
    done = shell.run("index", "docs", *options)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_what_serves_many_commands_stops_no_dry_run(shell: Shell) -> None:
    done = shell.run("index", "docs", "--dry-run", env=shell.environment | {"EMBEDMILL_PROFILE": "1"})
    assert (done.returncode, done.stderr) == (0, "")


def test_in_python(shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = os.fspath(tmp_path / "profile.json")
    store = f"sqlite:{tmp_path / 'python.db'}"
    embedmill.index(
        tmp_path / "docs", store=store, model=str(SMALL_MODEL), profile=True, profile_json=path, cache=False
    )
    assert set(profile_in(shell)) == STAGES
    assert capsys.readouterr().err.startswith("stage ")
