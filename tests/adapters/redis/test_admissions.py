"""The admission script and the seam that gathers its calls."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from gateway.adapters.redis import keys
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest
from gateway.core.cache.keys import export_key
from gateway.core.http.messages import RequestHead
from gateway.core.tokens.records import encode_record
from gateway.core.tokens.text import token_id
from tests.adapters.bench import START, Bench, open_bench
from tests.support.policies import make_record, rule_for, small_policies
from tests.support.relay import Relay


async def test_an_admission_brings_the_record_and_charges_every_window(bench: Bench) -> None:
    """The facts of a good token: its record, Redis' time, one unit used of each window, the windows' ends."""
    record = make_record()
    await bench.tokens.create(record)
    facts = await bench.admit(rule_for("GET /export"), record)
    assert record == facts.record
    assert START == facts.now
    assert not facts.is_revoked
    assert facts.is_charged
    assert [("minute", 1, START + 60_000), ("second", 1, START + 1000)] == sorted(
        (window.quota.name, window.used, window.resets_at) for window in facts.windows
    )


async def test_all_windows_are_charged_or_none(bench: Bench) -> None:
    """The request that one window refuses charges no other, and the next window starts full."""
    record, rule = make_record(), rule_for("GET /export")
    await bench.tokens.create(record)
    used = []
    for at in (0, 1, 2, 3, 1000, 1001, 1002, 2000, 2001):
        bench.admissions.now = START + at
        facts = await bench.admit(rule, record)
        used.append((facts.is_charged, {window.quota.name: window.used for window in facts.windows}))
    assert [
        (True, {"second": 1, "minute": 1}),
        (True, {"second": 2, "minute": 2}),
        (False, {"second": 2, "minute": 2}),
        (False, {"second": 2, "minute": 2}),
        (True, {"second": 1, "minute": 3}),
        (True, {"second": 2, "minute": 4}),
        (False, {"second": 2, "minute": 4}),
        (True, {"second": 1, "minute": 5}),
        (False, {"second": 1, "minute": 5}),
    ] == used


async def test_a_cost_that_does_not_fit_is_not_charged_in_part(bench: Bench) -> None:
    """A request of cost 2 takes 2 of each window, and is refused where only 1 is left."""
    record, rule = make_record(plan="pro"), rule_for("GET /costly")
    await bench.tokens.create(record)
    facts = [await bench.admit(rule, record) for _ in range(26)]
    assert [True] * 25 + [False] == [one.is_charged for one in facts]
    assert [50, 50] == [one.windows[0].used for one in facts[-2:]]


@pytest.mark.parametrize(
    ("changes", "is_revoked"),
    [
        ({"is_active": False}, False),
        ({"expires_at": START // 1000}, False),
        ({"not_before": START // 1000 + 1}, False),
        ({}, True),
        ({"policy": "another"}, False),
    ],
)
async def test_a_token_that_may_not_pass_leaves_no_trace(
    bench: Bench, changes: dict[str, Any], is_revoked: bool
) -> None:
    """Disabled, expired, early, revoked, of another policy: no counter, no last use, nothing charged."""
    record = make_record(**changes)
    await bench.tokens.create(record)
    if is_revoked:
        await bench.tokens.revoke(token_id(record.digest))
    before = await bench.keys()
    facts = await bench.admit(rule_for("GET /export"), record)
    assert not facts.is_charged
    assert () == facts.windows
    assert before == await bench.keys()
    assert record == await bench.tokens.find(token_id(record.digest))


async def test_an_unknown_token_creates_nothing(bench: Bench) -> None:
    """A digest that nobody minted brings no record and leaves the store empty."""
    facts = await bench.admit(rule_for("GET /export"), make_record())
    assert None is facts.record
    assert not facts.is_revoked
    assert not facts.is_charged
    assert set() == await bench.keys()


async def test_a_record_that_cannot_be_read_fails_its_own_request(bench: Bench) -> None:
    """Somebody wrote nonsense into it by hand: the request fails and does not wait for ever, the next one passes."""
    good, bad = make_record("a", plan="open"), make_record("b", plan="open")
    await bench.tokens.create(good)
    nonsense = encode_record(bad).replace(b'"CI"', b"7")
    await bench.connection.client.set(keys.token(token_id(bad.digest)), nonsense)
    async with asyncio.timeout(10):
        asked = [bench.admit(rule_for("GET /export"), record) for record in (bad, good)]
        failure, facts = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(failure, msgspec.ValidationError)
    assert isinstance(facts, AdmissionFacts)
    assert facts.is_charged


async def test_a_token_is_known_by_its_whole_digest(bench: Bench) -> None:
    """A digest that shares only the beginning with a token's, its id, is unknown."""
    record = make_record()
    await bench.tokens.create(record)
    forged = record.digest[:-1] + ("0" if record.digest[-1] != "0" else "1")
    facts = await bench.admissions.admit(AdmissionRequest(rule_for("GET /export"), forged))
    assert None is facts.record
    assert not facts.is_charged


async def test_a_forbidden_request_tells_the_state_and_charges_nothing(bench: Bench) -> None:
    """A token without the scope, or with a plan without it, sees its windows untouched."""
    for record in (make_record("a", scopes=""), make_record("b", plan="free")):
        await bench.tokens.create(record)
        rule = rule_for("GET /export") if not record.scopes else rule_for("POST /any")
        facts = await bench.admit(rule, record)
        assert not facts.is_charged
        assert [0, 0] == [window.used for window in facts.windows]


async def test_a_plan_that_the_policy_no_longer_has_permits_nothing(bench: Bench) -> None:
    """A token of a plan that was taken out of the file is not charged and has no windows."""
    record = make_record(plan="gone")
    await bench.tokens.create(record)
    facts = await bench.admit(rule_for("GET /export"), record)
    assert not facts.is_charged
    assert () == facts.windows


async def test_the_stored_head_comes_with_the_admission_of_its_entitlement_only(bench: Bench) -> None:
    """A token of the project gets the stored head, a token of another project does not."""
    rule = rule_for("GET /export")
    head = RequestHead(
        method="GET",
        path="/export",
        query="",
        fields=[],
        scheme="http",
        client="",
        forwarded_for="",
        id="id",
        host="",
        authority="",
        received_at=0.0,
    )
    mine, other = make_record("a", plan="open"), make_record("b", plan="open", project="other")
    key = export_key(rule, head)
    for record in (mine, other):
        await bench.tokens.create(record)
    await bench.connection.client.hset(keys.export("project", "website", key), "head", b"the head")
    facts = [await bench.admissions.admit(AdmissionRequest(rule, record.digest, key)) for record in (mine, other)]
    assert [(b"the head",), ()] == [one.stored_heads for one in facts]


async def test_the_script_names_exports_as_the_gateway_does(bench: Bench) -> None:
    """An entitlement in another script than ASCII is named by its length in bytes on both sides."""
    rule = rule_for("GET /export")
    record = make_record(plan="open", project="сайт:1")
    await bench.tokens.create(record)
    await bench.connection.client.hset(keys.export("project", "сайт:1", "key"), "head", b"x")
    facts = await bench.admissions.admit(AdmissionRequest(rule, record.digest, "key"))
    assert (b"x",) == facts.stored_heads


@pytest.mark.redis
async def test_the_admissions_of_one_tick_are_one_round_trip(redis_url: str) -> None:
    """Forty admissions that start together, under several rules, cross the wire in one request and one answer."""
    port = urlsplit(redis_url).port or 0
    async with Relay(port) as relay, open_bench(f"redis://127.0.0.1:{relay.port}/0") as bench:
        policies = small_policies()
        record = make_record(plan="open")
        await bench.tokens.create(record)
        await bench.admit(rule_for("GET /export", policies), record)
        relay.round_trips.clear()
        rules = [rule_for(request, policies) for request in ("GET /export", "GET /costly")] * 20
        await asyncio.gather(*(bench.admit(rule, record) for rule in rules))
        assert 1 == len(relay.round_trips)


@pytest.mark.redis
async def test_a_limit_of_n_admits_n_however_many_ask(redis_url: str) -> None:
    """Four connections with a hundred admissions each at once: exactly the fifty-one of the window pass."""
    record, rule = make_record(plan="pro"), rule_for("GET /export")
    async with AsyncExitStack() as stack:
        benches = [await stack.enter_async_context(open_bench(redis_url)) for _ in range(4)]
        await benches[0].tokens.create(record)
        asked = [bench.admit(rule, record) for bench in benches for _ in range(100)]
        assert 51 == sum(facts.is_charged for facts in await asyncio.gather(*asked))


async def test_each_abandoned_request_gets_its_own_admission(bench: Bench) -> None:
    """Two requests that ask the same question leave before Redis answers: each is charged, and is called back once."""
    record = make_record()
    await bench.tokens.create(record)
    asked = AdmissionRequest(rule_for("GET /export"), record.digest)
    found: list[AdmissionFacts | None] = []
    async with asyncio.timeout(10):
        for _ in range(2):
            facts = bench.admissions.admit(asked)
            facts.cancel()
            bench.admissions.call_when_found(facts, found.append)
        while len(found) < 2:
            await asyncio.sleep(0)
    assert [1, 2] == sorted(facts.windows[0].used for facts in found if facts is not None)
