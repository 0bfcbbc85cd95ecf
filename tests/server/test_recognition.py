"""Requests whose bytes were seen before are answered as the long way does it, for as long as nothing has changed."""

import asyncio
import gzip
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
import redis.asyncio

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.core.admission.decision import AdmissionFacts, Restrictions
from gateway.core.cache.invalidation import Purge
from gateway.core.errors import ChangeRefused
from gateway.core.http.messages import RequestHead
from gateway.core.recognition.conclusion import (
    FIELDS,
    FOREVER,
    REQUEST_FIELDS,
    RESTRICTION_FIELDS,
    Conclusion,
    still_holds,
)
from gateway.core.tokens.changes import TokenChange, TokenRequest
from gateway.core.tokens.overrides import OverrideRequest
from gateway.core.tokens.owners import OwnerChange, OwnerStatus
from gateway.core.tokens.records import without_use
from gateway.core.tokens.text import mint
from gateway.management.alerting import FORGET_SECONDS
from gateway.management.purging import purge
from gateway.pipeline.recognition import MAXIMUM_LESSONS, Generations
from tests.server.recognising import (
    ADA,
    NOW,
    POLICY,
    SECONDS,
    Client,
    KnownGateway,
    field,
    is_whole,
    open_known,
    request,
    status,
)

pytestmark = pytest.mark.redis

WALKS = int(os.environ.get("RECOGNITION_WALKS", "8"))
"""`make verify` makes more of them."""
Change = Callable[[KnownGateway, str], Awaitable[object]]


@pytest.fixture
async def known(redis_url: str, tmp_path: Path) -> AsyncIterator[KnownGateway]:
    async with open_known(redis_url, tmp_path) as known:
        yield known


async def recognise(known: KnownGateway, client: Client, data: bytes) -> bytes:
    """The answer of the short way to a request, which is sent until it is known."""
    for _ in range(6):
        before = known.count("recognised")
        answer = await client.ask(data)
        if known.count("recognised") > before:
            return answer
    raise AssertionError(f"it is not recognised: {dict(known.gateway.cache_counts)}")


async def test_a_request_is_recognised_at_its_third_time(known: KnownGateway) -> None:
    """The first time it is remembered, the second time it is learnt; with the same bytes but for the numbers."""
    text, _ = await known.mint()
    client = known.connect()
    answers = [await client.ask(request("/export/a", text)) for _ in range(5)]
    assert [0, 4] == [known.count("learnt") - 1, known.count("recognised") + known.count("learnt")]
    assert ["5", "4", "3", "2", "1"] == [field(answer, "ratelimit").split("r=")[1][:1] for answer in answers]
    assert 5 == len({field(answer, "x-request-id") for answer in answers})
    assert 1 == known.backend.asked


PATHS = (
    "/export/a",
    "/export/a?page=2",
    "/export/vary",
    "/export/dated",
    "/own/a",
    "/write/a",
    "/project/website/export",
    "/project/other/export",
    "/open/a",
    "/live/a",
    "/nowhere",
)
LINES = (
    (),
    ("Accept-Encoding: gzip, br",),
    ("Accept-Language: de",),
    ("X-Request-Id: build-7",),
    ("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",),
    ("Want-Repr-Digest: sha-256=1",),
    ("Range: bytes=0-9",),
    ("Cache-Control: no-cache",),
)


def never_minted(known: KnownGateway) -> str:
    """The text of a token that nobody minted, though it is one by its form."""
    return mint(known.gateway.policies.current.policies["known"].token_format, bytes(64))


class Walk:
    """Requests, changes and steps of time, drawn from a seed."""

    def __init__(self, known: KnownGateway, seed: int) -> None:
        self.known = known
        self.draw = random.Random(seed)
        self.now = NOW
        self.tokens: list[tuple[str, str]] = []
        self.tags: dict[str, str] = {}
        self.reloaded = 0
        self.paths, self.lines = self.draw.sample(PATHS, 3), [(), *self.draw.sample(LINES, 1)]
        """Few, so that many requests come again."""

    async def mint(self) -> None:
        draw = self.draw
        ends = draw.choice((None, None, self.now // 1000 + draw.randrange(60, 20 * 86400)))
        begins = draw.choice((None, None, None, self.now // 1000 + 30))
        owner, plan = draw.choice(("", "acme", "beta")), draw.choice(("free", "busy"))
        fresh = await self.known.mint(owner=owner, plan=plan, expires_at=ends, not_before=begins)
        self.tokens.append(fresh)
        if draw.random() < 0.4:
            child = await self.known.gateway.management.create_child(
                ADA, fresh[1], TokenRequest(name="child", project="website"), now=self.now // 1000
            )
            self.tokens.append((child.text, child.view.record.identity))

    async def ask(self, client: Client) -> None:
        draw = self.draw
        text = draw.choice([*(text for text, _ in self.tokens[-3:]), never_minted(self.known), ""])
        path, lines = draw.choice(self.paths), list(draw.choice(self.lines))
        if path in self.tags and draw.random() < 0.3:
            lines.append(f"If-None-Match: {self.tags[path]}")
        for _ in range(draw.randrange(2, 7)):
            answer = await client.ask(request(path, text, *lines))
            if field(answer, "etag"):
                self.tags[path] = field(answer, "etag")

    async def change(self) -> None:
        draw, management = self.draw, self.known.gateway.management
        _, identity = draw.choice(self.tokens[-3:])
        at = self.now // 1000
        limit = OverrideRequest(limit=str(draw.randrange(1, 20)), burst=None, until=at + 90, reason="r", author="a")
        changes: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: management.revoke_token(ADA, identity),
            lambda: management.update_token(ADA, identity, TokenChange(is_active=draw.random() < 0.5), now=at),
            lambda: management.update_token(ADA, identity, TokenChange(scopes=("read",)), now=at),
            lambda: management.update_token(ADA, identity, TokenChange(plan=draw.choice(("free", "busy"))), now=at),
            lambda: management.update_token(ADA, identity, TokenChange(name=draw.choice("xyz")), now=at),
            lambda: management.override_quota(ADA, identity, draw.choice(("minute", "log")), limit, now=at),
            lambda: management.change_owner(ADA, "known", "acme", OwnerChange(status=draw.choice(list(OwnerStatus)))),
            lambda: management.change_owner(ADA, "known", "beta", OwnerChange(permissions={"website": ("read",)})),
            lambda: management.change_owner(ADA, "known", "beta", OwnerChange(plan=draw.choice(("", "busy")))),
            *[lambda: purge(management, self.known.gateway.exports, ADA, "known", Purge(project="website"))] * 3,
            self.reload,
            self.mint,
        )
        try:
            await draw.choice(changes)()
        except ChangeRefused:
            return  # of a revoked token, say: nothing has changed

    async def reload(self) -> None:
        self.reloaded += 1
        self.known.policy_file.write_text(POLICY + f"# {self.reloaded}\n" * (self.reloaded % 3))
        await self.known.gateway.policies.reload_beside(is_asked_for=True)

    def pass_time(self) -> None:
        self.now += self.draw.choice((1, 500, 3_000, 61_000, 700_000, -2_000))
        self.known.gateway.set_time(self.now)


async def walk(known: KnownGateway, seed: int, steps: int = 60) -> None:
    """A walk from its start to its end."""
    walk = Walk(known, seed)
    for owner in ("", "acme", "beta"):
        walk.tokens.append(await known.mint(owner=owner, plan=walk.draw.choice(("free", "busy"))))
    clients = [known.connect() for _ in range(3)]
    for _ in range(steps):
        await walk.ask(walk.draw.choice(clients))
        if walk.draw.random() < 0.5:
            walk.pass_time()
        if walk.draw.random() < 0.3:
            await walk.change()
        if walk.draw.random() < 0.1:
            known.backend.version += 1


@pytest.mark.parametrize("seed", range(WALKS))
async def test_no_walk_finds_a_difference(redis_url: str, tmp_path: Path, seed: int) -> None:
    """In verify mode both ways answer each recognised request: not a byte of response, log or counters differs."""
    async with open_known(redis_url, tmp_path, "verify") as known:
        await walk(known, seed)
        assert 0 == known.count("different"), dict(known.gateway.cache_counts)
        assert 10 < known.count("compared"), dict(known.gateway.cache_counts)


def ignore_record(found: Conclusion, now: int, reply: Sequence[Any]) -> bool:
    raw, *rest = reply
    return still_holds(msgspec.structs.replace(found, record=without_use(raw)), now, [raw, *rest])


def ignore_heads(found: Conclusion, now: int, reply: Sequence[Any]) -> bool:
    return still_holds(msgspec.structs.replace(found, heads=tuple(reply[3] or ())), now, reply)


def ignore_time(found: Conclusion, now: int, reply: Sequence[Any]) -> bool:
    return still_holds(msgspec.structs.replace(found, since=0, until=FOREVER), now, reply)


@pytest.mark.parametrize("fault", [ignore_record, ignore_heads, ignore_time])
async def test_walks_find_a_planted_fault(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[..., bool]
) -> None:
    """A comparison that leaves something out shows within a few walks: the walks can fail."""
    monkeypatch.setattr("gateway.pipeline.recognition.still_holds", fault)
    for seed in range(20):
        async with redis.asyncio.Redis.from_url(redis_url) as store:
            await store.flushall()
        async with open_known(redis_url, tmp_path, "verify") as known:
            await walk(known, seed)
            if known.count("different"):
                return
    raise AssertionError("no walk has found it")


async def revoke(known: KnownGateway, identity: str) -> None:
    await known.gateway.management.revoke_token(ADA, identity)


async def disable(known: KnownGateway, identity: str) -> None:
    await known.gateway.management.update_token(ADA, identity, TokenChange(is_active=False))


async def end(known: KnownGateway, _: str) -> None:
    known.gateway.set_time(NOW + 3_600_000)


async def narrow(known: KnownGateway, identity: str) -> None:
    await known.gateway.management.update_token(ADA, identity, TokenChange(scopes=("write",)))


async def block_owner(known: KnownGateway, _: str) -> None:
    await known.gateway.management.change_owner(ADA, "known", "acme", OwnerChange(status=OwnerStatus.BLOCKED))


async def override(known: KnownGateway, identity: str) -> None:
    limit = OverrideRequest(limit="1", burst=None, until=NOW // 1000 + 60, reason="r", author="a")
    await known.gateway.management.override_quota(ADA, identity, "log", limit, now=NOW // 1000)


async def purge_all(known: KnownGateway, _: str) -> None:
    await purge(known.gateway.management, known.gateway.exports, ADA, "known", Purge(project="website"))


async def change_policy(known: KnownGateway, _: str) -> None:
    known.policy_file.write_text(
        POLICY.replace(
            'match = "GET /export/**"\nscopes = ["read"]', 'match = "GET /export/**"\nscopes = ["admin"]'
        ).replace('write = "Write"', 'write = "Write"\nadmin = "Admin"')
    )
    await known.gateway.policies.reload_beside(is_asked_for=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (revoke, 401),
        (disable, 401),
        (end, 401),
        (narrow, 403),
        (block_owner, 403),
        (override, 429),
        (change_policy, 403),
    ],
)
async def test_a_change_is_true_on_the_next_request(known: KnownGateway, change: Change, expected: int) -> None:
    """The token is used on a connection whose request is recognised; the next one is refused as it has to be."""
    text, identity = await known.mint(owner="acme", plan="busy", expires_at=NOW // 1000 + 3600)
    client, data = known.connect(), request("/export/a", text)
    assert 200 == status(await recognise(known, client, data))
    before = known.count("recognised")
    await change(known, identity)
    assert expected == status(await client.ask(data))
    assert before == known.count("recognised")


@pytest.mark.parametrize("turn", ["begins", "ends", "is about to end"])
@pytest.mark.parametrize("before", [0, 1, 1000])
async def test_what_is_learnt_ends_at_the_millisecond(redis_url: str, tmp_path: Path, turn: str, before: int) -> None:
    """Learnt so many milliseconds before a check turns, or as it turns, an answer is used until then and not after."""
    async with open_known(redis_url, tmp_path, "verify") as known:
        seconds = NOW // 1000
        dates = {
            "begins": {"not_before": seconds + 60},
            "ends": {"expires_at": seconds + 60},
            "is about to end": {"expires_at": seconds + 60 + 14 * 86400},
        }[turn]
        text, _ = await known.mint(plan="plain", **dates)
        client = known.connect()
        for moment in (-before, 0, 1):
            known.gateway.set_time(NOW + 60_000 + moment)
            for _ in range(5):
                await client.ask(request("/export/a", text))
        assert 0 == known.count("different")
        assert 0 < known.count("compared")


async def test_a_purge_ends_what_is_recognised(known: KnownGateway) -> None:
    """The next request is answered by the backend."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    known.backend.version = 2
    await purge_all(known, "")
    assert b'"version": 2' in await client.ask(data)


async def test_refusals_are_recognised_and_show_their_numbers(known: KnownGateway) -> None:
    """Over the limit, and of a token that nobody minted; then the limit has room again."""
    text, _ = await known.mint(plan="free")
    client, data = known.connect(), request("/export/a", text)
    for _ in range(8):
        await client.ask(data)
    over = await recognise(known, client, data)
    assert (429, "0") == (status(over), field(over, "ratelimit").split("r=")[1][0])
    known.gateway.set_time(NOW + 5_000)
    later = await recognise(known, client, data)
    assert int(field(over, "retry-after")) - 5 == int(field(later, "retry-after"))
    unknown = await recognise(known, client, request("/export/a", never_minted(known)))
    assert 401 == status(unknown)
    known.gateway.set_time(NOW + 61_000)
    assert 200 == status(await client.ask(data))


async def test_what_is_passed_on_is_not_learnt_for_ever(known: KnownGateway) -> None:
    """A backend's answer is never learnt, and after a few attempts nobody tries."""
    text, _ = await known.mint(plan="plain")
    client = known.connect()
    for _ in range(8):
        assert 200 == status(await client.ask(request("/live/a", text)))
    assert (8, 4) == (known.backend.asked, known.count("not-learnt:backend-answer"))
    assert 0 == known.count("recognised")


async def test_pieces_and_pipelines_are_answered_in_order(known: KnownGateway) -> None:
    """A request in pieces, and requests that arrive together, are read; what follows a recognised one waits for it."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    start = len(client.transport.sent)
    client.connection.data_received(data)  # recognised, and under way
    client.connection.data_received(request("/export/b", text) + request("/nowhere", text)[:20])
    client.connection.data_received(request("/nowhere", text)[20:])
    await client.until(lambda: client.transport.sent[start:].count(b"HTTP/1.1 ") == 3)
    answers = client.transport.sent[start:].split(b"HTTP/1.1 ")[1:]
    assert [b"200", b"200", b"404"] == [answer[:3] for answer in answers]
    assert b"/export/a" in answers[0]
    assert b"/export/b" in answers[1]
    assert client.transport.reads


async def test_whoever_leaves_is_recorded_and_holds_nothing(known: KnownGateway, redis_url: str) -> None:
    """The client goes while Redis is asked: the request stays charged, its place among those in flight is free."""
    text, _ = await known.mint(plan="busy")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    leaving = [known.connect() for _ in range(3)]
    for one in leaving:
        one.connection.data_received(data)
        one.connection.connection_lost(None)
    await client.until(lambda: not known.server.tasks and known.listener.recognition.in_progress == 0)  # type: ignore[union-attr]
    await known.gateway.refunds.drain()
    assert 200 == status(await client.ask(data))  # at most three at once
    await client.until(lambda: known.log.exists() and 3 == known.log.read_bytes().count(b'"reason":"client_gone"'))


async def test_a_client_that_has_closed_its_side_is_answered(known: KnownGateway) -> None:
    """It goes the long way with the reply that is there: it is charged once."""
    text, _ = await known.mint(plan="free")
    client, data = known.connect(), request("/export/a", text)
    answer = await recognise(known, client, data)
    start = len(client.transport.sent)
    client.connection.data_received(data)
    assert client.connection.eof_received() is True
    await client.until(lambda: client.transport.end)
    last = client.transport.sent[start:]
    assert 200 == status(last)
    assert _left(answer) - 1 == _left(last)


async def test_a_stop_answers_what_is_under_way_and_closes(known: KnownGateway) -> None:
    """As without recognition: the answer says that the connection ends."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    start = len(client.transport.sent)
    client.connection.data_received(data)
    client.connection.shutdown()
    await client.until(lambda: client.transport.end == "closed")
    assert b"\r\nconnection: close\r\n" in client.transport.sent[start:]


async def test_a_slow_client_is_waited_for(known: KnownGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request is answered when the client has taken the answer; its record is written then."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    monkeypatch.setattr(client.transport, "write", _write_and_pause(client))
    before = len(client.transport.sent)
    client.connection.data_received(data)
    await client.until(lambda: len(client.transport.sent) > before)
    client.connection.data_received(request("/nowhere", text))
    after = len(client.transport.sent)
    await asyncio.sleep(0)
    assert after == len(client.transport.sent)
    client.connection.resume_writing()
    await client.until(lambda: b"HTTP/1.1 404" in client.transport.sent[after:])


def _write_and_pause(client: Client) -> Callable[[Any], None]:
    write = client.transport.write

    def write_once(data: Any) -> None:
        write(data)
        client.connection.pause_writing()

    return write_once


async def test_without_redis_a_known_request_is_503(known: KnownGateway, redis_url: str) -> None:
    """Nothing is answered from memory; when Redis is back, so is the short way."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    known.gateway.redis.open_circuit(TimeoutError())
    assert 503 == status(await client.ask(data))
    assert 1 == known.count("left:store-unavailable")


async def test_a_fault_of_the_short_way_leaves_the_long_one(
    known: KnownGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever, not in the same batch either."""
    text, _ = await known.mint(plan="plain")
    clients, data = [known.connect(), known.connect()], request("/export/a", text)
    for client in clients:
        await recognise(known, client, data)
    monkeypatch.setattr("gateway.pipeline.recognition.still_holds", lambda *_: 1 / 0)
    assert [200, 200] == [status(one) for one in await asyncio.gather(*(client.ask(data) for client in clients))]


async def test_a_lost_script_is_sent_again(known: KnownGateway, redis_url: str) -> None:
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    async with redis.asyncio.Redis.from_url(redis_url) as store:
        await store.script_flush()
    assert 200 == status(await recognise(known, client, data))


async def test_a_full_worker_refuses_known_requests_too(redis_url: str, tmp_path: Path) -> None:
    """The limit of requests in progress counts both ways together."""
    async with open_known(redis_url, tmp_path, max_requests=1) as known:
        text, _ = await known.mint(plan="plain")
        client, other, data = known.connect(), known.connect(), request("/export/a", text)
        await recognise(known, client, data)
        client.connection.data_received(data)
        assert 503 == status(await other.ask(data))


async def test_no_text_of_a_token_is_remembered(known: KnownGateway) -> None:
    """The table holds digests, keyed hashes, and answers."""
    text, _ = await known.mint(plan="plain")
    client = known.connect()
    await recognise(known, client, request("/export/a", text))
    recognition = known.listener.recognition
    assert recognition is not None
    assert text not in repr(recognition._known._young)
    assert text[5:] not in repr(recognition._known._young)


def test_garbage_evicts_nothing() -> None:
    """What is used stays while others come and go, and there is a limit to all."""
    table = Generations[int](3)
    table.put(b"used", 1)
    for number in range(100):
        assert 1 == table.get(b"used")
        table.put(b"%d" % number, number)
    assert len(table) <= 6


def test_large_entries_are_fewer() -> None:
    """The memory of a table is bounded, however long the requests are that fill it."""
    table = Generations[int](10_000)
    for number in range(1000):
        table.put(b"%d" % number, number, 4_000)
    assert len(table) <= 6
    table.put(b"one", 1, 4_000)
    table.put(b"one", 2, 4_000)
    assert 2 == table.get(b"one")


@pytest.mark.parametrize(
    ("struct", "fields"),
    [(AdmissionFacts, FIELDS), (Restrictions, RESTRICTION_FIELDS), (RequestHead, REQUEST_FIELDS)],
)
def test_each_field_has_its_treatment(struct: type[msgspec.Struct], fields: dict[str, str]) -> None:
    """Whoever adds a field says whether it is compared, or flows into a hole."""
    assert set(struct.__struct_fields__) == set(fields)


def _left(answer: bytes) -> int:
    return int(field(answer, "ratelimit").split("r=")[1].split(";")[0])


async def test_the_id_in_a_field_for_a_proxy_is_the_requests_own(redis_url: str, tmp_path: Path) -> None:
    """nginx gets the content of a refusal as a field: the id in it moves as well."""
    async with open_known(redis_url, tmp_path, trusted_proxies="192.0.2.1") as known:
        asked = ("X-Forwarded-For: 198.51.100.7", "X-Original-Method: GET", "X-Original-URL: http://api.example/live/a")
        data = request("/-/authorize/nginx", never_minted(known), *asked)
        answer = await recognise(known, known.connect(), data)
        told = msgspec.json.decode(field(answer, "x-error-content"))
        assert field(answer, "x-request-id") == told["request_id"]


async def test_nothing_is_recognised_behind_the_last_answer(known: KnownGateway) -> None:
    """The gateway has closed its side and discards content: what follows harms no other request of the same call."""
    text, _ = await known.mint(plan="plain")
    ended, other, data = known.connect(), known.connect(), request("/export/a", text)
    await recognise(known, other, data)
    head = b"POST /nowhere HTTP/1.1\r\nHost: api.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    ended.connection.data_received(head)
    await ended.until(lambda: ended.transport.end == "half")
    ended.connection.data_received(b"hello")
    ended.connection.data_received(data)  # leaves in one call with the next
    assert 200 == status(await other.ask(data))
    assert ended.connection._asking is None  # it would be held for ever


async def test_one_callback_that_fails_delays_no_other(known: KnownGateway) -> None:
    """Each request of a call gets its reply, whatever becomes of the one before it."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    await recognise(known, client, data)
    question = next(iter(known.listener.recognition._known._young.values()))[0].question  # type: ignore[union-attr]
    known.gateway.admissions.ask(question, "", lambda now, reply: 1 / 0)  # type: ignore[arg-type]
    assert 200 == status(await client.ask(data))


async def test_what_was_charged_is_not_refused_for_lack_of_room(redis_url: str, tmp_path: Path) -> None:
    """A request that leaves the short way keeps its place, though another one comes before its task runs."""
    async with open_known(redis_url, tmp_path, max_requests=1) as known:
        text, identity = await known.mint(plan="plain")
        client, other, data = known.connect(), known.connect(), request("/export/a", text)
        await recognise(known, client, data)
        await known.gateway.management.update_token(ADA, identity, TokenChange(name="x"), now=NOW // 1000)
        leave = client.connection._leave_recognised

        def leave_as_another_comes(*arguments: Any) -> None:
            leave(*arguments)
            other.connection.data_received(data)

        client.connection._leave_recognised = leave_as_another_comes  # type: ignore[method-assign, assignment]
        assert 200 == status(await client.ask(data))


async def test_the_guard_does_not_refuse_what_was_charged(redis_url: str, tmp_path: Path) -> None:
    """Others of its network fail while Redis is asked: the guard was passed before, as on the long way."""
    async with open_known(redis_url, tmp_path, failed_credentials="1/minute") as known:
        text, identity = await known.mint(plan="busy")
        client, data = known.connect(), request("/export/a", text)
        await recognise(known, client, data)
        await known.gateway.management.update_token(ADA, identity, TokenChange(name="x"), now=NOW // 1000)
        before = len(client.transport.sent)
        client.connection.data_received(data)
        known.gateway.failures.record_failure("192.0.2.1")  # type: ignore[union-attr]
        await client.until(lambda: is_whole(client.transport.sent[before:]))
        assert 200 == status(client.transport.sent[before:])


async def test_answers_that_wait_for_clients_count_as_in_progress(redis_url: str, tmp_path: Path) -> None:
    """So what waits in memory has the limit that it has on the long way."""
    async with open_known(redis_url, tmp_path, max_requests=2) as known:
        text, _ = await known.mint(plan="plain")
        data = request("/export/a", text)
        await recognise(known, known.connect(), data)
        slow = [known.connect() for _ in range(3)]
        for one in slow:
            one.transport.write = _write_and_pause(one)  # type: ignore[method-assign, assignment]
            await one.ask(data)
        assert [200, 200, 503] == [status(one.transport.sent) for one in slow]


async def _stall(known: KnownGateway, path: str) -> Client:
    """A client that has not taken the answer to a request, which is recognised if it can be."""
    text, _ = await known.mint(plan="plain")
    client = known.connect()
    for _ in range(3):
        await client.ask(request(path, text))
    client.transport.write = _write_and_pause(client)  # type: ignore[method-assign, assignment]
    await client.ask(request(path, text))
    return client


async def _lines(known: KnownGateway, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(SECONDS):
        while not known.log.exists() or known.log.read_bytes().count(b"\n") < number:
            await asyncio.sleep(0.05)
    return [msgspec.json.decode(line) for line in known.log.read_bytes().splitlines()]


async def test_whoever_closes_both_sides_is_recorded(known: KnownGateway) -> None:
    """The connection is lost as soon as the answer is taken."""
    client = await _stall(known, "/export/a")
    assert client.connection.eof_received() is True
    client.connection.resume_writing()
    client.connection.connection_lost(None)
    assert 4 == len(await _lines(known, 4))


async def test_a_refused_answer_is_recorded_as_on_the_long_way(
    known: KnownGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has got the answer: it is 499, and no byte of content is sent."""

    async def was_refused(_: object) -> bool:
        return True

    monkeypatch.setattr("gateway.server.connection.was_refused", was_refused)
    for path in ("/export/a", "/live/a"):  # recognised, and not
        client = await _stall(known, path)
        assert client.connection.eof_received() is True
        client.connection.resume_writing()
        await client.until(lambda client=client: client.transport.end)
    lines = await _lines(known, 8)
    assert [(499, "client_gone", 0, "client_gone")] * 2 == [
        (line["status"], line["ended"], line["sent_bytes"], line.get("reason")) for line in (lines[3], lines[7])
    ]


async def test_a_stop_records_what_a_slow_client_has_not_taken(known: KnownGateway) -> None:
    """At the end of the grace period the server cancels its tasks; a slow client's answer is one of them."""
    client = await _stall(known, "/export/a")
    client.connection.shutdown()
    await asyncio.sleep(0)
    assert known.server.tasks
    for task in list(known.server.tasks):
        task.cancel()
    assert "stopped" == (await _lines(known, 4))[-1]["ended"]


async def test_content_that_was_encoded_elsewhere_is_described_by_its_own_head(known: KnownGateway) -> None:
    """Another worker's library encodes to other bytes: a remembered Content-Length would end the message elsewhere."""
    client = known.connect()
    each = [request("/export/a", (await known.mint(plan="plain"))[0], "Accept-Encoding: gzip") for _ in range(2)]
    answers = [await recognise(known, client, data) for data in each]
    plain = gzip.decompress(answers[0].partition(b"\r\n\r\n")[2])
    stored = [one.allowed for one, _ in known.listener.recognition._known._young.values()]  # type: ignore[union-attr]
    name, digest, coding = stored[0].content  # type: ignore[union-attr, misc]
    known.gateway.exports._memory.put((name, digest + coding), gzip.compress(plain, 1))  # as if read from Redis
    before = len(client.transport.sent)
    client.connection.data_received(each[1])
    await client.until(lambda: client.transport.sent[before:])
    answer = client.transport.sent[before:]
    assert len(answer.partition(b"\r\n\r\n")[2]) == int(field(answer, "content-length"))


async def test_whoever_goes_as_the_long_way_begins_is_recorded(known: KnownGateway) -> None:
    """The request was charged, and holds its place among those in flight, though its task never runs."""
    text, identity = await known.mint(plan="busy")
    data = request("/export/a", text)
    await recognise(known, known.connect(), data)
    await known.gateway.management.update_token(ADA, identity, TokenChange(name="x"), now=NOW // 1000)
    for _ in range(3):
        client = known.connect()

        def leave_and_go(
            *given: Any, client: Client = client, leave: Any = client.connection._leave_recognised
        ) -> None:
            leave(*given)
            client.connection.connection_lost(None)

        client.connection._leave_recognised = leave_and_go  # type: ignore[method-assign, assignment]
        client.connection.data_received(data)
        await client.until(lambda client=client: client.connection._is_lost)
    assert 6 == len(await _lines(known, 6))
    await known.gateway.refunds.drain()
    assert 200 == status(await known.connect().ask(data))  # at most three at once


async def test_who_is_only_refused_evicts_nothing(known: KnownGateway) -> None:
    """A revoked token costs its holder nothing: its requests are kept where those of unknown tokens are."""
    text, identity = await known.mint(plan="plain")
    await revoke(known, identity)
    client = known.connect()
    for number in range(10):
        for _ in range(2):
            await client.ask(request(f"/export/{number}", text))
    recognition = known.listener.recognition
    assert recognition is not None
    assert (0, 10) == (len(recognition._known), len(recognition._unknown))


async def test_whoever_goes_as_redis_replies_is_recorded(known: KnownGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reply comes after the request was cancelled, and before its task knows: it is charged, and ends."""
    text, _ = await known.mint(plan="busy")
    take = RedisAdmissions._resolve
    for _ in range(3):
        client = known.connect()

        def leave_and_take(admissions: RedisAdmissions, *given: Any, client: Client = client) -> None:
            client.connection.connection_lost(None)
            take(admissions, *given)

        with monkeypatch.context() as patch:
            patch.setattr(RedisAdmissions, "_resolve", leave_and_take)
            client.connection.data_received(request("/export/a", text))
            await client.until(lambda client=client: client.connection._is_lost and not known.server.tasks)
    assert [499, 499, 499] == [line["status"] for line in await _lines(known, 3)]
    await known.gateway.refunds.drain()
    assert 200 == status(await known.connect().ask(request("/export/a", text)))  # at most three at once
    assert not known.gateway.admissions._callbacks


@pytest.mark.parametrize("mode", ["off", "on"])
async def test_each_use_of_a_revoked_token_is_told_where_alerts_are_on(
    redis_url: str, tmp_path: Path, mode: Literal["off", "on"]
) -> None:
    """The token may be reported as leaked after its requests would have come to be recognised."""
    settings: dict[str, Any] = {"alerts_url": "https://ops.example/", "alerts_secret": "whsec_" + "QUJD" * 8}
    async with open_known(redis_url, tmp_path, mode, **settings) as known:
        text, identity = await known.mint(plan="plain")
        await revoke(known, identity)
        alerting = known.gateway.alerting
        assert alerting is not None
        client = known.connect()
        for number in range(5):
            alerting._clock = lambda number=number: NOW / 1000 + 2 * number * FORGET_SECONDS  # type: ignore[misc]
            assert 401 == status(await client.ask(request("/export/a", text)))
        assert 5 == len(alerting._notes)


async def test_a_good_token_over_its_limit_is_kept_with_the_good_ones(known: KnownGateway) -> None:
    """It proves who sends it, so garbage must not evict it."""
    text, _ = await known.mint(plan="free")
    client = known.connect()
    for _ in range(6):  # all that a minute allows, each at another address
        await client.ask(request(f"/export/{_}", text))
    for _ in range(2):
        assert 429 == status(await client.ask(request("/export/over", text)))
    recognition = known.listener.recognition
    assert recognition is not None
    assert (1, 0) == (len(recognition._known), len(recognition._unknown))


async def test_what_was_evicted_is_learnt_again(known: KnownGateway) -> None:
    """However often that happens: only what cannot be learnt is given up."""
    text, _ = await known.mint(plan="plain")
    client, data = known.connect(), request("/export/a", text)
    recognition = known.listener.recognition
    assert recognition is not None
    for _ in range(2 * MAXIMUM_LESSONS):
        await recognise(known, client, data)
        recognition._known.clear()


async def test_no_token_in_a_path_is_remembered(known: KnownGateway) -> None:
    """A client writes its token where a project is expected."""
    text, _ = await known.mint(plan="plain")
    client = known.connect()
    for _ in range(3):
        await client.ask(request(f"/project/{text}/export", text))
    recognition = known.listener.recognition
    assert recognition is not None
    tables = (*recognition._known._young.values(), *recognition._unknown._young.values())
    assert text not in repr([one.question for one, _ in tables])
