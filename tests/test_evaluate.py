"""How well a search finds what answers a question: the measures, the questions' file, one store and two."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import embedmill
from cli_runs import Shell
from embedmill import Question
from embedmill.quality.questions import Documents
from embedmill.quality.ranking import ndcg_at, recall_at, reciprocal_rank_at
from tables import Within

# The measures

RANKINGS = st.tuples(st.sets(st.integers(1, 30), max_size=8), st.integers(0, 5), st.integers(1, 30)).filter(
    lambda drawn: len(drawn[0]) + drawn[1] > 0
)
"""Ranks of what was found, how many more are relevant, and k."""


def measures(k: int, ranks: set[int], relevant: int) -> tuple[float, float, float]:
    return recall_at(k, ranks, relevant), reciprocal_rank_at(k, ranks), ndcg_at(k, ranks, relevant)


@given(RANKINGS)
def test_measures_are_those_of_the_textbook(drawn: tuple[set[int], int, int]) -> None:
    """Written down once more, over the whole list with a gain at each place."""
    ranks, missing, k = drawn
    relevant = len(ranks) + missing
    gains = [1 if rank in ranks else 0 for rank in range(1, k + 1)]
    best = sorted([1] * relevant + [0] * k, reverse=True)[:k]

    def dcg(values: list[int]) -> float:
        return sum(gain / math.log2(place + 2) for place, gain in enumerate(values))

    first = next((place for place, gain in enumerate(gains, 1) if gain), None)
    expected = (sum(gains) / relevant, 1 / first if first else 0, dcg(gains) / dcg(best))
    assert measures(k, ranks, relevant) == pytest.approx(expected)


@given(RANKINGS)
def test_measures_lie_between_nothing_and_all(drawn: tuple[set[int], int, int]) -> None:
    ranks, missing, k = drawn
    relevant = len(ranks) + missing
    assert all(0 <= value <= 1 for value in measures(k, ranks, relevant))
    assert measures(k, set(), relevant) == (0, 0, 0)
    perfect = measures(max(k, relevant), set(range(1, relevant + 1)), relevant)
    assert perfect == (1, 1, 1)


@given(RANKINGS, st.data())
def test_what_moves_up_or_counts_further_down_is_never_worse(drawn: tuple[set[int], int, int], data: Any) -> None:
    ranks, missing, k = drawn
    relevant = len(ranks) + missing
    assert recall_at(k + 1, ranks, relevant) >= recall_at(k, ranks, relevant)
    assert reciprocal_rank_at(k + 1, ranks) >= reciprocal_rank_at(k, ranks)
    movable = [rank for rank in ranks if rank > 1 and rank - 1 not in ranks]
    if movable:
        rank = data.draw(st.sampled_from(movable))
        higher = measures(k, ranks - {rank} | {rank - 1}, relevant)
        assert all(now >= before for now, before in zip(higher, measures(k, ranks, relevant), strict=True))


# Which document is meant


def test_a_path_is_taken_as_it_is_then_from_a_folder_then_as_an_end(tmp_path: Path) -> None:
    ids = [f"{tmp_path}/docs/a.md", f"{tmp_path}/more/docs/a.md", f"{tmp_path}/more/b.md", "/x/b.md", "host:/y/c.md"]
    documents = Documents(ids, [str(tmp_path)])
    assert len(documents) == 5
    assert documents.find("/x/b.md") == ["/x/b.md"]
    assert documents.find("host:/y/c.md") == documents.find("c.md") == ["host:/y/c.md"]
    assert documents.find("docs/a.md") == documents.find("./docs/../docs/a.md") == [ids[0]], "from the folder"
    assert documents.find("more/docs/a.md") == [ids[1]]
    assert documents.find("a.md") == ids[:2]
    assert documents.find("b.md") == sorted(ids[2:4])
    assert documents.find("x/b.md") == ["/x/b.md"]
    for name in ("ocs/a.md", "d.md", "docs", "docs/", "", "/"):
        assert documents.find(name) == []


def test_a_link_leads_to_the_document(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.md").write_text("a")
    (tmp_path / "link").symlink_to("real")
    assert Documents([f"{tmp_path}/real/a.md"], [str(tmp_path)]).find("link/a.md") == [f"{tmp_path}/real/a.md"]


# Stores

NOTES = {
    "bread.md": "# Bread\n\nKnead the dough for ten minutes, let it rise overnight, and bake it in a hot oven.\n",
    "roses.md": "# Roses\n\nRoses want sun, water in the morning, and a cut in early spring.\n",
    "taxes.txt": "The tax return is due at the end of May. Keep all receipts for ten years.\n",
    "code/sums.py": 'def total(prices):\n    """The sum of all prices."""\n    return sum(prices)\n',
}

QUESTIONS = [
    {"question": "how do I bake bread", "documents": ["bread.md"]},
    {"question": "when do I prune roses", "documents": "notes/roses.md"},
    {"question": "by when do I have to file taxes", "documents": ["taxes.txt"]},
    {"question": "add up the prices of a basket", "documents": ["code/sums.py", "taxes.txt"]},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Notes in two stores: `a.db` by the real model, `b.db` by a small random one, without the code."""
    folder = tmp_path_factory.mktemp("made")
    for name, text in NOTES.items():
        path = folder / "notes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shell = Within(folder, EMBEDMILL_CACHE_DIR=str(folder / "cache"))
    small = Path(__file__).parent / "fixtures" / "models" / "bert-mean"
    shell.json("index", "notes", "--store", "sqlite:a.db", "--model", default_folder())
    shell.json("index", "notes", "--store", "sqlite:b.db", "--model", small, "--exclude", "code/")
    return shell


def default_folder() -> Path:
    from embedmill.models import locate

    return locate("all-MiniLM-L6-v2").folder


@pytest.fixture
def shell(made: Shell) -> Iterator[Shell]:
    made.environment["EMBEDMILL_STORE"] = "sqlite:a.db"
    (made.folder / "q.jsonl").write_text("".join(json.dumps(each) + "\n" for each in QUESTIONS))
    yield made


def test_one_store(shell: Shell) -> None:
    found = shell.json("evaluate", "q.jsonl")
    (store,) = found["stores"]
    assert (found["k"], found["questions"], store["documents"], store["failed"]) == (10, 4, 4, [])
    assert store["recall"] == 1 and store["mrr"] == 1 and 0.9 < store["ndcg"] <= 1
    assert [answer["ranks"][0] for answer in store["answers"]] == [1, 1, 1, 1]
    assert store["answers"][0]["documents"] == [f"{shell.folder}/notes/bread.md"]
    assert store["answers"][0]["place"] == "q.jsonl, line 1"
    told = shell.run("evaluate", "q.jsonl", "-k", 1)
    assert told.returncode == 0 and told.stderr == ""
    assert "recall@1   0.8750" in told.stdout and "failed     0 of 4 questions" in told.stdout


def test_questions_that_failed_are_named(shell: Shell) -> None:
    wrong = {"question": "how do I bake bread", "documents": ["roses.md"]}
    (shell.folder / "q.jsonl").write_text(json.dumps(wrong))
    told = shell.run("evaluate", "q.jsonl", "-k", 1)
    assert told.returncode == 0
    line = "q.jsonl, line 1: how do I bake bread: not found: notes/roses.md; first came notes/bread.md"
    assert told.stdout.splitlines()[-1] == line
    (failed,) = shell.json("evaluate", "q.jsonl", "-k", 1)["stores"][0]["failed"]
    assert failed["ranks"] == [None] and failed["found"] == [f"{shell.folder}/notes/bread.md"]


def test_two_stores_side_by_side(shell: Shell) -> None:
    found = shell.json("evaluate", "q.jsonl", "-k", 1, "--against", "sqlite:b.db")
    one, other = found["stores"]
    assert one["space"] != other["space"] and (one["documents"], other["documents"]) == (4, 3)
    assert other["recall"] < one["recall"] and len(other["failed"]) > len(one["failed"]) == 0
    assert other["answers"][3]["documents"][0] == "code/sums.py", "as it was named: that store has it not"
    told = shell.run("evaluate", "q.jsonl", "-k", 1, "--against", "sqlite:b.db")
    assert told.returncode == 0 and "second store: 0 answered better, " in told.stdout
    assert "rank 1, then none" in told.stdout
    assert "first store: " not in told.stdout
    lines = told.stdout.splitlines()
    head = lines.index(f"second store: {len(other['failed'])} failed")
    assert len(lines[head + 1 :]) > len(other["failed"]) > 0
    for line, answer in zip(lines[head + 1 :], other["failed"], strict=False):
        assert (
            line.startswith(f"{answer['place']}: {answer['question']}: not found: ") and "; first came notes/" in line
        )
    same = shell.run("evaluate", "q.jsonl", "--against", "sqlite:a.db")
    assert same.stdout.splitlines()[-1] == "second store: 0 answered better, 0 worse"


def test_questions_that_fail_in_both_stores_are_named_for_both(shell: Shell) -> None:
    (shell.folder / "q.jsonl").write_text('{"question": "how do I bake bread", "documents": ["roses.md"]}')
    told = shell.run("evaluate", "q.jsonl", "-k", 1, "--against", "sqlite:a.db").stdout.splitlines()
    failed = "q.jsonl, line 1: how do I bake bread: not found: notes/roses.md; first came notes/bread.md"
    compared = "second store: 0 answered better, 0 worse"
    assert told[-5:] == ["first store: 1 failed", failed, "second store: 1 failed", failed, compared]


def test_a_document_without_chunks_is_one_of_the_store(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "empty.md").touch()
    (tmp_path / "bread.md").write_text("Bake bread.")
    shell.json("index", tmp_path, "--store", "sqlite:empty-file.db", "--model", default_folder())
    (shell.folder / "q.jsonl").write_text('{"question": "bake bread", "documents": ["empty.md", "bread.md"]}')
    (store,) = shell.json("evaluate", "q.jsonl", "--store", "sqlite:empty-file.db")["stores"]
    assert store["documents"] == shell.json("status", "--store", "sqlite:empty-file.db")["documents"] == 2
    assert store["answers"][0]["ranks"] == [None, 1]


def test_a_document_that_was_written_is_found_by_its_name(shell: Shell) -> None:
    with embedmill.open_store(f"sqlite:{shell.folder}/written.db") as store:
        chunk = embedmill.Chunk(text="Bake bread.", source_file="kitchen")
        store.write(embedmill.EmbeddingGenerator(model=str(default_folder())).process_chunks([chunk]))
    (shell.folder / "q.jsonl").write_text('{"question": "bake bread", "documents": "kitchen"}')
    (store,) = shell.json("evaluate", "q.jsonl", "--store", "sqlite:written.db")["stores"]
    assert store["answers"][0]["ranks"] == [1]


def test_a_gate(shell: Shell) -> None:
    good = ["evaluate", "q.jsonl", "-k", "1", "--at-least", "mrr=1", "--at-least", "recall=0.875", "-q"]
    assert shell.run(*good).returncode == 0
    told = shell.run(*good, "--at-least", "recall=0.9")
    assert (told.returncode, told.stdout) == (3, "")
    assert told.stderr == "error: recall is 0.8750, wanted is at least 0.9\n"
    for wrong in ("recall", "precision=1", "recall=x", "recall=2", "recall=nan", "=1"):
        refused = shell.run("evaluate", "q.jsonl", f"--at-least={wrong}")
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1) and "--at-least" in refused.stderr


def test_a_prompt_for_queries_counts(shell: Shell) -> None:
    prompt = "Roses, roses, and nothing but roses in the garden: "
    plain = shell.json("evaluate", "q.jsonl", "-k", 1)["stores"][0]
    found = shell.json("evaluate", "q.jsonl", "-k", 1, "--query-prompt", prompt, "--against", "sqlite:a.db")["stores"]
    assert found[0]["mrr"] < plain["mrr"] == found[1]["mrr"], "of the first store alone"


def test_a_document_of_many_chunks_does_not_hide_the_others(shell: Shell, tmp_path: Path) -> None:
    """A search gives chunks: the nearest forty are all of one document."""
    (tmp_path / "long.md").write_text("\n\n".join(f"Bake bread in oven number {row}." for row in range(400)))
    (tmp_path / "short.md").write_text("Stars are far away.")
    shell.json("index", tmp_path, "--store", "sqlite:long.db", "--chunk-tokens", 16, "--model", default_folder())
    (shell.folder / "q.jsonl").write_text('{"question": "bake bread", "documents": "short.md"}')
    (store,) = shell.json("evaluate", "q.jsonl", "-k", 2, "--store", "sqlite:long.db")["stores"]
    assert store["answers"][0]["ranks"] == [2]


def test_a_postgresql_store(shell: Shell, database: str) -> None:
    shell.json("index", "notes", "--store", database, "--model", default_folder())
    secret = database.replace("postgres@", "postgres:secret@")
    found = shell.json("evaluate", "q.jsonl", "--against", secret)
    assert found["stores"][0]["mrr"] == found["stores"][1]["mrr"] == 1
    told = shell.run("evaluate", "q.jsonl", "--against", secret)
    (shell.folder / "q.jsonl").write_text('{"question": "a", "documents": "nothing"}')
    refused = shell.run("evaluate", "q.jsonl", "--store", secret)
    assert refused.returncode == 1
    assert "secret" not in json.dumps(found) + told.stdout + told.stderr + refused.stderr


BAD = {
    "": "q.jsonl: has no questions",
    "\n \n": "q.jsonl: has no questions",
    '{"question": "a", "documents": ["bread.md"]}\n{"question": "b"}': 'line 2: "documents" is missing',
    '{"documents": ["bread.md"]}': 'line 1: "question" is missing',
    '{"question": 3, "documents": ["bread.md"]}': 'line 1: "question" is no text',
    '{"question": "  ", "documents": ["bread.md"]}': "line 1: the question is empty",
    '{"question": "a", "documents": []}': 'line 1: "documents" is empty: name those',
    '{"question": "a", "documents": {}}': 'line 1: "documents" is no list of paths',
    '{"question": "a", "documents": [3]}': 'line 1: "documents" is no text',
    '{"question": "a", "documents": [" "]}': "line 1: a document that answers it has no name",
    '{"question": "a", "documents": ["\\ud800"]}': 'line 1: "documents" has half of a character',
    '{"question": "\\ud800", "documents": ["bread.md"]}': 'line 1: "question" has half of a character',
    '{"question": "a", "documents": ["cake.md"]}': "line 1: cake.md is no document of ",
    '{"question": "a", "documents": ["bread.md"]}\n\n{"question": "a", "documents": ["roses.md"]}': (
        "line 3: the same question as q.jsonl, line 1"
    ),
    '{"question": "a", "documents": ["bread.md"]': "line 1: is no JSON",
    "[" * 100_000: "line 1: is no JSON",
    '["a"]': "line 1: is no JSON object",
}


@pytest.mark.parametrize("number", range(len(BAD)))
def test_a_file_that_does_not_fit_ends_in_one_line(shell: Shell, number: int) -> None:
    content, said = list(BAD.items())[number]
    (shell.folder / "q.jsonl").write_text(content)
    done = shell.run("evaluate", "q.jsonl")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert done.stderr.startswith("error: q.jsonl") and said in done.stderr


def test_a_path_that_may_be_two_documents_is_asked_about(shell: Shell, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.md").write_text(f"Number {folder}")
    shell.json("index", tmp_path, "--store", "sqlite:two.db")
    (shell.folder / "q.jsonl").write_text('{"question": "number", "documents": "a.md"}')
    done = shell.run("evaluate", "q.jsonl", "--store", "sqlite:two.db")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "line 1: a.md may be 2 documents of " in done.stderr and "one/a.md and " in done.stderr


def test_stores_that_are_not_there_or_empty(shell: Shell) -> None:
    for options in (["--store", "sqlite:none.db"], ["--against", "sqlite:none.db"]):
        done = shell.run("evaluate", "q.jsonl", *options)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "none.db" in done.stderr
    (shell.folder / "nothing").mkdir(exist_ok=True)
    shell.run("index", "nothing", "--store", "sqlite:empty.db")
    done = shell.run("evaluate", "q.jsonl", "--store", "sqlite:empty.db")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1) and "is empty" in done.stderr


def test_from_python(shell: Shell) -> None:
    told: list[tuple[int, int]] = []
    found = embedmill.evaluate(
        [Question("how do I bake bread", ["bread.md"]), Question("how do I cut roses", ["roses.md", "taxes.txt"])],
        store=f"sqlite:{shell.folder}/a.db",
        k=1,
        on_progress=lambda *done: told.append(done),
    )
    assert told == [(1, 2), (2, 2)]
    (store,) = found.stores
    assert (store.recall, store.mrr, store.ndcg) == (0.75, 1, 1)
    assert [answer.place for answer in store.answers] == ["question 1", "question 2"]
    with pytest.raises(embedmill.UsageError, match="no questions"):
        embedmill.evaluate([], store=f"sqlite:{shell.folder}/a.db")
    for rubbish in (None, 3, ["a text"]):
        with pytest.raises(embedmill.UsageError, match=r"a list of embedmill\.Question"):
            embedmill.evaluate(rubbish)  # type: ignore[arg-type]
    with pytest.raises(embedmill.UsageError, match="k is 0"):
        embedmill.evaluate([Question("a", ["bread.md"])], k=0)
    with pytest.raises(embedmill.SourceError, match="question 2: the same question as question 1"):
        embedmill.evaluate([Question("a", ["bread.md"])] * 2)
    with pytest.raises(embedmill.UsageError, match=r"evaluate\(\) has no option 'modle'"):
        embedmill.evaluate([Question("a", ["bread.md"])], modle="x")  # type: ignore[call-arg]
