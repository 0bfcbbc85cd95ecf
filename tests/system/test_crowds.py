"""What must be true to the request when many ask at once: limits and revocations, over workers and over gateways."""

import asyncio
import itertools
import random
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.tokens.text import build_checksum, token_id
from tests.conftest import run_with_tokens
from tests.support.crowd import send_crowd
from tests.support.policies import make_record
from tests.support.quotas import ALGORITHMS
from tests.support.revoking import revoke_all
from tests.system.conftest import NODES, Share, mint

LIMIT = 500
"""In thirty days: no window ends and no unit drips back while a test runs."""
ASKED = 3 * LIMIT
LIMITED = """
name = "system"
upstream = "http://127.0.0.1:{backend}"
token = {{ prefixes = ["sys_"] }}
[scopes]
read = "Read"
[quotas]
all = {{ limit = "{limit} per 30 day", algorithm = "{algorithm}" }}
more = {{ limit = "{more} per 60 day", algorithm = "{algorithm}" }}
[[rules]]
match = "GET /api/v1/projects/{{project}}/translations/export"
cache = {{ fresh = "1h" }}
"""
EXPORT = "/api/v1/projects/website/translations/export?lang=de"
REVOCATIONS = 1000


def with_checksum(text: str) -> str:
    """A token text that is well-formed."""
    return text + build_checksum(text)


@pytest.mark.parametrize("nodes", [NODES[:1], NODES], ids=["one gateway", "two gateways"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_limit_admits_exactly_its_number(
    redis_url: str, policies: Path, share: Share, backend_port: int, algorithm: str, nodes: tuple[str, ...]
) -> None:
    """64 clients at once get exactly as many answers as the limit says, and refusals for all else."""
    text = LIMITED.format(backend=backend_port, limit=LIMIT, more=2 * LIMIT, algorithm=algorithm)
    (policies / "system.toml").write_text(text)
    token = (await asyncio.to_thread(mint, redis_url, policies))["token"]
    ports = [share(node).port for node in nodes]
    tickets = itertools.chain(itertools.repeat(token, ASKED), itertools.repeat(None))
    seen = await send_crowd(ports, EXPORT, tickets.__next__)
    assert {200: LIMIT, 429: ASKED - LIMIT} == Counter(one.status for one in seen)


async def test_a_revoked_token_is_refused_from_the_very_next_request(
    redis_url: str, policies: Path, share: Share
) -> None:
    """A thousand tokens are revoked one by one while 64 clients use them, at two gateways, answers from the cache.

    No request that left after its token's revoke command had returned is let in, and nobody is refused before.
    """
    texts = [with_checksum(f"sys_{number:034d}") for number in range(REVOCATIONS)]
    records = [make_record(text, policy="system", plan="", scopes="read") for text in texts]

    async def create_all(tokens: RedisTokens) -> None:
        for record in records:
            await tokens.create(record)

    await asyncio.to_thread(run_with_tokens, redis_url, create_all)
    ports = [share(node).port for node in NODES]
    identities = [token_id(record.digest) for record in records]
    chance, last = random.Random(64), iter(texts)
    with ProcessPoolExecutor(1, get_context("spawn")) as apart:
        revoking = apart.submit(revoke_all, redis_url, identities)
        seen = await send_crowd(ports, EXPORT, lambda: next(last, None) if revoking.done() else chance.choice(texts))
    begun_at, revoked_at = (dict(zip(texts, times, strict=True)) for times in zip(*revoking.result(), strict=True))
    late = [one for one in seen if one.sent_at > revoked_at[one.token]]
    early = [one for one in seen if one.answered_at < begun_at[one.token]]
    assert set(texts) == {one.token for one in late}
    assert {401} == {one.status for one in late}
    assert {200} == {one.status for one in early}
