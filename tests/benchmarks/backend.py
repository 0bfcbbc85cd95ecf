"""The backend behind every row: `python -m tests.benchmarks.backend PORT`. It costs as little as Python allows.

It answers requests without content, one fixed answer for all of them, until it is stopped.
"""

import asyncio
import email.utils
import sys
from typing import cast

import uvloop

CONTENT = (b'{"name": "benchmark", "values": [' + b'"2 KiB of content", ' * 200)[:2046] + b"]}"
"""Exactly 2 KiB, in every row."""


class Backend(asyncio.Protocol):
    """One connection."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._unread = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        if heads:
            self._transport.write(self._answer * len(heads))


def build_answer() -> bytes:
    """The whole response. It has no ETag: the gateway makes its own."""
    lines = (
        "HTTP/1.1 200 OK",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        "Server: backend",
        "Content-Type: application/json",
        f"Content-Length: {len(CONTENT)}",
        "Cache-Control: public, max-age=60",
        "Vary: Accept-Encoding",
    )
    return "\r\n".join([*lines, "", ""]).encode() + CONTENT


async def serve(port: int) -> None:
    """Answers on a port of the loopback interface."""
    answer = build_answer()
    server = await asyncio.get_running_loop().create_server(lambda: Backend(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
