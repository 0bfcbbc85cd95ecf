"""The direct connection of admissions to Redis: whatever becomes of it, requests are answered, the next ones too."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.script_connection import DirectConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for
from tests.support.processes import RedisServer
from tests.support.relay import Relay

TIMEOUT_SECONDS = 5.0
RECORD = make_record(plan="open")


@pytest.fixture
def own_redis(redis_executable: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that a test may stop."""
    server = RedisServer(redis_executable, tmp_path)
    yield server
    server.stop(signal.SIGKILL)


@asynccontextmanager
async def open_admissions(url: str) -> AsyncIterator[tuple[RedisConnection, RedisAdmissions]]:
    """Admissions that have asked once, so there is a direct connection."""
    async with open_connection(url, TIMEOUT_SECONDS) as connection:
        admissions = RedisAdmissions(connection)
        await RedisTokens(connection).create(RECORD)
        await admit(admissions)
        yield connection, admissions


async def admit(admissions: RedisAdmissions, project: str = "") -> None:
    """One admission that must pass."""
    facts = await admissions.admit(AdmissionRequest(rule_for("GET /export"), RECORD.digest, project=project))
    assert facts.is_charged


@pytest.mark.redis
async def test_a_line_that_redis_has_closed_costs_no_request(own_redis: RedisServer) -> None:
    """A connection that was closed between two requests is replaced, however often; none is left behind."""
    async with open_admissions(own_redis.url) as (connection, admissions):
        for _ in range(3):
            await connection.client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.gather(*(admit(admissions) for _ in range(20)))
        connected = await connection.client.client_list()
        assert len(connected) <= 2


@pytest.mark.redis
async def test_a_line_that_goes_before_the_answer_costs_no_request(own_redis: RedisServer) -> None:
    """Admissions whose connection breaks under way are asked for once more, over another one."""
    async with (
        Relay(own_redis.port) as relay,
        open_admissions(f"redis://127.0.0.1:{relay.port}/0") as (connection, admissions),
    ):
        relay.round_trips.clear()
        own_redis.send(signal.SIGSTOP)
        admitted = asyncio.gather(*(admit(admissions) for _ in range(20)))
        while not relay.round_trips:
            await asyncio.sleep(0)
        relay.break_off()
        own_redis.send(signal.SIGCONT)
        await admitted
        await admit(admissions)
        assert not connection.is_circuit_open


@pytest.mark.redis
@pytest.mark.parametrize("has_asked", [False, True], ids=["first-call", "later-call"])
async def test_what_cannot_be_sent_fails_its_own_request_and_no_later_one(redis_url: str, has_asked: bool) -> None:
    """A text that is no UTF-8 is an error for who asked with it, and the next admission passes."""
    async with open_admissions(redis_url) as (connection, asked):
        admissions = asked if has_asked else RedisAdmissions(connection)
        with pytest.raises(UnicodeEncodeError):
            await admit(admissions, project="\udcff")
        await admit(admissions)


async def test_nonsense_ends_the_connection() -> None:
    """An answer that is not in Redis' protocol is as good as a connection that goes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(b"*1\r\n$4\r\nPING\r\n"))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        connection: Any = SimpleNamespace()
        direct = DirectConnection(SimpleNamespace(), connection, writer.transport, TIMEOUT_SECONDS)  # type: ignore[arg-type]  # closed by nobody
        answered = asyncio.Queue[Any]()
        assert direct.is_open
        direct.ask(("PING",), answered.put_nowait)
        error = await answered.get()
        assert isinstance(error, ConnectionError)
        assert "Protocol error" in str(error)
        assert not direct.is_open
        await writer.wait_closed()
