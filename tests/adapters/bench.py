"""A store under a clock of the test's own: its tokens, admissions and refunds, and rules with any quotas."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count

import msgspec

from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.quota_refunds import RedisQuotaRefunds
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized
from gateway.core.policies.compile_rules import allot
from gateway.core.policies.model import Rule
from gateway.core.policies.script_rules import encode_script_rule
from gateway.core.quotas.costs import Cost
from gateway.core.quotas.model import Quota
from gateway.core.tokens.records import TokenRecord
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for
from tests.support.redis_keys import ALL_BUT_MARKER

START = 1_800_000_000_000
"""Milliseconds: a moment for tests that set the script's clock."""
PARALLEL = Quota("parallel", 2, 15, "concurrent")
RECORDS = (
    make_record("sml_a", plan="pro", owner="acme"),
    make_record("sml_b", plan="pro", owner="acme", project="shop"),
    make_record("sml_c", plan="pro", owner="сайт:1", project="shop"),
)
ADDRESSES = ("192.0.2.1", "2001:db8::1", "2001:db8::2")
"""The last two are of one network."""


def rule_with(quotas: Sequence[Quota], cost: int = 1) -> Rule:
    """A rule without scopes under quotas of the test's own; of its cost nothing is certain until it is settled."""
    rule = msgspec.structs.replace(
        rule_for("GET /export"),
        cost=Cost(cost, by_outcome={}),
        allotments={"pro": allot(quotas)},
        permitted_plans=frozenset({"pro"}),
        has_leases=any(quota.is_concurrency for quota in quotas),
        counts_addresses=any(quota.per == "address" for quota in quotas),
    )
    return msgspec.structs.replace(rule, script_rule=encode_script_rule(rule))


class Bench:
    """A store under a clock of the test's own."""

    def __init__(self, connection: RedisConnection, lease_seconds: float = 15) -> None:
        self.connection = connection
        self.client = self.connection.client
        self.tokens = RedisTokens(self.connection)
        self.admissions = RedisAdmissions(self.connection)
        leases = (f"lease-{number}" for number in count())
        self.refunds = RedisQuotaRefunds(self.connection, self.admissions, leases.__next__, lease_seconds)
        self.at(START)

    def at(self, now: int) -> None:
        self.admissions.now = self.refunds.now = now

    async def admit(self, rule: Rule, record: TokenRecord, address: str = "") -> AdmissionFacts:
        lease = self.refunds.new_lease() if rule.has_leases else ""
        return await self.admissions.admit(AdmissionRequest(rule, record.digest, address=address, lease=lease))

    async def keys(self) -> set[str]:
        return {str(key) for key in await self.client.keys(ALL_BUT_MARKER)}

    async def refund(self, rule: Rule, facts: AdmissionFacts, units: int) -> None:
        settled = msgspec.structs.replace(facts, cost=facts.cost - units)
        self.refunds.refund(Authorized(rule, settled))
        await self.refunds.drain()


@asynccontextmanager
async def open_bench(url: str, records: Sequence[TokenRecord] = (), lease_seconds: float = 15) -> AsyncIterator[Bench]:
    """Open a store that holds nothing but the records; close it at the end of the block."""
    async with open_connection(url) as connection:
        bench = Bench(connection, lease_seconds)
        try:
            await bench.client.flushall()
            await bench.client.set(keys.marker(), "1")
            for record in records:
                await bench.tokens.create(record)
            yield bench
        finally:
            await bench.refunds.close()
