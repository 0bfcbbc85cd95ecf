"""Raw sockets: requests that no HTTP library would send, and backends that no HTTP library would be."""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.support.processes import wait_until

TIMEOUT_SECONDS = 15


def send_raw(port: int, data: bytes) -> bytes:
    """What comes back for bytes sent over a connection of their own, until the other end closes it."""
    return send_pieces(port, [data], lambda: True)


def send_pieces(port: int, pieces: Sequence[bytes], goes_on: Callable[[], bool]) -> bytes:
    """The same for bytes of which each further piece is sent when `goes_on` says so."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as connection:
        for number, piece in enumerate(pieces):
            if number:
                wait_until(goes_on, f"piece {number} may be sent")
            connection.sendall(piece)
        received = b""
        while piece := connection.recv(65536):
            received += piece
        return received


def request_bytes(*field_lines: bytes, request_line: bytes = b"GET /api/v1/whoami HTTP/1.1") -> bytes:
    """A request that asks for the connection to be closed after its answer."""
    return b"\r\n".join([request_line, *field_lines, b"Connection: close", b"", b""])


class RawBackend:
    """A backend that does with each connection whatever it is told."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._behave = behave
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(TIMEOUT_SECONDS)
        for connection in [*self._connections]:
            # A connection that is kept for the next request gets none any more; answers under way are still written.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            self._connections.add(connection)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(TIMEOUT_SECONDS)
            try:
                self._behave(connection)
            except OSError:
                return  # the gateway closed it: that is what some tests wait for
            finally:
                self._connections.discard(connection)


def read_head(connection: socket.socket) -> bytes:
    """The head of the request, and whatever came with it."""
    received = b""
    while b"\r\n\r\n" not in received and (piece := connection.recv(65536)):
        received += piece
    return received
