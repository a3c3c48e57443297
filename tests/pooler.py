"""A pooler before a PostgreSQL server, as PgBouncer is one: sessions of the server that many clients share."""

from __future__ import annotations

import itertools
import secrets
import select
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Final

from listener import Listener, cut

_SSL, _GSS, _CANCEL = 80877103, 80877104, 80877102

_NO_BLOCKS: Final = b"SFATAL\0VFATAL\0C08P01\0Mtransaction blocks not allowed in statement pooling mode\0\0"


class Pooler(Listener):
    """Lends a server's sessions to clients: for a transaction, a statement or a session, as `mode` says.

    As with PgBouncer, a client is told a process id that no session of the server has, and what one client sets in a
    session the next one finds there, but in the mode "session". Sessions are lent again in the order of `queue`: "last"
    is the one that was given back last, "first" the one that has waited longest.
    """

    def __init__(self, url: str, *, mode: str = "transaction", size: int = 20, queue: str = "last") -> None:
        super().__init__(url)
        self._startup = {"user": str(self._server["user"]), "database": str(self._server["dbname"])}
        self._mode, self._queue = mode, queue
        self.lent = 0
        """How many times a session was lent."""
        self._idle: list[_Session] = []
        self._room = threading.Semaphore(size)
        self._lock = threading.Lock()
        self._numbers = itertools.count(4_000_000)  # above any process id of Linux
        self._clients: dict[bytes, _Client] = {}  # by the key that a client was told
        self._sockets: set[socket.socket] = set()
        self.listen()

    def serve(self, client: socket.socket) -> None:
        self._sockets.add(client)
        threading.Thread(target=_Client(self, client).serve, daemon=True).start()

    def lend(self) -> _Session:
        """A session that nobody else has until it is given back; waits while all are lent."""
        self._room.acquire()
        with self._lock:
            self.lent += 1
            if self._idle:
                return self._idle.pop(-1 if self._queue == "last" else 0)
            if self._closed:  # while it was waited for
                raise EOFError
            wire = self.connect()
            self._sockets.add(wire)
        try:
            return _Session(wire, self._startup)
        except BaseException:
            wire.close()
            self._room.release()
            raise

    def give_back(self, session: _Session, *, lost: bool) -> None:
        if lost or self._mode == "session":
            session.wire.close()
        else:
            with self._lock:
                self._idle.append(session)
        self._room.release()

    def cut(self) -> None:
        with self._lock:  # who has waited for a session connects no more
            cut(*self._sockets)


def _exactly(wire: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = wire.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _message(wire: socket.socket) -> tuple[bytes, bytes]:
    """The type of a message and its content."""
    kind, size = struct.unpack("!ci", _exactly(wire, 5))
    return kind, _exactly(wire, size - 4)


def _framed(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("!i", len(content) + 4) + content


class _Session:
    """A session of the server."""

    def __init__(self, wire: socket.socket, startup: dict[str, str]) -> None:
        self.wire = wire
        parameters = b"".join(f"{name}\0{value}\0".encode() for name, value in startup.items()) + b"\0"
        wire.sendall(struct.pack("!ii", len(parameters) + 8, 196608) + parameters)
        self.told = b""  # parameters of the server
        self.key = b""
        while (message := _message(wire))[0] != b"Z":
            if message[0] == b"E":
                raise EOFError(message[1])
            if message[0] == b"S":
                self.told += _framed(*message)
            if message[0] == b"K":
                self.key = message[1]


class _Client:
    def __init__(self, pooler: Pooler, wire: socket.socket) -> None:
        self._pooler = pooler
        self._wire = wire
        self._session: _Session | None = None
        self._answers = b""  # of the server that the client has still to be told
        self._expected = 0  # answers to queries that are under way
        self._key = struct.pack("!i", next(pooler._numbers)) + secrets.token_bytes(4)

    def serve(self) -> None:
        try:
            if self._greet():
                self._pooler._clients[self._key] = self
                for kind, content in self._messages():
                    self._ask(kind, content)
        except (OSError, EOFError, ValueError):
            pass
        finally:
            self._wire.close()
            self._pooler._clients.pop(self._key, None)
            if self._session is not None:
                self._pooler.give_back(self._session, lost=True)

    def _greet(self) -> bool:
        while True:
            size, code = struct.unpack("!ii", _exactly(self._wire, 8))
            content = _exactly(self._wire, size - 8)
            if code in (_SSL, _GSS):
                self._wire.sendall(b"N")
            elif code == _CANCEL:
                self._cancel(content)
                return False
            else:
                break
        session = self._pooler.lend()  # for what it tells alone
        told, ready = session.told, _framed(b"K", self._key) + _framed(b"Z", b"I")
        self._wire.sendall(_framed(b"R", struct.pack("!i", 0)) + told + ready)
        if self._pooler._mode == "session":
            self._session = session
        else:
            self._pooler.give_back(session, lost=False)
        return True

    def _cancel(self, key: bytes) -> None:
        client = self._pooler._clients.get(key)
        session = client._session if client else None
        if session is not None:
            with self._pooler.connect() as wire:
                wire.sendall(struct.pack("!ii", 16, _CANCEL) + session.key)
                wire.recv(1)

    def _messages(self) -> Iterator[tuple[bytes, bytes]]:
        """What the client says; meanwhile what the server says goes to the client."""
        while True:
            wires = [self._wire] + ([self._session.wire] if self._session else [])
            for wire in select.select(wires, [], [])[0]:
                if wire is self._wire:
                    yield _message(self._wire)
                elif self._session is not None:
                    self._answer(self._session)

    def _ask(self, kind: bytes, content: bytes) -> None:
        if kind == b"X":
            raise EOFError
        if self._session is None:
            self._session = self._pooler.lend()
        self._expected += kind in (b"Q", b"S")
        self._session.wire.sendall(_framed(kind, content))

    def _answer(self, session: _Session) -> None:
        kind, content = _message(session.wire)
        if kind == b"Z":
            self._expected -= 1
            if self._pooler._mode == "statement" and content != b"I":
                self._wire.sendall(_framed(b"E", _NO_BLOCKS))  # in place of what BEGIN was answered
                raise EOFError
            if not self._expected and content == b"I" and self._pooler._mode != "session":
                self._session = None
                self._pooler.give_back(session, lost=False)  # before the client knows: it may ask again at once
        self._answers += _framed(kind, content)
        if self._pooler._mode != "statement" or kind == b"Z":
            answers, self._answers = self._answers, b""
            self._wire.sendall(answers)
