"""A hub on this machine, for the real client of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as huggingface_hub asks for; `repositories` are folders by id."""

    repositories: dict[str, Path]
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].lstrip("/")
        type(self).asked.append(f"{self.command} {path}")
        parts = path.split("/")
        if parts[:2] == ["api", "models"]:
            return self.listing("/".join(parts[2:4]), tree="tree" in parts[4:5])
        folder = self.repositories.get("/".join(parts[:2]))
        if folder is None:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        file = folder / "/".join(parts[4:])
        headers = {"X-Repo-Commit": COMMIT}
        if not file.is_file():
            return self.answer(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
        content = file.read_bytes()
        return self.answer(200, content, headers | {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'})

    def listing(self, name: str, *, tree: bool) -> None:
        folder = self.repositories.get(name)
        if folder is None:
            return self.answer(404, b"", {"X-Error-Code": "RepoNotFound"})
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        names = [(str(path.relative_to(folder)), path) for path in files]
        if tree:
            body: object = [
                {
                    "type": "file",
                    "path": n,
                    "size": p.stat().st_size,
                    "oid": hashlib.sha1(p.read_bytes()).hexdigest(),
                }
                for n, p in names
            ]
        else:
            body = {
                "id": name,
                "modelId": name,
                "sha": COMMIT,
                "siblings": [{"rfilename": n} for n, _ in names],
            }
        return self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(content))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[tuple[type[Hub], str]]:
    """A hub without repositories, and its address."""

    class ThisHub(Hub):
        repositories: dict[str, Path] = {}  # noqa: RUF012
        asked: list[str] = []  # noqa: RUF012

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), ThisHub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield ThisHub, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
