"""Private names of redis-py: where the installed version has them, and that nothing depends on them."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from gateway.adapters.redis import script_connection
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis.private import TRIED_WITH, NetworkConnection, take_over
from gateway.adapters.redis.script_connection import DirectConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from tests.support.policies import make_record, rule_for

TIMEOUT_SECONDS = 5.0


@pytest.mark.redis
async def test_the_installed_redis_py_can_be_taken_over(redis_url: str) -> None:
    """The transport of a connection is where `take_over` looks for it, in this version of redis-py too."""
    client = open_client(redis_url, TIMEOUT_SECONDS)
    direct = await DirectConnection.open(client, TIMEOUT_SECONDS)
    tried = f"redis-py {redis.__version__} keeps its transport elsewhere; tried with {', '.join(TRIED_WITH)}"
    assert direct is not None, tried
    await direct.return_to_pool()
    await client.aclose()


async def test_the_embedded_store_is_never_taken_over() -> None:
    """Its connections are not of the network's class, whatever attributes fakeredis gives them."""
    client = open_client(EMBEDDED, TIMEOUT_SECONDS)
    connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
    connection._writer = SimpleNamespace(transport=WholeTransport())
    assert None is take_over(connection)
    await client.aclose()


class WholeTransport:
    """Looks like a transport."""

    def write(self, data: bytes) -> None: ...
    def abort(self) -> None: ...
    def get_protocol(self) -> None: ...
    def set_protocol(self, protocol: object) -> None: ...


class Renamed(NetworkConnection):
    """A connection of a redis-py that keeps its transport elsewhere."""


class Changed(NetworkConnection):
    """A connection whose transport lacks a method."""

    _writer = SimpleNamespace(transport=SimpleNamespace(write=print))


@pytest.mark.parametrize("connection", [Renamed(), Changed()])
def test_a_private_name_that_is_gone_is_said_and_does_no_harm(
    connection: NetworkConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing to take over, and the log names versions of redis-py that have it."""
    assert None is take_over(connection)
    assert TRIED_WITH[-1] in caplog.text


@pytest.mark.redis
@pytest.mark.parametrize("outcome", ["gone", "raises"])
async def test_admissions_go_through_redis_py_if_nothing_can_be_taken_over(
    redis_url: str, outcome: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each admission is answered, and no connection is left behind for it."""

    def fail(connection: object) -> None:
        if outcome == "raises":
            raise AttributeError("no such name")

    monkeypatch.setattr(script_connection, "take_over", fail)
    connection, record = (
        RedisConnection(open_client(redis_url, TIMEOUT_SECONDS), TIMEOUT_SECONDS),
        make_record(plan="open"),
    )
    await RedisTokens(connection).create(record)
    admissions = RedisAdmissions(connection)
    for _ in range(5):
        facts = await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
        assert facts.is_charged
    assert not connection.is_circuit_open
    assert len(await connection.client.client_list()) <= 2
    warned = [item for item in caplog.records if item.levelno >= logging.WARNING]
    assert (outcome == "raises") == bool(warned)
    await connection.close()
