"""PDF, Word, PowerPoint, HTML, RTF and mails: small real files, made here."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

import documents as made
import embedmill
from embedmill.chunking.chunker import chunk
from embedmill.chunking.options import Chunking
from embedmill.cli.exits import run
from embedmill.core.documents import Document, Kind
from embedmill.core.errors import SourceError
from embedmill.executors.threads import ThreadExecutor
from embedmill.pipelines.index.indexer import Indexer
from embedmill.sources.files.conversion import read_text
from embedmill.sources.files.converters.process import process
from embedmill.sources.files.source import FileSource
from embedmill.storage.registry import open_store
from troubled import SMALL_MODEL, small_embedder

HTML = "<html><head><title>t</title></head><body><h1>Heading</h1><p>Größe und <b>Gewicht</b></p></body></html>"

pytest.importorskip("pypdfium2")
pytest.importorskip("mammoth")
pytest.importorskip("striprtf")


def read_one(path: Path) -> Document:
    source = FileSource([path])
    [entry] = source.entries()
    document = source.read(entry)
    assert document is not None, source.skipped
    return document


def text_of(content: bytes | str, name: str) -> str:
    return read_text(content.encode() if isinstance(content, str) else content, name, name).text


def pptx(title: str) -> bytes:
    presentation = pytest.importorskip("pptx").Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = title
    return saved(presentation)


def saved(presentation: object) -> bytes:
    buffer = io.BytesIO()
    presentation.save(buffer)  # type: ignore[attr-defined]
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.docx", made.docx("Seventeen green bottles")),
        ("a.pdf", made.pdf("Seventeen green bottles")),
        ("a.PDF", made.pdf("Seventeen green bottles")),
        ("a.rtf", rb"{\rtf1\ansi Seventeen {\b green} bottles\par}"),
        ("a.eml", b"Subject: Bottles\n\nSeventeen green bottles"),
        ("a.html", b"<p>Seventeen green bottles"),
    ],
)
def test_text_of_documents(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    document = read_one(path)
    assert "Seventeen green bottles" in document.text
    assert document.kind is (Kind.TEXT if name == "a.rtf" else Kind.MARKDOWN)
    assert document.size == path.stat().st_size


# --- PDF ----------------------------------------------------------------------------------------------


def test_columns_keep_their_order_where_another_page_has_a_table() -> None:
    """Converters that looked for tables once took another extraction for all pages, which reads across columns."""
    columns = "".join(made.line(f"left {row} runs on", 72, 700 - 14 * row, 10) for row in range(5))
    columns += "".join(made.line(f"right {row} goes by", 330, 700 - 14 * row, 10) for row in range(5))
    table = made.line("Before", 72, 720) + made.ruled([["Name", "Price"], ["Screw|M4", "0.10"], ["Nut", ""]])
    text = text_of(made.pdf(columns, table + made.line("After", 72, 600)), "a.pdf")
    first, second = text.split("\f")
    assert [line.split()[0] for line in first.split("\n") if line] == ["left"] * 5 + ["right"] * 5
    assert second.split("\n\n") == [
        "Before",
        "| Name | Price |\n| --- | --- |\n| Screw\\|M4 | 0.10 |\n| Nut |  |",
        "After",
    ]


def test_squared_paper_is_no_table_and_what_is_in_no_cell_is_text() -> None:
    squares = "".join(f"{x * 20} {y * 10} 20 10 re S\n" for x in range(30) for y in range(70))
    assert text_of(made.pdf(squares + made.line("words on it")), "a.pdf") == "words on it"
    two = made.ruled([["Name", "Price"], ["Screw", "0.10"]]) + made.line("# between", 72, 640)
    two += made.ruled([["A", "B"], ["1", "2"]], up=600)
    assert text_of(made.pdf(two), "a.pdf").split("\n\n") == [
        "| Name | Price |\n| --- | --- |\n| Screw | 0.10 |",
        "    # between",
        "| A | B |\n| --- | --- |\n| 1 | 2 |",
    ]


def test_labels_stay_with_their_values() -> None:
    drawn = made.line("Invoice number:", 72, 600) + made.line("INV-2024-17", 250, 600)
    drawn += made.line("Due date:", 72, 580) + made.line("1 March", 250, 580)
    assert text_of(made.pdf(drawn), "a.pdf") == "Invoice number: INV-2024-17\nDue date: 1 March"


def test_what_was_filled_into_a_form_is_text() -> None:
    drawing = b"q BT /F1 12 Tf 2 2 Td (Ada Lovelace) Tj ET Q"
    annotation = (
        b"<< /Type /Annot /Subtype /Widget /FT /Tx /T (name) /V (Ada Lovelace) /Rect [150 700 300 716] /F 4 "
        b"/AP << /N 7 0 R >> >>"
    )
    appearance = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 150 16] /Resources << /Font << /F1 3 0 R >> >> "
        b"/Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing)
    )
    page = made.pdf_objects(made.line("Name:", 72, 702))
    page[0] = b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [6 0 R] >> >>"
    page[3] = page[3].replace(b"/Resources", b"/Annots [6 0 R] /Resources")
    assert text_of(made.pdf_file([*page, annotation, appearance]), "a.pdf").split() == ["Name:", "Ada", "Lovelace"]


def test_a_pdf_that_opens_without_a_password_is_read() -> None:
    assert text_of(made.pdf("Open to all", password=""), "a.pdf") == "Open to all"


def test_a_pdf_without_text_has_none_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "scan.pdf").write_bytes(made.pdf(""))
    source = FileSource([tmp_path])
    with caplog.at_level(logging.WARNING, "embedmill"):
        [document] = [source.read(entry) for entry in source.entries()]
    assert document is not None
    assert document.text == ""
    assert "scan.pdf: no text found" in caplog.text
    assert source.skipped == {"without text": 1}


def count(texts: Sequence[str]) -> list[int]:
    return [len(text) // 3 + 2 for text in texts]


def test_chunks_know_their_pages(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(made.pdf("", *(f"Page {number} " + "word " * 15 for number in range(2, 8)), ""))
    document = read_one(tmp_path / "a.pdf")
    chunks = list(chunk(document, count, Chunking(512)))
    assert len(chunks) == 6
    for each in chunks:
        assert document.text[each.start : each.end] == each.text
        assert each.page == int(each.text.removeprefix("Page ").split()[0])


def test_form_feeds_of_other_files_are_no_pages(tmp_path: Path) -> None:
    (tmp_path / "rfc.txt").write_text("one\n\ftwo\n")
    [only] = chunk(read_one(tmp_path / "rfc.txt"), count, Chunking(64))
    assert only.page is None


def test_search_gives_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pdf").write_bytes(made.pdf("Rivers flow to the sea.", "Mountains are high and cold."))
    (tmp_path / "b.md").write_text("Something else.\n")
    options = {"store": "sqlite:index.db", "cache": False}
    embedmill.index(["a.pdf", "b.md"], model=str(SMALL_MODEL), chunk_tokens=16, **options)
    hits = embedmill.search("Mountains are high and cold.", store="sqlite:index.db")
    assert {hit.text.split()[0]: hit.page for hit in hits}.items() >= {
        "Rivers": 1,
        "Mountains": 2,
        "Something": None,
    }.items()
    assert run(["search", "Mountains are high and cold.", "-k", "9", "--store", "sqlite:index.db"]) == 0
    places = {line.partition(": ")[0] for line in capsys.readouterr().out.splitlines()}
    assert places == {"a.pdf#page=1", "a.pdf#page=2", "b.md:1"}
    assert run(["search", "Mountains are high and cold.", "-k", "9", "--json", "--store", "sqlite:index.db"]) == 0
    pages = {hit["text"].split()[0]: hit["page"] for hit in json.loads(capsys.readouterr().out)["hits"]}
    assert pages.items() >= {"Rivers": 1, "Mountains": 2, "Something": None}.items()


# --- Word ---------------------------------------------------------------------------------------------


def test_all_text_of_a_word_document() -> None:
    run, paragraph, box = made.run, made.paragraph, made.text_box
    inside = f"<w:txbxContent>{paragraph(run('twice'))}</w:txbxContent>"
    old_box = f"<w:pict><v:shape><v:textbox>{inside}</v:textbox></v:shape></w:pict>"
    ruby = f"<w:ruby><w:rubyPr/><w:rt>{run('kana')}</w:rt><w:rubyBase>{run('base')}</w:rubyBase></w:ruby>"
    fraction = "<m:f><m:num><m:r><m:t>a</m:t></m:r></m:num><m:den><m:r><m:t>b</m:t></m:r></m:den></m:f>"
    body = "".join(
        [
            paragraph(run("max_retry_count"), style="H1"),
            paragraph(run("*plain* "), f'<w:fldSimple w:instr="TITLE">{run("field")}</w:fldSimple>'),
            paragraph(f"<w:r>{ruby}</w:r>"),
            paragraph(f"<w:r>{box('drawn')}</w:r>"),
            paragraph(
                f'<w:r><mc:AlternateContent><mc:Choice Requires="wps">{box("twice")}</mc:Choice>'
                f"<mc:Fallback>{old_box}</mc:Fallback></mc:AlternateContent></w:r>"
            ),
            paragraph(
                f'<w:r><mc:AlternateContent><mc:Choice Requires="wps">{box("new")}</mc:Choice>'
                "</mc:AlternateContent></w:r>"
            ),
            paragraph(f"<w:ins>{run('inserted')}</w:ins><w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"),
            f"<w:sdt><w:sdtContent>{paragraph(run('controlled'))}</w:sdtContent></w:sdt>",
            paragraph(run("noted"), '<w:r><w:footnoteReference w:id="2"/><w:endnoteReference w:id="3"/></w:r>'),
            paragraph(f"<m:oMathPara><m:oMath>{fraction}</m:oMath></m:oMathPara>"),
            f"<w:tbl><w:tr><w:tc>{paragraph(run('A|x'))}</w:tc><w:tc>{paragraph(run('B_y'))}</w:tc></w:tr>"
            f"<w:tr><w:tc>{paragraph(run('1'))}{paragraph(run('2'))}</w:tc><w:tc>{paragraph()}</w:tc></w:tr></w:tbl>",
        ]
    )
    others = {
        "header1:hdr": paragraph(run("on top")),
        "header2:hdr": paragraph(run("on top")),
        "footer1:ftr": paragraph(run("below")),
        "comments:comments": f'<w:comment w:id="0" w:author="Ada">{paragraph(run("remark"))}</w:comment>',
        "footnotes:footnotes": f'<w:footnote w:id="2">{paragraph(run("at the foot"))}</w:footnote>',
        "endnotes:endnotes": f'<w:endnote w:id="3">{paragraph(run("at the end"))}</w:endnote>',
    }
    assert text_of(made.docx(body, others), "a.docx").split("\n\n") == [
        "# max_retry_count",
        "*plain* field",
        "base",
        "drawn",
        "twice",
        "new",
        "inserted",
        "controlled",
        "noted[1][2]",
        "(a)/(b)",
        "| A\\|x | B_y |\n| --- | --- |\n| 1 2 |  |",
        "Comment by Ada: remark",
        "below",
        "on top",
        "1. at the foot\n2. at the end",
    ]


@pytest.mark.parametrize("name", ["a.docx", "a.pptx"])
def test_an_office_document_with_a_password_says_so(name: str) -> None:
    with pytest.raises(SourceError, match=f"{name}: cannot be converted .it is encrypted with a password"):
        text_of(made.ENCRYPTED_OFFICE, name)


def test_a_pdf_with_a_password_says_so() -> None:
    with pytest.raises(SourceError, match=r"a\.pdf: cannot be converted .it is encrypted with a password"):
        text_of(made.pdf("secret", password="x"), "a.pdf")


@pytest.mark.parametrize("name", ["~$report.docx", "~$deck.pptx", ".~lock.report.docx#"])
def test_what_an_office_program_leaves_beside_an_open_document_is_left_out(tmp_path: Path, name: str) -> None:
    """Word's owner files end in .docx and are none: they made every run end with a failure."""
    (tmp_path / name).write_bytes(b"\x03Ada" + b" " * 158)
    source = FileSource([tmp_path], hidden=True)
    assert list(source.entries()) == []
    assert source.skipped == {"office lock file": 1}


# --- PowerPoint ---------------------------------------------------------------------------------------


def test_all_text_of_slides() -> None:
    pytest.importorskip("pptx")
    from pptx import Presentation
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE
    from pptx.util import Inches

    presentation = Presentation()
    first = presentation.slides.add_slide(presentation.slide_layouts[5])
    first.shapes.title.text = "max_retry_count"
    group = first.shapes.add_group_shape()
    group.shapes.add_textbox(Inches(1), Inches(2), Inches(2), Inches(1)).text_frame.text = "grouped"
    cells = first.shapes.add_table(2, 2, Inches(1), Inches(3), Inches(4), Inches(1)).table
    for row in range(2):
        for column in range(2):
            cells.cell(row, column).text = f"{row}|{column}"
    first.notes_slide.notes_text_frame.text = "say this"
    second = presentation.slides.add_slide(presentation.slide_layouts[6])
    data = CategoryChartData()
    data.categories = ["East", "West"]
    data.add_series("Sales", (1.5, 2))
    second.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, 0, 0, Inches(4), Inches(3), data)
    assert text_of(saved(presentation), "a.pptx").split("\n\n") == [
        "# max_retry_count",
        "grouped",
        "| 0\\|0 | 0\\|1 |\n| --- | --- |\n| 1\\|0 | 1\\|1 |",
        "Notes: say this",
        "\f|  | Sales |\n| --- | --- |\n| East | 1.5 |\n| West | 2 |",
    ]


# --- HTML ---------------------------------------------------------------------------------------------


def declared(charset: str, page: str = HTML) -> str:
    return page.replace("<title>", f'<meta charset="{charset}"><title>')


@pytest.mark.parametrize(
    "content",
    [
        HTML.encode(),
        HTML.encode("utf-16"),
        declared("iso-8859-1").encode("latin-1"),
        declared("no-such-thing").encode(),
        declared("utf-16le").encode(),
        declared("UTF-16").encode(),
        declared("iso-8859-1").encode(),
        declared("windows-1251").encode(),
        declared("rot13").encode(),
        HTML.replace("<title>", '<meta http-equiv="Content-Type" content="text/html; charset=utf-16"><title>').encode(),
        HTML.replace("<title>", '<meta name="x" content="charset=utf-16"><title>').encode("latin-1"),
        HTML.replace("<title>", '<!-- <meta charset="utf-7"> --><title>').encode(),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + HTML).encode("latin-1"),
    ],
)
def test_html_in_any_encoding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.html").write_bytes(content)
    document = read_one(tmp_path / "a.html")
    assert document.text == "# t\n\n# Heading\n\nGröße und **Gewicht**"
    assert document.kind is Kind.MARKDOWN


@pytest.mark.parametrize(
    ("label", "encoding", "words"),
    [
        ("iso-8859-1", "cp1252", "“quoted” – 5 €"),
        ("latin1", "cp1252", "“quoted” – 5 €"),
        ("us-ascii", "cp1252", "“quoted” – 5 €"),
        ("iso-8859-9", "cp1254", "“ağaç” şişe İstanbul"),
        ("gb2312", "gb18030", "联通 朱镕基"),
        ("shift_jis", "cp932", "①日本語㈱"),
        ("x-sjis", "cp932", "日本語"),
        ("ks_c_5601-1987", "cp949", "똠방각하"),
        ("koi8-r", "koi8_r", "привет"),
    ],
)
def test_labels_of_encodings_mean_what_they_mean_to_browsers(label: str, encoding: str, words: str) -> None:
    assert (
        text_of(declared(label, f"<title>{words}</title><p>{words}").encode(encoding), "a.html")
        == f"# {words}\n\n{words}"
    )


def test_title_and_description_of_a_page_are_text() -> None:
    page = (
        '<head><title>\n Opening  hours</title><meta name="Description" content="When we &amp; you meet"></head>'
        '<body><svg><title>logo</title></svg><h2>max_retry_count</h2><p>a * b_c <a href="#x">here</a>'
        '<img alt="a map" src="data:image/png;base64,AAAA"><script>x</script><noscript>y</noscript>'
        "<table><tr><td>a|b</td><td>c_d</td></tr></table></body>"
    )
    assert text_of(page, "a.html").split("\n\n") == [
        "# Opening hours",
        "When we & you meet",
        "## max_retry_count",
        "a * b_c herea map",
        "| a\\|b | c_d |\n| --- | --- |",
    ]


def test_nothing_is_escaped_and_nothing_becomes_a_heading() -> None:
    page = "<p># a comment</p><p>one\n---\ntwo<ul><li># three</ul><pre># four</pre><p>a_b *c* [d] 1. &lt;f> \\ `g`</p>"
    text = "    # a comment\n\none\n    ---\ntwo\n\n* # three\n\n```\n# four\n```\n\na_b *c* [d] 1. <f> \\ `g`"
    assert text_of(page, "a.html") == text


def test_what_html_leaves_open_is_closed() -> None:
    page = "<p>one<p>two<ul><li>a<li>b</ul><table><tr><th>x<th>y<tr><td>1<td>2</table>"
    assert text_of(page, "a.html") == "one\n\ntwo\n\n* a\n* b\n\n| x | y |\n| --- | --- |\n| 1 | 2 |"


def test_tables_that_only_place_things_are_none() -> None:
    page = "<table><tr><td>menu<td><p>intro<table><tr><th>a<th>b<tr><td>1<td>2</table></table>"
    assert text_of(page, "a.html") == "menu\n\nintro\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert text_of("<table><tr><td>" * 300 + "deep", "a.html") == "| deep |\n| --- |"


def test_a_page_nested_without_end_is_read() -> None:
    assert "deep inside" in text_of("<div>" * 20_000 + "deep inside", "a.html")


# --- RTF and mails ------------------------------------------------------------------------------------


def test_rtf_is_its_text_alone() -> None:
    rtf = (
        rb"{\rtf1\ansi\ansicpg1252{\fonttbl\f0 Helvetica;}{\colortbl;\red255\green0\blue0;}"
        rb"{\info{\author Ada}}\pard Gr\'f6\'dfe \u8364? {\b bold}\par {\pict\pngblip 89504e470d0a1a0a}end}"
    )
    assert text_of(rtf, "a.rtf") == "Größe € bold\nend"


def test_a_mail_is_its_subject_and_body() -> None:
    mail = (
        "From: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\nDate: Mon, 1 Jan 2024 10:00:00 +0000\n"
        "Subject: =?utf-8?b?R3LDvMOfZQ==?=\n"
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=B\n\n--B\n"
        "Content-Type: multipart/alternative; boundary=A\n\n"
        "--A\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n"
        "Sch=F6ne =80 Tage\n# x\n"
        "--A\nContent-Type: text/html\n\n<p>other</p>\n--A--\n"
        "--B\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n"
        "PHA+bW9yZSA8Yj5oZXJlPC9iPg==\n"
        '--B\nContent-Type: application/pdf; name="r.pdf"\nContent-Disposition: attachment; filename="r.pdf"\n'
        "Content-Transfer-Encoding: base64\n\n" + "QUJD" * 5000 + "\n--B--\n"
    )
    assert text_of(mail, "a.eml").split("\n\n") == [
        "# Grüße",
        "From: Jürgen <j@example.org>\nDate: Mon, 1 Jan 2024 10:00:00 +0000",
        "Schöne € Tage\n    # x",
        "more **here**",
        "Attachment: r.pdf (application/pdf)",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_headers_of_a_mail_that_are_not_encoded_are_read(encoding: str) -> None:
    mail = (
        "From: Jürgen Müller <j@example.org>\nSubject: Grüße aus Köln über\n die Straße\n"
        "Content-Type: multipart/mixed; boundary=B\n\n--B\nContent-Type: text/plain\n\nDays\n"
        '--B\nContent-Type: application/pdf; name="Übersicht.pdf"\n'
        'Content-Disposition: attachment; filename="Übersicht.pdf"\n\nx\n--B--\n'
    )
    assert text_of(mail.encode(encoding), "a.eml").split("\n\n") == [
        "# Grüße aus Köln über die Straße",
        "From: Jürgen Müller <j@example.org>",
        "Days",
        "Attachment: Übersicht.pdf (application/pdf)",
    ]


@pytest.mark.parametrize("name", ["a.mbox", "Inbox"])
def test_a_mailbox_is_its_mails(name: str) -> None:
    box = (
        "From ada Mon Jan  1 10:00:00 2024\nSubject: one\n\nfirst\n>From here on\nFrom now on, no mail begins\n\n"
        "From bob Mon Jan  1 10:00:00 2024\nSubject: two\n\nsecond\n"
    )
    assert text_of(box, name).split("\n\n") == [
        "# one",
        "first\nFrom here on\nFrom now on, no mail begins",
        "# two",
        "second",
    ]


# --- what is damaged, hostile or missing --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.docx", b"not a zip file"),
        ("a.docx", made.zipped({"nothing": "here"})),
        ("a.pptx", made.zipped({"nothing": "here"})),
        ("a.docx", bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 512),
        ("a.pdf", b"%PDF-1.4\ndamaged"),
        ("a.pdf", b"no PDF at all"),
        ("a.rtf", b"no RTF at all"),
        ("a.eml", b"\n\nno mail at all"),
        ("a.mbox", b"no mailbox at all"),
        ("bomb.docx", made.zipped({"word/document.xml": " " * 1024}).replace(b"\0\4\0\0", b"\xff" * 4)),  # 4 GiB
    ],
)
def test_a_damaged_document_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=name) as caught:
        read_one(path)
    assert "\n" not in str(caught.value)


def test_a_letter_without_a_suffix_is_no_mailbox() -> None:
    letter = "From ada to bob, in the spring of 2024\nDear Bob: hello\n"
    assert text_of(letter, "letter") == letter


@pytest.mark.parametrize(
    ("name", "words"), [("a.docx", "it is damaged or cut short, or no .docx file"), ("a.pdf", "it is no .pdf file")]
)
def test_another_format_by_the_name_of_a_document_says_so(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(SourceError, match=words):
        read_one(tmp_path / name)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "the converter died of it: SIGSEGV"),
        (signal.SIGXCPU, "it takes too long to convert"),
        (signal.SIGKILL, "it takes too much memory to convert, or was killed"),
    ],
)
def test_a_document_that_kills_its_converter_fails_alone(number: signal.Signals, words: str) -> None:
    pid = started()
    soft, _ = resource.prlimit(pid, resource.RLIMIT_CPU)
    assert soft < 600  # seconds of processor time, after which the kernel sends SIGXCPU
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        converted = pool.submit(text_of, HTML, "a.html")
        while not unread():  # until the document has been sent
            time.sleep(0.01)
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(SourceError, match=rf"a\.html: cannot be converted .{words}"):
            converted.result()
    assert started() != pid


def test_a_run_that_is_stopped_does_not_wait_for_a_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedmill.engine.stopping.TO_FINISH", 0.1)
    (tmp_path / "files").mkdir()
    (tmp_path / "files/a.html").write_text(HTML)
    embedder = small_embedder()
    os.kill(started(), signal.SIGSTOP)  # so that nothing comes of it
    with closing(open_store(f"sqlite:{tmp_path}/index.db")) as store, ThreadPoolExecutor(1) as pool:
        indexer = Indexer(store, embedder, ThreadExecutor(embedder))
        run = pool.submit(indexer.run, FileSource([tmp_path / "files"]))
        while not unread():
            time.sleep(0.01)
        indexer.stop()
        report = run.result()
        assert report.interrupted
        assert (report.failures, store.status().documents) == (0, 0)
        again = Indexer(store, embedder, ThreadExecutor(embedder))
        assert again.run(FileSource([tmp_path / "files"])).documents == 1
        assert store.status().documents == 1


def test_the_converter_ends_with_its_parent() -> None:
    program = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})
import os
from test_sources_documents import started
print(started(), flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    status = Path(f"/proc/{done.stdout.strip()}/stat")
    while status.exists() and ") Z " not in status.read_text():  # nobody may be there to collect it
        time.sleep(0.05)


def unread() -> int:
    """Bytes that the converter's process has not taken yet."""
    assert process._socket is not None
    return int.from_bytes(fcntl.ioctl(process._socket, termios.TIOCOUTQ, b"\0\0\0\0"), sys.byteorder)


def started() -> int:
    """The converter's process."""
    text_of(HTML, "a.html")
    assert process._process is not None
    return process._process.pid


def test_an_empty_file_is_an_empty_document_whatever_its_format(tmp_path: Path) -> None:
    for name in ("a.pdf", "a.eml", "a.ipynb", "a.rtf"):
        (tmp_path / name).touch()
        assert read_one(tmp_path / name).text == ""


def test_without_the_extra_documents_are_left_out_with_one_hint(tmp_path: Path) -> None:
    for name in ("a.html", "b.pdf", "c.txt", "d.rtf"):
        (tmp_path / name).write_text(HTML)
    (tmp_path / "e.eml").write_text("Subject: s\nContent-Type: text/html\n\n<p>one <b>word</b>")
    program = f"""
import sys
for name in ("bs4", "pypdfium2", "striprtf"):
    sys.modules[name] = None  # as an import that fails
import logging; logging.basicConfig()
from embedmill.sources.files.source import FileSource
source = FileSource([{str(tmp_path)!r}])
entries = list(source.entries())
print([entry.id.rpartition("/")[2] for entry in entries], dict(source.skipped))
print(repr(source.read(entries[1]).text))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "['c.txt', 'e.eml'] {'needs embedmill[documents]': 3}"
    assert "word" in done.stdout
    assert done.stderr.count("pip install 'embedmill[documents]'") == 1
