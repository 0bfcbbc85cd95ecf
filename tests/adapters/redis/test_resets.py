"""Connections to Redis that are reset while nobody uses them: the worker comes back, and no request fails for it.

On both event loops: uvloop tells of a closed connection by RuntimeError where asyncio has an OSError.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import AsyncMock

import pytest

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import StoreUnavailable
from tests.adapters.raw_backend import on_both_loops
from tests.support.connections import open_connection, until_closed
from tests.support.policies import make_record, rule_for
from tests.support.processes import RedisServer
from tests.support.relay import Relay

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS = 0.25
RECORD = make_record(plan="open")


@asynccontextmanager
async def connected(relay: Relay, timeout_seconds: float) -> AsyncIterator[tuple[RedisConnection, RedisAdmissions]]:
    """A connection over the relay that has several idle connections, and admissions that have asked."""
    url = f"redis://127.0.0.1:{relay.port}/0"
    async with open_connection(url, timeout_seconds) as connection:
        admissions = RedisAdmissions(connection)
        await RedisTokens(connection).create(RECORD)
        await asyncio.gather(*(connection.run(lambda client: client.ping()) for _ in range(5)))
        await admit(admissions)
        await admit(admissions)
        yield connection, admissions


async def admit(admissions: RedisAdmissions) -> None:
    facts = await admissions.admit(AdmissionRequest(rule_for("GET /export"), RECORD.digest))
    assert facts.is_charged


@on_both_loops
async def test_a_reset_before_the_first_probe_does_not_end_the_probing(own_redis: RedisServer) -> None:
    """Redis is silent until the circuit opens, then its connections are reset: the circuit closes all the same."""
    async with Relay(own_redis.port) as relay, connected(relay, TIMEOUT_SECONDS) as (connection, admissions):
        own_redis.send(signal.SIGSTOP)
        with pytest.raises(StoreUnavailable):
            await admit(admissions)
        assert connection.is_circuit_open
        relay.reset()
        own_redis.send(signal.SIGCONT)
        await until_closed(connection)
        assert not connection.is_circuit_open
        await admit(admissions)


@on_both_loops
@pytest.mark.parametrize("turns", range(4))
async def test_a_reset_of_idle_connections_costs_no_command(own_redis: RedisServer, turns: int) -> None:
    """However little of the reset the worker has seen when the next commands come, each gets a working connection."""
    async with Relay(own_redis.port) as relay, connected(relay, 5.0) as (connection, admissions):
        relay.reset()
        for _ in range(turns):
            await asyncio.sleep(0)
        commands = [connection.run(lambda client: client.ping()) for _ in range(5)]
        await asyncio.gather(*commands, *(admit(admissions) for _ in range(3)))
        await RedisTokens(connection).revoke("00" * 12)
        assert not connection.is_circuit_open


async def test_the_probe_survives_whatever_a_library_raises() -> None:
    """An exception that nobody has thought of is a probe that failed, and the next one follows."""
    raised = [RuntimeError("the handler is closed"), ValueError("no such thing"), KeyError("gone")]

    class Client:
        connection_pool = AsyncMock(connection_kwargs={"host": "127.0.0.1", "port": 1})

        async def eval(self, *_: object) -> None:
            if raised:
                raise raised.pop()

    connection = RedisConnection(Client(), TIMEOUT_SECONDS)  # type: ignore[arg-type]  # only its probes are asked for
    connection.open_circuit(TimeoutError())
    async with asyncio.timeout(10):
        await until_closed(connection)
    assert [] == raised
    assert not connection.is_circuit_open
