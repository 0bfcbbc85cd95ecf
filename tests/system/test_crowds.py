"""What must be true to the request when many ask at once: limits and revocations, over workers and over gateways."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.tokens import build_checksum, token_id
from tests.conftest import run_with_tokens
from tests.support.command_line import run_command
from tests.support.crowd import Seen, send_crowd
from tests.support.policies import make_record
from tests.system.conftest import Serve, mint

pytestmark = pytest.mark.redis

ALGORITHMS = ("fixed-window", "sliding-window-counter", "moving-window", "token-bucket")
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


@pytest.mark.parametrize("gateways", [(2,), (1, 1)], ids=["two workers", "two gateways"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_limit_admits_exactly_its_number(
    redis_url: str, policies: Path, serve: Serve, backend_port: int, algorithm: str, gateways: tuple[int, ...]
) -> None:
    """64 clients at once get exactly as many answers as the limit says, and refusals for all else."""
    text = LIMITED.format(backend=backend_port, limit=LIMIT, more=2 * LIMIT, algorithm=algorithm)
    (policies / "system.toml").write_text(text)
    token = mint(redis_url, policies)["token"]
    ports = [serve(redis_url, "--workers", str(workers)).port for workers in gateways]
    tickets = itertools.chain(itertools.repeat(token, ASKED), itertools.repeat(None))
    seen = asyncio.run(send_crowd(ports, EXPORT, tickets.__next__))
    assert {200: LIMIT, 429: ASKED - LIMIT} == Counter(one.status for one in seen)


def test_a_revoked_token_is_refused_from_the_very_next_request(redis_url: str, policies: Path, serve: Serve) -> None:
    """A thousand tokens are revoked one by one while 64 clients use them, at two gateways, answers from the cache.

    No request that left after its token's revoke command had returned is let in, and nobody is refused before.
    """
    texts = [with_checksum(f"sys_{number:034d}") for number in range(REVOCATIONS)]
    records = [make_record(text, policy="system", plan="", scopes="read") for text in texts]

    async def create_all(tokens: RedisTokens) -> None:
        for record in records:
            await tokens.create(record)

    run_with_tokens(redis_url, create_all)
    ports = [serve(redis_url).port for _ in range(2)]
    revoking, revoked = {}, {}

    def revoke_all() -> None:
        for text, record in zip(texts, records, strict=True):
            revoking[text] = time.monotonic()
            result = run_command("token", "revoke", token_id(record.digest), "--redis", redis_url)
            revoked[text] = time.monotonic()
            assert 0 == result.exit_code, result.output

    seen = asyncio.run(_use_while(revoke_all, ports, texts))
    late = [one for one in seen if one.sent_at > revoked[one.token]]
    early = [one for one in seen if one.answered_at < revoking[one.token]]
    assert set(texts) == {one.token for one in late}
    assert {401} == {one.status for one in late}
    assert {200} == {one.status for one in early}


async def _use_while(work: Callable[[], None], ports: Sequence[int], texts: Sequence[str]) -> list[Seen]:
    """What a crowd sees that uses the tokens at random until the work is done, and then each of them once more."""
    chance = random.Random(64)
    working = asyncio.create_task(asyncio.to_thread(work))
    last = iter(texts)
    seen = await send_crowd(ports, EXPORT, lambda: next(last, None) if working.done() else chance.choice(texts))
    await working
    return seen
