"""Many clients at once: keep-alive connections, each of which asks again as soon as it is answered."""

import asyncio
import time
from collections.abc import Callable, Sequence

import msgspec

CLIENTS = 64
SECONDS = 120
"""Nothing here takes a tenth of this."""


class Seen(msgspec.Struct, frozen=True):
    """One request of a crowd. Times are seconds by the monotonic clock."""

    token: str
    sent_at: float
    answered_at: float
    status: int


async def send_crowd(
    ports: Sequence[int], target: str, next_token: Callable[[], str | None], clients: int = CLIENTS
) -> list[Seen]:
    """Everything that `clients` saw, spread over the gateways at `ports`, until `next_token` gives each of them None.

    A connection that breaks is an error of the test, and so is a crowd that is not done in time.
    """
    seen: list[Seen] = []
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(_ask(ports[n % len(ports)], target, next_token, seen) for n in range(clients)))
    return seen


async def _ask(port: int, target: str, next_token: Callable[[], str | None], seen: list[Seen]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while (token := next_token()) is not None:
            sent_at = time.monotonic()
            writer.write(
                f"GET {target} HTTP/1.1\r\nHost: crowd.example\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
            seen.append(Seen(token, sent_at, time.monotonic(), int(head.split(b" ", 2)[1])))
    finally:
        writer.close()
        await writer.wait_closed()
