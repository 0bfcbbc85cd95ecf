"""One upstream with several targets, and backends that can be told apart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec.structs import replace

from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.core.policies.model import Upstream
from tests.adapters.raw_backend import OK, Peer, RawBackend, Script, always, fetch
from tests.support.processes import free_port


def naming(name: bytes) -> Script:
    """Answers with the target's name."""
    return always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name) + name)


async def hang_up(peer: Peer) -> None:
    await peer.read_head()


@asynccontextmanager
async def backends(*scripts: Script) -> AsyncIterator[list[RawBackend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RawBackend(script)) for script in scripts]


def upstream_of(*backends: RawBackend, nobody: int = 0, **settings: object) -> Upstream:
    """One upstream with the backends as its targets, and `nobody` before them at whom nobody listens."""
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(nobody)] + [backend.url() for backend in backends]
    return replace(Upstream(tuple(urls), response_timeout_seconds=5, idle_timeout_seconds=5), **settings)


async def names(upstreams: HttpUpstreams, address: Upstream, count: int, method: str = "GET") -> list[bytes]:
    return [(await fetch(upstreams, address, method))[1] for _ in range(count)]


class Held:
    """A backend that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.read_head()
            self.asked += 1
            await self.may_answer.acquire()
            peer.writer.write(OK)
