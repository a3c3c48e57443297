"""Bytes to text, and what is no text at all."""

from __future__ import annotations

import codecs
import gzip
import random
import runpy
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.sources.files.decoding import decode, decoded
from embedmill.sources.files.skips import LeftOut, Skip

GERMAN = "Größe, Übermaß und Ärger: 5 € für „nichts“.\r\nZweite Zeile\n"
RUSSIAN = "Это простой текст на русском языке, который нужно распознать.\n"
JAPANESE = "こんにちは世界。日本語のテキストです。\n"
CHINESE = "你好，世界。这是一个测试文件，里面有一些汉字。\n"
TRADITIONAL = "你好，世界。這是一個測試文件，裡面有一些漢字。\n"
KOREAN = "안녕하세요 세계. 이것은 한국어 텍스트입니다.\n"
GREEK = "Καλημέρα κόσμε, πώς είστε σήμερα;\n"


@given(st.text(st.characters(exclude_categories=["C"])))
def test_utf8_comes_back_as_it_is(text: str) -> None:
    if not text.startswith("\ufeff"):
        assert decode(text.encode()) == text


@settings(deadline=None)  # the first guess loads what the guesses are made with
@given(st.binary(max_size=200))
def test_whatever_comes_out_can_be_stored(data: bytes) -> None:
    try:
        text = decode(data)
    except LeftOut as left_out:
        assert left_out.reason is Skip.BINARY
    else:
        text.encode()  # fails on lone surrogates
        assert "\0" not in text


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("text", [GERMAN, JAPANESE, "🦉 owl\n", ""])
def test_byte_order_marks_are_obeyed_and_taken_off(mark: bytes, encoding: str, text: str) -> None:
    assert decode(mark + text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", [GERMAN, RUSSIAN, "x = 1\n" * 5000, GREEK + "🦉\n"])
def test_wide_encodings_without_a_mark(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("latin-1", "Le café est fermé à Noël.\n"),
        ("latin-1", "naïve"),
        ("latin-1", "def f():\n    pass  # é\n"),
        ("latin-1", "¿Qué?"),
        ("cp1252", GERMAN),
        ("cp1252", "5 € – “ok”"),
        ("cp1252", "größer"),
        ("cp1252", "x = 1  # Maß und Größe\n"),
        ("cp1250", "Wszyscy mieszkańcy wioski świętowali ukończenie żniw.\n"),
        ("iso8859_2", "Děti si hrály na zahradě, když náhle začalo pršet.\n"),
        ("cp850", "Die Bücher stehen über dem großen Tisch, für später schön gemütlich."),
        ("mac_roman", "Die Bücher stehen über dem großen Tisch, für später schön gemütlich."),
        ("koi8_r", "Привет, мир\n"),
        ("cp1251", RUSSIAN),
        ("cp1251", "x = 1  # привет\n"),
        ("koi8_r", RUSSIAN),
        ("cp1253", GREEK),
        ("cp932", JAPANESE),
        ("euc_jp", JAPANESE),
        ("gb18030", CHINESE),
        ("big5", TRADITIONAL),
        ("cp949", KOREAN),
        ("cp852", "Az őszi erdőben hűvös szél fújt, és a gyerekek gyűjtötték a leveleket.\n"),
        ("cp852", "Včera jsme byli na dlouhé procházce, kde svítilo slunce.\n"),
        ("cp857", "Çocuklar bahçede güneşin altında oynuyor ve şarkı söylüyorlar.\n"),
        ("mac_turkish", "Çocuklar bahçede güneşin altında oynuyor ve şarkı söylüyorlar.\n"),
        ("cp775", "Šiandien oras labai gražus, vaikai žaidžia parke ir dainuoja.\n"),
        ("cp860", "Amanhã também vão chegar as informações sobre a eleição.\n"),
        ("iso8859_6", "اليوم الطقس جميل والأطفال يلعبون في الحديقة.\n"),
    ],
)
def test_older_encodings_are_recognised(encoding: str, text: str) -> None:
    assert decode(text.encode(encoding)) == text


def test_one_foreign_byte_far_into_a_file_is_enough() -> None:
    text = "nothing special here\n" * 50_000 + "naïve café\n" + "nor here\n" * 50_000
    assert decode(text.encode("latin-1")) == text


def test_mostly_utf8_with_a_few_bad_bytes_is_still_utf8() -> None:
    data = (JAPANESE + RUSSIAN).encode() + b"caf\xe9\n" + GREEK.encode() + b"\xff\n"
    assert decode(data) == JAPANESE + RUSSIAN + "caf\ufffd\n" + GREEK + "\ufffd\n"


def test_encoded_surrogates_are_replaced() -> None:
    data = JAPANESE.encode() + "\ud800".encode("utf-8", "surrogatepass") + RUSSIAN.encode()
    assert decode(data) == JAPANESE + "\ufffd" * 3 + RUSSIAN
    assert decode(codecs.BOM_UTF16_LE + "a\ud800b\n".encode("utf-16-le", "surrogatepass")) == "a\ufffdb\n"


def test_line_ends_are_kept() -> None:
    assert decode(b"a\r\nb\rc\n\x0cd\xe2\x80\xa8e") == "a\r\nb\rc\n\x0cd\u2028e"


def test_a_nul_beyond_the_first_8000_bytes_is_replaced_in_place() -> None:
    assert decode(b"x" * 8000 + b"\0y") == "x" * 8000 + "\ufffdy"


def test_binary_data_behind_text_becomes_spaces_and_nothing_moves() -> None:
    """A script that unpacks itself, a log with a damaged block, a PostScript file with a picture."""
    data = random.Random(7).randbytes(20_000)
    before, after = "echo wörter\n" * 8000, "The end. Größe\n" * 200
    text = decode(before.encode() + data + b"\n" + after.encode())
    assert text.startswith(before)
    assert text.endswith(after)
    between = text[len(before) : -len(after)]
    assert not between.strip()
    assert len(between) == len(data) + 1
    assert between.count("\n") == data.count(b"\n") + 1


def test_a_few_control_characters_in_long_text_are_no_data() -> None:
    text = ("page\x1a one \x01 \n" + "words " * 200 + "\n") * 20
    assert decode(text.encode()) == text


def test_a_nul_within_the_first_8000_bytes_is_binary() -> None:
    with pytest.raises(LeftOut):
        decode(b"x" * 7999 + b"\0y")


seeded = random.Random(7)


@pytest.mark.parametrize(
    "data",
    [
        b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"rest",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"%PDF-1.4\n",
        gzip.compress(GERMAN.encode() * 50, mtime=0),
        seeded.randbytes(5000),
        seeded.randbytes(5000).replace(b"\0", b"\1"),
        seeded.randbytes(5000).translate(bytes(range(256)), bytes(range(32))),
        struct.pack("<1000h", *(seeded.randrange(-9000, 9000) for _ in range(1000))),
        struct.pack("<1000i", *(seeded.randrange(100) for _ in range(1000))),
        struct.pack(">1000H", *range(1000)),
        codecs.BOM_UTF16_LE + seeded.randbytes(5000),
        b"text, then\n" * 800 + bytes(range(32)) * 800,
    ],
    ids=[
        "elf",
        "png",
        "pdf",
        "gzip",
        "random",
        "no zeros",
        "no controls",
        "sound",
        "ints",
        "count",
        "mark",
        "tail",
    ],
)
def test_data_is_not_text(data: bytes) -> None:
    with pytest.raises(LeftOut) as caught:
        decode(data)
    assert caught.value.reason is Skip.BINARY


def test_terminal_colours_are_text() -> None:
    assert decode(b"\x1b[31mred\x1b[0m " * 100).startswith("\x1b[31mred")


def test_the_matrix_of_languages_and_encodings() -> None:
    """Turkish was taken for Baltic, Hungarian and Czech got wrong letters, ISO-2022-JP and Mac Cyrillic none at all."""
    matrix = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "encodings.py"))
    right: dict[str, list[bool]] = {}
    for _, encoding, length, text in matrix["cases"]():
        right.setdefault(length, []).append(matrix["decoded"](text.encode(encoding)) == text)
    assert len(right) == 3
    for length, hits in right.items():
        assert sum(hits) / len(hits) >= 0.95, length


TURKISH = "Şu ağaçların gölgesinde ışıklar söner; çocuklar İstanbul'da.\n"


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1254", TURKISH),
        ("cp850", "Größe é ñ\n"),
        ("koi8-r", "Да\n"),
        ("shift_jis", "日本\n"),
        ("iso2022_jp", JAPANESE),
        ("utf-16-le", "ab\n"),
        ("utf-16-be", GREEK),
        ("utf-32-le", "x"),
        ("utf-7", RUSSIAN),
        ("cp037", "IBM's own letters\n"),
    ],
)
def test_an_encoding_that_is_given_is_obeyed(encoding: str, text: str) -> None:
    assert decoded(text.encode(encoding), encoding) == (text, "")


def test_a_mark_and_utf8_win_over_an_encoding_that_is_given() -> None:
    """A folder may have both."""
    assert decode(codecs.BOM_UTF16_LE + GREEK.encode("utf-16-le"), "cp1254") == GREEK
    assert decode(TURKISH.encode(), "cp1254") == TURKISH
    assert decode(b"plain", "cp1254") == "plain"
    assert decode(b"caf\xe9 " + JAPANESE.encode(), "utf-8") == "caf\ufffd " + JAPANESE
    with pytest.raises(LeftOut):
        decode(random.Random(1).randbytes(3000), "cp1254")


def test_which_encoding_was_guessed_is_told() -> None:
    assert decoded(GERMAN.encode("cp1252")).guessed == "cp1252"
    assert decoded(JAPANESE.encode("iso2022_jp")).guessed == "iso2022_jp"
    for plain in (b"", b"ascii", GERMAN.encode(), GERMAN.encode("utf-16"), GERMAN.encode() * 100 + b"\xff"):
        assert decoded(plain).guessed == ""
