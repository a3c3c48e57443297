"""A network that is far away, or fails: a proxy before a PostgreSQL server."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

from listener import Listener, cut

_CHUNK = 1 << 16


class Proxy(Listener):
    """Hands bytes to and fro between clients and a server, each answer `delay` seconds late, as long as it pleases.

    What is delayed does not hold up what comes after it: it is the distance that is long, not the line that is narrow.
    """

    def __init__(self, url: str, *, delay: float = 0.0) -> None:
        super().__init__(url)
        self._delay = delay
        self.lose_answers = 0
        """To how many of the next COMMITs the answer gets lost, and the connection with it."""
        self.lost = 0
        self.away = False
        """Whether new connections are cut at once."""
        self.away_when_lost = False
        """Whether it is away as soon as an answer has got lost."""
        self.silent = threading.Event()
        """While it is set nothing passes, in either direction, and connections stay: a server that stands still."""
        self.silent_within = b""
        """What the next client that sends it is not answered any more; nor is any other."""
        self.cut_after: int | None = None
        """How many bytes clients may still send before the connection that sends the last of them is cut."""
        self.cut_within = b""
        """What the next client that sends it is cut off in the midst of: the rest of what it sends then gets lost."""
        self.cuts = 0
        self.met = 0
        """How many connections there have been."""
        self.answers = 0
        """How many times a server has answered after a client had said something: round trips."""
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self.listen()

    def serve(self, client: socket.socket) -> None:
        self.met += 1
        if self.away:
            client.close()
            return
        server = self.connect()
        self._pairs.append((client, server))
        line = _Line(self, client, server)
        for work in (line.ask, line.answer):
            threading.Thread(target=work, daemon=True).start()

    def passed(self, data: bytes) -> tuple[bytes, bool, bool]:
        """What goes on of what a client has sent, whether the line is cut then, and whether its answer gets lost."""
        if self.silent_within and self.silent_within in data:
            self.silent.set()
            self.pass_time()
        with self._lock:
            place = data.find(self.cut_within) if self.cut_within else -1
            if place >= 0:
                self.cut_within = b""
                self.cuts += 1
                return data[: place + (len(data) - place) // 2], True, False
            if self.cut_after is not None:
                if self.cut_after < len(data):
                    rest, self.cut_after = self.cut_after, None
                    self.cuts += 1
                    return data[:rest], True, False
                self.cut_after -= len(data)
            if self.lose_answers and b"COMMIT\0" in data:
                self.lose_answers -= 1
                return data, False, True
            return data, False, False

    def pass_time(self) -> None:
        """Wait as long as nothing is to pass."""
        while self.silent.is_set() and not self._closed:
            time.sleep(0.01)

    def cut(self) -> None:
        cut(*(end for pair in self._pairs for end in pair))
        self._pairs.clear()

    @property
    def delay(self) -> float:
        """Seconds that each answer is late."""
        return self._delay


class _Line:
    """One client's connection."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._asked = False
        self._doomed = False

    def ask(self) -> None:
        """Hand on what the client says."""
        with suppress(OSError):
            while data := self._client.recv(_CHUNK):
                self._proxy.pass_time()
                data, cut, lose = self._proxy.passed(data)
                self._doomed |= lose
                self._asked = True
                self._server.sendall(data)
                if cut:
                    break
        self._cut()

    def answer(self) -> None:
        """Hand on what the server says, late."""
        with suppress(OSError):
            for data in self._late() if self._proxy.delay else self._said():
                self._client.sendall(data)
        self._cut()

    def _said(self) -> Iterator[bytes]:
        while data := self._server.recv(_CHUNK):
            self._proxy.pass_time()
            if self._doomed:  # it has been committed
                self._proxy.lost += 1
                self._proxy.away |= self._proxy.away_when_lost
                return
            if self._asked:
                self._asked = False
                self._proxy.answers += 1
            yield data

    def _late(self) -> Iterator[bytes]:
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

        def listen() -> None:
            with suppress(OSError):
                for data in self._said():
                    waiting.put((time.monotonic() + self._proxy.delay, data))
            waiting.put((0.0, b""))

        threading.Thread(target=listen, daemon=True).start()
        while (due := waiting.get())[1]:
            time.sleep(max(due[0] - time.monotonic(), 0))
            yield due[1]

    def _cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
