"""The page in a real browser: it is drawn, answers to hovering and searching, and takes no text for markup."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from browser import chromium
from embedmill.core.interfaces.store import Store
from embedmill.engine.run_log import Moment, RecordedRun, WorkerMemory
from embedmill.report.contents import read_contents
from embedmill.report.page import render_page
from embedmill.storage.registry import open_store
from store_samples import fingerprint, replacement

NOW = datetime(2026, 11, 27, tzinfo=UTC)

LONG = 120_000  # milliseconds: the test's own limit is enough

HOSTILE = [
    "</script><script>window.harmed = 1</script>",
    '<img src=x onerror="window.harmed = 2">',
    "<!-- <script> \u2028 window.harmed = 3 \u2029 -->",
    "a lone \ud800 surrogate, a NUL \0, an escape \x1b[31m",
    "' \" ` ${window.harmed = 4} {{window.harmed = 5}} @text{safe} \\u003c",
    "<svg onload=window.harmed=6><style>body { display: none }</style>",
    "$$\\require{all}$$ \\(x\\) \\[y\\] $$z$$",
]


def reported() -> dict[str, Any]:
    names = ("documents", "unchanged", "chunks", "embedded", "cached", "duplicates", "failed", "tokens", "retries")
    counts = dict.fromkeys(names, 7) | {"workers": 2, "restarts": 1, "interrupted": 0, "seconds": 2.5}
    words = {"model": HOSTILE[0], "precision": "f32", "executor": "processes"}
    worker = {"worker": 0, "documents": 5, "batches": 2, "rss_mb": 312.5, "restarts": 1, "causes": {HOSTILE[1]: 1}}
    return counts | words | {"stages": {"read": 0.5, HOSTILE[0]: 1.5}, "worker_stats": [worker]}


def some_runs() -> list[RecordedRun]:
    moments = [
        Moment(seconds, 10 * seconds, 0, seconds, [WorkerMemory(-1, 100.0 + seconds, 0), WorkerMemory(0, 300.0, 1)])
        for seconds in range(1, 9)
    ]
    return [
        RecordedRun("index", "", NOW.timestamp(), "finished", moments, reported()),
        RecordedRun("ingest", HOSTILE[1], NOW.timestamp(), f"failed: {HOSTILE[0]}", moments[:1]),
        RecordedRun("index", "", NOW.timestamp(), "killed", []),
    ]


def write_page(path: Path, store: Store, runs: list[RecordedRun]) -> str:
    text = render_page(store.url, read_contents(store), runs, NOW)
    path.write_bytes(text.encode())
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def store() -> Iterator[Store]:
    opened = open_store("memory:page")
    opened.bind(fingerprint(), HOSTILE[0])
    yield opened
    opened.forget(["/"])
    opened.close()


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page whose texts, names of files and of folders, and runs try to be markup."""
    store = open_store("memory:hostile")
    store.bind(fingerprint(), HOSTILE[0])
    documents = [
        replacement(f"/docs/{number}-{name.replace('/', '|')}/a.txt", HOSTILE) for number, name in enumerate(HOSTILE)
    ]
    store.replace([*documents, replacement("/docs/plain/bread.txt", ["Bread is baked in an oven.", "needle"])])
    return write_page(tmp_path_factory.mktemp("page") / "page.html", store, some_runs())


@contextmanager
def opened(browser: Browser, url: str, **options: Any) -> Iterator[Page]:
    """The page when all is drawn; at the end there must not have been an error, nor anything been loaded."""
    said: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type not in ("info", "log", "debug"):
            said.append(f"{message.type}: {message.text}")

    with browser.new_context(**options) as context:
        page = context.new_page()
        loaded: list[str] = []
        page.on("console", hear)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.on("request", lambda request: loaded.append(request.url))
        page.goto(url)
        page.wait_for_selector("html[data-ready=yes]", timeout=0)
        yield page
        assert page.evaluate("window.harmed") is None
        assert said == []
        assert [each for each in loaded if not each.startswith("data:")] == [url]


def over(page: Page, index: int) -> None:
    """Put the mouse on a point of the map."""
    x, y = page.evaluate(
        """index => {
            document.getElementById("map").scrollIntoView({block: "center"});
            const source = models().find((each) => each.name === "map");
            const figure = models().find(
                (each) => each.type === "Figure" && each.renderers.some((one) => one.data_source === source));
            const view = Bokeh.index.find_one(figure);
            const canvas = view.el.getBoundingClientRect();
            return [
                canvas.left + view.frame.x_scale.compute(source.get_column("x")[index]),
                canvas.top + view.frame.y_scale.compute(source.get_column("y")[index])];
        }""",
        index,
    )
    page.mouse.move(x + 2, y)
    page.mouse.move(x, y)


def shown_at(page: Page, index: int) -> str:
    return str(page.evaluate("index => data.map.texts[index]", index))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_hovered_and_searched(browser: Browser, hostile: str, scheme: str, tmp_path: Path) -> None:
    with opened(browser, hostile, color_scheme=scheme, viewport={"width": 1280, "height": 900}) as page:
        number = page.evaluate("data.map.texts.length")
        assert number == len(HOSTILE) ** 2 + 2
        for index in (0, 1, 3, number - 1):
            over(page, index)
            page.wait_for_selector("#tip:not([hidden])", timeout=0)
            tip = page.locator("#tip p").inner_text()
            assert tip in page.evaluate("data.map.texts.map((text) => text.trim())")
        page.mouse.move(0, 0)
        page.wait_for_selector("#tip", state="hidden", timeout=0)
        page.fill("#query", "bread OVEN")
        expect(page.locator("#found")).to_have_text("1 of 51 chunks", timeout=LONG)
        assert page.locator("#hits b").inner_text() == "plain/bread.txt:1"
        selected = "models().find((each) => each.name === 'map').selected.indices"
        (found,) = page.evaluate(selected)
        assert shown_at(page, found) == "Bread is baked in an oven."
        page.fill("#query", "<script>")
        expect(page.locator("#hits li").nth(5)).to_be_visible(timeout=LONG)
        page.locator("#hits button").first.focus()
        assert len(page.evaluate(selected)) == 1
        page.fill("#query", "no such words")
        expect(page.locator("#found")).to_have_text("0 of 51 chunks", timeout=LONG)
        page.fill("#query", "")
        expect(page.locator("#found")).to_have_text("", timeout=LONG)
        assert page.locator("figure").count() == 10
        picture = Image.open(io.BytesIO(page.screenshot(path=tmp_path / "page.png", full_page=True))).convert("RGB")
    colors = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    assert len(colors) > 100, "plots are drawn"
    ground = np.asarray(picture)[5, 5].mean()
    assert ground < 64 if scheme == "dark" else ground > 192


def test_on_a_narrow_screen_nothing_is_cut(browser: Browser, hostile: str) -> None:
    with opened(browser, hostile, viewport={"width": 390, "height": 800}) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_what_the_page_says_is_there_for_screen_readers(browser: Browser, hostile: str) -> None:
    with opened(browser, hostile) as page:
        labels = page.evaluate(
            """[...document.querySelectorAll("figure")].map((each) => each.getAttribute("aria-labelledby")
                .split(" ").map((id) => document.getElementById(id).textContent).join(": "))"""
        )
        assert len(labels) == 10 and all(re.fullmatch(r"[^:]+: .+", label, re.DOTALL) for label in labels)
        assert page.locator("#query").get_attribute("aria-label")


def test_it_holds_no_markup_of_the_store(hostile: str) -> None:
    text = Path(hostile.removeprefix("file://")).read_text()
    assert "harmed = 1</script>" not in text and "<img src=x" not in text and "<svg onload" not in text
    assert not re.search("[\ud800-\udfff\0\x1b]", text)
    (data,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert not re.search("[<>&\u2028\u2029]", data)


@pytest.mark.parametrize("texts", [[], ["one"], ["one", "one"], ["one", "two", "one"]])
def test_a_store_with_few_chunks(browser: Browser, store: Store, texts: list[str], tmp_path: Path) -> None:
    if texts:
        store.replace([replacement("/docs/a.txt", texts)])
    with opened(browser, write_page(tmp_path / "page.html", store, [])) as page:
        assert "No run of this user on this machine is remembered." in page.locator("main").inner_text()


def test_where_there_are_runs_and_no_store(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(render_page("sqlite:app.db", None, some_runs(), NOW))
    with opened(browser, (tmp_path / "page.html").as_uri()) as page:
        assert page.locator("figure").count() == 4
        assert page.locator("table").count() == 2


def test_long_texts_leave_the_page_below_its_limit(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    store.replace([replacement("/docs/a.txt", [f"{number} " + "語" * 1000 for number in range(300)])])
    contents = read_contents(store)
    whole = render_page(store.url, contents, [], NOW)
    assert "first 240 characters" in whole
    monkeypatch.setattr("embedmill.report.page._TEXTS", 100_000)
    short = render_page(store.url, contents, [], NOW)
    assert "first 60 characters" in short
    assert len(whole.encode()) - len(short.encode()) > 100_000
