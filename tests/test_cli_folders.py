"""Folders that move, vanish, or are left out, by the commands; and which store a command takes."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from cli_runs import Shell, obey_permissions
from tables import Within
from troubled import SMALL_MODEL


@pytest.fixture
def shell(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A project with a few files, and a small model."""
    for name in ("proj/a.md", "proj/src/b.md", "proj/src/deep/c.md", "other/d.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n\nSomething about {name}.\n")
    cache = str(tmp_path_factory.mktemp("cache"))
    return Within(tmp_path, EMBEDMILL_CACHE_DIR=cache, EMBEDMILL_MODEL=str(SMALL_MODEL), HOME=str(tmp_path))


def documents(shell: Shell, *arguments: object, folder: str = ".") -> list[str]:
    hits = shell.json("search", "something", "-k", "100", *arguments, cwd=shell.folder / folder)["hits"]
    chunks = [(hit["document"], hit["chunk"]) for hit in hits]
    assert len(chunks) == len(set(chunks))
    assert all(Path(document).is_file() for document, _ in chunks)
    return sorted({os.path.relpath(document, shell.folder) for document, _ in chunks})


def test_a_project_that_is_moved_is_itself(shell: Shell) -> None:
    project = shell.folder / "proj"
    shell.json("index", ".", cwd=project)
    moved = project.rename(shell.folder / "moved")
    assert documents(shell, folder="moved") == ["moved/a.md", "moved/src/b.md", "moved/src/deep/c.md"]
    report = shell.json("index", ".", cwd=moved)
    assert (report["chunks"], report["removed"], report["vanished"]) == (0, 0, {})
    status = shell.json("status", "--roots", cwd=moved)
    assert status["roots"] == [{"path": str(moved), "state": "here", "documents": 3}]
    assert shell.run("verify", cwd=moved).stderr == ""


def test_what_has_vanished_is_named_by_every_command_and_can_be_taken_out(shell: Shell) -> None:
    assert shell.json("index", "proj", "other")["documents"] == 4
    shutil.rmtree(shell.folder / "other")
    other = str(shell.folder / "other")
    done = shell.run("index", "proj", "other")
    assert done.returncode == 3 and "nothing new in 3 documents" in done.stdout
    assert f"error: {other}: no such file or directory: --prune takes out" in done.stderr
    done = shell.run("index", "other")
    assert done.returncode == 1 and "with `embedmill forget`" in done.stderr
    for command in (["index", "proj"], ["status"], ["verify"]):
        done = shell.run(*command)
        assert (done.returncode, f"{other} is gone" in done.stderr) == (0, True), (command, done)
        assert f"`embedmill forget {other}`" in done.stderr
        assert shell.json(*command)["vanished"] == {other: 1}
    assert f"{other}  1 document, gone" in shell.run("status", "--roots").stdout
    assert documents(shell) == ["proj/a.md", "proj/src/b.md", "proj/src/deep/c.md"]
    assert shell.json("forget", "other") == {"removed": 1}
    assert shell.run("verify").stderr == ""
    again = shell.run("forget", "other")
    assert (again.returncode, "has nothing of" in again.stderr, again.stderr.count("\n")) == (1, True, 1)
    assert shell.run("index", "other").returncode == 1


def test_the_command_that_is_told_takes_out_what_is_gone_from_the_store_that_is_meant(shell: Shell) -> None:
    store = ["--store", "sqlite:my notes.db"]
    shell.json("index", "proj", "other", *store)
    shutil.rmtree(shell.folder / "other")
    for command in (["index", "proj"], ["status"], ["verify"], ["search", "bread"]):
        said = shell.run(*command, *store).stderr
        assert f"`embedmill forget {shell.folder}/other --store 'sqlite:my notes.db'`" in said, command
    _, told, _ = said.split("`")
    assert "1 document" in shell.run(*shlex.split(told)[1:]).stdout


def test_prune_takes_out_what_is_gone_even_where_nothing_else_is_given(shell: Shell) -> None:
    shell.json("index", "proj", "other")
    shutil.rmtree(shell.folder / "other")
    report = shell.json("index", "proj", "other", "--prune")
    assert (report["removed"], report["missing"], report["vanished"]) == (1, [], {})
    shutil.rmtree(shell.folder / "proj/src")
    shell.json("index", "proj/a.md")
    assert shell.json("index", "proj/src", "--prune")["removed"] == 2
    assert documents(shell) == ["proj/a.md"]


def test_forget_takes_a_part_of_a_folder_that_is_there(shell: Shell) -> None:
    shell.json("index", "proj")
    assert "2 documents taken out" in shell.run("forget", "src", cwd=shell.folder / "proj").stdout
    assert documents(shell) == ["proj/a.md"]
    assert shell.run("forget", "").returncode == 2


# Which store


def test_a_subfolder_takes_the_store_above_and_says_so(shell: Shell) -> None:
    project = shell.folder / "proj"
    shell.json("index", ".", cwd=project)
    store = f"using the store sqlite:{project}/.embedmill/index.db"
    for command in (["search", "something"], ["index", "."], ["verify"], ["retry-failed"]):
        done = shell.run(*command, cwd=project / "src/deep")
        assert (done.returncode, store in done.stderr) == (0, True), (command, done)
        assert shell.run(*command, "-q", cwd=project / "src/deep").stderr == ""
    assert not (project / "src/deep/.embedmill").exists()
    assert documents(shell, folder="proj/src/deep") == ["proj/a.md", "proj/src/b.md", "proj/src/deep/c.md"]
    assert shell.json("status", cwd=project / "src")["documents"] == 3
    assert shell.run("status", cwd=project).stderr == ""
    named = shell.run("status", "--store", "sqlite:.embedmill/index.db", cwd=project / "src")
    assert (named.returncode, "no store at" in named.stderr) == (1, True)


def test_a_project_file_above_counts_with_its_store(shell: Shell) -> None:
    project = shell.folder / "proj"
    (project / "embedmill.toml").write_text('store = "sqlite:notes.db"\nexclude = ["deep/"]\n')
    shell.json("index", ".", cwd=project / "src")
    assert (project / "notes.db").exists()
    assert documents(shell, folder="proj/src") == ["proj/src/b.md"]


def test_the_search_for_a_store_ends_at_home_and_at_a_store_of_ones_own(shell: Shell) -> None:
    shell.json("index", "proj")  # a store in the home
    assert shell.run("status", cwd=shell.folder / "proj").returncode == 0
    shell.environment["HOME"] = str(shell.folder / "proj")
    assert shell.run("status", cwd=shell.folder / "proj/src").returncode == 1
    shell.json("index", ".", cwd=shell.folder / "proj/src")
    assert shell.json("status", cwd=shell.folder / "proj/src/deep")["documents"] == 2
    (shell.folder / "proj/src").chmod(0o777)
    assert shell.run("status", cwd=shell.folder / "proj/src/deep").returncode == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_store_of_another_user_above_is_not_taken(shell: Shell) -> None:
    shell.json("index", ".", cwd=shell.folder / "proj")
    os.chown(shell.folder / "proj/.embedmill/index.db", 12345, -1)
    done = shell.run("search", "something", cwd=shell.folder / "proj/src")
    assert (done.returncode, "of another user's" in done.stderr) == (1, True)


# What seems unchanged


def test_an_edit_that_keeps_size_and_time_is_seen(shell: Shell) -> None:
    file = shell.folder / "proj/a.md"
    for text in ("one", "two"):
        file.write_text(text)
        os.utime(file, (1_700_000_000, 1_700_000_000))
        assert shell.json("index", "proj")["chunks"] >= 1
    (shell.folder / "new").write_text("six")
    os.utime(shell.folder / "new", (1_700_000_000, 1_700_000_000))
    (shell.folder / "new").rename(file)
    assert shell.json("index", "proj")["chunks"] == 1


def test_force_reads_all_and_embeds_nothing_that_is_known(shell: Shell) -> None:
    shell.json("index", "proj")
    report = shell.json("index", "proj", "--force")
    assert (report["unchanged"], report["embedded"]) == (3, 0)
    refused = shell.run("retry-failed", "table", "--force")
    assert (refused.returncode, "--force is for files" in refused.stderr) == (2, True)
    assert shell.json("retry-failed", "--force")["documents"] == 0


# Trying again


def test_a_retry_takes_a_folder_as_the_run_took_it(shell: Shell) -> None:
    for name in ("closed/in.md", "closed/out.txt", "closed/drafts/x.md", "closed/.hidden.md", "closed/big.md"):
        path = shell.folder / "proj" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("Words of a draft. " * (200 if "big" in name else 9))
    (shell.folder / "proj/.embedmillignore").write_text("closed/ignored.md\n")
    (shell.folder / "proj/closed/ignored.md").write_text("Not this.")
    closed = shell.folder / "proj/closed"
    closed.chmod(0)
    options = ["--include", "*.md", "--exclude", "closed/drafts/", "--max-file-size", "1k", "--chunk-tokens", "16"]
    shell.json("index", ".", *options, code=3, cwd=shell.folder / "proj", preexec_fn=obey_permissions)
    closed.chmod(0o755)
    report = shell.json("retry-failed", "--store", f"sqlite:{shell.folder}/proj/.embedmill/index.db")
    assert (report["documents"], report["failures"]) == (1, 0)
    assert report["chunks"] > 2  # cut as small as the run had
    assert "proj/closed/in.md" in documents(shell, folder="proj")
    assert not [name for name in documents(shell, folder="proj") if "closed" in name and "in.md" not in name]
    report = shell.json("index", ".", *options, cwd=shell.folder / "proj")
    assert (report["chunks"], report["removed"]) == (0, 0)


def test_a_failure_that_is_excluded_is_none_any_more(shell: Shell) -> None:
    (shell.folder / "proj/a.md").chmod(0)
    shell.json("index", "proj", code=3, preexec_fn=obey_permissions)
    report = shell.json("index", "proj", "--exclude", "a.md", preexec_fn=obey_permissions)
    assert report["failures"] == 0


def test_a_retry_leaves_what_it_cannot_reach(shell: Shell) -> None:
    (shell.folder / "other/d.md").chmod(0)
    shell.json("index", "proj", "other", code=3, preexec_fn=obey_permissions)
    (shell.folder / "other").rename(shell.folder / "away")
    assert shell.json("retry-failed", code=3, preexec_fn=obey_permissions)["failures"] == 1
    (shell.folder / "away").rename(shell.folder / "other")
    failed = shell.json("status", "--failures")["failed"][0]
    assert failed["cause"]["message"].startswith(f"{shell.folder}/other/d.md: cannot be read")
    (shell.folder / "other/d.md").chmod(0o644)
    assert shell.json("retry-failed")["failures"] == 0


def test_a_failure_is_told_by_the_path_of_now(shell: Shell) -> None:
    (shell.folder / "proj/a.md").chmod(0)
    shell.json("index", ".", code=3, cwd=shell.folder / "proj", preexec_fn=obey_permissions)
    moved = (shell.folder / "proj").rename(shell.folder / "moved")
    failed = shell.json("status", "--failures", cwd=moved)["failed"][0]
    assert failed["document"] == f"{moved}/a.md"
    assert failed["cause"]["message"].startswith(f"{moved}/a.md: cannot be read")
    (moved / "a.md").chmod(0o644)
    assert shell.json("retry-failed", cwd=moved)["failures"] == 0
