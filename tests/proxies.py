"""A network that fails: a proxy before a server's socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from psycopg import conninfo


class Proxy:
    """Hands bytes to and fro between clients and a PostgreSQL server, as long as it pleases."""

    def __init__(self, url: str) -> None:
        given = conninfo.conninfo_to_dict(url)
        self._host, self._port = str(given["host"]), int(given.get("port", 5432))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        login = ":".join(str(given[part]) for part in ("user", "password") if given.get(part))
        self.url = f"postgresql://{login}@127.0.0.1:{port}/{given['dbname']}?sslmode=disable&gssencmode=disable"
        self.lose_answers = 0
        """To how many of the next COMMITs the answer gets lost, and the connection with it."""
        self.lost = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = self._connect()
                self._pairs.append((client, server))
                doomed = threading.Event()
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._hand, args=(*ends, client, doomed), daemon=True).start()

    def _connect(self) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(self._host) / f".s.PGSQL.{self._port}"))
        return server

    def _hand(
        self, source: socket.socket, target: socket.socket, client: socket.socket, doomed: threading.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if source is client and self.lose_answers and b"COMMIT\0" in data:
                    self.lose_answers -= 1
                    doomed.set()
                elif source is not client and doomed.is_set():  # it has been committed
                    self.lost += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Cut all connections, and take no more; may be called twice."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who waits for a client
        self._accepting.join()
        self._listener.close()
        for end in (end for pair in self._pairs for end in pair):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
