"""A backend that writes down what it gets, and takes nothing for HTTP that is not plainly so."""

import re
import socket
import threading
from dataclasses import dataclass
from typing import BinaryIO

from tests.support.raw import RawBackend

_HEAD = re.compile(rb"([A-Z-]+) ([\x21-\x7e]+) HTTP/1\.1((?:\r\n[!#$%&'*+.^_`|~0-9a-z-]+: [^\r\n\x00]*)*)")
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\nok"
_EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store\r\n\r\n"


@dataclass(frozen=True)
class Received:
    """One request, complete. `line` is the method and the target."""

    line: str
    fields: tuple[tuple[bytes, bytes], ...]
    content: bytes

    def field(self, name: bytes) -> bytes | None:
        """The value of a field; a second one is not expected."""
        values = [value for field, value in self.fields if field == name]
        assert len(values) <= 1, (name, values)
        return values[0] if values else None


class Misread(Exception):
    """What came is not HTTP, or could be read in two ways."""


class RecordingBackend(RawBackend):
    """Answers every request. `received` has those that were complete, `misread` what was none."""

    def __init__(self) -> None:
        super().__init__(self._record)
        self.received: list[Received] = []
        self.misread: list[bytes] = []
        self._lock = threading.Lock()

    def take(self) -> list[Received]:
        """What came since the last time."""
        with self._lock:
            taken, self.received[:] = list(self.received), []
            return taken

    def _record(self, connection: socket.socket) -> None:
        connection.settimeout(None)  # kept open by the gateway for as long as it likes
        reader = connection.makefile("rb")
        while head := _read_head(reader):
            try:
                received = self._read(head, reader)
            except Misread:
                self.misread.append(head)
                return
            if received is None:
                return
            with self._lock:
                self.received.append(received)
            connection.sendall(_EMPTY if received.line.startswith("HEAD ") else _ANSWER)

    def _read(self, head: bytes, reader: BinaryIO) -> Received | None:
        match = _HEAD.fullmatch(head)
        if match is None:
            raise Misread
        pairs = [line.partition(b": ") for line in match[3].split(b"\r\n")[1:]]
        fields = tuple((name, value) for name, _, value in pairs)
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        if len(lengths) + len(codings) > 1 or codings not in ([], [b"chunked"]):
            raise Misread
        content = _read_chunks(reader) if codings else _read_exactly(reader, int(lengths[0]) if lengths else 0)
        line = f"{match[1].decode()} {match[2].decode()}"
        return None if content is None else Received(line, fields, content)


def _read_head(reader: BinaryIO) -> bytes:
    """Up to the empty line, without it; empty at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline()
        if not line:
            return head
        head += line
    return head[:-4]


def _read_exactly(reader: BinaryIO, size: int) -> bytes | None:
    """So many bytes, None where the connection ends before."""
    content = reader.read(size)
    return content if len(content) == size else None


def _read_chunks(reader: BinaryIO) -> bytes | None:
    content = b""
    while (line := reader.readline()) != b"0\r\n":
        if not line.endswith(b"\r\n"):
            return None
        piece = _read_exactly(reader, int(line, 16) + 2)
        if piece is None:
            return None
        if not piece.endswith(b"\r\n"):
            raise Misread
        content += piece[:-2]
    if reader.readline() != b"\r\n":
        raise Misread  # a trailer
    return content
