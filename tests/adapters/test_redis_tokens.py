"""Administration of token records, in the embedded store and in Redis."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.errors import ChangeRefused
from gateway.core.tokens import token_id
from tests.support.policies import make_record


def run(url: str, work: Callable[[RedisTokens], Awaitable[None]]) -> None:
    async def run_all() -> None:
        connection = RedisConnection(open_client(url, 5), 5)
        try:
            await work(RedisTokens(connection))
        finally:
            await connection.close()

    asyncio.run(run_all())


def test_a_created_token_is_found_and_listed(store_url: str) -> None:
    """By id, by project, by owner, by policy, and among all; not under another name."""

    async def work(tokens: RedisTokens) -> None:
        first = make_record("a", owner="ada", created_at=1)
        second = make_record("b", project="other", created_at=2)
        for record in (first, second):
            await tokens.create(record)
        assert first == await tokens.find(token_id(first.digest))
        assert None is await tokens.find("00")
        assert [first] == await tokens.find_all("small", "website", None)
        assert [first] == await tokens.find_all("small", None, "ada")
        assert [first] == await tokens.find_all(None, "website", None)
        assert [second, first] == await tokens.find_all(None, None, None)
        assert [] == await tokens.find_all("another", None, None)
        assert [] == await tokens.find_all("small", "nobody", None)

    run(store_url, work)


def test_a_token_is_created_once(store_url: str) -> None:
    """The second creation of the same token is refused, and the first record stays."""

    async def work(tokens: RedisTokens) -> None:
        record = make_record()
        await tokens.create(record)
        with pytest.raises(ChangeRefused, match="exists already"):
            await tokens.create(msgspec.structs.replace(record, name="another"))
        assert record == await tokens.find(token_id(record.digest))

    run(store_url, work)


def test_nothing_resurrects_a_revoked_token(store_url: str) -> None:
    """Neither a change nor a new creation of the same text; and it says so."""

    async def work(tokens: RedisTokens) -> None:
        record = make_record()
        identity = token_id(record.digest)
        await tokens.create(record)
        await tokens.revoke(identity)
        await tokens.revoke(identity)
        assert [True, False] == await tokens.are_revoked([identity, "00"])
        assert not await tokens.replace(record, msgspec.structs.replace(record, name="another"))
        with pytest.raises(ChangeRefused, match="revoked, for good"):
            await tokens.create(record)
        assert record == await tokens.find(identity)

    run(store_url, work)


def test_of_two_changes_at_once_one_wins(store_url: str) -> None:
    """A change made from an outdated record is not written over the newer one."""

    async def work(tokens: RedisTokens) -> None:
        record = make_record()
        await tokens.create(record)
        changed = [msgspec.structs.replace(record, name=name) for name in ("one", "two")]
        outcomes = await asyncio.gather(*(tokens.replace(record, one) for one in changed))
        assert [False, True] == sorted(outcomes)
        assert changed[outcomes.index(True)] == await tokens.find(token_id(record.digest))

    run(store_url, work)
