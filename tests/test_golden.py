"""Golden sets: what is recorded is found again; changed models, changed arithmetic and damaged files are told apart."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import embedmill
from cli_runs import Shell, obey_permissions
from embedmill.api.golden import Deviation, different_fields, packaged_golden
from embedmill.cli.render import golden as render
from embedmill.core.spaces import Fingerprint
from embedmill.quality.agreement import compare
from embedmill.quality.golden_file import GoldenSet, Platform, read_golden, write_golden
from samples import copy_model, turn_a_little
from tables import Within

TEXTS = ["Bread is baked in an oven.", "def add(a, b):\n    return a + b\n", "3.14159", "a naïve café", "word " * 400]


@pytest.fixture
def shell(tmp_path: Path, fixture_models: Path) -> Shell:
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return Within(
        tmp_path, EMBEDMILL_CACHE_DIR=str(tmp_path / "cache"), EMBEDMILL_MODEL=str(fixture_models / "bert-mean")
    )


@pytest.fixture
def recorded(shell: Shell) -> Path:
    """A golden set of the small model."""
    told = shell.json("golden", "record", "golden.jsonl", "--texts", "texts.jsonl")
    assert (told["texts"], told["precision"], told["dimension"]) == (len(TEXTS), "f32", 32)
    return shell.folder / "golden.jsonl"


def test_the_set_of_the_package_is_what_sentence_transformers_gives(references: Path) -> None:
    """Its vectors were computed by embedmill: here they are held against those of another program."""
    texts = json.loads((references / "all-MiniLM-L6-v2.json").read_text())["texts"]
    vectors = np.load(references / "all-MiniLM-L6-v2.npy", allow_pickle=False)
    golden = packaged_golden()
    rows = [texts.index(text) for text in golden.texts]
    assert len(rows) > 20 and golden.fingerprint.precision == "f32"
    assert compare(vectors[rows], golden.vectors).cosines.min() > 0.999999


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_this_machine_computes_the_vectors_of_the_package(precision: str) -> None:
    found = embedmill.golden_check(precision=precision)
    assert (found.passed, found.verdict, found.apart, found.problem) == (True, "unchanged", 0, "")
    assert found.computed.precision == precision and found.recorded.precision == "f32"
    assert found.cosine is not None
    assert (0.9999 if precision == "bf16" else 0.999999) < found.cosine.min <= found.cosine.median <= 1


def test_what_was_recorded_is_found_again(shell: Shell, recorded: Path) -> None:
    found = shell.json("golden", "check", "golden.jsonl", "--precision", "f32", "--tolerance", "0.999999")
    assert (found["passed"], found["verdict"], found["differs"], found["worst"]) == (True, "unchanged", [], [])
    assert found["recorded"] == found["computed"]
    told = shell.run("golden", "check", recorded)
    assert told.returncode == 0 and told.stdout.splitlines()[-1].split() == ["verdict", "unchanged"]
    assert read_golden(recorded).texts == TEXTS


def test_a_file_can_be_read_as_the_docs_say(recorded: Path) -> None:
    header, first, *_ = map(json.loads, recorded.read_text().splitlines())
    assert header["golden"] == 1 and header["space"]["pooling"] == "mean" and header["platform"]["embedmill"]
    vector = np.frombuffer(base64.b64decode(first["vector"]), "<f4")
    assert np.array_equal(vector, read_golden(recorded).vectors[0])


def test_a_changed_model_is_told_from_changed_arithmetic(shell: Shell, recorded: Path, fixture_models: Path) -> None:
    other = shell.json("golden", "check", recorded, "--model", fixture_models / "bert-cls", code=3)
    assert other["verdict"] == "changed model" and other["cosine"] is not None
    assert {"weights", "pooling"} <= set(other["differs"])
    turn_a_little(recorded)
    finer = shell.json("golden", "check", recorded, "--precision", "bf16", "--tolerance", "1", code=3)
    assert (finer["verdict"], finer["differs"]) == ("changed arithmetic", [])
    assert len(finer["worst"]) == 5 and finer["worst"][0]["cosine"] == finer["cosine"]["min"] < 1
    told = shell.run("golden", "check", recorded, "--precision", "bf16", "--tolerance", "1")
    assert told.returncode == 3 and told.stderr.count("\n") == 1
    assert "the arithmetic has changed" in told.stderr and "precision f32 then, bf16 now" in told.stderr


@pytest.mark.parametrize(
    ("file", "change", "field"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "cls"}, "pooling"),
        ("sentence_bert_config.json", {"max_seq_length": 24}, "max_tokens"),
    ],
)
def test_the_field_that_has_changed_is_named(
    shell: Shell, recorded: Path, fixture_models: Path, tmp_path: Path, file: str, change: dict[str, Any], field: str
) -> None:
    model = copy_model(fixture_models / "bert-mean", tmp_path / "model")
    path = model / file
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    found = shell.json("golden", "check", recorded, "--model", model, code=3)
    assert (found["verdict"], found["differs"]) == ("changed model", [field])
    assert f"has other {field} than" in found["problem"]


def test_a_set_with_a_prompt_is_checked_with_it(shell: Shell) -> None:
    shell.json("golden", "record", "g.jsonl", "--texts", "texts.jsonl", "--document-prompt", "passage: ")
    assert read_golden(shell.folder / "g.jsonl").fingerprint.space.prompt == "passage: "
    assert shell.json("golden", "check", "g.jsonl")["verdict"] == "unchanged"


def test_a_model_of_another_dimension_cannot_be_compared(shell: Shell, recorded: Path) -> None:
    found = shell.json("golden", "check", recorded, "--model", "all-MiniLM-L6-v2", code=3)
    assert (found["cosine"], found["apart"], found["worst"]) == (None, len(TEXTS), [])
    assert "dimension" in found["differs"]
    assert "cannot be told" in shell.run("golden", "check", recorded, "--model", "all-MiniLM-L6-v2").stdout


# Texts


def test_texts_of_a_store_are_the_same_each_time(shell: Shell) -> None:
    for number in range(9):
        (shell.folder / f"{number}.txt").write_text(f"Text number {number % 7}.")
    assert "run `embedmill index` first" in shell.run("golden", "record", "a.jsonl").stderr
    report = shell.json("index", ".", "--include", "?.txt", "--document-prompt", "passage: ")
    one = shell.json("golden", "record", "a.jsonl", "--sample", "4", "--model", shell.environment["EMBEDMILL_MODEL"])
    two = shell.json("golden", "record", "b.jsonl", "--sample", "4")
    assert (one | {"file": ""}) == (two | {"file": ""}) and 3 <= one["texts"] <= 4
    assert one["space"] == report["space"], "with the store's prompt"
    assert (shell.folder / "a.jsonl").read_bytes() == (shell.folder / "b.jsonl").read_bytes()
    assert shell.json("golden", "record", "c.jsonl")["texts"] == 7, "equal texts count once"


def test_texts_are_lines_or_json_lines(shell: Shell) -> None:
    (shell.folder / "lines.txt").write_text("\ufeffone\r\n\n  two\n{no json}\n")
    shell.json("golden", "record", "a.jsonl", "--texts", "lines.txt")
    assert read_golden(shell.folder / "a.jsonl").texts == ["one", "  two", "{no json}"]
    piped = shell.start("golden", "record", "b.jsonl", "--texts", "-", "--json", stdin=subprocess.PIPE)
    out, err = piped.communicate('{"text": "one\\ntwo", "id": 3}\n')
    assert (piped.returncode, json.loads(out)["texts"]) == (0, 1), err
    assert read_golden(shell.folder / "b.jsonl").texts == ["one\ntwo"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no texts: give some"),
        (b"\n  \n", "no texts: give some"),
        (b'{"text": "one"}\n{"words": 3}\n', 'texts, line 2: "text" is missing'),
        (b'{"text": "one"}\ntwo\n', "texts, line 2: is no JSON (Expecting value)"),
        (b'{"text": 5}\n', 'texts, line 1: "text" is no text'),
        (b'{"text": "\\ud800"}\n', 'texts, line 1: "text" has half of a character'),
        (b"one\n\xff\n", "texts, line 2: is not UTF-8 (byte 1)"),
        (b"x" * (16 << 20) + b"xx", "texts, line 1: has more than 16 MiB"),
    ],
)
def test_texts_that_cannot_be_taken(shell: Shell, content: bytes, said: str) -> None:
    (shell.folder / "texts").write_bytes(content)
    done = shell.run("golden", "record", "g.jsonl", "--texts", "texts")
    assert done.returncode in (1, 2) and done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (shell.folder / "g.jsonl").exists()


def test_a_file_is_replaced_only_when_told_and_all_at_once(shell: Shell, recorded: Path) -> None:
    before = recorded.read_bytes()
    done = shell.run("golden", "record", recorded, "--texts", "texts.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "is there already" in done.stderr
    recorded.chmod(0o640)
    (shell.folder / "bad").write_bytes(b'{"text": "one"}\n{')
    assert shell.run("golden", "record", recorded, "--texts", "bad", "--overwrite").returncode == 1
    assert recorded.read_bytes() == before
    shell.json("golden", "record", recorded, "--texts", "texts.jsonl", "--overwrite", "--precision", "bf16")
    assert recorded.read_bytes() != before and recorded.stat().st_mode & 0o777 == 0o640
    assert not [path for path in shell.folder.iterdir() if ".new-" in path.name]


def test_an_interruption_leaves_nothing(shell: Shell) -> None:
    os.mkfifo(shell.folder / "pipe")
    process = shell.start("golden", "record", "g.jsonl", "--texts", "pipe")
    pipe = os.open(shell.folder / "pipe", os.O_WRONLY)  # waits until it is read
    process.send_signal(signal.SIGINT)
    os.close(pipe)  # where the signal came just before the process began to read, it waits for this first
    _, err = process.communicate()
    assert (process.returncode, err) == (130, "interrupted\n")
    assert {path.name for path in shell.folder.iterdir()} - {"cache"} == {"pipe", "texts.jsonl"}


def test_a_folder_that_is_missing_is_made(shell: Shell) -> None:
    shell.json("golden", "record", "new/deeper/g.jsonl", "--texts", "texts.jsonl")
    assert shell.json("golden", "check", "new/deeper/g.jsonl")["verdict"] == "unchanged"


def test_where_a_file_cannot_be_written(shell: Shell) -> None:
    for path, said in (
        ("texts.jsonl/deeper/g.jsonl", "texts.jsonl is no folder: give another file"),
        (".", ". cannot be written: it is a folder: give another file"),
        ("/dev/null", "is no file that could be replaced"),
    ):
        done = shell.run("golden", "record", path, "--texts", "texts.jsonl")
        assert done.returncode in (1, 2) and done.stderr.count("\n") == 1 and said in done.stderr
    closed = shell.folder / "closed"
    closed.mkdir(mode=0o500)
    (shell.folder / "locked").mkdir(mode=0)
    for words in (
        ["golden", "record", "locked/g", "--texts", "texts.jsonl"],
        ["report", "--html", "locked/a/page.html"],
    ):
        done = shell.run(*words, preexec_fn=obey_permissions)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "cannot be written: Permission denied: " in done.stderr
    over = shell.run("golden", "record", "closed/g", "--texts", "texts.jsonl", preexec_fn=obey_permissions)
    assert over.returncode == 1 and "closed/g: cannot be written (Permission denied)" in over.stderr


# Damaged files


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def with_head(path: Path, **changes: Any) -> str:
    head, *rest = lines_of(path)
    return json.dumps(json.loads(head) | changes) + "\n" + "".join(rest)


def with_vector(path: Path, numbers: Any) -> str:
    """The file with another vector of the second text, and the hash that goes with it."""
    head, first, second, *rest = lines_of(path)
    changed = json.loads(second) | {"vector": base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode()}
    body = [first, json.dumps(changed, ensure_ascii=False) + "\n", *rest]
    digest = hashlib.sha256("".join(body).encode()).hexdigest()
    return json.dumps(json.loads(head) | {"sha256": digest}) + "\n" + "".join(body)


DAMAGE: dict[str, tuple[Callable[[Path], str], str]] = {
    "empty": (lambda path: "", "is empty, and no golden set"),
    "cut between lines": (lambda path: "".join(lines_of(path)[:3]), "has 2 of its 5 texts, it was cut"),
    "cut within a line": (lambda path: path.read_text()[:-700], ", line 6: is no JSON"),
    "one text more": (lambda path: path.read_text() + lines_of(path)[-1], "line 7: the first line says 5 texts"),
    "another version": (lambda path: with_head(path, golden=2), "a golden set of version '2', and this"),
    "a version that is none": (lambda path: with_head(path, golden=True), "a golden set of version 'True'"),
    "no golden set": (lambda path: '{"text": "x"}\n', 'is no head of a golden set ("golden" is missing)'),
    "not an object": (lambda path: "[1, 2]\n", "line 1: is no JSON object"),
    "too deep": (lambda path: "[" * 100_000 + "\n", "line 1: is no JSON"),
    "a long number": (lambda path: '{"golden": ' + "9" * 5000 + "}\n", "line 1: is no JSON"),
    "NaN in JSON": (lambda path: '{"golden": NaN}\n', "is no JSON (NaN is no number)"),
    "no number of texts": (lambda path: with_head(path, texts=-1), '"texts" is no number of texts'),
    "texts missing": (lambda path: with_head(path, texts=None), '"texts" is no number of texts'),
    "no space": (lambda path: with_head(path, space=[]), '"space" is not what decides a vector'),
    "half a space": (lambda path: with_head(path, space={"weights": "x"}), "\"space\" has no 'tokenizer'"),
    "no maker": (lambda path: with_head(path, platform=3), '"platform" does not say'),
    "no model": (lambda path: with_head(path, model=3), '"model" is no text'),
    "no precision": (lambda path: with_head(path, precision=None), '"precision" is no text'),
    "another hash": (lambda path: with_head(path, sha256="0"), "are not those that were recorded"),
    "another text": (lambda path: path.read_text().replace("Bread", "Cake"), "are not those that were recorded"),
    "NaN in a vector": (lambda path: with_vector(path, [np.nan] * 32), 'line 3: "vector" has NaN'),
    "zeros": (lambda path: with_vector(path, [0] * 32), "or only zeros"),
    "another dimension": (lambda path: with_vector(path, [1] * 31), 'line 3: "vector" has 124 bytes, 32 float32'),
    "no base64": (lambda path: path.read_text().replace('"vector": "', '"vector": "!', 1), '"vector" is no base64'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_told_in_one_line(name: str, shell: Shell, recorded: Path) -> None:
    change, said = DAMAGE[name]
    recorded.write_text(change(recorded))
    with pytest.raises(embedmill.SourceError) as caught:
        read_golden(recorded)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert str(recorded) in str(caught.value)


def test_the_command_tells_damage_too(shell: Shell, recorded: Path) -> None:
    recorded.write_text("".join(lines_of(recorded)[:3]))
    for path, said in ((recorded, "it was cut"), (shell.folder, "Is a directory"), ("none", "No such file")):
        done = shell.run("golden", "check", path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1) and said in done.stderr


@pytest.mark.parametrize("value", ["0", "1.5", "-1", "nan", "x"])
def test_a_tolerance_is_a_cosine(shell: Shell, value: str) -> None:
    done = shell.run("golden", "check", f"--tolerance={value}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1) and "tolerance" in done.stderr


def test_a_tolerance_is_told_as_it_was_given(shell: Shell, recorded: Path) -> None:
    turn_a_little(recorded)
    done = shell.run("golden", "check", recorded, "--tolerance", "0.99999999")
    assert done.returncode == 3 and "below a cosine of 0.99999999: " in done.stderr
    assert render.line_of(Deviation(3, "words", 1 - 2e-8)) == "  text 3: cosine 1 - 2.0e-08: words"
    assert render.line_of(Deviation(3, "words", 0.9999)) == "  text 3: cosine 0.999900: words"


def test_texts_for_python_are_a_list(tmp_path: Path, fixture_models: Path) -> None:
    with pytest.raises(TypeError, match="a list of texts"):
        embedmill.golden_record(tmp_path / "g", "text", model=str(fixture_models / "bert-mean"))
    with pytest.raises(embedmill.UsageError, match="no texts"):
        embedmill.golden_record(tmp_path / "g", [])
    told: list[tuple[int, int]] = []
    model = str(fixture_models / "bert-mean")
    embedmill.golden_record(tmp_path / "g", TEXTS, model=model, on_progress=lambda *done: told.append(done))
    assert told[-1] == (len(TEXTS), len(TEXTS))


def test_what_a_file_says_is_no_command_to_the_terminal(shell: Shell, recorded: Path) -> None:
    recorded.write_text(with_head(recorded, model="\x1b[2Jgone\nverdict  unchanged"))
    told = shell.run("golden", "check", recorded, "--model", shell.environment["EMBEDMILL_MODEL"])
    assert told.returncode == 0 and "\x1b" not in told.stdout and len(told.stdout.splitlines()) == 5


def test_a_model_that_has_moved_is_given(shell: Shell, fixture_models: Path, tmp_path: Path) -> None:
    model = copy_model(fixture_models / "bert-mean", tmp_path / "model")
    shell.json("golden", "record", "g.jsonl", "--texts", "texts.jsonl", "--model", model)
    model.rename(tmp_path / "elsewhere")
    done = shell.run("golden", "check", "g.jsonl")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and str(model) in done.stderr
    assert shell.json("golden", "check", "g.jsonl", "--model", tmp_path / "elsewhere")["verdict"] == "unchanged"


# Properties

VECTORS = arrays.arrays(np.float32, (3, 4), elements=st.floats(-10, 10, width=32)).filter(
    lambda vectors: bool((np.abs(vectors).max(axis=1) > 0.01).all())
)


@given(vectors=VECTORS, texts=st.lists(st.text(st.characters(codec="utf-8")), min_size=3, max_size=3))
def test_what_is_written_is_read(vectors: Any, texts: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("golden") / "g.jsonl"
    space = replace(packaged_golden().fingerprint.space, dimension=4)
    golden = GoldenSet("model", Fingerprint(space, "f32"), Platform("1", "2", "cpu"), texts, vectors)
    write_golden(path, golden)
    found = read_golden(path)
    assert np.array_equal(found.vectors, vectors) and list(found.texts) == texts
    assert (found.model, found.fingerprint, found.platform) == (golden.model, golden.fingerprint, golden.platform)


@given(vectors=VECTORS, factor=st.floats(0.1, 10))
def test_vectors_agree_with_themselves_and_lengths_count(vectors: Any, factor: float) -> None:
    assert not compare(vectors, vectors).apart.any()
    longer = compare(vectors, vectors * np.float32(factor))
    assert np.allclose(longer.cosines, 1) and longer.apart.all() == (abs(factor - 1) > 0.0448)
    opposite = compare(vectors, -vectors)
    assert opposite.apart.all() and np.allclose(opposite.cosines, -1)
    nothing = compare(vectors, np.full_like(vectors, np.nan))
    assert nothing.apart.all() and nothing.distribution is None


def test_what_is_about_queries_alone_changes_no_vector() -> None:
    space = packaged_golden().fingerprint.space
    assert different_fields(space, replace(space, query_prompt="query: ", similarity="dot")) == []
    assert different_fields(space, replace(space, normalize=False, weights="x")) == ["weights", "normalize"]
