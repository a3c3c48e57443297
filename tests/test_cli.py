"""The commands by their everyday use: what they print, and their exit codes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import embedmill
from cli_runs import Shell, obey_permissions
from embedmill.api.golden import packaged_golden
from embedmill.api.try_model import try_model
from embedmill.cli.commands.doctor import _EXTRAS
from embedmill.models import ModelFiles
from tables import Within
from troubled import SMALL_MODEL

NOTES = {
    "garden.md": "# Garden\n\n## Roses\n\nRoses want sun, and a cut in early spring.\n",
    "kitchen.md": "# Kitchen\n\n## Bread\n\nKnead the dough for ten minutes and let it rise overnight.\n",
    "code/sums.py": "def total(prices):\n    return sum(price.amount for price in prices)\n",
    "copy.txt": "The same sentence stands in two files.\n",
    "copy2.txt": "The same sentence stands in two files.\n",
}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def with_notes(folder: Path, cache: Path, model: ModelFiles) -> Shell:
    for name, text in NOTES.items():
        path = folder / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Within(folder, EMBEDMILL_CACHE_DIR=str(cache), EMBEDMILL_MODEL=str(model.folder))


@pytest.fixture
def shell(tmp_path: Path, cache: Path, real_model: ModelFiles) -> Shell:
    """A folder with notes, `cache` to share, and the real model."""
    return with_notes(tmp_path, cache, real_model)


@pytest.fixture(scope="session")
def indexed(tmp_path_factory: pytest.TempPathFactory, cache: Path, real_model: ModelFiles) -> Shell:
    """The same, for tests that only read: the notes are in the store."""
    shell = with_notes(tmp_path_factory.mktemp("indexed"), cache, real_model)
    assert shell.run("index", "notes").returncode == 0
    return shell


def one_line(text: str) -> str:
    assert text.count("\n") == 1 and text.endswith("\n"), text
    return text


REPORT = {
    *("documents", "unchanged", "removed", "chunks", "embedded", "cached", "duplicates", "truncated", "failed"),
    *("tokens", "seconds", "tokens_per_second", "chunks_per_second", "model", "space", "precision", "executor"),
    *("workers", "restarts", "retries", "store", "stages"),
}


def test_index_reports_every_chunk_as_exactly_one_thing(shell: Shell) -> None:
    report = shell.json("index", "notes", "--no-cache")
    assert report.keys() >= REPORT
    assert report["documents"] == 5
    assert report["duplicates"] == 1
    assert report["chunks"] == report["embedded"] + report["cached"] + report["duplicates"] + report["failed"]
    again = shell.json("index", "notes", "--no-cache")
    assert (again["unchanged"], again["chunks"]) == (5, 0)


def test_a_second_store_takes_the_vectors_from_the_cache(shell: Shell) -> None:
    shell.json("index", "notes")
    other = shell.json("index", "notes", "--store", "sqlite:other.db")
    assert other["embedded"] == 0
    assert other["cached"] + other["duplicates"] == other["chunks"] > 0


def test_removed_and_changed_files(shell: Shell) -> None:
    shell.json("index", "notes")
    (shell.folder / "notes/kitchen.md").unlink()
    (shell.folder / "notes/garden.md").write_text("# Garden\n\nTulips are planted in autumn.\n")
    report = shell.json("index", "notes")
    assert (report["removed"], report["unchanged"]) == (1, 3)
    hits = shell.json("search", "when to plant tulips", "-k", "1")["hits"]
    assert "Tulips" in hits[0]["text"]


def test_the_summary_for_people_goes_to_standard_output(shell: Shell) -> None:
    first = shell.run("index", "notes", "--no-cache")
    assert first.returncode == 0
    assert first.stdout.startswith(f"{len(NOTES)} chunks indexed in ")
    assert "sqlite:.embedmill/index.db" in first.stdout
    assert "1 the same as another" in first.stdout
    assert first.stderr == ""
    assert shell.run("index", "notes").stdout.startswith(f"nothing new in {len(NOTES)} documents")
    assert shell.run("index", "notes", "-q").stdout == ""


def test_a_dry_run_stores_nothing(shell: Shell) -> None:
    report = shell.json("index", "notes", "--dry-run", "--no-cache")
    assert report["dry_run"] is True
    assert report["tokens_per_second"] == report["chunks_per_second"] == 0  # nothing was stored, so there is no speed
    assert (report["documents"], report["embedded"], report["duplicates"]) == (5, 4, 1)
    assert report["tokens"] > 0 and report["estimated_seconds"] > 0
    assert not (shell.folder / ".embedmill").exists()
    text = shell.run("index", "notes", "--dry-run", "--no-cache").stdout
    assert re.match(r"would index 5 chunks, in about \d", text)


def test_include_and_exclude(shell: Shell) -> None:
    report = shell.json("index", "notes", "--include", "*.md", "--include", "*.py", "--exclude", "kitchen.md")
    assert report["documents"] == 2
    assert report["skipped"] == {"excluded": 1, "not included": 2}


def test_narrower_options_keep_what_is_stored_unless_prune_is_given(shell: Shell) -> None:
    shell.json("index", "notes")
    report = shell.json("index", "notes", "--include", "*.md")
    assert (report["removed"], report["deselected"], shell.json("status")["documents"]) == (0, 3, 5)
    assert "3 documents that this run's options leave out" in shell.run("index", "notes", "--include", "*.md").stdout
    refused = shell.run("index", "notes", "--prune", "--dry-run")
    assert (refused.returncode, "--prune" in one_line(refused.stderr)) == (2, True)
    report = shell.json("index", "notes", "--include", "*.md", "--prune")
    assert (report["removed"], report["deselected"], shell.json("status")["documents"]) == (3, 0, 2)


def test_a_file_larger_than_allowed_is_left_out_with_one_warning(shell: Shell) -> None:
    (shell.folder / "notes/large.txt").write_text("word " * 1000)
    done = shell.run("index", "notes", "--max-file-size", "4k")
    assert done.returncode == 0
    assert one_line(done.stderr).startswith("warning: ") and "large.txt" in done.stderr
    assert "1 too large" in done.stdout
    assert shell.run("index", "notes", "--max-file-size", "4k", "--quiet").stderr == ""


# search


def test_search_in_a_pipe_is_a_line_a_hit_without_colours(indexed: Shell) -> None:
    done = indexed.run("search", "how long to knead", "--limit", "2")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert re.match(r"notes/kitchen\.md:\d+: 0\.\d{3} .*Knead the dough", lines[0])
    assert "\x1b" not in done.stdout


def test_search_gives_what_other_programs_need(indexed: Shell) -> None:
    found = indexed.json("search", "adding up what things cost", "--glob", "*.py")
    assert found["query"] == "adding up what things cost"
    (hit,) = found["hits"]
    assert hit.keys() >= {"document", "chunk", "start", "end", "line", "score", "text"}
    text = Path(hit["document"]).read_text()
    assert text[hit["start"] : hit["end"]] == hit["text"]
    assert (hit["chunk"], hit["line"]) == (0, 1)


def test_search_below_another_folder_shows_whole_paths(indexed: Shell) -> None:
    store = f"sqlite:{indexed.folder}/.embedmill/index.db"
    inside = indexed.run("search", "roses", "--store", store, "-k1", cwd=indexed.folder / "notes")
    outside = indexed.run("search", "roses", "--store", store, "-k1", cwd="/")
    assert inside.stdout.startswith("garden.md:")
    assert outside.stdout.startswith(f"{indexed.folder}/notes/garden.md:")


def test_search_finds_nothing(indexed: Shell) -> None:
    done = indexed.run("search", "roses", "--glob", "*.nothing", "--glob", "*.none")
    said = [f"warning: --glob '{each}' matches no document of the store" for each in ("*.nothing", "*.none")]
    assert (done.returncode, done.stdout) == (0, "")
    assert [line.partition(":")[0] + ":" + line.split(":")[1] for line in done.stderr.splitlines()[:-1]] == said
    assert done.stderr.endswith("nothing found\n")
    assert indexed.json("search", "roses", "--glob", "*.nothing")["hits"] == []


def test_search_says_what_of_a_long_query_is_not_read(indexed: Shell) -> None:
    done = indexed.run("search", "roses " * 1000)
    assert done.returncode == 0 and done.stdout
    assert one_line(done.stderr) == "warning: the query has 1,002 tokens: the model reads the first 256\n"


def test_search_needs_the_model_of_the_store(indexed: Shell, fixture_models: Path) -> None:
    done = indexed.run("search", "roses", "--model", fixture_models / "bert-mean")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bert-mean" in one_line(done.stderr)
    done = indexed.run("index", "notes", "--model", fixture_models / "bert-mean")
    assert (done.returncode, done.stdout) == (1, "")
    assert one_line(done.stderr).startswith("error: store")


# failures


def test_what_fails_is_listed_kept_and_tried_again(shell: Shell) -> None:
    """Findings: one failure must not lose the rest, nor may a run with failures look like success."""
    closed = shell.folder / "notes/garden.md"
    closed.chmod(0)
    done = shell.run("index", "notes", preexec_fn=obey_permissions)
    assert done.returncode == 3
    assert "notes/garden.md: cannot be read (permission denied)" in done.stdout
    assert "embedmill retry-failed" in done.stdout
    assert one_line(done.stderr).startswith("error: 1 failure left")

    again = shell.json("retry-failed", code=3, preexec_fn=obey_permissions)
    assert (again["documents"], again["failures"]) == (1, 1)
    status = shell.json("status", "--failures")
    assert (status["documents"], status["failures"]) == (4, 1)
    (failure,) = status["failed"]
    assert failure["attempts"] == 2 and failure["document"] == str(closed)
    assert "(2 attempts)" in shell.run("status", "--failures").stdout

    closed.chmod(0o644)
    report = shell.json("retry-failed")
    assert (report["documents"], report["chunks"], report["failures"]) == (1, 1, 0)
    assert shell.json("status")["documents"] == 5
    nothing = shell.run("retry-failed")
    assert nothing.returncode == 0
    assert nothing.stdout.startswith("no documents to index")


def test_a_folder_that_stays_closed_and_a_file_that_vanished_do_not_hold_up_the_others(shell: Shell) -> None:
    closed, opened, gone = (shell.folder / "notes" / name for name in ("closed", "kitchen.md", "garden.md"))
    closed.mkdir()
    for path in (closed, opened, gone):
        path.chmod(0)
    assert shell.json("index", "notes", code=3, preexec_fn=obey_permissions)["failures"] == 3
    opened.chmod(0o644)
    gone.unlink()
    report = shell.json("retry-failed", code=3, preexec_fn=obey_permissions)
    assert (report["embedded"] + report["cached"], report["failures"]) == (1, 1)
    (failure,) = shell.json("status", "--failures")["failed"]
    assert failure["document"] == f"{closed}/"
    status = shell.run("status", "--failures")
    assert "notes/closed/: the folder cannot be listed" in status.stdout and "retry-failed" in status.stderr
    closed_still = shell.run("status", preexec_fn=obey_permissions)
    assert (closed_still.returncode, closed_still.stderr) == (0, ""), "nothing that retry-failed could do"


def test_a_pattern_that_is_empty(indexed: Shell) -> None:
    done = indexed.run("search", "roses", "--glob", "")
    assert done.returncode == 2 and "--glob is empty" in one_line(done.stderr)


# status, models, doctor


def test_status_says_what_a_store_holds(shell: Shell) -> None:
    report = shell.json("index", "notes", "--precision", "f32")
    status = shell.json("status")
    assert status.keys() >= {"documents", "chunks", "failures", "model", "space", "precision", "dimension", "bytes"}
    assert (status["documents"], status["chunks"], status["failures"]) == (5, report["chunks"], 0)
    assert (status["space"], status["precision"], status["dimension"]) == (report["space"], ["f32"], 384)
    text = shell.run("status").stdout
    assert re.search(r"^documents +5$", text, re.MULTILINE) and "384 dimensions" in text


def test_status_without_a_store(shell: Shell) -> None:
    for command in (["status"], ["search", "roses"], ["retry-failed"]):
        done = shell.run(*command, "--json")
        assert (done.returncode, done.stdout) == (1, "")
        assert "run `embedmill index` first" in one_line(done.stderr)


def test_models_lists_what_is_here(shell: Shell, real_model: ModelFiles, tmp_path: Path) -> None:
    cached = tmp_path / "own" / "models" / "sentence-transformers--all-MiniLM-L6-v2"
    cached.parent.mkdir(parents=True)
    cached.symlink_to(real_model.folder)
    settings = shell.environment | {"EMBEDMILL_CACHE_DIR": str(tmp_path / "own"), "HF_HOME": str(tmp_path / "hf")}
    found = shell.json("models", env=settings)["models"]
    (model,) = [each for each in found if each["name"] == "sentence-transformers/all-MiniLM-L6-v2"]
    assert (model["dimension"], model["max_tokens"], model["covered"]) == (384, 256, True)
    assert model["bytes"] > 90_000_000
    text = shell.run("models", env=settings).stdout
    assert re.search(r"all-MiniLM-L6-v2 +384 dimensions +256 tokens +90\.9 MB", text)


def test_doctor_is_ready_with_a_model_and_says_so_last(shell: Shell) -> None:
    facts = shell.json("doctor")
    assert facts["ready"] is True and facts["problems"] == []
    assert facts["model"]["found"] is True
    assert (facts["trial"]["embedded"], facts["trial"]["compared"]) == (True, True)
    assert facts["run"]["precision"] in ("f32", "bf16")
    assert facts["run"]["streams"] == facts["processor"]["cores"] >= 1
    assert facts["memory"]["usable_bytes"] <= facts["memory"]["bytes_of_machine"]
    assert shell.run("doctor").stdout.splitlines()[-1] == "ready"


def test_doctor_proves_that_vectors_are_right(shell: Shell, real_model: ModelFiles, tmp_path: Path) -> None:
    facts = shell.json("doctor", "--check")
    assert facts["ready"] is True and facts["trial"]["texts"] == 23
    assert 0.9999 < facts["trial"]["lowest_cosine"] <= 1
    told = re.search(r"lowest cosine (\S+) to", shell.run("doctor", "--check", "--precision", "bf16").stdout)
    assert told and 0.9999 <= float(told[1]) <= 1  # which a processor without bf16 computes in f32
    cached = tmp_path / "own" / "models" / "sentence-transformers--all-MiniLM-L6-v2"
    shutil.copytree(real_model.folder, cached)
    (cached / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls", "embedding_dimension": 384}')
    own = {"EMBEDMILL_CACHE_DIR": str(tmp_path / "own"), "HF_HOME": str(tmp_path / "hf")}
    settings = shell.environment | own | {"EMBEDMILL_MODEL": "all-MiniLM-L6-v2"}
    changed = shell.run("doctor", "--check", env=settings)
    assert changed.returncode == 1 and "is not as it ought to be (other pooling): fetch it again" in changed.stdout
    shutil.rmtree(tmp_path / "own")
    missing = shell.run("doctor", "--check", env=settings | {"EMBEDMILL_MODEL": "nobody/none"})
    assert (
        missing.returncode == 1 and "problem: nothing was checked: nobody/none is not on this machine" in missing.stdout
    )


def test_doctor_says_so_where_vectors_are_wrong(real_model: ModelFiles) -> None:
    golden = packaged_golden()
    others = replace(golden, vectors=np.roll(golden.vectors, 1, axis=0))
    for check, texts in ((False, 3), (True, 23)):
        trial = try_model("the model", str(real_model.folder), "f32", others, check=check)
        assert trial.lowest_cosine is not None and trial.lowest_cosine < 0.9
        (problem,) = trial.problems
        assert f"gives other vectors than it ought to ({texts} of {texts} texts below a cosine of 0.999)" in problem


def test_doctor_knows_every_extra(shell: Shell) -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(_EXTRAS) == set(extras) - {"test", "lint"}
    assert set(shell.json("doctor")["extras"]) == set(_EXTRAS)
    for extra, modules in _EXTRAS.items():
        assert len(modules) == len(extras[extra]), extra


def test_every_dependency_is_imported() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    source = "\n".join(path.read_text() for path in Path(embedmill.__file__).parent.rglob("*.py"))
    for line in project["dependencies"]:
        name = re.split(r"[<>=\[]", line)[0].replace("-", "_")
        assert re.search(rf"^\s*(import|from) {name}\b", source, re.MULTILINE), name


def test_doctor_names_what_is_missing(shell: Shell, tmp_path: Path) -> None:
    nothing = {"EMBEDMILL_CACHE_DIR": str(tmp_path / "none"), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    settings = shell.environment | nothing | {"EMBEDMILL_MODEL": "nobody/no-such-model"}
    done = shell.run("doctor", env=settings)
    assert done.returncode == 1
    assert "problem: nobody/no-such-model is not on this machine" in done.stdout
    assert done.stdout.splitlines()[-1] == "not ready"
    quiet = shell.run("doctor", "-q", env=settings)
    assert (quiet.returncode, quiet.stdout) == (1, "")
    assert one_line(quiet.stderr).startswith("error: nobody/no-such-model is not on this machine")
    facts = shell.json("doctor", code=1, env=settings)
    assert facts["ready"] is False and len(facts["problems"]) == 1
    damaged = shell.run("doctor", "--model", tmp_path)
    assert damaged.returncode == 1 and f"problem: {tmp_path}: config.json is missing" in damaged.stdout
    assert f"{tmp_path}: not usable, see below" in damaged.stdout and "fetched" not in damaged.stdout
    assert not (tmp_path / "none").exists()


# the cache


def test_cache_commands(shell: Shell, tmp_path: Path) -> None:
    shell.environment["EMBEDMILL_CACHE_DIR"] = str(tmp_path / "own")
    assert shell.json("cache", "stats")["entries"] == 0
    assert shell.json("index", "notes")["embedded"] == 4
    stats = shell.json("cache", "stats")
    assert stats["entries"] == 4 and sum(stats["fingerprints"].values()) == 4 and stats["bytes"] > 4 * 384 * 4
    assert re.search(r"^vectors +4$", shell.run("cache", "stats").stdout, re.MULTILINE)
    assert shell.json("cache", "prune", "--older-than", "30d")["removed"] == 0
    assert shell.json("cache", "prune", "--max-size", "1k")["removed"] == 4
    assert shell.json("index", "notes", "--store", "sqlite:other.db")["embedded"] == 4

    refused = shell.run("cache", "clear")
    assert refused.returncode == 2 and "--yes" in one_line(refused.stderr)
    assert shell.json("cache", "stats")["entries"] == 4
    held, model, removed = shell.run("cache", "clear", "--yes").stdout.splitlines()
    assert re.search(r"vectors\.db: 4 vectors, [\d.]+ kB$", held)
    assert re.fullmatch(r"  \S+, (f32|bf16): 4", model)
    assert removed.startswith("4 vectors removed")
    assert shell.json("cache", "stats")["entries"] == 0
    assert shell.run("cache", "clear", "--yes", "-q").stdout == ""


def test_lint_clears_the_cache_too(shell: Shell, tmp_path: Path) -> None:
    shell.environment["EMBEDMILL_CACHE_DIR"] = str(tmp_path / "own")
    shell.run("index", "notes")
    (of,) = shell.json("cache", "stats")["models"]
    cleared = shell.json("lint", "--clear-cache", "--yes")
    assert (cleared["models"], cleared["entries"], cleared["removed"]) == ([of], 4, 4)
    assert of["vectors"] == 4
    assert cleared["bytes_before"] >= cleared["bytes"]


# settings


def test_options_win_over_the_environment_and_that_over_the_file(shell: Shell) -> None:
    (shell.folder / "embedmill.toml").write_text('store = "sqlite:file.db"\nprecision = "f32"\nhidden = true\n')
    (shell.folder / "notes/.hidden.md").write_text("Hidden words.\n")
    report = shell.json("index", "notes")
    assert (report["store"], report["precision"], report["documents"]) == ("sqlite:file.db", "f32", 6)
    environment = shell.environment | {"EMBEDMILL_STORE": "sqlite:variable.db"}
    assert shell.json("index", "notes", env=environment)["store"] == "sqlite:variable.db"
    report = shell.json("index", "notes", "--store", "sqlite:flag.db", "--no-hidden", env=environment)
    assert (report["store"], report["documents"]) == ("sqlite:flag.db", 5)
    assert shell.json("status", env=environment)["documents"] == 6


def test_generated_files_are_taken_where_that_is_asked_for(shell: Shell) -> None:
    (shell.folder / "notes/yarn.lock").write_text("# yarn lockfile v1\nleft-pad@^1.0.0:\n")
    (shell.folder / "notes/api.go").write_text("// Code generated by protoc-gen-go. DO NOT EDIT.\npackage api\n")
    report = shell.json("index", "notes", "--dry-run")
    assert (report["documents"], report["skipped"]["generated"]) == (5, 2)
    variable = shell.environment | {"EMBEDMILL_GENERATED": "yes"}
    assert shell.json("index", "notes", "--dry-run", env=variable)["documents"] == 7
    assert shell.json("index", "notes", "--dry-run", "--no-generated", env=variable)["documents"] == 5
    (shell.folder / "embedmill.toml").write_text("generated = true\n")
    assert shell.json("index", "notes", "--dry-run")["documents"] == 7
    assert shell.json("index", "notes", "--generated")["documents"] == 7
    report = shell.json("index", "notes", "--no-generated")  # as with any option that leaves files out
    assert (report["documents"], report["deselected"], report["removed"]) == (5, 2, 0)
    report = shell.json("index", "notes", "--no-generated", "--prune")
    assert (report["deselected"], report["removed"], shell.json("status")["documents"]) == (0, 2, 5)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["index"], "PATH"),
        (["index", "notes", "--workers", "many"], "--workers"),
        (["index", "notes", "--workers", "0"], "--workers"),
        (["index", "notes", "--precision", "f16"], "--precision"),
        (["index", "notes", "--executor", "ray"], "--executor"),
        (["index", "notes", "--max-file-size", "big"], "--max-file-size"),
        (["index", "notes", "--store", "nowhere"], "store"),
        (["index", "notes", "--no-such-option"], "--no-such-option"),
        (["no-such-command"], "no-such-command"),
        (["search"], "QUERY"),
        (["search", ""], "query"),
        (["search", "roses", "-k", "0"], "-k/--limit"),
        (["search", "roses", "red"], "red"),
        (["cache", "prune"], "--max-size"),
        (["cache", "prune", "--older-than", "a month"], "--older-than"),
        (["cache", "prune", "--max-size", "-1"], "--max-size"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(indexed: Shell, arguments: list[str], complaint: str) -> None:
    done = indexed.run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    line = one_line(done.stderr)
    assert line.startswith("error: ") and complaint in line


def test_a_wrong_setting_names_its_place(shell: Shell) -> None:
    (shell.folder / "embedmill.toml").write_text("wrokers = 2\n")
    assert "embedmill.toml: unknown setting 'wrokers'" in one_line(shell.run("index", "notes").stderr)
    (shell.folder / "embedmill.toml").unlink()
    done = shell.run("index", "notes", env=shell.environment | {"EMBEDMILL_WORKERS": "x"})
    assert done.returncode == 2 and "EMBEDMILL_WORKERS" in one_line(done.stderr)


def test_an_unknown_path_is_one_line_and_exit_code_1(shell: Shell) -> None:
    done = shell.run("index", "notes", "no/such/folder", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no/such/folder: no such file or directory" in one_line(done.stderr)
    assert not (shell.folder / ".embedmill").exists()
    assert "Traceback" in shell.run("index", "no/such/folder", "-v").stderr


# the query


@pytest.fixture
def small_store(tmp_path: Path) -> Shell:
    (tmp_path / "a.txt").write_text("Bread is baked in an oven.")
    shell = Shell(tmp_path, EMBEDMILL_CACHE_DIR=str(tmp_path), EMBEDMILL_STORE="sqlite:index.db")
    embedmill.index(tmp_path, model=str(SMALL_MODEL), store=f"sqlite:{tmp_path / 'index.db'}", cache=False)
    return shell


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"how is bread baked?\n", 0, ""),
        ("\ufeffwie wächst Brot\r\n".encode(), 0, ""),
        (b"", 2, "the query is empty"),
        (b" \n ", 2, "the query is empty"),
        (b"caf\xe9", 2, "the query on standard input is not valid UTF-8 (byte 4)"),
        (b"a " * 600_000, 2, "the query on standard input has more than 1,000,000 bytes"),
    ],
    ids=["text", "mark", "nothing", "blank", "latin-1", "long"],
)
def test_a_query_from_standard_input(small_store: Shell, data: bytes, code: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "embedmill", "search", "-", "--json"],
        input=data,
        capture_output=True,
        cwd=small_store.folder,
        env=small_store.environment,
    )
    errors = done.stderr.decode()
    assert (done.returncode, errors.count("\n")) == (code, bool(said))
    assert said in errors
    if not code:
        found = json.loads(done.stdout)
        assert found["query"] == data.decode("utf-8-sig").strip() and found["hits"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--foo bar"], 2, "a query that begins with a dash comes after --"),
        (["-5 degrees"], 2, "a query that begins with a dash comes after --"),
        (["--", "--foo bar"], 0, ""),
        (["--", "-5 degrees"], 0, ""),
        (["caf\udce9"], 2, "the query is not valid UTF-8"),
    ],
)
def test_a_query_that_is_odd_is_taken_or_refused_in_one_line(
    small_store: Shell, words: list[str], code: int, said: str
) -> None:
    done = small_store.run("search", *words)
    assert (done.returncode, done.stderr.count("\n")) == (code, bool(said)), done.stderr
    assert said in done.stderr


def test_a_query_in_python_is_text(small_store: Shell) -> None:
    with embedmill.Searcher(f"sqlite:{small_store.folder / 'index.db'}") as searcher:
        for query in (None, 3, b"bread", "", "  ", "caf\udce9"):
            with pytest.raises(embedmill.UsageError, match="the query is"):
                searcher.search(query)  # type: ignore[arg-type]


TURKISH = "Şu ağaçların gölgesinde ışıklar söner; çocuklar İstanbul'da.\n"


def test_an_encoding_that_is_given_is_not_guessed(shell: Shell) -> None:
    """What was read otherwise before is read anew, and what comes to the same is not embedded again."""
    texts = shell.folder / "texts"
    texts.mkdir()
    (texts / "a.txt").write_bytes(TURKISH.encode("cp1254"))
    (texts / "b.txt").write_bytes(TURKISH.encode())
    (texts / "c.html").write_bytes(f"<p>{TURKISH}</p>".encode("cp1254"))
    (texts / "d.txt").write_text("plain")

    def stored() -> set[str]:
        return {hit["text"].strip() for hit in shell.json("search", "trees")["hits"]}

    told = shell.run("index", "texts", "--store", "sqlite:other.db").stdout
    assert "guessed    the encoding of 2 documents (-v names them, --encoding says it)" in told
    guessed = shell.json("index", "texts")
    assert guessed["guessed"] == 2
    assert shell.json("index", "texts")["unchanged"] == 4
    wrong = shell.json("index", "texts", "--encoding", "cp1251")
    assert (wrong["unchanged"], wrong["guessed"], wrong["embedded"]) == (0, 0, 1)
    assert stored() > {TURKISH.strip(), "plain"} and len(stored()) == 3
    right = shell.json("index", "texts", "--encoding", "Windows-1254")
    assert (right["unchanged"], right["guessed"], right["embedded"]) == (0, 0, 0)
    assert stored() == {TURKISH.strip(), "plain"}
    variable = shell.environment | {"EMBEDMILL_ENCODING": "cp1254"}
    assert shell.json("index", "texts", env=variable)["unchanged"] == 4
    (shell.folder / "embedmill.toml").write_text('encoding = "cp1254"')
    assert shell.json("index", "texts")["unchanged"] == 4
    told = shell.run("index", "texts", "--encoding", "cp1251", "--force").stdout
    assert "guessed" not in told
    for name in ("klingon", "base64", "idna", "", "unicode_escape"):
        done = shell.run("index", "texts", "--encoding", name)
        assert done.returncode == 2 and "--encoding" in one_line(done.stderr)
