"""What the commands say of themselves, and what they cost before they begin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from cli_runs import Shell
from embedmill.api.settings import EXECUTORS, PRECISIONS, Settings
from embedmill.cli import app
from embedmill.models import ModelFiles
from tables import Within

CONTRACT = {
    *("forget", "index", "search", "ingest", "status", "verify", "report", "models", "doctor", "retry-failed"),
    *("evaluate", "arrange", "lint", "compare", "analyze", "batch"),
}
GROUPS = {"bench", "cache", "golden"}
CACHE = {"stats", "prune", "clear"}


def commands(parser: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    yield path, parser
    for name, below in getattr(parser, "commands", {}).items():
        yield from commands(below, (*path, name))


TREE = dict(commands(app.command()))
LEAVES = [path for path, parser in TREE.items() if not getattr(parser, "commands", None)]


def test_the_commands_are_those_of_the_contract() -> None:
    assert set(TREE[()].commands) == CONTRACT | GROUPS
    assert set(TREE[("cache",)].commands) == CACHE
    assert set(TREE[("bench",)].commands) == {"ingest"}
    assert set(TREE[("golden",)].commands) == {"record", "check"}


@pytest.mark.parametrize("path", TREE, ids=" ".join)
def test_every_command_and_every_option_is_explained(path: tuple[str, ...]) -> None:
    parser = TREE[path]
    assert parser.help
    if path:
        summary = parser.get_short_help_str(limit=60)
        assert not summary.endswith("..."), summary  # the list of commands has it whole
    for parameter in parser.params:
        assert getattr(parameter, "help", None), parameter.name
    if path in LEAVES:
        assert f"  embedmill {' '.join(path)}" in parser.epilog, "an example"


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_the_common_options(path: tuple[str, ...]) -> None:
    named = {name for parameter in TREE[path].params for name in parameter.opts}
    assert {"--json", "-q", "--quiet", "-v", "--verbose"} <= named


def test_every_setting_is_an_option() -> None:
    options = {parameter.name: parameter for parameter in TREE[("index",)].params}
    of_the_library = {"embedding_parallel_workers", "enable_parallel_embeddings"}  # of a generator: no command runs one
    assert {field.name for field in fields(Settings)} - of_the_library <= set(options)
    assert options["precision"].metavar == "|".join(PRECISIONS)
    assert options["executor"].metavar == "|".join(EXECUTORS)
    for option in options.values():
        assert not option.envvar, "settings reads the environment, so that errors name the variable"


def test_what_only_reads_a_store_does_not_create_a_schema() -> None:
    creates = {
        " ".join(path)
        for path, command in TREE.items()
        for parameter in command.params
        if parameter.name == "schema" and "created by the first run" in parameter.help
    }
    assert creates == {"index", "ingest"}


def test_defaults_in_the_help_are_those_of_the_settings() -> None:
    options = {parameter.name: parameter.help for parameter in TREE[("index",)].params}
    default = Settings()
    for name, shown in {
        "model": default.model,
        "precision": default.precision,
        "executor": default.executor,
        "store": default.store,
        "max_file_size": f"{default.max_file_size >> 20}M",
    }.items():
        assert f"Default: {shown}" in options[name]
    assert (default.cache, default.hidden) == (True, False)
    assert "Default: yes" in options["cache"] and "Default: no" in options["hidden"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"))


def test_help_version_and_no_command(shell: Shell) -> None:
    helped = shell.run("--help")
    assert helped.returncode == 0 and helped.stderr == ""
    assert shell.run("-h").stdout == helped.stdout
    assert shell.run("cache", "prune", "-h").stdout == shell.run("cache", "prune", "--help").stdout
    bare = shell.run()
    assert (bare.returncode, bare.stdout, bare.stderr) == (2, "", helped.stdout)
    assert shell.run("--version").stdout == "embedmill 0.1.0\n"
    group = shell.run("cache")
    assert group.returncode == 2 and group.stdout == ""


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_for_each_shell(shell: Shell, name: str) -> None:
    settings = shell.environment | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = shell.run("--show-completion", name, env=settings)
    assert done.returncode == 0 and done.stderr == ""
    assert f"_EMBEDMILL_COMPLETE=complete_{name}" in done.stdout


def test_completion_knows_commands_and_values(shell: Shell) -> None:
    def completed(line: str, word: int) -> list[str]:
        asked = {"_EMBEDMILL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(word)}
        return shell.run(env=shell.environment | asked).stdout.split()

    assert completed("embedmill st", 1) == ["status"]
    assert completed("embedmill index --precision ", 3) == list(PRECISIONS)


def imported(shell: Shell, *arguments: object) -> set[str]:
    """The top-level names of the packages that a command imports."""
    process = shell.start(*arguments, env=shell.environment | {"PYTHONPROFILEIMPORTTIME": "1"})
    _, err = process.communicate()
    assert process.returncode == 0, err
    names = [line.rpartition("|")[2].strip() for line in err.splitlines() if line.startswith("import time:")]
    assert "typer" in names
    return {name.partition(".")[0] for name in names}


HEAVY = {
    "huggingface_hub",
    "openvino",
    "pydantic",
    "rich",
    "tokenizers",
    "platformdirs",
    "psutil",
    "bs4",
    "pypdfium2",
    "psycopg",
}


def test_help_imports_next_to_nothing(shell: Shell) -> None:
    for arguments in (["--help"], ["index", "--help"], ["--version"]):
        assert not imported(shell, *arguments) & (HEAVY | {"numpy", "sqlite3", "logging.handlers"})


def test_no_command_imports_more_than_it_needs(shell: Shell, real_model: ModelFiles) -> None:
    (shell.folder / "a.txt").write_text("Some words.\n")
    model = ("--model", real_model.folder)
    assert shell.run("index", "a.txt", *model).returncode == 0
    assert not imported(shell, "status") & HEAVY
    assert not imported(shell, "cache", "stats") & HEAVY
    assert not imported(shell, "models") & HEAVY - {"tokenizers"}
    assert not imported(shell, "index", "a.txt", *model) & HEAVY - {"tokenizers"}, "nothing has changed"
    searched = imported(shell, "search", "words")
    assert "openvino" in searched
    assert not searched & HEAVY - {"openvino", "tokenizers"}
    assert not searched & {"openvino_telemetry", "urllib3", "http", "email"}


def _single(parameter: Any) -> bool:
    """Whether an option says one thing, so that a second one would say another."""
    if parameter.param_type_name != "option" or parameter.multiple or parameter.count:
        return False
    return not parameter.is_flag or bool(parameter.secondary_opts)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_an_option_of_one_value_is_refused_the_second_time(path: tuple[str, ...], tmp_path: Path) -> None:
    """Of `--text title --text body` only the last counted, in silence."""
    shell = Within(tmp_path)
    for parameter in filter(_single, TREE[path].params):
        first, *_, last = [*parameter.opts, *parameter.secondary_opts] * 2
        values = [] if parameter.is_flag else ["1"]
        words = ["x"] * sum(each.param_type_name == "argument" and each.required for each in TREE[path].params)
        done = shell.run(*path, *words, first, *values, last, *values)
        assert done.returncode == 2, (first, done)
        assert first in done.stderr
        assert "2 times" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_options_that_may_be_repeated_still_are(tmp_path: Path) -> None:
    done = Within(tmp_path).run(
        "index", ".", "--include", "*.a", "--include", "*.b", "--json", "--json", "-vv", "--store", "x:"
    )
    assert "times" not in done.stderr
