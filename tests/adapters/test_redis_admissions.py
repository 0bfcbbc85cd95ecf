"""The admission script and the seam that gathers its calls."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import product
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.adapters import names
from gateway.adapters.redis_admissions import RedisAdmissions
from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.caching.keys import export_key
from gateway.core.decision import Allow, Asked, Facts, decide
from gateway.core.messages import RequestHead
from gateway.core.owners import OwnerRecord, OwnerStatus, standing_in
from gateway.core.policies.rules import Rule
from gateway.core.quotas import Quota
from gateway.core.records import LAST_USE_WIDTH, TokenRecord, encode_record
from gateway.core.tokens import token_id
from tests.support.policies import make_record, rule_for, small_policies
from tests.support.relay import Relay

START = 1_800_000_000_000
"""Milliseconds: a moment for tests that set the script's clock."""


class Bench:
    """A store, its token records and its admissions."""

    def __init__(self, url: str) -> None:
        self.connection = RedisConnection(open_client(url, 5), 5)
        self.tokens = RedisTokens(self.connection)
        self.admissions = RedisAdmissions(self.connection)
        self.admissions.now = START

    async def admit(self, rule: Rule, record: TokenRecord) -> Facts:
        return await self.admissions.admit(Asked(rule, record.digest))

    async def keys(self) -> set[str]:
        return {str(key) for key in await self.connection.client.keys("*")}


def run(url: str, work: Callable[[Bench], Awaitable[None]]) -> None:
    async def run_all() -> None:
        bench = Bench(url)
        try:
            await work(bench)
        finally:
            await bench.connection.close()

    asyncio.run(run_all())


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


def test_the_last_use_is_written_once_in_its_resolution(store_url: str) -> None:
    """Uses within a minute of the one noted are not written; the first after it is."""

    async def work(bench: Bench) -> None:
        record = make_record(plan="open")
        identity = token_id(record.digest)
        await bench.tokens.create(record)
        seen = []
        for seconds in (0, 59, 60, 61):
            bench.admissions.now = START + seconds * 1000
            await bench.admit(rule_for("GET /export"), record)
            seen.append(await bench.tokens.find(identity))
        start = START // 1000
        assert [replace(record, last_use=one) for one in (start, start, start + 60, start + 60)] == seen

    run(store_url, work)


@pytest.mark.parametrize(
    ("request_line", "project", "changes", "used"),
    [
        ("POST /any", "", {"scopes": "read"}, 0),
        ("GET /projects/other/content", "other", {}, 0),
        ("GET /export", "", {"plan": "gone"}, 0),
        ("GET /export", "", {}, 5),
    ],
)
def test_a_use_is_noted_whatever_becomes_of_the_request(
    store_url: str, request_line: str, project: str, changes: dict[str, Any], used: int
) -> None:
    """Without the scope, for another project, by a plan that is gone, over its quota: the token was used."""

    async def work(bench: Bench) -> None:
        record = make_record(**changes)
        await bench.tokens.create(record)
        counters = names.quotas("token", "small", record.lineage)
        await bench.connection.client.hset(counters, Quota("minute", 5, 60).counter, f"{START + 1}:{used}")
        facts = await bench.admissions.admit(Asked(rule_for(request_line), record.digest, project=project))
        noted = replace(record, last_use=START // 1000)
        assert (False, noted) == (facts.is_charged, await bench.tokens.find(token_id(record.digest)))

    run(store_url, work)


@pytest.mark.parametrize("seconds", [1, 10**LAST_USE_WIDTH - 1, 10**LAST_USE_WIDTH, 10**12])
def test_no_clock_writes_beyond_a_last_uses_place(store_url: str, seconds: int) -> None:
    """In 1970 as after 2286, when it stands still: all else in the record is as it was, and the token goes on."""

    async def work(bench: Bench) -> None:
        record = make_record(plan="open", description="behind the last use")
        await bench.tokens.create(record)
        bench.admissions.now = seconds * 1000
        facts = [await bench.admit(rule_for("GET /export"), record) for _ in range(2)]
        assert [True, True] == [one.is_charged for one in facts]
        noted = replace(record, last_use=min(seconds, 10**LAST_USE_WIDTH - 1))
        assert noted == await bench.tokens.find(token_id(record.digest))

    run(store_url, work)


def test_a_parent_is_not_used_by_its_children(store_url: str) -> None:
    """An admission of a child reads its parent and notes nothing of it."""

    async def work(bench: Bench) -> None:
        parent, child = make_family([{"child_of": None}, {"child_of": 0}])
        for record in (parent, child):
            await bench.tokens.create(record)
        await bench.admit(rule_for("GET /export"), child)
        found = [await bench.tokens.find(token_id(record.digest)) for record in (parent, child)]
        assert [0, START // 1000] == [one.last_use for one in found if one]

    run(store_url, work)


def test_a_record_is_decoded_once_between_two_uses_that_are_noted(store_url: str) -> None:
    """The admissions within a resolution find the very same record: what is remembered of it serves them."""

    async def work(bench: Bench) -> None:
        record = make_record(plan="open")
        await bench.tokens.create(record)
        found = [(await bench.admit(rule_for("GET /export"), record)).record for _ in range(3)]
        assert [0, START // 1000, START // 1000] == [one.last_use for one in found if one]
        assert found[1] is found[2]

    run(store_url, work)


def test_the_stored_head_comes_with_the_admission_of_its_entitlement_only(store_url: str) -> None:
    """A token of the project gets the stored head, a token of another project does not."""

    async def work(bench: Bench) -> None:
        rule = rule_for("GET /export")
        head = RequestHead("GET", "/export", "", [], "http", "", "", "id", "", 0.0)
        mine, other = make_record("a", plan="open"), make_record("b", plan="open", project="other")
        key = export_key(rule, head)
        for record in (mine, other):
            await bench.tokens.create(record)
        await bench.connection.client.hset(names.export("project", "website", key), "head", b"the head")
        facts = [await bench.admissions.admit(Asked(rule, record.digest, key)) for record in (mine, other)]
        assert [(b"the head",), ()] == [one.stored_heads for one in facts]

    run(store_url, work)


_times = st.one_of(st.none(), st.none(), st.none(), st.integers(START // 1000 - 2, START // 1000 + 2))
_records: st.SearchStrategy[list[dict[str, Any]]] = st.lists(
    st.builds(
        dict,
        is_active=st.sampled_from([True, True, True, True, False]),
        not_before=_times,
        expires_at=_times,
        scopes=st.sampled_from(["write", "write", "read write", "read", "", "reader", "unread write"]),
        plan=st.sampled_from(["open", "pro", "free", "gone"]),
        policy=st.sampled_from(["small", "small", "small", "small", "another"]),
        project=st.sampled_from(["website", "website", "other", ""]),
        owner=st.sampled_from(["ada", "ada", "ada", "", "nobody"]),
        child_of=st.sampled_from([None, None, 0, 1, 99]),
    ),
    min_size=1,
    max_size=8,
)
_owners = st.builds(
    OwnerRecord,
    status=st.sampled_from([OwnerStatus.ACTIVE, OwnerStatus.ACTIVE, OwnerStatus.BLOCKED, OwnerStatus.REMOVED]),
    permissions=st.dictionaries(
        st.sampled_from(["website", "website", "*", "other", ""]),
        st.sampled_from(["read", "write", "", "read write", "reader"]),
        max_size=3,
    ),
    version=st.just(1),
)
_requests = st.sampled_from(
    [("GET /export", ""), ("POST /any", ""), ("GET /projects/website/content", "website"), ("GET /export", "other")]
)


def make_family(records: Sequence[dict[str, Any]]) -> list[TokenRecord]:
    """Tokens of which some are children of the first two, or of one that is not there."""
    made: list[TokenRecord] = []
    for number, changes in enumerate(records):
        values = {name: value for name, value in changes.items() if name != "child_of"}
        record = make_record(f"sml_{number}", **values)
        if changes["child_of"] is not None:
            known = made[changes["child_of"]] if changes["child_of"] < len(made) else make_record("sml_gone")
            moved = known.digest[:2] + record.digest[2:]
            record = replace(record, digest=moved, lineage=known.lineage, parent=token_id(known.digest))
        made.append(record)
    return made


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=_records, revoked=st.sets(st.integers(0, 30), max_size=3), request=_requests, owner=st.none() | _owners)
def test_the_script_charges_exactly_what_the_decision_allows(
    store_url: str,
    records: Sequence[dict[str, Any]],
    revoked: set[int],
    request: tuple[str, str],
    owner: OwnerRecord | None,
) -> None:
    """For any tokens, owners and parents, alone or in a batch: a quota is charged if and only if the request passes."""

    async def work(bench: Bench) -> None:
        await bench.connection.client.flushall()
        rule = rule_for(request[0])
        made = make_family(records)
        for number, record in enumerate(made):
            await bench.tokens.create(record)
            if number in revoked:
                await bench.tokens.revoke(token_id(record.digest))
        if owner is not None:
            assert await bench.tokens.owners.replace("small", "ada", None, owner)
        asked = [Asked(rule, record.digest, project=request[1]) for record in made]
        for record, facts in zip(made, await asyncio.gather(*map(bench.admissions.admit, asked)), strict=True):
            assert facts.is_charged == isinstance(decide(rule, facts), Allow)
            if owner is not None and record.owner == "ada" and facts.record is not None and not facts.is_revoked:
                assert standing_in(owner, request[1] or record.project) == facts.kin.owner

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


def test_every_side_bounds_a_token_in_the_script_as_in_the_decision(store_url: str) -> None:
    """Every combination of what token, owner and parent hold, in whichever project: charged exactly where allowed."""
    scopes = ("read", "write", "")
    active, blocked = OwnerStatus.ACTIVE, OwnerStatus.BLOCKED
    permissions: list[dict[str, str]] = [{}, *({name: held} for name in ("website", "*", "") for held in scopes)]
    owners = (None, OwnerRecord(blocked, {"*": "write"}, 1), *(OwnerRecord(active, held, 1) for held in permissions))
    projects = (("website", ""), ("website", "website"), ("website", "other"), ("", "website"), ("", ""))

    async def work(bench: Bench) -> None:
        asked, allowed = [], 0
        for number, owner in enumerate(owners):
            if owner is not None:
                await bench.tokens.owners.replace("small", f"owner-{number}", None, owner)
            for parent_scopes, held in product((None, *scopes), scopes):
                text = f"sml_{number}_{parent_scopes}_{held}"
                for project in ("website", ""):
                    values = {"owner": f"owner-{number}", "project": project, "plan": "open"}
                    record = make_record(f"{text}_{project}", scopes=held, **values)
                    if parent_scopes is not None:
                        parent = make_record(f"{text}_{project}_parent", scopes=parent_scopes, **values)
                        await bench.tokens.create(parent)
                        moved = parent.digest[:2] + record.digest[2:]
                        record = replace(record, digest=moved, parent=token_id(parent.digest))
                    await bench.tokens.create(record)
                    named = [about for own, about in projects if own == project]
                    for rule in map(rule_for, ("GET /export", "POST /any", "GET /projects/website/content")):
                        asked += [Asked(rule, record.digest, project=about) for about in named]
        for one, facts in zip(asked, await asyncio.gather(*map(bench.admissions.admit, asked)), strict=True):
            is_allowed = isinstance(decide(one.rule, facts), Allow)
            assert is_allowed == facts.is_charged, (facts, one.rule.pattern.text)
            allowed += is_allowed
        assert 0 < allowed < len(asked) / 2

    run(store_url, work)
