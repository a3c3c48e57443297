"""A file is replaced whole, or not at all."""

from __future__ import annotations

import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from embedmill.runtime.atomic import write_atomically


def test_a_file_is_replaced_with_its_permissions_and_through_links(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"before")
    target.chmod(0o640)
    link.symlink_to(target)
    write_atomically(link, [b"after"])
    assert target.read_bytes() == b"after" and link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_a_new_file_has_the_permissions_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "usual").write_bytes(b"")
    write_atomically(tmp_path / "new", [b"text"])
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"before")
    code = (
        "import sys, signal; from pathlib import Path; from embedmill.runtime.atomic import write_atomically;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); write_atomically(Path(sys.argv[1]), [b'x' * 100_000])"
    )

    def few_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    done = subprocess.run([sys.executable, "-Bc", code, target], capture_output=True, text=True, preexec_fn=few_bytes)
    assert done.returncode == 1 and "File too large" in done.stderr
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        write_atomically(tmp_path / "none" / "file", [b""])


def test_what_is_no_file_is_written_to() -> None:
    code = (
        "from pathlib import Path; from embedmill.runtime.atomic import write_atomically;"
        "write_atomically(Path('/dev/stdout'), [b'some ', b'text'])"
    )
    assert subprocess.run([sys.executable, "-Bc", code], capture_output=True).stdout == b"some text"
