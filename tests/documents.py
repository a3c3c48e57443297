"""Small documents of several formats, made without the libraries that read them."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence

SCHEMAS = "http://schemas.openxmlformats.org"
RELATIONS = f"{SCHEMAS}/officeDocument/2006/relationships"
WORD = (
    f'xmlns:w="{SCHEMAS}/wordprocessingml/2006/main" xmlns:r="{RELATIONS}" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    f'xmlns:wp="{SCHEMAS}/drawingml/2006/wordprocessingDrawing" xmlns:a="{SCHEMAS}/drawingml/2006/main" '
    f'xmlns:v="urn:schemas-microsoft-com:vml" xmlns:m="{SCHEMAS}/officeDocument/2006/math"'
)
ENCRYPTED_OFFICE = (
    bytes.fromhex("d0cf11e0a1b11ae1") + b"\0" * 504 + "EncryptedPackage".encode("utf-16-le") + b"\0" * 480
)


def zipped(parts: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return buffer.getvalue()


# --- Word ---------------------------------------------------------------------------------------------


def run(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def paragraph(*parts: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}{''.join(parts)}</w:p>"


def text_box(text: str) -> str:
    inside = f"<w:txbxContent>{paragraph(run(text))}</w:txbxContent>"
    return (
        "<w:drawing><wp:anchor><a:graphic><a:graphicData>"
        f"<wps:wsp><wps:txbx>{inside}</wps:txbx></wps:wsp>"
        "</a:graphicData></a:graphic></wp:anchor></w:drawing>"
    )


def docx(body: str, parts: dict[str, str] | None = None) -> bytes:
    """`body` is text or paragraphs; `parts` the content of others, by the name of their root without "w:"."""
    body = body if body.startswith("<") else paragraph(run(body))
    kind = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    others = {
        f"word/{name}.xml": f"<w:{root} {WORD}>{content}</w:{root}>"
        for key, content in (parts or {}).items()
        for name, root in [key.split(":")]
    }
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{SCHEMAS}/package/2006/content-types">'
            f'<Override PartName="/word/document.xml" ContentType="{kind}"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{SCHEMAS}/package/2006/relationships">'
            f'<Relationship Id="r1" Target="word/document.xml" Type="{RELATIONS}/officeDocument"/></Relationships>',
            "word/styles.xml": f'<w:styles {WORD}><w:style w:type="paragraph" w:styleId="H1">'
            '<w:name w:val="heading 1"/></w:style></w:styles>',
            "word/document.xml": f"<w:document {WORD}><w:body>{body}<w:sectPr/></w:body></w:document>",
            **others,
        }
    )


# --- PDF ----------------------------------------------------------------------------------------------

_PADDING = bytes.fromhex("28bf4e5e4e758a4164004e56fffa01082e2e00b6d0683e802f0ca9fe6453697a")


def line(text: str, left: float = 72, up: float = 720, size: int = 12) -> str:
    escaped = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /F1 {size} Tf {left} {up} Td ({escaped}) Tj ET\n"


def ruled(
    rows: Sequence[Sequence[str]], left: float = 72, up: float = 700, width: float = 120, height: float = 20
) -> str:
    """A table with a rule around each cell."""
    drawn = ""
    for y, row in enumerate(rows):
        for x, text in enumerate(row):
            corner, base = left + x * width, up - (y + 1) * height
            drawn += f"{corner} {base} {width} {height} re S\n" + line(text, corner + 4, base + 6, 10)
    return drawn


def pdf(*pages: str, password: str | None = None) -> bytes:
    """Pages of drawing operators, or of plain words; encrypted with a user password, which may be ""."""
    objects, encryption = _objects(pages, password)
    return pdf_file(objects, encryption)


def pdf_objects(*pages: str) -> list[bytes]:
    """The objects of such a file: catalog, pages, font, then each page and its drawing."""
    return _objects(pages, None)[0]


def _objects(pages: Sequence[str], password: str | None) -> tuple[list[bytes], bytes]:
    drawings = [page if not page or page.endswith("\n") else line(page) for page in pages]
    first = 4  # objects: catalog, pages, font, then two for each page
    kids = " ".join(f"{first + 2 * index} 0 R" for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    owner = hashlib.sha256(b"owner").digest()
    identity = b"0123456789abcdef"
    key = hashlib.md5(
        (password or "").encode() + _PADDING[: 32 - len(password or "")] + owner + b"\xfc\xff\xff\xff" + identity
    )
    for index, drawing in enumerate(drawings):
        number = first + 2 * index + 1
        content = drawing.encode("cp1252")
        if password is not None:
            content = _rc4(
                hashlib.md5(key.digest()[:5] + number.to_bytes(3, "little") + b"\0\0").digest()[:10], content
            )
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {number} 0 R"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    encryption = b""
    if password is not None:
        user = _rc4(key.digest()[:5], _PADDING)
        encryption = b" /ID [<%s> <%s>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <%s> /U <%s> >>" % (
            *[identity.hex().encode()] * 2,
            owner.hex().encode(),
            user.hex().encode(),
        )
    return objects, encryption


def pdf_file(objects: Sequence[bytes], more: bytes = b"") -> bytes:
    content, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (size, more, len(content))
    return content + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer


def _rc4(key: bytes, data: bytes) -> bytes:
    state = list(range(256))
    j = 0
    for i in range(256):
        j = (j + state[i] + key[i % len(key)]) % 256
        state[i], state[j] = state[j], state[i]
    out = bytearray()
    i = j = 0
    for byte in data:
        i = (i + 1) % 256
        j = (j + state[i]) % 256
        state[i], state[j] = state[j], state[i]
        out.append(byte ^ state[(state[i] + state[j]) % 256])
    return bytes(out)
