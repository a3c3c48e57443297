"""A process that is forked from one that has embedded: it loads the model anew, or says what it cannot use."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cli_runs import SOURCE
from troubled import SMALL_MODEL

ENVIRONMENT = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{SOURCE}"}

BEGINNING = f"""
    import multiprocessing, os, signal, sys, threading, time
    import numpy as np
    from embedmill import load_embedder
    MODEL = {str(SMALL_MODEL)!r}
    TEXTS = [f"text {{n}} " + "word " * (n % 9) for n in range(60)]

    def told(work, *arguments):
        signal.alarm(60)  # a child that hangs fails the test
        try:
            print(work(*arguments), flush=True)
        except Exception as error:
            print(f"{{type(error).__name__}}: {{error}}", flush=True)

    def by_fork(work, *arguments):
        if not (child := os.fork()):
            told(work, *arguments)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    def by_multiprocessing(work, *arguments):
        process = multiprocessing.get_context("fork").Process(target=told, args=(work, *arguments))
        process.start()
        process.join()
        assert process.exitcode == 0

    def by_fork_and_exit(work, *arguments):
        sys.stdout.flush()
        if not (child := os.fork()):
            told(work, *arguments)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
"""


def run(tmp_path: Path, text: str, forked: str = "by_fork") -> str:
    """What the script has printed; `in_a_child` of it is one of the functions above."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(BEGINNING) + f"\nin_a_child = {forked}\n" + textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", path],
        env=ENVIRONMENT,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("forked", ["by_fork", "by_multiprocessing", "by_fork_and_exit"])
def test_an_embedder_loads_its_model_anew(tmp_path: Path, forked: str) -> None:
    """The threads of OpenVINO are not in the child: a call of the parent's model would wait for them for ever."""
    said = run(
        tmp_path,
        """
    embedder = load_embedder(MODEL, precision="f32", streams=2)
    expected = embedder.embed(TEXTS)
    work = lambda: bool((embedder.embed(TEXTS) == expected).all())
    in_a_child(work)
    in_a_child(lambda: in_a_child(work))  # a child's child
    print(work())
""",
        forked,
    )
    assert said.split() == ["True", "True", "None", "True"]


def test_a_fork_in_the_midst_of_calls_and_of_loading(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
    embedder = load_embedder(MODEL, precision="f32", streams=2)
    threading.Thread(target=embedder.load, daemon=True).start()
    expected = load_embedder(MODEL, precision="f32", streams=1)
    in_a_child(lambda: embedder.embed(TEXTS).shape)
    ended = False

    def calls():
        while not ended:
            embedder.embed(TEXTS)

    threads = [threading.Thread(target=calls) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        in_a_child(lambda: embedder.embed(TEXTS).shape)
    ended = True
    for thread in threads:
        thread.join()
""",
    )
    assert said.splitlines() == ["(60, 32)"] * 6


def test_a_searcher_opens_its_store_anew(tmp_path: Path) -> None:
    """As under a server that is loaded first and forked then."""
    said = run(
        tmp_path,
        """
    import embedmill
    open("a.txt", "w").write("some words about forks")
    embedmill.index("a.txt", store="sqlite:index.db", model=MODEL, precision="f32", cache=False)
    with embedmill.Searcher("sqlite:index.db") as searcher:
        work = lambda: [hit.text for hit in searcher.search("forks")]
        in_a_child(work)  # its model may be loading at this moment
        print(work())
        in_a_child(work)
        in_a_child(searcher.close)
        print(work())
""",
    )
    assert said.splitlines() == ["['some words about forks']"] * 3 + ["None", "['some words about forks']"]


def test_what_belongs_to_the_other_process_says_so(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
    from pathlib import Path
    from embedmill import EmbedderPool, PersistentCache
    from embedmill.executors.threads import ThreadExecutor
    from embedmill.runtime.streams import ordered, prefetch
    from embedmill.storage.registry import open_store
    from faulty import Factory, LightEmbedder
    from test_faults import batches

    with EmbedderPool(Factory(), workers=1) as pool:
        running = pool.run(batches())
        next(running)
        in_a_child(lambda: list(running))
        in_a_child(lambda: list(pool.run(batches())))
        in_a_child(lambda: (pool.close(), "closed")[1])
        print(len(list(running)))
    executor = ThreadExecutor(LightEmbedder())
    running = executor.run(batches())
    next(running)
    in_a_child(lambda: list(running))
    in_a_child(lambda: len(list(executor.run(batches()))))
    print(len(list(running)))
    with prefetch(range(100), depth=3) as items:
        next(items)
        in_a_child(lambda: list(items))
        print(len(list(items)))
    store = open_store("sqlite:index.db")
    in_a_child(store.status)
    in_a_child(lambda: store.mark_seen(["a"]))
    in_a_child(lambda: (store.close(), "closed")[1])
    lasting = os.fork()
    if not lasting:
        time.sleep(60)
        os._exit(0)
    store.close()
    open_store("sqlite:index.db").close()  # no lock is left with the child
    os.kill(lasting, signal.SIGKILL)
""",
    ).splitlines()
    forked = "RuntimeError: this process was forked in the midst of a run, whose threads it does not have: begin anew"
    pool = "RuntimeError: this pool belongs to the process that was forked: make a new one in this one"
    store = "StoreError: store index.db was opened before this process was forked: open it anew in this one"
    assert said == [pool, pool, "closed", "11", forked, "12", "11", forked, "99", store, store, "closed"]


def test_a_cache_is_opened_anew(tmp_path: Path) -> None:
    said = run(
        tmp_path,
        """
    from embedmill import PersistentCache
    fingerprint = load_embedder(MODEL, precision="f32").fingerprint
    cache = PersistentCache("vectors.db", memory_entries=0)
    cache.put_many({b"a" * 32: np.ones(32, np.float32)}, fingerprint)

    def work(key):
        cache.put_many({key: np.ones(32, np.float32)}, fingerprint)
        return len(cache.get_many([b"a" * 32, key], fingerprint))

    in_a_child(work, b"b" * 32)
    in_a_child(cache.close)
    print(work(b"c" * 32), len(cache.get_many([b"b" * 32], fingerprint)))
""",
    )
    assert said.split() == ["2", "None", "2", "1"]
