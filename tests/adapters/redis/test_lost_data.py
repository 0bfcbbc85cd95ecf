"""A store that has lost its data: nobody is told that a good token is unknown."""

import pytest

from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.readiness import RedisReadiness
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import StoreUnavailable
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for


async def is_known(connection: RedisConnection, text: str) -> bool:
    facts = await RedisAdmissions(connection).admit(AdmissionRequest(rule_for("GET /export"), make_record(text).digest))
    return facts.record is not None


async def test_a_store_that_was_emptied_refuses_and_is_not_ready(store_url: str) -> None:
    """After FLUSHALL a token is neither good nor unknown: the gateway cannot tell, and says what to do."""
    async with open_connection(store_url) as connection:
        await RedisTokens(connection).create(make_record("sml_a"))
        assert await is_known(connection, "sml_a")
        await connection.client.flushall()
        with pytest.raises(StoreUnavailable, match="gateway redis init"):
            await is_known(connection, "sml_a")
        assert "gateway redis init" in (await RedisReadiness(connection).check()).failures["data"]


async def test_a_token_of_an_emptied_store_does_not_stop_public_rules(store_url: str) -> None:
    """Who asks for no token is served: nothing was lost that decides on it."""
    async with open_connection(store_url) as connection:
        await connection.client.flushall()
        facts = await RedisAdmissions(connection).admit(AdmissionRequest(rule_for("GET /published"), ""))
        assert facts.is_charged


@pytest.mark.parametrize("how", ["token", "marker"])
async def test_a_first_token_or_the_marker_says_that_the_store_is_meant(store_url: str, how: str) -> None:
    """Then what is not there is unknown, as ever."""
    async with open_connection(store_url) as connection:
        await connection.client.flushall()
        if how == "token":
            await RedisTokens(connection).create(make_record("sml_a"))
        else:
            await connection.client.set(keys.marker(), "1")
        assert not await is_known(connection, "sml_b")
        assert "data" not in (await RedisReadiness(connection).check()).failures
