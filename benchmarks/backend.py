"""The backend behind every row: `python -m benchmarks.backend PORT`. It costs as little as Python allows.

It answers requests without content until it is stopped: LARGE_TARGET with 64 KiB, HUGE_TARGET with 10 MiB, all others
with 2 KiB.
"""

import asyncio
import email.utils
import sys
from typing import cast

import uvloop

LARGE_TARGET = "/export/large"
HUGE_TARGET = "/live/huge"


def build_content(size: int) -> bytes:
    """Build exactly `size` bytes of JSON, padded with white space, with words that a content coding can compress."""
    start, end = b'{"name": "benchmark", "values": [', b"]}"
    room = size - len(start) - len(end)
    words = b", ".join(b'"%08x"' % (number * 2654435761 % 2**32) for number in range(room // 12))
    return start + words.ljust(room) + end


CONTENT, LARGE_CONTENT = build_content(2 << 10), build_content(64 << 10)
_LARGE, _HUGE = (f"GET {target} ".encode() for target in (LARGE_TARGET, HUGE_TARGET))


class Backend(asyncio.Protocol):
    """One connection."""

    def __init__(self, small: bytes, large: bytes, huge: bytes) -> None:
        self._small = small
        self._large = large
        self._huge = huge
        self._unread = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *heads, self._unread = (self._unread + data).split(b"\r\n\r\n")
        for head in heads:
            is_huge, is_large = head.startswith(_HUGE), head.startswith(_LARGE)
            self._transport.write(self._huge if is_huge else self._large if is_large else self._small)


def build_answer(content: bytes) -> bytes:
    """Build the whole response. It has no ETag: the gateway makes its own."""
    lines = (
        "HTTP/1.1 200 OK",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        "Server: backend",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
        "Cache-Control: public, max-age=60",
        "Vary: Accept-Encoding",
    )
    return "\r\n".join([*lines, "", ""]).encode() + content


async def serve(port: int) -> None:
    """Answer requests on a port of the loopback interface."""
    answers = build_answer(CONTENT), build_answer(LARGE_CONTENT), build_answer(bytes(10 << 20))
    server = await asyncio.get_running_loop().create_server(lambda: Backend(*answers), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
