"""A master that was demoted: nothing is decided on what it knows, and the client finds the new one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import StoreUnavailable
from gateway.core.tokens.text import token_id
from tests.support.connections import until_closed
from tests.support.policies import make_record, rule_for
from tests.support.processes import RedisServer
from tests.support.relay import Relay

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS = 5.0
RECORDS = [make_record(f"sml_{number}", plan="open") for number in range(5)]


@pytest.fixture
def other_redis(redis_executable: str, tmp_path: Path) -> Iterator[RedisServer]:
    """The server that becomes the master."""
    folder = tmp_path / "other"
    folder.mkdir()
    server = RedisServer(redis_executable, folder)
    yield server
    server.stop()


async def test_a_demoted_master_decides_nothing(own_redis: RedisServer, other_redis: RedisServer) -> None:
    """Tokens that were revoked at the new master are 503 until the connection leads there, and then revoked.

    The requests would write nothing: their last use is noted already, and their plan has no quota.
    """
    rule = rule_for("GET /export")
    async with Relay(own_redis.port) as relay:
        connection = RedisConnection(open_client(f"redis://127.0.0.1:{relay.port}/0", TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        there = RedisConnection(open_client(other_redis.url, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        admissions = RedisAdmissions(connection)
        for record in RECORDS:
            for tokens in (RedisTokens(connection), RedisTokens(there)):
                await tokens.create(record)
            for _ in range(2):
                assert (await admissions.admit(AdmissionRequest(rule, record.digest))).is_charged
        await connection.client.replicaof("127.0.0.1", "1")
        for record in RECORDS:
            await RedisTokens(there).revoke(token_id(record.digest))
        for record in RECORDS:
            with pytest.raises(StoreUnavailable):
                await admissions.admit(AdmissionRequest(rule, record.digest))
        assert connection.is_circuit_open
        relay.lead_to(other_redis.port)
        await until_closed(connection)
        for record in RECORDS:
            assert (await admissions.admit(AdmissionRequest(rule, record.digest))).is_revoked
        await connection.close()
        await there.close()


async def test_a_server_that_becomes_a_master_again_is_used_again(own_redis: RedisServer) -> None:
    """The circuit closes when the same server takes writes again, and not before."""
    connection = RedisConnection(open_client(own_redis.url, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
    admissions, record = RedisAdmissions(connection), RECORDS[0]
    await RedisTokens(connection).create(record)
    async with asyncio.timeout(20):
        await connection.client.replicaof("127.0.0.1", "1")
        with pytest.raises(StoreUnavailable):
            await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(until_closed(connection))), 0.5)
        operator = open_client(own_redis.url, TIMEOUT_SECONDS)
        await operator.replicaof("NO", "ONE")
        await operator.aclose()
        await until_closed(connection)
    assert (await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))).is_charged
    await connection.close()


async def test_a_quiet_worker_leaves_the_old_master(own_redis: RedisServer, other_redis: RedisServer) -> None:
    """A connection that was open before the failover is not used again, however few requests there are."""
    question = AdmissionRequest(rule_for("GET /export"), RECORDS[0].digest)
    async with Relay(own_redis.port) as relay:
        connection = RedisConnection(open_client(f"redis://127.0.0.1:{relay.port}/0", TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        there = RedisConnection(open_client(other_redis.url, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        admissions = RedisAdmissions(connection)
        for tokens in (RedisTokens(connection), RedisTokens(there)):
            await tokens.create(RECORDS[0])
        for _ in range(2):
            assert (await admissions.admit(question)).is_charged
        await connection.client.replicaof("127.0.0.1", "1")
        relay.lead_to(other_redis.port)
        with pytest.raises(StoreUnavailable):
            await admissions.admit(question)
        for _ in range(2):
            await until_closed(connection)
            assert (await admissions.admit(question)).is_charged
        await connection.close()
        await there.close()
