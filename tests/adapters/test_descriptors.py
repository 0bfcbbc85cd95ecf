"""What happens if no file descriptor is left for a connection: it is said, and nobody else is blamed."""

import asyncio
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from msgspec.structs import replace

from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.upstream.wire import without_times
from gateway.core.errors import StoreUnavailable, UpstreamBusy
from gateway.core.upstream.balancing import WELL
from tests.adapters.raw_backend import OK, RawBackend, always, fetch, http_upstreams, on_both_loops
from tests.support.connections import open_connection


@contextmanager
def no_descriptor() -> Iterator[None]:
    """Within it, this process can open no file and no connection; those that are open stay."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.redis
@on_both_loops
async def test_redis_is_not_blamed(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log says once what is missing and once that it is over; Redis does not count as away, and is asked again."""
    async with open_connection(redis_url, 5.0) as connection:
        with caplog.at_level(logging.WARNING):
            for _ in range(2):
                with no_descriptor(), pytest.raises(StoreUnavailable, match="no file descriptor is left") as refused:
                    await ping(connection)
                assert "EMFILE" == refused.value.code
                assert not connection.is_circuit_open
            await ping(connection)
        assert [
            "redis: no file descriptor is left for a connection; raise the limit of open files (LimitNOFILE= of "
            "systemd, ulimit -n), or lower GATEWAY_MAX_REQUESTS",
            "redis: EMFILE has ended; commands are taken again",
        ] == caplog.messages


async def ping(connection: RedisConnection) -> None:
    """Ask Redis from one place in the code, which is how refusals are told apart."""
    await connection.run(lambda client: client.ping())


@pytest.mark.redis
async def test_connections_that_are_open_go_on(redis_url: str) -> None:
    """Only who needs a new one is refused."""
    async with open_connection(redis_url, 5.0) as connection:
        await ping(connection)
        with no_descriptor():
            await ping(connection)


@on_both_loops
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_backend_is_not_blamed(host: str) -> None:
    """It is not avoided for it, and answers as soon as there is a descriptor."""
    async with RawBackend(always(OK)) as backend, http_upstreams() as upstreams:
        address = replace(backend.address(), targets=(f"http://{host}:{backend.port}",))
        await asyncio.get_running_loop().getaddrinfo(host, backend.port)  # reads files for the first time
        with no_descriptor(), pytest.raises(UpstreamBusy, match="no file descriptor is left"):
            await fetch(upstreams, address)
        assert WELL == upstreams._targets[without_times(address)].health
        assert b"ok" == (await fetch(upstreams, address))[1]
