"""What every chunking keeps: offsets, limits, order, lines, graphemes, memory, time and few measurements."""

import itertools
import re
import sysconfig
import time
import tracemalloc
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedmill.chunking.chunker import Measure, chunk
from embedmill.chunking.options import Chunking
from embedmill.core.documents import Chunk, Document, Kind, embedding_input
from embedmill.core.errors import UsageError

TOKEN = re.compile(r"\w{1,4}|[^\w\s]")
JOINER = "\u200d"


def by_word(texts: Sequence[str]) -> list[int]:
    return [2 + len(TOKEN.findall(text)) for text in texts]


def by_byte(texts: Sequence[str]) -> list[int]:
    """As a tokenizer that knows no merges: about four times what is estimated for English."""
    return [2 + len(text.encode()) for text in texts]


def document(text: str, kind: Kind = Kind.TEXT) -> Document:
    return Document(id="document", text=text, kind=kind, content_hash=b"", size=0, mtime_ns=0)


def cut(text: str, kind: Kind = Kind.TEXT, limit: int = 64, measure: Measure = by_word) -> list[Chunk]:
    return list(chunk(document(text, kind), measure, Chunking(limit)))


def python_sources(least: int) -> list[str]:
    folder = Path(sysconfig.get_path("stdlib"))
    texts = (path.read_text("utf-8", "replace") for path in sorted(folder.glob("*.py")))
    return [text for text in texts if len(text) >= least]


class Counter:
    """Measures, and notes how many texts it was given, in how many calls."""

    def __init__(self, measure: Measure) -> None:
        self.measure = measure
        self.texts = 0
        self.largest = 0

    def __call__(self, texts: Sequence[str]) -> Sequence[int]:
        self.texts += len(texts)
        self.largest = max(self.largest, len(texts))
        return self.measure(texts)


CLUSTERS = [
    "a",
    "é",
    "e\u0301",
    "👨‍👩‍👧",
    "👍🏽",
    "🇩🇪",
    "✌️",
    "1️⃣",
    "각",
    "x\u0302\u0323\u0327",
    "字",
    "🏴\U000e0067\U000e007f",
]
WORDS = [
    *[
        "alpha",
        "beta",
        "the ",
        "of. ",
        "x = f(y)",
        "中文字符。",
        "naïve",
        "\u00a0",
        "\u2028",
        "\x0c",
        "\t",
        "\r",
    ],
    *[
        "\n",
        "\r\n",
        "\n\n",
        "\n\n\n",
        "    ",
        "\n    ",
        "\n        ",
        "# Head\n",
        "## Sub\n",
        "Title\n===\n",
        "---\n",
    ],
    *[
        "```\n",
        "~~~~\n",
        "def f(a):\n",
        "class A:\n",
        "}\n",
        "{",
        ";",
        ", ",
        "- item\n",
        "| a | b |\n",
        "!" * 40,
    ],
    *["word" * 60, " " * 300, "\n" * 90, "[" * 120, "👨‍👩‍👧", "e\u0301", "🇩🇪" * 9, "\u0301"],
]
texts = st.one_of(
    st.lists(st.sampled_from(WORDS), max_size=120).map("".join),
    st.text(max_size=400),
    st.text(alphabet="ab \n#`\r\t.", max_size=800),
)


def is_one_grapheme(text: str) -> bool:
    return all(
        unicodedata.category(after)[0] == "M"
        or JOINER in (before, after)
        or after == "\u200c"
        or "\U0001f3fb" <= after <= "\U0001f3ff"
        or "\U0001f1e6" <= min(before, after) <= max(before, after) <= "\U0001f1ff"
        or "\u1160" <= after <= "\u11ff"
        or "\U000e0020" <= after <= "\U000e007f"
        for before, after in itertools.pairwise(text)
    )


def ink(text: str) -> str:
    return "".join(text.split())


def check(source: Document, chunks: Sequence[Chunk], measure: Measure, limit: int) -> None:
    end = 0
    for index, each in enumerate(chunks):
        assert each.source_file == source.id
        assert each.chunk_index == index
        assert source.text[each.start : each.end] == each.text
        assert not source.text[end : each.start].strip()
        assert each.start >= end
        assert each.text.strip()
        assert each.text == each.text.rstrip()
        lead = each.text[: len(each.text) - len(each.text.lstrip())]
        assert not lead or (source.kind is Kind.CODE and "\n" not in lead)
        assert not lead or each.start == 0 or source.text[each.start - 1] == "\n"
        assert each.line == 1 + source.text[: each.start].count("\n")
        assert each.end_line == 1 + source.text[: each.end - 1].count("\n")
        assert each.token_count == measure([embedding_input(each.context, each.text)])[0]
        if each.token_count > limit:
            assert not each.context
            assert is_one_grapheme(each.text)
        end = each.end
    assert not source.text[end:].strip()


@settings(deadline=None)  # the machine may be busy
@given(texts, st.sampled_from(Kind), st.integers(4, 80), st.sampled_from([by_word, by_byte]))
def test_chunks_are_the_whole_text_in_order_within_the_limit(
    text: str, kind: Kind, limit: int, measure: Measure
) -> None:
    source = document(text, kind)
    if measure is by_byte:
        limit += 40  # a grapheme may have so many bytes
    check(source, list(chunk(source, measure, Chunking(limit))), measure, limit)


@settings(deadline=None)
@given(st.lists(st.sampled_from(CLUSTERS), min_size=1, max_size=300), st.sampled_from(Kind), st.integers(4, 60))
def test_no_cut_falls_within_a_grapheme(clusters: list[str], kind: Kind, limit: int) -> None:
    borders = set(itertools.accumulate(map(len, clusters), initial=0))
    for each in cut("".join(clusters), kind, limit, by_byte):
        assert {each.start, each.end} <= borders
        assert each.token_count <= limit or each.text in CLUSTERS


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("text", ["", " ", "\n\n\n", "\t\r\n \u00a0\u2028"])
def test_nothing_but_white_space_has_no_chunks(kind: Kind, text: str) -> None:
    assert cut(text, kind) == []


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_lines_are_counted_alike_with_and_without_carriage_returns(newline: str) -> None:
    text = newline.join(["one two three four", "five six seven eight", "", "nine ten eleven twelve", ""])
    assert [(each.line, each.end_line) for each in cut(text, limit=9)] == [(1, 1), (2, 2), (4, 4)]


def test_a_lone_carriage_return_ends_no_line() -> None:
    assert [(each.line, each.end_line) for each in cut("one\rtwo\rthree\nfour", limit=64)] == [(1, 2)]


def test_the_key_names_all_that_decides_the_boundaries() -> None:
    assert Chunking(256).key == Chunking(256).key != Chunking(128).key
    assert re.fullmatch(r"[\w-]{1,32}", Chunking(8192).key)


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="max_tokens is 0"):
        Chunking(0)


# What a person would call a good place.


def test_text_is_cut_between_paragraphs_rather_than_within() -> None:
    paragraphs = [f"Paragraph {n} begins here. " + f"It has a few words more, {n} of them. " * 3 for n in range(40)]
    text = "\n\n".join(paragraph.strip() for paragraph in paragraphs)
    for each in cut(text, limit=128):
        assert each.text.startswith("Paragraph")
        assert each.text.endswith("of them.")


@pytest.mark.parametrize("sentence", ["The quick brown fox jumps. ", "我们在这里测试中文。"])
def test_a_long_line_is_cut_between_sentences(sentence: str) -> None:
    chunks = cut(sentence * 200)
    assert len(chunks) > 5
    assert all(each.text.startswith(sentence.strip()) and each.text[-1] in ".。" for each in chunks)


def test_words_stay_whole_where_there_is_no_better_place() -> None:
    assert all(set(each.text.split()) == {"wordless"} for each in cut("wordless " * 500))


PYTHON = '''"""A module."""

import os


# Why this one exists.
@cached
def first(a, b):
    """Add."""
    total = a + b

    return total


class Second:
    """Holds things."""

    def method(self):
        value = self.value * 2

        return value

    @property
    def other(self):
        return [
            1,
            2,
        ]
'''
JAVASCRIPT = """// A module.
const os = require('os');
/** Adds. */
function first(a, b) {
  const total = a + b;

  return total;
}
class Second {
  constructor() {
    this.value = [
      1,
      2,
    ];
  }
}
"""


@pytest.mark.parametrize(
    ("text", "starts"),
    [
        (PYTHON, r'"""A module|import|# Why|class Second|    def method|    @property'),
        (JAVASCRIPT, r"// A module|const os|/\*\* Adds|function first|class Second|  constructor"),
    ],
)
def test_code_is_cut_before_definitions_with_what_leads_them_in(text: str, starts: str) -> None:
    chunks = cut(text * 8, Kind.CODE, limit=80)
    assert len(chunks) > 8
    assert all(re.match(starts, each.text) for each in chunks)


@pytest.mark.parametrize(
    ("beginning", "context"),
    [
        ("#!/usr/bin/env python3\n\n'''Compute digests.\n\nMore of it.\n'''\n", "Compute digests."),
        ('r"""\\\nHeaps, also\n  called queues.\n"""\n', "Heaps, also called queues."),
        ("// Copyright\n\n//! Parses dates.\n//!\n//! Slowly.\n\n", "Parses dates."),
        ("// Copyright\n\n// Package date parses\n// dates.\npackage date\n", "Package date parses dates."),
        ('# Copyright\n\n__doc__ = """Hash functions."""\n', "Hash functions."),
        ("#!/bin/sh\n#\n# Copyright (c) Somebody\n#\n# A tool to ship\n# things.\n#\n\n", "A tool to ship things."),
        ("/* Copyright */\n\n/**\n * Ships all things. */\n\n#include <x>\n", "Ships all things."),
        ("-- A table of users\n\n", "A table of users"),
        ("// What stands right above a function.\n", ""),
        ("#include <one/of/many.h>\n\n", ""),
        ("# -*- coding: utf-8 -*-\n\n", ""),
        ("# multiprocessing/connection.py\n\n", ""),
        ("# Copyright\n", ""),
        ('"use strict";\n', ""),
        ('"""\n\n"""\n', ""),
        ('"""never closed\n', ""),
        ("// Package without its line\n", ""),
        ("import os\n" + '"""A text in the midst."""\n', ""),
        ('"""Compute digests.\n\nMore."""\n', "Compute digests."),
        ('"Short doc."\n', "Short doc."),
        ('"use strict";\n\n// Ships things around.\n\nfoo()\n', "Ships things around."),
        ("'use strict'\n/** Ships things around. */\n\nfoo()\n", "Ships things around."),
        (
            "//go:build linux && amd64 && !cgo\n// +build linux\n\n// Package foo does things.\npackage foo\n",
            "Package foo does things.",
        ),
        ("# frozen_string_literal: true\n\n# Runs the jobs.\n\nclass X\n", "Runs the jobs."),
        ("# typed: strict\n\nfoo\n", ""),
        ("/* Copyright (c) X\n *\n * Permission is hereby granted, free of charge, to any.\n */\n\nfoo\n", ""),
        (
            "/* Declarations for getopt.\n   Copyright (C) 1989 X.\n   This file is part of it. */\n\nint x;\n",
            "Declarations for getopt.",
        ),
        (
            "// SPDX-License-Identifier: GPL-2.0\n/*\n * The scheduler of block devices.\n */\n\nint x;\n",
            "The scheduler of block devices.",
        ),
        ("#!/bin/bash\n# Backs up the database nightly.\nset -e\n", "Backs up the database nightly."),
        ("//! Parses dates.\nuse std;\n", "Parses dates."),
        ("#![allow(x)]\n//! Parses dates.\n\nuse std;\n", "Parses dates."),
        (
            "/*************************\n * Sorts whole lists.\n *************************/\n\nint x;\n",
            "Sorts whole lists.",
        ),
        ("/**\n * @file whales.h\n * @brief Counts the whales.\n */\n\nint x;\n", "Counts the whales."),
        ("/**\n * @fileoverview Draws the charts.\n */\n\nfoo\n", "Draws the charts."),
        ("#ifndef X_H\n#define X_H\n/* Trees of many kinds. */\n\nint x;\n", "Trees of many kinds."),
        ("--[[ Loads the levels. ]]\n\nlocal x\n", "Loads the levels."),
        ("<?php\n\n/**\n * Sends the mails.\n */\n\nnamespace X;\n", "Sends the mails."),
        ("# fmt: off\n# isort: skip_file\n\nimport os\n", ""),
        ("# mypy: allow-untyped-defs\n\nimport os\n", ""),
        ("# Created on Mon Jan 1 10:00:00 2020\n\nimport os\n", ""),
        ("# TODO: rewrite all of this\n\nimport os\n", ""),
        ('/// <reference types="node" />\n\nfoo\n', ""),
        ("/* jshint node:true */\n\nfoo\n", ""),
        ("#!/bin/sh\n# Usage: foo.sh [-v] FILE\n#\n# Sends a file away.\n\nfoo\n", "Sends a file away."),
        ("# Adds two numbers.\ndef add(): pass\n", ""),
        ("// What stands right above a function.\nfunction x()\n", ""),
        ("/* Adds. */\nint add();\n", ""),
        ("#include <one/of/many.h>\n\n", ""),
        ("// This code is in the public domain.\n\nfoo\n", ""),
        ("\ufeff# A table of users\n\nx\n", "A table of users"),
    ],
)
def test_code_carries_what_its_file_says_it_is_for(beginning: str, context: str) -> None:
    body = "".join(f"def function_{n}(value):\n    return value + {n}\n\n" for n in range(60))
    chunks = cut(beginning + body, Kind.CODE)
    assert not chunks[0].context  # it holds the words themselves
    assert {each.context for each in chunks[1:]} == {context}


def test_the_rest_of_a_docstring_carries_its_beginning() -> None:
    text = '"""Hash functions.\n\n' + "One of many words about them.\n" * 40 + '"""\n'
    first, *others = cut(text, Kind.CODE)
    assert not first.context and others
    assert all(each.context == "Hash functions." for each in others)


def test_a_long_summary_takes_no_more_than_its_share() -> None:
    text = f'"""{"many words " * 100}"""\n' + "value = compute(value)\n" * 200
    chunks = cut(text, Kind.CODE)
    contexts = {each.context for each in chunks if each.context}
    assert len(contexts) == 1
    assert contexts.pop() in "many words " * 100
    assert max(by_word([each.context])[0] for each in chunks) <= 64 / 2


def test_code_keeps_the_indentation_of_its_first_line() -> None:
    text = "class A:\n" + "".join(f"    def method_{n}(self):\n        return {n} + 1\n\n" for n in range(60))
    starts = [each.text.split("(")[0] for each in cut(text, Kind.CODE)[1:]]
    assert starts
    assert all(re.fullmatch(r"    def method_\d+", start) for start in starts)


# Findings, "What users of the existing tools suffer from".


def test_finding_2_not_everything_must_fit_in_memory() -> None:
    text = "\n\n".join(f"Paragraph {n} of a text that has a great many of them." for n in range(60_000))
    source, measure = document(text), Counter(by_word)
    tracemalloc.start()
    try:
        chunks = chunk(source, measure, Chunking(128))
        next(chunks)
        assert measure.texts <= 64 * 4  # 64 pieces, and what those that were too long were cut into
        for _ in chunks:
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(text) > 3_000_000
    assert peak < 1_000_000  # bytes
    assert measure.largest <= 64 * 4


def test_each_text_is_measured_once_in_the_ordinary_case() -> None:
    measure, chunks, full = Counter(by_word), 0, 0
    for text in python_sources(20_000)[:40]:
        sizes = [each.token_count for each in cut(text, Kind.CODE, 256, measure)]
        chunks += len(sizes)
        full += sum(sizes)
    assert measure.texts < 1.2 * chunks
    assert 0.6 < full / chunks / 256 < 0.95


def test_the_same_text_is_cut_the_same_way_whatever_came_before() -> None:
    first, second = python_sources(50_000)[:2]
    alone = cut(second, Kind.CODE)
    cut(first, Kind.CODE)
    assert cut(second, Kind.CODE) == alone


def test_finding_11_an_over_long_context_or_word_is_neither_truncated_nor_retried_for_ever() -> None:
    text = f"# {'🏴' * 150}\n\n" + "x" * 5_000 + "\n\nwords and more words\n" * 50
    source = document(text, Kind.MARKDOWN)
    measure = Counter(by_byte)
    chunks = list(chunk(source, measure, Chunking(32)))
    check(source, chunks, by_byte, 32)
    assert "".join(ink(each.text) for each in chunks) == ink(text)
    assert measure.texts < 4 * len(chunks)


LINES = {
    "no white space": "abcdefghij",
    "newlines": "\n",
    "spaces": " ",
    "brackets": "[",
    "headings": "# x\n",
    "fences": "````\n```\n",
    "setext": "x\n===\n\n",
    "short lines": "a\n",
    "closers": "}\n",
    "comments that nothing closes": "<!--\n<pre>\n<?\n",
    "comments": "<!--\n# x\n-->\n",
    "combining marks": "\u0301",
    "flags": "🇩🇪",
    "carriage returns": "\r\n",
    "deep": "\t" * 50 + "x\n",
}


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("kind", Kind)
def test_time_grows_with_the_length_and_no_faster(name: str, kind: Kind) -> None:
    def seconds(size: int) -> float:
        source = document("a" + LINES[name] * (size // len(LINES[name])) + "b", kind)
        best = float("inf")
        for _ in range(2):
            started = time.process_time()
            for _ in chunk(source, lambda texts: [1] * len(texts), Chunking(256)):
                pass
            best = min(best, time.process_time() - started)
        return best

    assert seconds(240_000) < 12 * max(seconds(60_000), 0.004)  # 4 where it is linear, 16 where it is quadratic
