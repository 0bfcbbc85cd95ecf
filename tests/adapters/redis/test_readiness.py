"""Readiness: what Redis must do before a load balancer sends requests."""

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.adapters.moving import backup
from gateway.adapters.redis import readiness as redis_readiness
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.readiness import COMMANDS, COMMANDS_OF_SOME, RedisReadiness
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import StoreUnavailable
from gateway.core.tokens.text import token_id
from tests.support.policies import make_record, rule_for
from tests.support.processes import RedisServer, free_port
from tests.support.redis_keys import ALL_BUT_MARKER

TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def connected(url: str, counts: Counter[str] | None = None) -> AsyncIterator[RedisConnection]:
    connection = RedisConnection(open_client(url, TIMEOUT_SECONDS), TIMEOUT_SECONDS, counts)
    try:
        yield connection
    finally:
        await connection.close()


async def revocation_code(connection: RedisConnection) -> str:
    """The error code with which Redis refuses to revoke a token."""
    with pytest.raises(StoreUnavailable) as refusal:
        await RedisTokens(connection).revoke(token_id(make_record().digest))
    return refusal.value.code


async def test_a_store_that_works_is_ready_and_keeps_nothing_of_the_check(store_url: str) -> None:
    """No failure is named, no quota is charged, and no key is left."""
    async with connected(store_url) as connection:
        assert {} == (await RedisReadiness(connection).check()).failures
        assert [] == await connection.client.keys(ALL_BUT_MARKER)


async def test_a_redis_that_is_away_fails_both() -> None:
    """Both the admission and the revocation are named, and neither holds an address."""
    async with connected(f"redis://127.0.0.1:{free_port()}/0") as connection:
        failures = (await RedisReadiness(connection).check()).failures
    assert {"admission": "Redis does not answer", "revocation": "Redis does not answer"} == failures


@pytest.mark.redis
async def test_a_full_redis_admits_revokes_and_is_ready(own_redis: RedisServer) -> None:
    """What a tenant has filled is refused to exports only: tokens are admitted and revoked, and the check says so."""
    async with connected(own_redis.url) as connection:
        tokens, admissions, record = RedisTokens(connection), RedisAdmissions(connection), make_record()
        await tokens.create(record)
        await connection.client.config_set("maxmemory", 1)
        assert {} == (await RedisReadiness(connection).check()).failures
        assert (await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))).is_charged
        await tokens.revoke(token_id(record.digest))
        assert (await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))).is_revoked


@pytest.mark.redis
async def test_a_redis_that_takes_no_writes_is_not_ready(own_redis: RedisServer) -> None:
    """PING would succeed. Both the check and a revocation are refused, with Redis' error code."""
    async with connected(own_redis.url) as connection:
        await connection.client.config_set("min-replicas-to-write", 1)
        failures = (await RedisReadiness(connection).check()).failures
        assert "Redis refuses: NOREPLICAS" == failures["revocation"]
        assert "NOREPLICAS" == await revocation_code(connection)
        await connection.client.config_set("min-replicas-to-write", 0)
        assert {} == (await RedisReadiness(connection).check()).failures


@pytest.mark.redis
async def test_a_replica_is_not_ready(own_redis: RedisServer, redis_url: str) -> None:
    """A server that was made a replica takes no write: the check says so, as a revocation would."""
    port = redis_url.rpartition(":")[2].partition("/")[0]
    async with connected(own_redis.url) as connection:
        await connection.client.replicaof("127.0.0.1", port)
        failures = (await RedisReadiness(connection).check()).failures
        assert "Redis refuses: READONLY" == failures["revocation"]
        assert "READONLY" == await revocation_code(connection)


@pytest.mark.redis
@pytest.mark.parametrize(
    ("command", "failing"),
    [("sismember", "admission"), ("sadd", "revocation"), ("xadd", "revocation")],
)
async def test_a_user_without_a_command_is_named_by_what_fails(
    own_redis: RedisServer, command: str, failing: str
) -> None:
    """A Redis user that may not run one command of an admission or of a revocation is NOPERM there, and only there."""
    async with connected(own_redis.url) as connection:
        rules = ["on", "nopass", "~*", "+@all", f"-{command}"]
        await connection.client.execute_command("ACL SETUSER", "gateway", *rules)  # type: ignore[no-untyped-call]  # redis-py's
    async with connected(own_redis.url.replace("//", "//gateway:any@")) as connection:
        failures = (await RedisReadiness(connection).check()).failures
    assert [failing] == list(failures)
    assert "Redis refuses: NOPERM" == failures[failing]


@pytest.mark.redis
async def test_what_fails_is_logged_as_it_begins_and_ends(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Two checks that find the same are one line; the end is another."""
    async with connected(own_redis.url) as connection:
        readiness = RedisReadiness(connection)
        await connection.client.config_set("min-replicas-to-write", 1)
        await readiness.check()
        await readiness.check()
        await connection.client.config_set("min-replicas-to-write", 0)
        await readiness.check()
    said = [record.message for record in caplog.records if record.name == "gateway.adapters.redis.readiness"]
    assert 2 == len(said), said
    assert "revocation: Redis refuses: NOREPLICAS" in said[0]
    assert "redis: ready again" == said[1]


@pytest.mark.redis
async def test_a_refused_script_is_logged_as_it_begins_and_ends_and_counted(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """However many admissions are refused in between, it is one line; the count has all."""
    counts = Counter[str]()
    async with connected(own_redis.url, counts) as connection:
        tokens, admissions, record = RedisTokens(connection), RedisAdmissions(connection), make_record(plan="open")
        await tokens.create(record)
        for refused in (False, True, True, True, False):
            await connection.client.config_set("min-replicas-to-write", int(refused))
            if refused:
                with pytest.raises(StoreUnavailable):
                    await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
            else:
                await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
            await connection.run(lambda client: client.ping())
    said = [record.message for record in caplog.records if record.name == "gateway.adapters.redis.connection"]
    assert 2 == len(said), said
    assert "NOREPLICAS" in said[0]
    assert "NOREPLICAS has ended" in said[1]
    assert {"redis-refused:NOREPLICAS": 3} == counts


def test_the_commands_are_those_that_scripts_and_adapters_run() -> None:
    """The table has each command of the Lua scripts, and those that the adapters send by name or by method."""
    folder = Path(redis_readiness.__file__).parent
    lua = "".join(file.read_text() for file in folder.parent.glob("scripts/*.lua"))
    python = "".join(file.read_text() for file in folder.glob("*.py") if file.name != "readiness.py")
    in_scripts = set(re.findall(r"\bp?call\('([A-Z]+)'", lua))
    by_name = set(re.findall(r"\(\"([A-Z]{3,})\"", python)) - {"MAXLEN", "NOSCRIPT", "EVAL"}
    by_method = {name.upper() for name in re.findall(r"(?:client|one|pipe|pipeline)\.([a-z]+)\(", python)}
    assert {"HSET", "XADD", "TIME"} <= in_scripts | by_name | by_method, "the files were read"
    not_commands = {"ACLOSE", "PIPELINE", "EVAL", "DELETE", "SCRIPT", "STARTSWITH", "EXECUTE"}
    assert set() == (in_scripts | by_name | (by_method - not_commands)) - {
        *COMMANDS,
        *COMMANDS_OF_SOME,
        *backup.COMMANDS,
    }


@pytest.mark.redis
async def test_a_user_that_lacks_commands_is_told_at_the_start_which(
    own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has what an operator can paste; a user with all of the table is told nothing, and can do the work."""
    every = [f"+{command.lower()}" for command in COMMANDS]
    async with connected(own_redis.url) as connection:
        for command in COMMANDS_OF_SOME:
            known: Any = connection.client.execute_command("COMMAND LIST", "FILTERBY", "PATTERN", command)  # type: ignore[no-untyped-call]  # redis-py's
            every += [f"+{command.lower()}"] if await known else []
        rules = ["on", "nopass", "~*", "-@all", *every, "+script|load", "+eval"]
        await connection.client.execute_command("ACL SETUSER", "gateway", *rules)  # type: ignore[no-untyped-call]  # redis-py's
        async with connected(own_redis.url.replace("//", "//gateway:any@")) as limited:
            await RedisReadiness(limited).warn_of_missing_commands()
            assert "" == caplog.text
            assert {} == (await RedisReadiness(limited).check()).failures
            record = make_record()
            await RedisTokens(limited).create(record)
            assert (
                await RedisAdmissions(limited).admit(AdmissionRequest(rule_for("GET /export"), record.digest))
            ).is_charged
            await RedisTokens(limited).revoke(token_id(record.digest))
        await connection.client.execute_command("ACL SETUSER", "gateway", "-sadd", "-xadd")  # type: ignore[no-untyped-call]  # redis-py's
    async with connected(own_redis.url.replace("//", "//gateway:any@")) as limited:
        await RedisReadiness(limited).warn_of_missing_commands()
    assert "ACL SETUSER USER +sadd +xadd" in caplog.text


@pytest.mark.redis
@pytest.mark.parametrize("allows_eviction", [False, True])
async def test_a_redis_that_may_evict_is_not_ready_unless_that_is_meant(
    own_redis: RedisServer, allows_eviction: bool
) -> None:
    """The failure, or else the warning, has the line to set."""
    async with connected(own_redis.url) as connection:
        await connection.client.config_set("maxmemory-policy", "allkeys-random")
        found = await RedisReadiness(connection, allows_eviction=allows_eviction).check()
    assert allows_eviction == (found.failures == {})
    said = found.warnings if allows_eviction else found.failures.values()
    assert any("maxmemory-policy noeviction" in one for one in said), found


@pytest.mark.redis
async def test_a_redis_without_an_append_only_file_is_ready_with_a_warning(own_redis: RedisServer) -> None:
    """The stock settings lose acknowledged revocations with a kill: the warning has the two lines to set."""
    async with connected(own_redis.url) as connection:
        found = await RedisReadiness(connection).check()
    assert {} == found.failures
    (warning,) = found.warnings
    assert "appendonly yes; appendfsync everysec" in warning
