"""What stands between clients and a PostgreSQL server: it takes connections in its place."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from psycopg import conninfo


class Listener:
    """Takes connections before a server, in threads of this process. Also a context manager, which closes it."""

    def __init__(self, url: str) -> None:
        self._server: dict[str, Any] = conninfo.conninfo_to_dict(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closed = False
        login = ":".join(str(self._server[part]) for part in ("user", "password") if self._server.get(part))
        port, database = self._listener.getsockname()[1], self._server["dbname"]
        self.url = f"postgresql://{login}@127.0.0.1:{port}/{database}?sslmode=disable&gssencmode=disable"
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def listen(self) -> None:
        """Take connections from now on."""
        self._accepting.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.serve(client)

    def serve(self, client: socket.socket) -> None:
        """Begin to serve a client, and return."""
        raise NotImplementedError

    def connect(self) -> socket.socket:
        """A connection to the server."""
        host, port = str(self._server["host"]), int(self._server.get("port") or 5432)
        if not host.startswith("/"):
            wire = socket.create_connection((host, port))
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return wire
        wire = socket.socket(socket.AF_UNIX)
        wire.connect(str(Path(host) / f".s.PGSQL.{port}"))
        return wire

    def close(self) -> None:
        """Take no more connections, and cut those there are; may be called twice."""
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for a client
        self._accepting.join()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections there are."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def cut(*ends: socket.socket) -> None:
    """Close connections, and wake who waits for one of them."""
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
