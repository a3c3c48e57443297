"""PDF, Word, PowerPoint and HTML: small real files, made here."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from embedmill.errors import SourceError
from embedmill.records import Document, Kind
from embedmill.sources.files import FileSource

HTML = "<html><head><title>t</title></head><body><h1>Heading</h1><p>Größe und <b>Gewicht</b></p></body></html>"


def read_one(path: Path) -> Document:
    source = FileSource([path])
    [entry] = source.entries()
    document = source.read(entry)
    assert document is not None, source.skipped
    return document


def zipped(parts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def docx(paragraph: str) -> bytes:
    schemas = "http://schemas.openxmlformats.org"
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{schemas}/package/2006/content-types">'
            f'<Override PartName="/word/document.xml" ContentType="{kind}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{schemas}/package/2006/relationships">'
            '<Relationship Id="r1" Target="word/document.xml" '
            f'Type="{schemas}/officeDocument/2006/relationships/officeDocument"/></Relationships>',
            "word/document.xml": f'<w:document xmlns:w="{schemas}/wordprocessingml/2006/main">'
            f"<w:body><w:p><w:r><w:t>{paragraph}</w:t></w:r></w:p></w:body></w:document>",
        }
    )


def pptx(title: str) -> bytes:
    presentation = pytest.importorskip("pptx").Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[5])
    slide.shapes.title.text = title
    buffer = io.BytesIO()
    presentation.save(buffer)
    return buffer.getvalue()


def pdf(line: str) -> bytes:
    drawing = f"BT /F1 24 Tf 72 720 Td ({line}) Tj ET".encode() if line else b""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
        b" /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawing), drawing),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(content)
    return content + b"xref\n0 6\n0000000000 65535 f \n" + table + trailer


@pytest.fixture
def markitdown() -> None:
    pytest.importorskip("markitdown")


@pytest.mark.usefixtures("markitdown")
@pytest.mark.parametrize(
    ("name", "make"),
    [("a.docx", docx), ("a.pptx", pptx), ("a.pdf", pdf), ("a.PDF", pdf)],
)
def test_text_of_office_documents(tmp_path: Path, name: str, make: Callable[[str], bytes]) -> None:
    path = tmp_path / name
    path.write_bytes(make("Seventeen green bottles"))
    document = read_one(path)
    assert "Seventeen green bottles" in document.text
    assert document.kind is Kind.MARKDOWN
    assert document.size == path.stat().st_size


@pytest.mark.usefixtures("markitdown")
@pytest.mark.parametrize(
    "content",
    [
        HTML.encode(),
        HTML.encode("utf-16"),
        HTML.replace("<title>", '<meta charset="iso-8859-1"><title>').encode("latin-1"),
        HTML.replace("<title>", '<meta charset="no-such-thing"><title>').encode(),
        HTML.replace("<title>", '<meta http-equiv="c" content="text/html; charset=utf-16"><title>').encode(),
    ],
    ids=["utf-8", "utf-16", "declared latin-1", "declared nonsense", "declared utf-16, is utf-8"],
)
def test_html_in_any_encoding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.html").write_bytes(content)
    document = read_one(tmp_path / "a.html")
    assert document.text == "# Heading\n\nGröße und **Gewicht**"
    assert document.kind is Kind.MARKDOWN


@pytest.mark.usefixtures("markitdown")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.docx", b"not a zip file"),
        ("a.docx", zipped({"nothing": "here"})),
        ("a.pptx", zipped({"nothing": "here"})),
        ("a.pdf", b"%PDF-1.4\ndamaged"),
        ("a.pdf", b"no PDF at all"),
        ("bomb.docx", zipped({"word/document.xml": " " * 1024}).replace(b"\0\4\0\0", b"\xff" * 4)),  # 4 GiB
    ],
)
def test_a_damaged_document_is_an_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=name) as caught:
        read_one(path)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("markitdown")
def test_a_document_without_text_has_none_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "scan.pdf").write_bytes(pdf(""))
    with caplog.at_level(logging.WARNING, "embedmill"):
        assert read_one(tmp_path / "scan.pdf").text == ""
    assert "scan.pdf: no text found" in caplog.text


def test_an_empty_file_is_an_empty_document_whatever_its_format(tmp_path: Path) -> None:
    pytest.importorskip("markitdown")
    (tmp_path / "a.pdf").touch()
    assert read_one(tmp_path / "a.pdf").text == ""


def test_without_the_extra_documents_are_left_out_with_one_hint(tmp_path: Path) -> None:
    for name in ("a.html", "b.pdf", "c.txt"):
        (tmp_path / name).write_text(HTML)
    program = f"""
import sys
sys.modules["markitdown"] = None  # as an import that fails
import logging; logging.basicConfig()
from embedmill.sources.files import FileSource
source = FileSource([{str(tmp_path)!r}])
print([entry.id.rpartition("/")[2] for entry in source.entries()], dict(source.skipped))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "['c.txt'] {'needs embedmill[documents]': 2}\n"
    assert done.stderr.count("pip install 'embedmill[documents]'") == 1
