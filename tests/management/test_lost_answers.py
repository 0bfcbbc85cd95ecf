"""Changes whose answer is lost: the connection goes after Redis has made the change, and the call is sent again."""

import pytest

from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.core.errors import CallRepeated, NameTaken
from gateway.core.tokens.audit import Actor, AuditQuery
from gateway.core.tokens.changes import TokenRequest
from gateway.management import Management
from tests.management.conftest import build
from tests.support.processes import RedisServer
from tests.support.relay import Relay

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")
REQUEST = TokenRequest(name="CI", project="website")


async def names(management: Management) -> list[str]:
    """The names of all tokens, and who holds each."""
    return [view.record.name for view in await management.list_tokens("unique")]


async def test_a_creation_whose_answer_is_lost_is_made_once(own_redis: RedisServer) -> None:
    """The repeated script knows its own record: the caller gets the token, and its name and its key stay taken."""
    async with Relay(own_redis.port) as relay:
        connection = RedisConnection(open_client(f"redis://127.0.0.1:{relay.port}/0", 5), 5)
        management = build(connection)
        await management.create_token(ADA, "unique", TokenRequest(name="first", project="website"))
        relay.lose_answer_to(b'"CI"')
        created = await management.create_token(ADA, "unique", REQUEST, "key")
        assert created.text
        assert ["CI", "first"] == await names(management)
        with pytest.raises(CallRepeated) as repeated:
            await management.create_token(ADA, "unique", REQUEST, "key")
        assert created.view.record.identity == repeated.value.identity
        with pytest.raises(NameTaken):
            await management.create_token(ADA, "unique", REQUEST, "another key")
        assert ["CI", "first"] == await names(management)
        history = await management.search_audit(AuditQuery())
        assert 1 == sum(entry.target == created.view.record.identity for entry in history)
        await connection.close()
