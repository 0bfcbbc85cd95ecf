"""The admission script and the seam that gathers its calls."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from gateway.adapters import names
from gateway.core.caching.keys import export_key
from gateway.core.decision import Asked, Facts
from gateway.core.messages import RequestHead
from gateway.core.records import encode_record
from gateway.core.tokens import token_id
from tests.adapters.bench import START, Bench, run
from tests.support.policies import make_record, rule_for, small_policies
from tests.support.relay import Relay


def test_an_admission_brings_the_record_and_charges_every_window(store_url: str) -> None:
    """The facts of a good token: its record, Redis' time, one unit used of each window, the windows' ends."""

    async def work(bench: Bench) -> None:
        record = make_record()
        await bench.tokens.create(record)
        facts = await bench.admit(rule_for("GET /export"), record)
        assert (record, START, False, True) == (facts.record, facts.now, facts.is_revoked, facts.is_charged)
        assert [("minute", 1, START + 60_000), ("second", 1, START + 1000)] == sorted(
            (window.quota.name, window.used, window.resets_at) for window in facts.windows
        )

    run(store_url, work)


def test_all_windows_are_charged_or_none(store_url: str) -> None:
    """The request that one window refuses charges no other, and the next window starts full."""

    async def work(bench: Bench) -> None:
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

    run(store_url, work)


def test_a_cost_that_does_not_fit_is_not_charged_in_part(store_url: str) -> None:
    """A request of cost 2 takes 2 of each window, and is refused where only 1 is left."""

    async def work(bench: Bench) -> None:
        record, rule = make_record(plan="pro"), rule_for("GET /costly")
        await bench.tokens.create(record)
        facts = [await bench.admit(rule, record) for _ in range(26)]
        assert [True] * 25 + [False] == [one.is_charged for one in facts]
        assert [50, 50] == [one.windows[0].used for one in facts[-2:]]

    run(store_url, work)


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
def test_a_token_that_may_not_pass_leaves_no_trace(store_url: str, changes: dict[str, Any], is_revoked: bool) -> None:
    """Disabled, expired, early, revoked, of another policy: no counter, no last use, nothing charged."""

    async def work(bench: Bench) -> None:
        record = make_record(**changes)
        await bench.tokens.create(record)
        if is_revoked:
            await bench.tokens.revoke(token_id(record.digest))
        before = await bench.keys()
        facts = await bench.admit(rule_for("GET /export"), record)
        assert (False, ()) == (facts.is_charged, facts.windows)
        assert before == await bench.keys()
        assert record == await bench.tokens.find(token_id(record.digest))

    run(store_url, work)


def test_an_unknown_token_creates_nothing(store_url: str) -> None:
    """A digest that nobody minted brings no record and leaves the store empty."""

    async def work(bench: Bench) -> None:
        facts = await bench.admit(rule_for("GET /export"), make_record())
        assert (None, False, False) == (facts.record, facts.is_revoked, facts.is_charged)
        assert set() == await bench.keys()

    run(store_url, work)


def test_a_record_that_cannot_be_read_fails_its_own_request(store_url: str) -> None:
    """Somebody wrote nonsense into it by hand: the request fails and does not wait for ever, the next one passes."""

    async def work(bench: Bench) -> None:
        good, bad = make_record("a", plan="open"), make_record("b", plan="open")
        await bench.tokens.create(good)
        nonsense = encode_record(bad).replace(b'"CI"', b"7")
        await bench.connection.client.set(names.token(token_id(bad.digest)), nonsense)
        async with asyncio.timeout(10):
            asked = [bench.admit(rule_for("GET /export"), record) for record in (bad, good)]
            failure, facts = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(failure, msgspec.ValidationError)
        assert isinstance(facts, Facts) and facts.is_charged

    run(store_url, work)


def test_a_token_is_known_by_its_whole_digest(store_url: str) -> None:
    """A digest that shares only the beginning with a token's, its id, is unknown."""

    async def work(bench: Bench) -> None:
        record = make_record()
        await bench.tokens.create(record)
        forged = record.digest[:-1] + ("0" if record.digest[-1] != "0" else "1")
        facts = await bench.admissions.admit(Asked(rule_for("GET /export"), forged))
        assert (None, False) == (facts.record, facts.is_charged)

    run(store_url, work)


def test_a_forbidden_request_tells_the_state_and_charges_nothing(store_url: str) -> None:
    """A token without the scope, or with a plan without it, sees its windows untouched."""

    async def work(bench: Bench) -> None:
        for record in (make_record("a", scopes=""), make_record("b", plan="free")):
            await bench.tokens.create(record)
            rule = rule_for("GET /export") if not record.scopes else rule_for("POST /any")
            facts = await bench.admit(rule, record)
            assert (False, [0, 0]) == (facts.is_charged, [window.used for window in facts.windows])

    run(store_url, work)


def test_a_plan_that_the_policy_no_longer_has_permits_nothing(store_url: str) -> None:
    """A token of a plan that was taken out of the file is not charged and has no windows."""

    async def work(bench: Bench) -> None:
        record = make_record(plan="gone")
        await bench.tokens.create(record)
        facts = await bench.admit(rule_for("GET /export"), record)
        assert (False, ()) == (facts.is_charged, facts.windows)

    run(store_url, work)


def test_the_stored_head_comes_with_the_admission_of_its_entitlement_only(store_url: str) -> None:
    """A token of the project gets the stored head, a token of another project does not."""

    async def work(bench: Bench) -> None:
        rule = rule_for("GET /export")
        head = RequestHead("GET", "/export", "", [], "http", "", "", "id", "", "", 0.0)
        mine, other = make_record("a", plan="open"), make_record("b", plan="open", project="other")
        key = export_key(rule, head)
        for record in (mine, other):
            await bench.tokens.create(record)
        await bench.connection.client.hset(names.export("project", "website", key), "head", b"the head")
        facts = [await bench.admissions.admit(Asked(rule, record.digest, key)) for record in (mine, other)]
        assert [(b"the head",), ()] == [one.stored_heads for one in facts]

    run(store_url, work)


def test_the_script_names_exports_as_the_gateway_does(store_url: str) -> None:
    """An entitlement in another script than ASCII is named by its length in bytes on both sides."""

    async def work(bench: Bench) -> None:
        rule = rule_for("GET /export")
        record = make_record(plan="open", project="сайт:1")
        await bench.tokens.create(record)
        await bench.connection.client.hset(names.export("project", "сайт:1", "key"), "head", b"x")
        facts = await bench.admissions.admit(Asked(rule, record.digest, "key"))
        assert (b"x",) == facts.stored_heads

    run(store_url, work)


@pytest.mark.redis
def test_the_admissions_of_one_tick_are_one_round_trip(redis_url: str) -> None:
    """Forty admissions that start together, under several rules, cross the wire in one request and one answer."""

    async def work() -> None:
        async with Relay(urlsplit(redis_url).port or 0) as relay:
            bench = Bench(f"redis://127.0.0.1:{relay.port}/0")
            policies = small_policies()
            record = make_record(plan="open")
            await bench.tokens.create(record)
            await bench.admit(rule_for("GET /export", policies), record)
            relay.round_trips.clear()
            rules = [rule_for(request, policies) for request in ("GET /export", "GET /costly")] * 20
            await asyncio.gather(*(bench.admit(rule, record) for rule in rules))
            assert 1 == len(relay.round_trips)
            await bench.connection.close()

    asyncio.run(work())


@pytest.mark.redis
def test_a_limit_of_n_admits_n_however_many_ask(redis_url: str) -> None:
    """Four connections with a hundred admissions each at once: exactly the fifty-one of the window pass."""

    async def work() -> None:
        benches = [Bench(redis_url) for _ in range(4)]
        record, rule = make_record(plan="pro"), rule_for("GET /export")
        await benches[0].tokens.create(record)
        asked = [bench.admit(rule, record) for bench in benches for _ in range(100)]
        facts = await asyncio.gather(*asked)
        assert 51 == sum(one.is_charged for one in facts)
        for bench in benches:
            await bench.connection.close()

    asyncio.run(work())
