from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embedmill.stores.globs import compile_glob


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("*.py", ["a.py", "/x/a.py", "/x/y/.py"], ["a.pyc", "/x/a.py/b", "a.py\n"]),
        ("src/**/*.py", ["/p/src/a.py", "src/a/b/c.py"], ["/p/xsrc/a.py", "/p/src/a.txt"]),
        (
            "/abs/path/**",
            ["/abs/path/a", "/abs/path/a/b"],
            ["/x/abs/path/a", "/abs/pathetic/a", "abs/path/a"],
        ),
        ("**", ["", "a", "/a/b"], []),
        ("/**", ["/a", "/a/b"], ["a"]),
        ("docs/", ["/p/docs/a.md", "docs/x/y"], ["/p/docs", "/p/mydocs/a"]),
        ("a?c", ["abc", "/x/a.c"], ["a/c", "ac", "abbc"]),
        ("[a-c]x", ["ax", "/y/cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["ax", "y//x", "/x"]),
        ("[]]x", ["]x"], ["x"]),
        ("[z-a]x", [], ["ax", "zx", "-x"]),
        ("[|&a~^b\\-]x", ["ax", "|x", "&x", "\\x", "^x"], ["cx"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a**z", ["az", "a/b/z", "abz"], ["ab"]),
        ("**/x/**/y", ["x/y", "a/x/b/c/y"], ["ax/y", "x/by"]),
        ("term.1+2", ["term.1+2"], ["termx1+2"]),
        ("Ä*", ["/x/Äpfel"], ["Apfel"]),
    ],
)
def test_patterns_find_what_one_expects(pattern: str, fits: list[str], fits_not: list[str]) -> None:
    glob = compile_glob(pattern)
    assert [name for name in fits if not glob.match(name)] == []
    assert [name for name in fits_not if glob.match(name)] == []


def plainly_matches(pattern: str, name: str) -> bool:
    """The definition, by trying everything."""

    def whole(p: str, n: str, segment_start: bool) -> bool:
        if not p:
            return not n
        if segment_start and p.startswith("**/"):
            return whole(p[3:], n, True) or any(
                whole(p[3:], n[i + 1 :], True) for i, char in enumerate(n) if char == "/"
            )
        if p.startswith("**"):
            rest = p.lstrip("*")
            return any(whole(rest, n[i:], False) for i in range(len(n) + 1))
        if p[0] == "*":
            length = n.find("/") if "/" in n else len(n)
            return any(whole(p[1:], n[i:], False) for i in range(length + 1))
        if not n or (p[0] == "?" and n[0] == "/") or p[0] not in ("?", n[0]):
            return False
        return whole(p[1:], n[1:], p[0] == "/")

    if pattern.endswith("/"):
        pattern += "**"
    starts = [0] + [i + 1 for i, char in enumerate(name) if char == "/"]
    return any(whole(pattern, name[i:], True) for i in (starts[:1] if pattern.startswith("/") else starts))


@given(st.text("ab/*?", max_size=9), st.text("ab/", max_size=9))
@example("**/a*b/**a", "a/ab/b/a")
def test_equals_its_definition(pattern: str, name: str) -> None:
    assert bool(compile_glob(pattern).match(name)) == plainly_matches(pattern, name)


@pytest.mark.parametrize("part", ["*a", "**a", "**/a*"])
def test_no_pattern_takes_exponential_time(part: str) -> None:
    began = time.perf_counter()
    assert not compile_glob(part * 20 + "b").match("/".join(["a" * 30] * 30))
    assert time.perf_counter() - began < 5
