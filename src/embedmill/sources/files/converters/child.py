"""The process that converts documents: a library that crashes, hangs or takes all memory ends this process alone.

It gets a document, answers with its text, and ends when it has had nothing to do for a while, or its parent is gone.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import resource
import select
import signal
import socket
import struct
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from embedmill.sources.files.converters.result import Converted, NeedsPassword, Unconvertible
from embedmill.sources.files.skips import LeftOut

IDLE: Final = 10.0  # seconds
HEADER: Final = struct.Struct("<II")
"""Before each message: the bytes of its facts as JSON, and those of its content."""

MEMORY: Final = 3 << 30
"""Bytes of addresses. Office documents of 64 MB were converted in less than a third of it."""

SECONDS: Final = 60.0
SECONDS_PER_MB: Final = 4.0
"""Processor time that a document may take. Ordinary ones take 0.01 to 1 s; PDFs of 1,000 pages some 10 s."""

_MAX_UNZIPPED: Final = 1 << 30  # bytes: a file of a few kilobytes can be made to unzip to all the memory there is
_OLE: Final = bytes.fromhex("d0cf11e0a1b11ae1")  # the container of old office files, and of encrypted new ones
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")
_PDF_MARK: Final = 1024  # bytes in which readers of PDFs look for its mark
_DEEPEST: Final = 10_000  # calls within calls: pages nest deeply, and Python's own 1,000 are not enough for some
_NOTES: Final = 3  # of what libraries remark on a document, so many are passed on


def main(descriptor: int) -> None:
    """Answer until the other end is closed. `descriptor` is our end of a pair of sockets."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    memory = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (memory, most))
    sys.setrecursionlimit(_DEEPEST)
    warnings.simplefilter("ignore")  # nobody sees them, and none is an error here
    threading.Thread(target=_end_with_parent, args=(descriptor,), daemon=True).start()
    with socket.socket(fileno=descriptor) as parent, parent.makefile("rb") as requests:
        while select.select([parent], [], [], IDLE)[0]:
            header = requests.read(HEADER.size)
            if len(header) < HEADER.size:
                return
            facts_size, size = HEADER.unpack(header)
            facts, data = requests.read(facts_size), requests.read(size)
            if len(facts) + len(data) < facts_size + size:
                return
            answer, text = _answer(json.loads(facts)["suffix"], data)
            packed = json.dumps(answer).encode()
            with suppress(BrokenPipeError):
                parent.sendall(HEADER.pack(len(packed), len(text)) + packed)
                parent.sendall(text)


def _end_with_parent(descriptor: int) -> None:
    """End the process, whatever it is doing, when nobody waits for its answer any more."""
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


def _answer(suffix: str, data: bytes) -> tuple[dict[str, Any], bytes]:
    """What to tell of a document, and its text in UTF-8."""
    _allow(SECONDS + SECONDS_PER_MB * len(data) / 1e6)
    remarks = _Remarks()
    logging.getLogger().addHandler(remarks)
    try:
        converted = _convert(suffix, data)
        text = converted.text.encode("utf-8", "replace")
    except LeftOut:
        return {"binary": True}, b""
    except MemoryError:
        return {"error": f"it takes more than {MEMORY >> 30} GiB of memory to convert"}, b""
    except RecursionError:
        return {"error": "it is nested too deeply"}, b""
    except Exception as error:  # whatever the many parsers raise on damaged files
        return {"error": _cause(error)}, b""
    finally:
        logging.getLogger().removeHandler(remarks)
    notes = [*converted.notes, *remarks.said[:_NOTES]]
    facts = {"paged": converted.paged, "markdown": converted.markdown, "guessed": converted.guessed, "notes": notes}
    return facts, text


def _allow(seconds: float) -> None:
    """From now on so much processor time; the kernel ends the process after that."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = math.ceil(used.ru_utime + used.ru_stime + seconds)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (soft if most == resource.RLIM_INFINITY else min(soft, most), most))


def _convert(suffix: str, data: bytes) -> Converted:
    if suffix in (".docx", ".pptx"):
        _check_container(suffix, data)
    if suffix == ".pdf" and b"%PDF-" not in data[:_PDF_MARK]:
        raise Unconvertible("it is no .pdf file")
    return _converter(suffix)(data)


def _converter(suffix: str) -> Callable[[bytes], Converted]:
    """The libraries are imported when they are needed: all of them take half a second."""
    match suffix:
        case ".pdf":
            from embedmill.sources.files.converters.pdf import convert
        case ".docx":
            from embedmill.sources.files.converters.word import convert
        case ".pptx":
            from embedmill.sources.files.converters.slides import convert
        case ".rtf":
            from embedmill.sources.files.converters.rtf import convert
        case ".mbox" | ".mbx":
            from embedmill.sources.files.converters.mail import convert_box as convert
        case ".eml" | ".emlx" | ".mht" | ".mhtml":
            from embedmill.sources.files.converters.mail import convert
        case _:
            from embedmill.sources.files.converters.html import convert
    return convert


def _check_container(suffix: str, data: bytes) -> None:
    if data.startswith(_OLE):
        if _ENCRYPTED in data:
            raise NeedsPassword
        raise Unconvertible(f"it is of an older format than {suffix}: save it as {suffix}")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise Unconvertible(f"it is damaged or cut short, or no {suffix} file") from error
    if size > _MAX_UNZIPPED:
        raise Unconvertible(f"it would take {size >> 20:,} MiB unzipped")


def _cause(error: Exception) -> str:
    """What went wrong, on one line, without the libraries' advice."""
    if isinstance(error, ImportError):
        return "a part of the extra is missing: pip install 'embedmill[documents]'"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, KeyError) and lines:
        return re.sub(r"^[\"']|[\"']$", "", lines[-1])[:200]
    return lines[-1][:200] if lines else type(error).__name__


class _Remarks(logging.Handler):
    """Collects what libraries log of a document, each once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):
            said = " ".join(record.getMessage().split())[:200]
            if said not in self.said:
                self.said.append(said)
