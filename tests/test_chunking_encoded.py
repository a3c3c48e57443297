"""Which stretches of a text are encoded data, and that nothing else is taken for it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import random
import textwrap
from itertools import pairwise
from urllib.parse import quote

import pytest

from embedmill.chunking.chunker import chunk
from embedmill.chunking.encoded import encoded_runs
from embedmill.chunking.options import Chunking
from embedmill.core.documents import Document, Kind

SEED = random.Random(7)
DATA = SEED.randbytes(3000)
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(300) + SEED.randbytes(2000) + bytes(100)  # with stretches of zeros
PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds. " * 40
B64 = base64.b64encode(DATA).decode()
LINES = "\n".join(textwrap.wrap(B64, 76))
PEM = "\n".join(["-----BEGIN CERTIFICATE-----", *textwrap.wrap(B64[:1200], 64), "-----END CERTIFICATE-----"])
DUMP = "\n".join(
    f"{place:08x}  {DATA[place : place + 16].hex(' ')}  |................|" for place in range(0, 1600, 16)
)
UU = (
    "begin 644 a.png\n"
    + "".join(binascii.b2a_uu(DATA[place : place + 45]).decode() for place in range(0, 2970, 45))
    + "`\nend\n"
)
PATCH = "GIT binary patch\nliteral 3000\n" + "".join(
    "z" + base64.b85encode(DATA[place : place + 52]).decode() + "\n" for place in range(0, 2600, 52)
)
RECORDS = "".join(f":10{place:04X}00{DATA[place : place + 16].hex().upper()}A5\n" for place in range(0, 640, 16))

ENCODED = {
    "base64": B64,
    "of text": base64.b64encode(PROSE.encode()).decode(),
    "of JSON": base64.b64encode(
        json.dumps({"a": [1, 2, 3], "name": "x"} | {str(i): i for i in range(99)}).encode()
    ).decode(),
    "of a picture": base64.b64encode(PICTURE).decode(),
    "for addresses": base64.urlsafe_b64encode(DATA).decode(),
    "base32": base64.b32encode(DATA).decode(),
    "lines": LINES,
    "quoted lines": textwrap.indent(LINES, "> "),
    "lines of a comment": textwrap.indent(LINES, "    # "),
    "lines in YAML": textwrap.indent(LINES, " " * 16),
    "lines of a program": "\n".join(f'    b"{line}"' for line in LINES.split("\n")),
    "lines with CR": LINES.replace("\n", "\r\n"),
    "in a JSON string": LINES.replace("\n", "\\n"),
    "with escaped slashes": B64.replace("/", "\\/"),
    "in an address": quote(B64, safe=""),
    "data URI": "data:image/png;base64," + B64,
    "short data URI": "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7R0lGODlhAQAB",
    "data URI of SVG": "data:image/svg+xml,"
    + quote("<svg xmlns='http://www.w3.org/2000/svg'>" + "<path d='M0 0'/>" * 30, safe=""),
    "hex": DATA.hex(),
    "HEX": DATA.hex().upper(),
    "lines of hex": "\n".join(textwrap.wrap(DATA.hex(), 76)),
    "array": ", ".join(f"0x{byte:02x}" for byte in DATA[:800]),
    "array of decimals": ", ".join(str(byte) for byte in DATA[:800]) + ",",
    "array of decimals in lines": ",\n  ".join(
        ", ".join(map(str, DATA[place : place + 16])) for place in range(0, 800, 16)
    ),
    "array of signed bytes": ", ".join(str(byte - 256 * (byte > 127)) for byte in DATA[:800]) + ",",
    "octal": "".join(f"\\{byte:03o}" for byte in DATA[:800]),
    "bytes in PostgreSQL": "'\\x" + DATA.hex() + "'",
    "bytes in other SQL": "0x" + DATA.hex().upper(),
    "vector": ", ".join(repr(SEED.gauss(0, 1)) for _ in range(400)) + ",",
    "base85": base64.b85encode(DATA).decode(),
    "string of bytes": "".join(f"\\x{byte:02x}" for byte in DATA[:800]),
    "colons": DATA[:256].hex(":"),
    "bare bytes": DATA[:400].hex(" "),
    "dump": DUMP,
    "records": RECORDS,
    "percent": "".join(f"%{byte:02X}" for byte in DATA[:800]),
    "key": "ssh-rsa " + B64[:372],
}


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Some words first: ", " and words after it"),
        ('{"name": "logo", "data": "', '", "width": 12}'),
        ("first line\n", "\nlast line"),
        ("<data>\n", "\n</data>\n"),
        ("", ""),
    ],
)
def test_encoded_data_is_found(name: str, before: str, after: str) -> None:
    data = ENCODED[name]
    if "\n" in data and not before.endswith("\n"):
        before, after = before + "\n", "\n" + after
    text = before + data + after
    found = sum(end - start for start, end in encoded_runs(text))
    assert found >= 0.97 * len(data) - 20
    left = "".join(text[end:start] for (_, end), (start, _) in pairwise([(0, 0), *encoded_runs(text), (len(text), 0)]))
    assert len(left) < len(before) + len(after) + 100
    for words in (before, after):
        assert not any(character.isalpha() for character in words) or words.strip()[:10] in left


@pytest.mark.parametrize("text", [PEM, UU, PATCH], ids=["PEM", "uuencode", "git's patches"])
def test_what_says_what_it_is_keeps_that(text: str) -> None:
    text = f"words before\n\n{text}\nwords after\n"
    [(start, end)] = encoded_runs(text)
    assert text[:start].rstrip().rpartition("\n")[2][:5] in ("-----", "begin", "liter")
    assert text[end:].strip().endswith("words after")
    assert end - start > 1000


def test_many_keys_are_one_run() -> None:
    text = f"# all roots\n{PEM}\n{PEM}\n\n{PEM}\nthe end"
    [(start, end)] = encoded_runs(text)
    assert text[:start] == "# all roots\n-----BEGIN CERTIFICATE-----\n"
    assert text[end:].strip() == "-----END CERTIFICATE-----\nthe end"


def test_what_has_no_words_between_two_runs_goes_with_them() -> None:
    text = f'{{"a": "{B64}",\n "", "{B64}"}}'
    assert len(encoded_runs(text)) == 1
    text = f'{{"a": "{B64}",\n "b": "{B64}"}}'
    assert len(encoded_runs(text)) == 2


def lines(make: object, count: int = 60) -> str:
    return "\n".join(make(str(number)) for number in range(count))  # type: ignore[operator]


def digest(kind: str, text: str) -> str:
    return hashlib.new(kind, text.encode()).hexdigest()


ORDINARY = {
    "the numbers up to 255": ", ".join(map(str, range(256))),
    "years": ", ".join(str(1900 + number % 120) for number in range(400)),
    "marks": ", ".join(str(number * 7 % 10) for number in range(400)),
    "percentages": ", ".join(str(number * 37 % 101) for number in range(400)),
    "a table of three columns": "\n".join(
        f"{number % 200},{number * 3 % 250},{number * 7 % 90}" for number in range(300)
    ),
    "prices": ", ".join(f"{number * 37 % 100}.{number % 100:02}" for number in range(400)),
    "temperatures": ", ".join(str(number * 37 % 100 - 50) for number in range(60)),
    "a program without spaces": "if(Array.isArray(e)){return(t=Object.keys(e)).map(function(N){return(e[N]||{}).A_1;})}"
    * 5,
    "a regular expression": r"^(?:[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*|<[A-Z]{2,4}>|\$[0-9]{1,3}|(?P<X>[^A-Z@#%]))" * 4,
    "prose": PROSE,
    "one long line": PROSE.replace("\n", " ") * 20,
    **{kind: lines(lambda text, kind=kind: digest(kind, text)) for kind in ("md5", "sha1", "sha256", "sha512")},
    "digests with names": lines(lambda text: f"{digest('sha256', text)}  file{text}.txt"),
    "digests in base64": lines(lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()),
    "integrity": lines(lambda text: "sha512-" + base64.b64encode(hashlib.sha512(text.encode()).digest()).decode()),
    "uuids": lines(lambda text: "-".join(textwrap.wrap(digest("md5", text), 8))),
    "a path": "/usr/share/" + "some-package/with_many/folders/Inside/of/it/" * 8,
    "an address": "https://example.org/" + "a-long-title-of-a-post-that-nobody-has-read/" * 6 + "?page=3",
    "snake case": "test_that_" + "_and_".join(["some_thing_happens", "another_does_not"] * 9),
    "camel case": "get" + "TheUserNameFromDatabaseConnectionPool" * 8,
    "constants": "MAX_" + "RETRY_COUNT_OF_ALL_WORKERS_" * 10,
    "a mangled name": "_ZNSt3__112basic_stringIcNS_11char_traitsIcEENS_9allocatorIcEEE" * 5,
    "mangled names": lines(
        lambda text: f"_ZN4llvm12DenseMapBaseINS_8DenseMapIPKNS_10BasicBlockENS_{text:0>4}allocatorIcEEE"
    ),
    "rulers": "\n".join([mark * 300 for mark in "-=_#/"] + ["+" + "-" * 200 + "+"]),
    "zeros": "0" * 500,
    "digits of pi": "314159265358979323846264338327950288419716939937510582097494459" * 5,
    "decimals": " ".join(f"{number:02}" for number in range(100)) + "\n" + ", ".join(map(str, range(400))),
    "DNA": ">chr1\n" + "\n".join(textwrap.wrap("".join(SEED.choices("ACGT", k=4000)), 60)),
    "a protein": "".join(SEED.choices("ACDEFGHIKLMNPQRSTVWY", k=600)),
    "a German word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3,
    "no spaces": "llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch" * 5,
    "Chinese": "这是一个没有空格的长句子" * 60,
    "Thai": "ภาษาไทยไม่มีช่องว่างระหว่างคำ" * 30,
    "Cyrillic address": "https://ru.wikipedia.org/wiki/" + quote("Заглавная_страница_и_ещё"),
    "escaped letters": json.dumps("Привет, мир! " * 40),
    "minified": "function a(b,c){return b+c}var d=1,e=function(f){for(var g=0;g<f.length;g++)h(f[g])};" * 50,
    "a table": "\n".join("| " + " | ".join(["cell"] * 8) + " |" for _ in range(50)),
    "numbers": "\n".join(f"{number},{number * 1.5},{number**2}" for number in range(300)),
    "colours": "\n".join(f"#{number * 4097:06x} #{number:06x}" for number in range(200)),
    "a time": "12:30:45 " * 50,
    "addresses of cards": lines(lambda text: ":".join(textwrap.wrap(digest("md5", text)[:12], 2))),
    "an IPv6 list": lines(lambda text: ":".join(textwrap.wrap(digest("md5", text), 4))),
    "a short array": "key = {" + ", ".join(f"0x{byte:02x}" for byte in range(100)) + "}",
    "a short key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8c5Qn0v1mQp0dE4Wl3Q2b6kYF8 ada@example",
    "SVG": '<path d="' + " ".join(f"M{number}.5 {number * 3}L{number},{number}Z" for number in range(300)) + '"/>',
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_text_stays(name: str) -> None:
    assert encoded_runs(ORDINARY[name]) == []


def count(texts: list[str]) -> list[int]:
    return [len(text) // 3 + 2 for text in texts]


@pytest.mark.parametrize("kind", list(Kind))
def test_chunks_have_all_text_but_encoded_data(kind: Kind) -> None:
    before, after = "# Title\n\nWords before ![a picture](", ") and words after it.\n\nMore.\n"
    text = f"{before}data:image/png;base64,{B64 * 10}{after}"
    chunks = list(chunk(Document("a", text, kind, b"", len(text), 0), count, Chunking(256)))
    assert len(chunks) == 2
    assert [text[each.start : each.end] for each in chunks] == [each.text for each in chunks]
    assert [chunks[0].text.strip(), chunks[1].text.strip()] == [before, after.strip()]
    assert chunks[1].line == 3
    bare = list(chunk(Document("a", B64, kind, b"", len(B64), 0), count, Chunking(256)))
    assert bare == []
