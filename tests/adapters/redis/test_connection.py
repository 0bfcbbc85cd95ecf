"""The connection to Redis when Redis is not itself: away, silent, restarted."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import URL_OPTIONS, RedisConnection, open_client
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import ConfigurationError, StoreUnavailable
from tests.adapters.raw_backend import on_both_loops
from tests.support.connections import open_connection, until_closed
from tests.support.policies import make_record, rule_for
from tests.support.processes import RedisServer, free_port

pytestmark = pytest.mark.redis

TIMEOUT_SECONDS = 0.25


@pytest.fixture
def own_redis(redis_executable: str, tmp_path: Path) -> Iterator[RedisServer]:
    """A redis-server that a test may stop."""
    server = RedisServer(redis_executable, tmp_path)
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture
async def connection(own_redis: RedisServer) -> AsyncIterator[RedisConnection]:
    """A connection to it that gives up soon."""
    async with open_connection(own_redis.url, TIMEOUT_SECONDS) as connection:
        yield connection


async def test_an_absent_redis_is_said_at_once() -> None:
    """A refused connection is StoreUnavailable, and so is every call after it, without asking again."""
    async with open_connection(f"redis://127.0.0.1:{free_port()}/0", TIMEOUT_SECONDS) as connection:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            await connection.run(lambda client: client.ping())
        assert connection.is_circuit_open
        with pytest.raises(StoreUnavailable, match="not answered yet"):
            await connection.run(lambda client: client.ping())


HAS_ASKED = pytest.mark.parametrize("has_asked", [False, True], ids=["first-call", "later-call"])
"""The first admission goes through redis-py, and later ones over a line of their own."""


@HAS_ASKED
async def test_a_silent_redis_is_given_up_in_bounded_time_and_found_again(
    own_redis: RedisServer, connection: RedisConnection, has_asked: bool
) -> None:
    """A stopped process costs the first call the timeout and later calls nothing; when it goes on, so do we."""
    admissions, record = RedisAdmissions(connection), make_record(plan="open")
    await RedisTokens(connection).create(record)
    if has_asked:
        await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    own_redis.send(signal.SIGSTOP)
    answers = await asyncio.gather(
        *(admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest)) for _ in range(20)),
        return_exceptions=True,
    )
    assert {StoreUnavailable} == {type(answer) for answer in answers}
    assert connection.is_circuit_open
    with pytest.raises(StoreUnavailable):
        await connection.run(lambda client: client.ping())
    own_redis.send(signal.SIGCONT)
    await until_closed(connection)
    facts = await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    assert facts.is_charged


@on_both_loops
async def test_a_worker_that_was_held_up_itself_does_not_take_redis_for_silent(own_redis: RedisServer) -> None:
    """However long other work kept it from reading: an answer that has arrived meanwhile is an answer."""
    async with open_connection(own_redis.url, TIMEOUT_SECONDS) as connection:
        admissions, record = RedisAdmissions(connection), make_record(plan="open")
        await RedisTokens(connection).create(record)
        loop = asyncio.get_running_loop()
        moments = [(0, turns) for turns in range(5)] + [(pauses, 2) for pauses in range(1, 12)]
        for pauses, turns in moments:
            for _ in range(pauses):  # the time of the admission before may be looked at in the meantime
                await asyncio.sleep(0)
            admitted = admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
            for _ in range(turns):  # the request is under way, wherever the work comes in between
                await asyncio.sleep(0)
            held_until = loop.time() + TIMEOUT_SECONDS + 0.05
            while loop.time() < held_until:
                pass
            assert (await admitted).is_charged
        assert not connection.is_circuit_open


async def test_a_restarted_redis_is_given_its_scripts_again(
    own_redis: RedisServer, connection: RedisConnection, redis_executable: str, tmp_path: Path
) -> None:
    """After a restart the script is unknown there: the next admission sends it and is answered."""
    admissions, record = RedisAdmissions(connection), make_record(plan="open")
    await RedisTokens(connection).create(record)
    await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    own_redis.stop()
    again = RedisServer(redis_executable, tmp_path, own_redis.port)
    try:
        with pytest.raises(StoreUnavailable, match="has lost its data"):
            await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
        await RedisTokens(connection).create(record)
        facts = await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
        assert facts.is_charged
    finally:
        again.stop()


async def test_forgotten_scripts_are_sent_again(connection: RedisConnection) -> None:
    """SCRIPT FLUSH costs one more trip and no request."""
    admissions, record = RedisAdmissions(connection), make_record(plan="open")
    await RedisTokens(connection).create(record)
    await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    await connection.client.script_flush()
    facts = await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    assert facts.is_charged


@HAS_ASKED
async def test_a_redis_that_cannot_persist_is_unavailable_but_not_away(
    connection: RedisConnection, has_asked: bool
) -> None:
    """A Redis that takes no writes refuses the admission; the circuit stays closed, as it does answer."""
    admissions, record = RedisAdmissions(connection), make_record()
    await RedisTokens(connection).create(record)
    if has_asked:
        await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    await connection.client.config_set("min-replicas-to-write", 1)
    with pytest.raises(StoreUnavailable, match="refused"):
        await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    assert not connection.is_circuit_open


@pytest.mark.parametrize("url", ["localhost:6379", "http://localhost", ""])
def test_a_url_of_no_redis_is_a_configuration_error(url: str) -> None:
    """What is not a Redis URL is refused when it is read."""
    with pytest.raises(ConfigurationError, match="redis"):
        open_client(url, TIMEOUT_SECONDS)


VALUES = {"db": "1", "socket_keepalive": "true", "ssl_check_hostname": "true", "ssl_min_version": "771"}


@pytest.mark.parametrize(("scheme", "option"), [(scheme, one) for scheme, all_ in URL_OPTIONS.items() for one in all_])
def test_each_option_of_a_url_makes_a_connection(scheme: str, option: str) -> None:
    """redis-py knows every option that the gateway allows."""
    client = open_client(f"{scheme}://localhost/0?{option}={VALUES.get(option, 'required')}", TIMEOUT_SECONDS)
    assert client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://localhost/0?clientname=x", "unknown option 'clientname' in the URL; did you mean 'client_name'?"),
        ("redis://:secret@localhost/0?timeout=9", "unknown option 'timeout' in the URL; allowed are"),
        ("redis://localhost/0?decode_responses=true", "unknown option 'decode_responses'"),
        ("redis://localhost/0?ssl_ca_certs=/ca.pem", "unknown option 'ssl_ca_certs'"),
    ],
)
def test_an_unknown_option_of_a_url_is_refused_when_it_is_read(url: str, message: str) -> None:
    """The error names the option and not the password."""
    with pytest.raises(ConfigurationError) as refusal:
        open_client(url, TIMEOUT_SECONDS)
    assert message in str(refusal.value)
    assert "secret" not in str(refusal.value)


async def test_many_commands_at_once_do_not_open_the_circuit(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd larger than redis-py's default pool of 100 is answered; one beyond our own bound is refused as that."""
    async with open_connection(redis_url) as connection:
        tokens = RedisTokens(connection)
        assert [None] * 150 == await asyncio.gather(*(tokens.find("00" * 12) for _ in range(150)))
        monkeypatch.setattr(connection.client.connection_pool, "max_connections", 150)
        answers = await asyncio.gather(*(tokens.find("00" * 12) for _ in range(400)), return_exceptions=True)
        assert [answer for answer in answers if isinstance(answer, StoreUnavailable)]
        assert not connection.is_circuit_open
