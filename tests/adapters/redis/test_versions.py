"""Which versions of policies are served, as the processes tell Redis and each other."""

import asyncio
import logging
from types import SimpleNamespace

import pytest

from gateway.adapters.policy_versions import KEEP_SECONDS, RedisVersions
from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import PolicySet
from tests.support.policies import SMALL

START = 1_800_000_000_000
OLD = load_policies({"small.toml": SMALL})
NEW = load_policies({"small.toml": SMALL.replace("51/minute", "52/minute")})


def process(connection: RedisConnection, name: str, policies: PolicySet) -> tuple[RedisVersions, SimpleNamespace]:
    """A process by name, and what holds its policies."""
    source = SimpleNamespace(current=policies)
    versions = RedisVersions(connection, name, source)
    versions.now = START
    return versions, source


def version_of(policies: PolicySet) -> str:
    return policies.policies["small"].version


async def test_each_process_is_told_who_serves_what(connection: RedisConnection) -> None:
    """By policy and version; one that only asks is none of them, and one that says nothing more is forgotten."""
    first, _ = process(connection, "one", OLD)
    second, _ = process(connection, "two", NEW)
    assert {"small": {version_of(OLD): ["one"]}} == await first.find()
    both = {"small": dict(sorted([(version_of(OLD), ["one"]), (version_of(NEW), ["two"])]))}
    assert both == await second.find()
    asking = RedisVersions(connection)
    asking.now = START
    assert both == await asking.find()
    second.now = asking.now = START + int(KEEP_SECONDS * 1000)
    assert {"small": {version_of(NEW): ["two"]}} == await second.find()
    assert {b"two"} == set(await connection.client.hkeys(keys.versions()))


async def test_a_mixture_is_logged_once_as_it_begins_and_ends(
    connection: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    """With both versions, who serves them, and where to read on; a reload ends it."""
    caplog.set_level(logging.WARNING, "gateway.adapters.policy_versions")
    (first, source), (second, _) = process(connection, "one", OLD), process(connection, "two", NEW)
    for _ in range(3):
        await second.look()
        await first.look()
    begins = [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("policies: the policy")
    ]
    assert 2 == len(begins), "each process says it once"
    for part in ("is served in 2 versions", f"{version_of(OLD)} by one", f"{version_of(NEW)} by two", "gateway policy"):
        assert part in begins[0]
    caplog.clear()
    source.current = NEW
    for _ in range(3):
        await first.look()
        await second.look()
    assert 2 == len(caplog.records)
    assert all("the policy small is served in one version again" in record.getMessage() for record in caplog.records)


async def test_a_process_that_stops_is_forgotten_at_once(connection: RedisConnection) -> None:
    """So that a restart with another file is no mixture."""
    first, _ = process(connection, "one", OLD)
    await first.look()
    await first.close()
    assert {} == await RedisVersions(connection).find()


async def test_it_looks_until_it_is_closed(connection: RedisConnection) -> None:
    """Also where it is closed in the middle of its first look; then it is forgotten, and nothing goes on."""
    for turns in range(12):
        one, _ = process(connection, "one", OLD)
        one.start()
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await one.close()
        assert {} == await RedisVersions(connection).find()
