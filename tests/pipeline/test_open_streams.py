"""Answers that take their time, and permissions that last: for as long as another request would get them."""

import asyncio
from typing import Any

import pytest

from gateway.adapters.redis.tokens import RedisTokens
from gateway.adapters.revocation_watch import POLL_SECONDS
from gateway.adapters.streams import PIECE_BYTES
from gateway.core.errors import StreamRevoked
from gateway.core.http.messages import ContentStream, RequestHead, Response
from gateway.core.http.reasons import Reason
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import Rule
from gateway.core.tokens.text import digest, token_id
from gateway.pipeline.exchange import Permission
from tests.adapters.raw_backend import settle
from tests.support.exchange_harness import TEXT, ExchangeHarness, ok, open_exchange
from tests.support.policies import SMALL, rule_for

EVENTS = (b"content-type", b"text/event-stream")
IDENTITY = token_id(digest(TEXT, b""))


class Silent:
    """A backend's content of which nothing comes."""

    def __init__(self) -> None:
        self.is_closed = False

    def __aiter__(self) -> "Silent":
        return self

    async def __anext__(self) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def aclose(self) -> None:
        self.is_closed = True


async def start_reading(response: Response) -> "asyncio.Task[bytes]":
    """A task that reads all of an answer that streams."""
    content: Any = response.content
    assert not isinstance(content, bytes)

    async def read(content: ContentStream) -> bytes:
        try:
            return b"".join([piece async for piece in content])
        finally:
            await content.aclose()

    reading = asyncio.create_task(read(content))
    await settle()
    return reading


async def look(harness: ExchangeHarness) -> None:
    """Lets the time pass after which open streams are looked at."""
    harness.clock.advance(POLL_SECONDS)
    for _ in range(20):  # the embedded store answers in its own time
        await settle()


def reason_of(reading: "asyncio.Task[Any]") -> Reason:
    assert reading.done()
    error = reading.exception()
    assert isinstance(error, StreamRevoked)
    return error.reason


ADMITTING = SMALL.replace("9001", "9002")
ELSEWHERE = 'match = "* /elsewhere/**"'


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (SMALL.replace('match = "* /**"', ELSEWHERE), Reason.NO_MATCHING_RULE),
        (f'{SMALL}\n[[rules]]\nmatch = "GET /events"\nscopes = ["admin"]\n', Reason.INSUFFICIENT_SCOPE),
        (SMALL.replace('name = "small"', 'name = "another"'), Reason.UNKNOWN_TOKEN),
        (SMALL.replace('["sml_"]', '["new_"]'), Reason.MALFORMED_CREDENTIALS),
        (SMALL.replace("[plans.open]\n", '[plans.open]\nscopes = ["read"]\n'), Reason.INSUFFICIENT_PLAN),
    ],
    ids=["no rule", "scopes", "policy", "prefix", "plan"],
)
async def test_a_stream_ends_with_the_rule_that_let_it_in(policy: str, reason: Reason) -> None:
    """A reload that leaves it as it was does nothing to a stream; one by which it would be refused ends it."""
    backend = Silent()
    async with open_exchange(ok(EVENTS, content=backend)) as harness:
        reading = await start_reading(await harness.ask("GET /events"))
        harness.current = load_policies({"small.toml": ADMITTING})
        await look(harness)
        assert not reading.done()
        harness.current = load_policies({"small.toml": policy.replace("write = {", 'admin = "All"\nwrite = {')})
        await look(harness)
        assert reason == reason_of(reading)
        assert backend.is_closed


async def test_a_public_stream_ends_when_it_is_public_no_longer() -> None:
    """It was admitted in nobody's name, and nobody is not let in any more."""
    async with open_exchange(ok(EVENTS, content=Silent())) as harness:
        reading = await start_reading(await harness.ask("GET /published", text=None))
        await look(harness)
        assert not reading.done()
        harness.current = load_policies({"small.toml": SMALL.replace("public = true\n", "")})
        await look(harness)
        assert Reason.MISSING_CREDENTIALS == reason_of(reading)


async def test_who_was_let_in_as_anybody_may_stay_with_a_token() -> None:
    """The credential that the request had all the while is looked at when the rule asks for one."""
    async with open_exchange(ok(EVENTS, content=Silent())) as harness:
        reading = await start_reading(await harness.ask("GET /published"))
        harness.current = load_policies({"small.toml": SMALL.replace("public = true\n", 'scopes = ["read"]\n')})
        await look(harness)
        assert not reading.done()
        await RedisTokens(harness.connection).revoke(IDENTITY)
        await look(harness)
        assert Reason.REVOKED_TOKEN == reason_of(reading)


@pytest.mark.parametrize("length", [PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 7])
async def test_long_content_is_a_stream_wherever_it_comes_from(length: int) -> None:
    """What is stored is sent in pieces as well, the same bytes; what one piece holds is sent at once."""
    content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    async with open_exchange(ok(content=content)) as harness:
        for _ in range(2):
            answer = await harness.ask("GET /export")
            if length <= PIECE_BYTES:
                assert content == answer.content
            else:
                assert content == await (await start_reading(answer))
        assert 1 == len(harness.upstreams.sent)


async def test_a_slow_download_of_what_is_stored_ends_with_its_token() -> None:
    """However slowly its client takes it."""
    async with open_exchange(ok(content=bytes(3 * PIECE_BYTES))) as harness:
        await (await start_reading(await harness.ask("GET /export")))
        content: Any = (await harness.ask("GET /export")).content
        took = []

        async def take() -> None:
            try:
                async for piece in content:
                    took.append(len(piece))
                    await asyncio.Event().wait()
            finally:
                await content.aclose()

        taking = asyncio.create_task(take())
        await settle()
        await RedisTokens(harness.connection).revoke(IDENTITY)
        await look(harness)
        assert Reason.REVOKED_TOKEN == reason_of(taking)
        assert [PIECE_BYTES] == took


async def test_a_permission_ends_for_a_caller_that_answers_by_itself() -> None:
    """It is told once, with the reason; the rule is found as that caller finds it."""
    rules: list[Rule | None] = [rule_for("GET /export")]
    ended: list[Reason] = []
    async with open_exchange() as harness:
        fields = [(b"authorization", b"Bearer " + TEXT.encode())]
        request = RequestHead(
            method="GET",
            path="/talk",
            query="",
            fields=fields,
            scheme="http",
            client="::1",
            forwarded_for="::1",
            id="id",
            host="",
            authority="",
            received_at=0,
        )
        reading = harness.exchange.read_request(request, rule_for("GET /export"))
        permission = await harness.exchange.permit(request, reading, lambda: rules[0], ended.append)
        assert isinstance(permission, Permission)
        permission.follow()
        await look(harness)
        assert [] == ended
        rules[0] = None
        harness.current = load_policies({"small.toml": ADMITTING})
        for _ in range(2):
            await look(harness)
        assert [Reason.NO_MATCHING_RULE] == ended
        permission.close()
        other = await harness.exchange.permit(request, reading, lambda: rules[0], ended.append)
        assert isinstance(other, Permission)
        other.follow()
        other.close()
        await look(harness)
        assert [Reason.NO_MATCHING_RULE] == ended
