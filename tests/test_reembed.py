"""Another model for a store: the same vectors are taken over, others are embedded beside what is searched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import embedmill
import tables
from documents import docx, paragraph, run
from embedmill.api.forget import forget_second
from embedmill.core.reports import Report
from reembedded import OTHER, Bench
from samples import Tensor, copy_model, in_half, off_by, prose, resave
from troubled import SMALL_MODEL

THIRD = SMALL_MODEL.with_name("bert-max-dense")


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(prose(number, 3))
    return folder


@pytest.fixture
def bench(place: dict[str, str]) -> Bench:
    return Bench(place)


def stopped(bench: Bench, *paths: Path, **options: Any) -> Report:
    """A run that is stopped in its midst."""
    runs: list[Any] = []

    def stop(progress: Any) -> None:
        if progress.done:
            runs[0].stop()

    report = bench.index(*paths, on_start=runs.append, on_progress=stop, batch_size=2, workers=1, **options)
    assert report.interrupted and not report.swapped
    return report


def test_chunks_that_had_no_vector_before_do_not_count_against_the_new_model(docs: Path, bench: Bench) -> None:
    bench.index(docs)
    cause = embedmill.Cause("Refused", "by the one who has written it")
    with embedmill.open_store(bench.where["store"], schema=bench.where.get("schema")) as store:
        refused = [embedmill.Chunk(f"number {row}", "mine", chunk_index=row, cause=cause) for row in range(100)]
        assert store.write(refused).failed == 100
    report = bench.index(docs, model=OTHER, re_embed=True)
    assert report.swapped and bench.status().failures == 100


# The same vectors


def reordered(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(sorted(tensors.items(), reverse=True))


def serialised_anew(model: Path) -> None:
    path = model / "tokenizer.json"
    text = json.dumps(json.loads(path.read_text()), indent=3)
    path.unlink()
    path.write_text(text)


SAME: dict[str, Callable[[Path], None]] = {
    "other metadata and order": lambda model: resave(model, reordered, note="saved again"),
    "weights in 16 bits": lambda model: resave(model, in_half),
    "tokenizer serialised anew": serialised_anew,
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_a_model_with_the_same_vectors_takes_the_store_over(
    change: Callable[[Path], None], docs: Path, bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench.index(docs)
    before, space = bench.found(), bench.status().space
    moved = copy_model(SMALL_MODEL, tmp_path / "moved")
    change(moved)
    report = bench.index(docs, model=moved)
    assert (report.embedded, report.unchanged, report.documents) == (0, 6, 6)
    assert report.space != space
    assert "gives the same vectors" in caplog.text and caplog.text.count("taken over") == 1
    status = bench.status()
    assert (status.model, status.space, status.chunks) == (str(moved), report.space, len(before))
    found = bench.found()
    assert {each[:2] for each in found} == {each[:2] for each in before}
    assert [score for *_, score in found] == pytest.approx([score for *_, score in before], abs=0.01)
    (docs / "new.txt").write_text(prose(50, 1))
    again = bench.index(docs, model=moved)
    assert (again.unchanged, again.embedded) == (6, again.chunks)


def test_a_model_that_was_moved_is_found_by_its_new_name(docs: Path, bench: Bench, tmp_path: Path) -> None:
    first = copy_model(SMALL_MODEL, tmp_path / "first")
    bench.index(docs, model=first)
    first.rename(tmp_path / "second")
    assert bench.index(docs, model=tmp_path / "second").embedded == 0
    assert bench.found() and bench.status().model == str(tmp_path / "second")
    bench.index(docs)  # which lies elsewhere too
    assert bench.status().model == str(tmp_path / "second"), "as long as that leads somewhere it stays"


def test_a_model_that_was_trained_on_is_another(docs: Path, bench: Bench, tmp_path: Path) -> None:
    bench.index(docs)
    trained = copy_model(SMALL_MODEL, tmp_path / "trained")
    resave(trained, off_by(0.05))
    with pytest.raises(embedmill.SpaceMismatch, match=r"with other weights.*--re-embed"):
        bench.index(docs, model=trained)
    assert bench.status().model == str(SMALL_MODEL)


def test_a_model_that_reads_more_is_another_though_its_vectors_agree(docs: Path, bench: Bench, tmp_path: Path) -> None:
    bench.index(docs)
    longer = copy_model(SMALL_MODEL, tmp_path / "longer")
    resave(longer, reordered)
    path = longer / "sentence_bert_config.json"
    settings = json.loads(path.read_text()) | {"max_seq_length": 40}
    path.unlink()
    path.write_text(json.dumps(settings))
    with pytest.raises(embedmill.SpaceMismatch, match="max_tokens"):
        bench.index(docs, model=longer)


# Others


def test_a_changed_model_is_refused_until_it_is_told_to_re_embed(docs: Path, bench: Bench) -> None:
    bench.index(docs)
    before = bench.found()
    with pytest.raises(embedmill.SpaceMismatch, match="index with --re-embed"):
        bench.index(docs, model=OTHER)
    assert bench.found() == before and bench.second() is None
    report = bench.index(docs, model=OTHER, re_embed=True)
    assert (report.swapped, report.documents, report.kept, report.failures) == (True, 6, 0, 0)
    assert report.embedded + report.duplicates == report.chunks
    status = bench.status()
    assert (status.model, status.documents, status.chunks) == (str(OTHER), 6, report.chunks)
    assert bench.second() is None
    assert {each[:2] for each in bench.found()} == {each[:2] for each in before}
    assert bench.found() != before
    assert bench.index(docs, model=OTHER).unchanged == 6


def test_what_is_not_read_is_embedded_from_what_is_stored(docs: Path, bench: Bench, tmp_path: Path) -> None:
    """Folders that are gone, or were not given, and what an option leaves out: a run without it would keep them too."""
    gone, other = tmp_path / "gone", tmp_path / "other"
    for folder in (gone, other):
        folder.mkdir()
        (folder / "page.md").write_text(f"# Of {folder.name}\n\n{prose(40, 4)}")
    (other / "broken.pdf").write_bytes(b"%PDF-1.4 no document")
    bench.index(docs, gone, other)
    chunks = bench.status().chunks
    shutil.rmtree(gone)
    (docs / "0.txt").unlink()  # in a folder that is given: it has vanished
    report = bench.index(docs, model=OTHER, exclude=["5.txt"], re_embed=True)
    assert (report.documents, report.kept, report.failures) == (4, 3, 1)
    status = bench.status()
    assert (status.model, status.documents) == (str(OTHER), 7)
    assert status.chunks < chunks
    found = {Path(document).name for document, *_ in bench.found()}
    assert found == {"1.txt", "2.txt", "3.txt", "4.txt", "5.txt", "page.md"}
    (back := gone).mkdir()
    (back / "page.md").write_text(f"# Of gone\n\n{prose(40, 4)}")
    again = bench.index(docs, back, other, model=OTHER)
    assert (again.embedded, again.removed, again.documents) == (0, 0, 8)


def test_prune_takes_out_of_the_new_space_what_it_would_take_out_of_the_old(docs: Path, bench: Bench) -> None:
    bench.index(docs)
    report = bench.index(docs, model=OTHER, exclude=["5.txt"], prune=True, re_embed=True)
    assert (report.kept, bench.status().documents) == (0, 5)


@pytest.mark.parametrize("prune", [False, True])
def test_what_cannot_be_read_any_more_is_embedded_from_what_is_stored(docs: Path, bench: Bench, prune: bool) -> None:
    (docs / "page.docx").write_bytes(docx(paragraph(run("gardens and roses"))))
    bench.index(docs)
    (docs / "page.docx").write_bytes(b"PK damaged")
    report = bench.index(docs, model=OTHER, prune=prune, re_embed=True)
    assert (report.swapped, report.kept, report.failures, bench.status().documents) == (True, 1, 1, 7)
    assert "page.docx" in {Path(document).name for document, *_ in bench.found()}


def test_a_run_that_is_stopped_is_gone_on_with(docs: Path, bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.index(docs)
    before = bench.found()
    first = stopped(bench, docs, model=OTHER, re_embed=True)
    assert bench.found() == before and bench.second() is not None
    caplog.clear()
    (docs / "new.txt").write_text(prose(60, 2))
    assert bench.index(docs).embedded > 0  # with the old model, into what is searched
    assert "half embedded anew with" in caplog.text and "forget --re-embed" in caplog.text
    assert len(bench.found()) > len(before)
    with pytest.raises(embedmill.SpaceMismatch, match=r"anew with .*bert-cls .*go on with that --model"):
        bench.index(docs, model=THIRD, re_embed=True)
    report = bench.index(docs, model=OTHER, re_embed=True)
    assert report.swapped and 0 < report.embedded < report.embedded + first.embedded
    assert (bench.status().documents, bench.status().model) == (7, str(OTHER))


def test_status_tells_of_it_and_how_to_go_on(docs: Path, tmp_path: Path) -> None:
    bench = Bench({"url": f"sqlite:{tmp_path}/index.db"})
    bench.index(docs)
    stopped(bench, docs, model=OTHER, re_embed=True)
    shell = tables.shell(tmp_path, bench.place["url"], tables.Within)
    told = shell.run("status")
    assert f"second space  0 documents of {OTHER}" in told.stdout
    assert f"embedmill index PATH... --re-embed --model {OTHER}" in told.stderr
    assert "embedmill forget --re-embed" in told.stderr
    assert json.loads(shell.run("status", "--json").stdout)["second"]["model"] == str(OTHER)
    assert shell.run("forget", "--re-embed").returncode == 0
    assert "second space" not in shell.run("status").stdout


def test_the_model_for_tests_has_to_be_allowed_to_go_on(docs: Path, tmp_path: Path) -> None:
    bench = Bench({"url": f"sqlite:{tmp_path}/index.db"})
    bench.index(docs)
    stopped(bench, docs, model="test:32", allow_test_model=True, re_embed=True)
    shell = tables.shell(tmp_path, bench.place["url"], tables.Within)
    line = "embedmill index PATH... --re-embed --model test:32 --allow-test-model"
    assert line in shell.run("status").stderr
    words = line.replace("PATH...", str(docs)).split()[1:]
    assert shell.json(*words)["swapped"]


def test_a_run_that_was_stopped_is_given_up(docs: Path, bench: Bench) -> None:
    bench.index(docs)
    before = bench.found()
    with pytest.raises(embedmill.StoreError, match="is not being embedded anew"):
        forget_second(**bench.where)
    stopped(bench, docs, model=OTHER, re_embed=True)
    assert forget_second(**bench.where) == 0
    assert bench.second() is None and bench.found() == before
    assert bench.index(docs, model=THIRD, re_embed=True).swapped


def test_what_was_taken_out_meanwhile_is_not_in_the_new_space(docs: Path, bench: Bench, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for number in range(3):
        (other / f"{number}.md").write_text(prose(70 + number, 1))
    bench.index(docs, other)
    stopped(bench, other, docs, model=OTHER, re_embed=True)
    embedmill.forget(other / "0.md", **bench.where)
    (other / "0.md").unlink()
    (other / "1.md").write_text(prose(80, 1))
    bench.index(other)
    report = bench.index(docs, model=OTHER, re_embed=True)
    assert report.swapped and bench.status().documents == 8
    assert bench.index(docs, other, model=OTHER).embedded == 0


def test_a_model_that_gives_no_vectors_does_not_take_the_place(docs: Path, bench: Bench, tmp_path: Path) -> None:
    bench.index(docs)
    before = bench.found()
    broken = copy_model(SMALL_MODEL, tmp_path / "broken")
    resave(
        broken,
        lambda tensors: {name: (kind, shape, b"\xff" * len(each)) for name, (kind, shape, each) in tensors.items()},
    )
    with pytest.raises(embedmill.EmbedmillError):
        bench.index(docs, model=broken, re_embed=True)
    assert bench.found() == before and bench.status().model == str(SMALL_MODEL)


def test_with_the_store_s_own_model_it_is_a_run_as_any(
    docs: Path, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert bench.index(docs, re_embed=True).embedded  # there is no store yet
    report = bench.index(docs, re_embed=True)
    assert (report.swapped, report.unchanged) == (False, 6)
    assert "no vectors of another model" in caplog.text


def test_an_open_searcher_goes_on_with_the_other_model(
    docs: Path, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.index(docs)
    with (
        embedmill.Searcher(**bench.where) as searcher,
        embedmill.Searcher(model=str(SMALL_MODEL), **bench.where) as old,
    ):
        before = [hit.document for hit in searcher.search("vector", k=100)]
        old.search("vector")
        bench.index(docs, model=OTHER, re_embed=True)
        caplog.clear()
        after = searcher.search("vector", k=100)
        assert sorted(hit.document for hit in after) == sorted(before)
        assert [(h.document, h.chunk, round(h.score, 4)) for h in after] == bench.found("vector")
        assert caplog.text.count("is searched with") == 1
        with pytest.raises(embedmill.SpaceMismatch, match="bert-cls"):
            old.search("vector")


def test_a_dry_run_is_refused_since_it_would_not_tell(docs: Path, bench: Bench) -> None:
    with pytest.raises(embedmill.UsageError, match="--dry-run does not look into a second space"):
        bench.index(docs, dry_run=True, re_embed=True)
