"""Creations that are sent more than once, in a real Redis."""

import asyncio

import pytest
import redis

from gateway.adapters.redis import keys
from gateway.core.errors import CallRepeated, ChangeRefused
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.idempotency import GRACE_SECONDS, KEPT_SECONDS, fingerprint, key_digest
from gateway.core.tokens.views import CreatedToken
from gateway.management import Management

pytestmark = pytest.mark.redis

ADA, BOB = Actor("ada", "operator"), Actor("bob", "operator")
ASKED = TokenRequest(name="CI", project="website")


async def repeat(management: Management, request: TokenRequest = ASKED) -> tuple[str, str]:
    """The code of the refusal, and the token that it names."""
    with pytest.raises(CallRepeated) as refused:
        await management.create_token(ADA, "small", request, "key")
    return refused.value.code, refused.value.identity


async def test_of_many_at_once_one_makes_the_token(management: Management) -> None:
    """The others are told that it is being made, or which it is; afterwards all are told which it is."""
    attempts = [management.create_token(ADA, "small", ASKED, "key") for _ in range(20)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    (made,) = [outcome for outcome in outcomes if isinstance(outcome, CreatedToken)]
    assert 19 == sum(isinstance(outcome, CallRepeated) for outcome in outcomes)
    assert ("idempotency_replayed", made.view.identity) == await repeat(management)
    assert [made.view] == await management.list_tokens("small", "website")


async def test_a_key_is_its_actors_and_for_what_it_asked(management: Management) -> None:
    """Somebody else's same key is another key; the same key for something else is refused."""
    await management.create_token(ADA, "small", ASKED, "key")
    await management.create_token(BOB, "small", ASKED, "key")
    assert ("idempotency_mismatch", "") == await repeat(management, TokenRequest(name="x", project="website"))


async def test_a_refused_creation_leaves_its_key_free(management: Management) -> None:
    """What made nothing can be asked for again."""
    await management.create_token(ADA, "unique", ASKED, "first")
    with pytest.raises(ChangeRefused, match="is named"):
        await management.create_token(ADA, "unique", ASKED, "key")
    (view,) = await management.list_tokens("unique", "website")
    await management.revoke_token(ADA, view.identity)
    await management.create_token(ADA, "unique", ASKED, "key")


async def test_a_key_whose_maker_died_is_free_after_a_while(management: Management, redis_url: str) -> None:
    """For a minute it counts as being made, then the next who asks makes the token; a key ends after a day."""
    name = keys.idempotency(key_digest(ADA, "key"))
    asked = fingerprint("small", ASKED)
    now = await management.now()
    with redis.Redis.from_url(redis_url) as client:
        client.set(name, f"{asked}:{'0' * 24}:{now}")
        assert ("idempotency_in_progress", "") == await repeat(management)
        client.set(name, f"{asked}:{'0' * 24}:{now - GRACE_SECONDS}")
        made = await management.create_token(ADA, "small", ASKED, "key")
        assert ("idempotency_replayed", made.view.identity) == await repeat(management)
        assert KEPT_SECONDS - 60 < int(client.ttl(name)) <= KEPT_SECONDS
