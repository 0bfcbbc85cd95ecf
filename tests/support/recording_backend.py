"""A backend that writes down every byte that it gets, and takes nothing for HTTP that is not plainly so."""

import re
import selectors
import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_HEAD = re.compile(rb"([A-Z-]+) ([\x21-\x7e]+) HTTP/1\.1((?:\r\n[!#$%&'*+.^_`|~0-9a-z-]+: [^\r\n\x00]*)*)")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok"
_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\n"
_CHUNK_SIZE = re.compile(rb"[0-9a-f]{1,8}\r\n")


@dataclass(frozen=True)
class Received:
    """One request, as far as it came. `line` is the method and the target, `raw` every byte of it."""

    line: str
    fields: tuple[tuple[bytes, bytes], ...]
    content: bytes
    is_complete: bool
    raw: bytes

    def field(self, name: bytes) -> bytes | None:
        """The value of a field; a second one is not expected."""
        values = [value for field, value in self.fields if field == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class Misread(Exception):
    """What came is not HTTP, or could be read in two ways."""


@dataclass
class _Client:
    """One connection, with what has come on it since its last complete request."""

    connection: socket.socket
    raw: bytes = b""
    is_over: bool = False
    cut: list[Received] = field(default_factory=list)


class RecordingBackend:
    """Answers every request that is complete, and keeps those that are not.

    One thread reads all connections, and answers only when a look at all of them has brought nothing new: whoever has
    an answer can be sure that everything sent before its request is written down.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.misread: list[bytes] = []
        self._clients: list[_Client] = []
        self._complete: list[Received] = []
        self._lock = threading.Lock()
        self._waker, self._woken = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._waker.send(b"x")
        self._thread.join()
        for client in self._clients:
            client.connection.close()
        for one in (self._listener, self._waker, self._woken, self._selector):
            one.close()

    def take(self) -> list[Received]:
        """The complete requests that came since the last time, then those that ended before they were complete."""
        with self._lock:
            taken = self._complete + [one for client in self._clients for one in client.cut]
            self._complete = []
            self._clients = [client for client in self._clients if not client.is_over]
            return taken

    @property
    def is_waiting(self) -> bool:
        """Whether a request has begun, and neither the rest of it nor the end of its connection has come yet."""
        with self._lock:
            return any(client.raw and not client.is_over for client in self._clients)

    def _run(self) -> None:
        while not any(key.fileobj is self._woken for key, _ in self._selector.select()):
            with self._lock:
                while self._accept() or self._receive():
                    pass
                for client in self._clients:
                    self._answer(client)

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return False
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ)
        self._clients.append(_Client(connection))
        return True

    def _receive(self) -> bool:
        """Takes what is there, of each connection; whether there was anything."""
        is_new = False
        for client in [one for one in self._clients if not one.is_over]:
            try:
                piece = client.connection.recv(65536)
            except BlockingIOError:
                continue
            except OSError:  # a reset is an end as well
                piece = b""
            is_new = True
            client.raw += piece
            if not piece:
                self._end(client)
        return is_new

    def _end(self, client: _Client) -> None:
        client.is_over = True
        self._selector.unregister(client.connection)
        client.connection.close()
        self._take_complete(client)
        if client.raw:
            client.cut.append(read_request(client.raw))

    def _answer(self, client: _Client) -> None:
        for received in self._take_complete(client):
            if not client.is_over:
                client.connection.sendall(_EMPTY if received.line.startswith("HEAD ") else _ANSWER)

    def _take_complete(self, client: _Client) -> list[Received]:
        taken = []
        try:
            while client.raw and (received := read_request(client.raw)).is_complete:
                client.raw = client.raw[len(received.raw) :]
                taken.append(received)
        except Misread:
            self.misread.append(client.raw)
            client.raw = b""
        self._complete += taken
        return taken


def read_request(raw: bytes) -> Received:
    """The request that the bytes begin with, as far as it is there; raises Misread."""
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        return Received(raw.partition(b"\r\n")[0].decode("latin-1"), (), b"", False, raw)
    match = _HEAD.fullmatch(head)
    if match is None:
        raise Misread
    pairs = [line.partition(b": ") for line in match[3].split(b"\r\n")[1:]]
    fields = tuple((name, value) for name, _, value in pairs)
    lengths = [value for name, value in fields if name == b"content-length"]
    codings = [value for name, value in fields if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]):
        raise Misread
    if codings:
        content, used, is_complete = _read_chunks(rest)
    else:
        used = int(lengths[0]) if lengths else 0
        content, is_complete = rest[:used], len(rest) >= used
    line = f"{match[1].decode()} {match[2].decode()}"
    return Received(line, fields, content, is_complete, raw[: len(head) + 4 + used] if is_complete else raw)


def _read_chunks(rest: bytes) -> tuple[bytes, int, bool]:
    """Content in chunks, how many bytes of `rest` it takes, and whether its end is there."""
    content, position = b"", 0
    while True:
        line_end = rest.find(b"\r\n", position) + 2
        if line_end < 2:
            return content, position, False
        if _CHUNK_SIZE.fullmatch(rest[position:line_end]) is None:
            raise Misread
        size = int(rest[position : line_end - 2], 16)
        after = line_end + size
        content += rest[line_end:after]
        if len(rest) < after + 2:
            return content, position, False
        if rest[after : after + 2] != b"\r\n":
            raise Misread  # a chunk longer than its size, or a trailer
        if size == 0:
            return content, after + 2, True
        position = after + 2
