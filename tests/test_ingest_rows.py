"""Rows in PostgreSQL tables that cannot be embedded or written, and vectors that are not of this model."""

from __future__ import annotations

from pathlib import Path

import pytest

import tables
from cli_runs import Shell
from tables import Within, ask, complete, filled, make, marks_of, refused, text

OTHER_MODEL = str(Path(__file__).parent / "fixtures" / "models" / "bert-cls")  # another space of the same dimension

THIRD_MODEL = str(Path(OTHER_MODEL).with_name("bert-last"))


@pytest.fixture
def shell(tmp_path: Path, database: str) -> Shell:
    return tables.shell(tmp_path, database, Within)


# Texts

LONG = "garden " * 100
HUGE = "word " * 200_000  # 1 MB


def test_no_vector_of_an_older_text_stays(shell: Shell, database: str) -> None:
    """What cannot be embedded any more must not be found by what it once was."""
    make(database, 6)
    shell.json("ingest", "sentences")
    ask(database, "UPDATE sentences SET text = '' WHERE id = 1; UPDATE sentences SET text = NULL WHERE id = 2")
    ask(database, "UPDATE sentences SET text = repeat('x', 200000) WHERE id = 3")
    shell.json("ingest", "sentences", code=3)
    assert ask(database, "SELECT id FROM sentences WHERE embedding IS NOT NULL ORDER BY id") == [(4,), (5,), (6,)]
    ask(database, "UPDATE sentences SET text = NULL WHERE id = 1")
    report = shell.json("ingest", "sentences", code=3)
    assert (report["removed"], report["failures"]) == (1, 1)


def test_a_trigger_that_keeps_an_old_vector_does_not_end_the_run(shell: Shell, database: str) -> None:
    make(database, 4)
    shell.json("ingest", "sentences")
    ask(
        database,
        """CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN IF NEW.embedding IS NULL THEN RAISE EXCEPTION 'it stays'; END IF; RETURN NEW; END $$;
           UPDATE sentences SET text = '' WHERE id = 1;
           CREATE TRIGGER keep BEFORE UPDATE ON sentences FOR EACH ROW EXECUTE FUNCTION keep()""",
    )
    done = shell.run("ingest", "sentences")
    assert done.returncode == 3
    assert "vectors of older texts stay" in done.stderr and "it stays" in done.stderr


def test_texts_that_cannot_be_embedded(shell: Shell, database: str) -> None:
    """Findings 10, 11: each failure is counted, recorded with its cause, listed, and not tried again by itself."""
    make(database, ["good", None, "", " \t\n\u3000", HUGE, LONG, "fine"])
    report = shell.json("ingest", "sentences", "2", code=3)
    assert {name: report[name] for name in ("documents", "chunks", "embedded", "failed", "truncated", "failures")} == {
        "documents": 6,
        "chunks": 6,
        "embedded": 3,
        "failed": 3,
        "truncated": 1,
        "failures": 3,
    }
    assert report["skipped"] == {"NULL": 1}
    assert filled(database) == 3

    again = shell.json("ingest", "sentences", code=3)
    assert (again["chunks"], again["failures"], again["unchanged"]) == (0, 1, 3)
    assert again["skipped"] == {"NULL": 1, "empty text": 2}, "of which the first run has told"
    done = shell.run("status", "sentences", "--failures")
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("sentences ")] == [
        "sentences 3: EmptyText: the text is empty (1 attempt)",
        "sentences 4: EmptyText: the text is empty (1 attempt)",
        "sentences 5: TooLong: the text has 1,000,000 characters, at most 100,000 are taken: retry-failed --max-text N "
        "(1 attempt)",
    ]
    assert "retry-failed sentences" in done.stderr

    report = shell.json("retry-failed", "sentences", code=3)
    assert (report["chunks"], report["failed"]) == (3, 3)
    attempts = [failure["attempts"] for failure in shell.json("status", "sentences", "--failures")["failed"]]
    assert attempts == [2, 2, 2]

    ask(database, "UPDATE sentences SET text = 'mended' WHERE id = 3; UPDATE sentences SET text = NULL WHERE id = 4")
    report = shell.json("ingest", "sentences", "--max-text", "1000000", code=3)  # what has changed is tried, no more
    assert (report["embedded"], report["failures"]) == (1, 1)
    ask(database, "UPDATE sentences SET text = 'short' WHERE id = 5")
    assert shell.json("ingest", "sentences")["embedded"] == 1
    assert complete(database) == 5


def test_long_texts_fail_where_they_may_not_be_cut(shell: Shell, database: str) -> None:
    make(database, ["good", LONG])
    report = shell.json("ingest", "sentences", "--no-truncate", code=3)
    assert (report["embedded"], report["failed"], report["truncated"]) == (1, 1, 0)
    ((message,),) = ask(database, f"SELECT message FROM {marks_of(database)} WHERE cause = 'TooLong'")
    assert message == "the text has 602 tokens, the model reads 48"
    assert shell.json("retry-failed", "sentences")["truncated"] == 1  # where they may
    assert complete(database) == 2


def test_a_text_that_is_taken_away(shell: Shell, database: str) -> None:
    """Takes its vector, mark and metrics with it; so does a row."""
    make(database, 5)
    shell.json("ingest", "sentences")
    ask(database, "UPDATE sentences SET text = NULL WHERE id = 2; DELETE FROM sentences WHERE id = 3")
    report = shell.json("ingest", "sentences")
    assert (report["chunks"], report["removed"], report["skipped"]) == (0, 2, {"NULL": 1})
    assert filled(database) == 3 and complete(database) == 3
    assert ask(database, "SELECT id FROM sentences_metrics ORDER BY id") == [(1,), (4,), (5,)]


# Vectors of other origin


def test_another_model_is_refused(shell: Shell, database: str) -> None:
    """Findings 13: two models of one dimension do not share a column unnoticed."""
    make(database, 5)
    shell.json("ingest", "sentences")
    before = ask(database, "SELECT id, embedding::text FROM sentences ORDER BY id")
    line = refused(shell.run("ingest", "sentences", "--model", OTHER_MODEL), 1, "sentences.embedding holds vectors of ")
    assert "bert-mean (space" in line and "bert-cls (space" in line and "--overwrite" in line
    assert ask(database, "SELECT id, embedding::text FROM sentences ORDER BY id") == before
    assert shell.json("ingest", "sentences")["unchanged"] == 5  # the refusal has changed nothing

    assert shell.json("ingest", "sentences", "--model", OTHER_MODEL, "--overwrite")["embedded"] == 5
    assert ask(database, "SELECT count(DISTINCT embedding::text) FROM sentences") == [(5,)]
    refused(shell.run("ingest", "sentences"), 1, "holds vectors of .*bert-cls")
    assert shell.json("ingest", "sentences", "--overwrite")["cached"] == 5
    assert complete(database) == 5


def test_an_overwriting_that_was_stopped_leaves_no_two_models_unnoticed(shell: Shell, database: str) -> None:
    """Half of one model, half of another: the second goes on by itself, the first and a third are refused."""
    make(database, 6)
    shell.json("ingest", "sentences")
    ask(database, trigger("IF NEW.id = 4 THEN RAISE 'the disk is broken' USING ERRCODE = '58030'; END IF; RETURN NEW;"))
    overwriting = ["ingest", "sentences", "2", "--workers", "1", "--model", OTHER_MODEL]
    refused(shell.run(*overwriting, "--overwrite"), 1, "the disk is broken")
    ask(database, "DROP TRIGGER trouble ON sentences")
    refused(shell.run("ingest", "sentences"), 1, "holds vectors of .*bert-cls")
    refused(shell.run("ingest", "sentences", "--model", THIRD_MODEL), 1, "holds vectors of .*bert-cls")
    report = shell.json(*overwriting)
    assert (report["chunks"], report["unchanged"]) == (4, 2)
    assert shell.json("ingest", "sentences", "--overwrite")["chunks"] == 6
    assert complete(database) == 6


def test_an_overwriting_that_has_not_begun_changes_nothing(shell: Shell, database: str) -> None:
    """The first model goes on."""
    make(database, 3)
    shell.json("ingest", "sentences")
    ask(database, trigger("RAISE 'the disk is broken' USING ERRCODE = '58030';"))
    refused(shell.run("ingest", "sentences", "--model", OTHER_MODEL, "--overwrite"), 1, "the disk is broken")
    ask(database, "DROP TRIGGER trouble ON sentences")
    shell.json("ingest", "sentences")
    assert complete(database) == 3


def test_vectors_of_unknown_origin_are_kept(shell: Shell, database: str) -> None:
    make(database, 5)
    ask(database, "UPDATE sentences SET embedding = array_fill(0.5, ARRAY[32])::vector WHERE id < 3")
    report = shell.json("ingest", "sentences")
    assert (report["embedded"], report["unchanged"], report["skipped"]) == (3, 0, {"vector of unknown origin": 2})
    assert ask(database, "SELECT count(*) FROM sentences WHERE embedding::text LIKE '[0.5,%'") == [(2,)]
    assert "2 vector of unknown origin" in shell.run("status", "sentences").stdout
    assert shell.json("ingest", "sentences", "--overwrite")["embedded"] == 2
    assert complete(database) == 5


def test_a_row_whose_key_changes_has_a_vector_of_unknown_origin(shell: Shell, database: str) -> None:
    """As the documentation says, with both remedies."""
    make(database, 4)
    shell.json("ingest", "sentences")
    ask(database, "UPDATE sentences SET id = 11, text = 'another text' WHERE id = 1")
    ask(database, "UPDATE sentences SET id = 12, text = 'a third text', embedding = NULL WHERE id = 2")
    report = shell.json("ingest", "sentences")
    assert (report["embedded"], report["removed"], report["skipped"]) == (1, 2, {"vector of unknown origin": 1})
    assert shell.json("ingest", "sentences", "--overwrite")["embedded"] == 1
    assert complete(database) == 4


# What the table itself has to say


def trigger(body: str) -> str:
    """A trigger that does this before each update of a row."""
    return f"""
        CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
        CREATE TRIGGER trouble BEFORE UPDATE ON sentences FOR EACH ROW EXECUTE FUNCTION trouble()
    """


@pytest.mark.parametrize(
    ("trouble", "message"),
    [
        (trigger("IF NEW.id = 7 THEN RAISE 'not this'; END IF; RETURN NEW;"), "not this"),
        (trigger("IF NEW.id = 7 THEN RAISE 'odd' USING ERRCODE = 'MY001'; END IF; RETURN NEW;"), "odd"),
        (trigger("IF NEW.id = 7 THEN PERFORM * FROM nosuch; END IF; RETURN NEW;"), 'relation "nosuch" does not exist'),
        (trigger("IF NEW.id = 7 THEN RETURN NULL; END IF; RETURN NEW;"), "keeps the vector out"),
        (trigger("IF NEW.id = 7 THEN NEW.embedding = NULL; END IF; RETURN NEW;"), "keeps the vector out"),
        ("ALTER TABLE sentences ADD CHECK (id <> 7 OR embedding IS NULL)", 'violates check constraint "sentences_'),
    ],
)
def test_a_row_that_the_database_refuses(shell: Shell, database: str, trouble: str, message: str) -> None:
    """Is recorded; all others are written. When the reason is gone it is tried again."""
    make(database, 30)
    ask(database, trouble)
    report = shell.json("ingest", "sentences", "10", code=3)
    assert (report["embedded"], report["failed"], report["chunks"], report["changed"]) == (29, 1, 30, 0)
    (failure,) = shell.json("status", "sentences", "--failures")["failed"]
    assert failure["key"] == ["7"] and failure["attempts"] == 1
    assert failure["cause"]["type"] == "RowsRefused" and message in failure["cause"]["message"]
    assert filled(database) == 29
    ask(
        database,
        """
        DROP TRIGGER IF EXISTS trouble ON sentences;
        ALTER TABLE sentences DROP CONSTRAINT IF EXISTS sentences_check
        """,
    )
    assert shell.json("retry-failed", "sentences")["chunks"] == 1
    assert complete(database) == 30


def test_rows_that_a_policy_keeps_from_being_updated(shell: Shell, database: str) -> None:
    make(database, 6)
    ask(
        database,
        """
        ALTER TABLE sentences ENABLE ROW LEVEL SECURITY;
        CREATE POLICY see ON sentences FOR SELECT USING (id <> 6);
        CREATE POLICY change ON sentences FOR UPDATE USING (id <> 4)
        """,
    )
    grants = "GRANT SELECT, UPDATE ON sentences TO {}", "CREATE SCHEMA embedmill AUTHORIZATION {}"
    with tables.user(database, *grants) as limited:
        report = shell.json("ingest", "sentences", "--store", limited, "--no-metrics", code=3)
    assert (report["documents"], report["embedded"], report["failed"]) == (5, 4, 1)
    assert ask(database, "SELECT id FROM sentences WHERE embedding IS NULL") == [(4,), (6,)]


def test_rows_that_a_policy_hides_are_not_taken_for_gone(shell: Shell, database: str) -> None:
    """What one tenant's run forgets is not what is known of another's rows."""
    make(database, 6)
    shell.json("ingest", "sentences")
    ask(
        database,
        """
        ALTER TABLE sentences ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own ON sentences USING (id <= 3);
        UPDATE sentences SET text = NULL WHERE id = 2
        """,
    )
    grants = (
        "GRANT SELECT, UPDATE ON sentences TO {}",
        "GRANT ALL ON SCHEMA embedmill TO {}",
        "GRANT ALL ON ALL TABLES IN SCHEMA embedmill TO {}",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA embedmill TO {}",
        "GRANT ALL ON sentences_metrics TO {}",
    )
    with tables.user(database, *grants) as limited:
        report = shell.json("ingest", "sentences", "--store", limited)
        assert (report["documents"], report["removed"]) == (2, 1)
    assert ask(database, "SELECT id FROM sentences_metrics ORDER BY id") == [(1,), (3,), (4,), (5,), (6,)]
    ask(database, "UPDATE sentences SET text = 'changed' WHERE id = 5; DELETE FROM sentences WHERE id = 6")
    report = shell.json("ingest", "sentences")
    assert (report["chunks"], report["unchanged"], report["removed"], report["skipped"]) == (1, 3, 1, {"NULL": 1})
    assert complete(database) == 4


def test_nothing_else_of_a_row_is_touched(shell: Shell, database: str) -> None:
    """One update for each row, of the vector alone, in which the table's triggers do what they are there for."""
    make(
        database, 20, columns="id int PRIMARY KEY, text text, note text DEFAULT 'n', seen int DEFAULT 0, changes text[]"
    )
    ask(
        database,
        trigger(
            """NEW.seen = OLD.seen + 1;
               NEW.changes = ARRAY(SELECT n.key FROM jsonb_each(to_jsonb(NEW)) n JOIN jsonb_each(to_jsonb(OLD)) o
                                   USING (key) WHERE n.value <> o.value AND n.key <> 'seen'); RETURN NEW;"""
        ),
    )
    shell.json("ingest", "sentences", "7")
    shell.json("ingest", "sentences", "7")
    found = ask(database, "SELECT text, note, seen, changes FROM sentences ORDER BY id")
    assert found == [(text(number), "n", 1, ["embedding"]) for number in range(1, 21)]
    assert complete(database) == 20


def test_a_foreign_key_a_default_and_a_domain_do_not_matter(shell: Shell, database: str) -> None:
    make(database, 5, columns="id int PRIMARY KEY, text text, parent int DEFAULT 1 REFERENCES sentences DEFERRABLE")
    ask(database, "CREATE TABLE child (id int PRIMARY KEY REFERENCES sentences ON UPDATE CASCADE)")
    ask(database, "INSERT INTO child SELECT id FROM sentences")
    assert shell.json("ingest", "sentences")["embedded"] == 5
    assert complete(database) == 5
