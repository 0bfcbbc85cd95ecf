"""What is found of a token without a trace is what an admission finds."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters import names
from gateway.adapters.redis_admissions import RedisAdmissions
from gateway.adapters.redis_connection import RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.decision import Deny, decide
from gateway.core.explanation import build_facts, explain_decision, first_failure
from gateway.core.quotas import Quota, Window
from gateway.core.tokens import token_id
from tests.support.policies import make_record, rule_for

QUOTA = Quota("minute", 5, 60)

_changes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "is_active": st.sampled_from([True, True, True, False]),
        "not_before": st.sampled_from([None, None, 1, 4_000_000_000]),
        "expires_at": st.sampled_from([None, None, 1, 4_000_000_000]),
        "scopes": st.sampled_from(["", "read", "write", "read write"]),
        "plan": st.sampled_from(["free", "pro", "open", "gone"]),
        "policy": st.sampled_from(["small", "small", "small", "another"]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_changes, st.booleans(), st.integers(0, 6), st.sampled_from(["GET /export", "GET /costly", "POST /any"]))
def test_an_explanation_is_what_the_next_admission_says(
    store_url: str, changes: dict[str, Any], is_revoked: bool, used: int, request_line: str
) -> None:
    """For any token in any state, however much of its quotas is used: the same reason, or none on both sides."""

    async def work() -> None:
        connection = RedisConnection(open_client(store_url, 5), 5)
        tokens, admissions, rule = RedisTokens(connection), RedisAdmissions(connection), rule_for(request_line)
        await connection.client.flushall()
        record = make_record(**changes)
        identity = token_id(record.digest)
        await tokens.create(record)
        if used:
            key = f"{names.bucket(identity)}quota:{record.lineage}"
            await connection.client.hset(key, QUOTA.counter, f"4000000000000:{used}")
        if is_revoked:
            await tokens.revoke(identity)
        standing = await tokens.standing(identity)
        assert standing is not None
        plan = rule.policy.plans.get(record.plan)
        windows = [
            names.parse_counter(standing.counters.get(quota.counter), quota, standing.now)
            for quota in (plan.quotas if plan else ())
        ]
        explained = first_failure(explain_decision(rule, standing, build_facts(rule, standing, windows)))
        verdict = decide(rule, await admissions.admit(rule, record.digest, ""))
        assert (verdict.reason if isinstance(verdict, Deny) else None) == explained
        await connection.close()

    asyncio.run(work())


def test_a_token_that_is_not_there_has_no_standing(store_url: str) -> None:
    """None, and nothing is left behind."""

    async def work() -> None:
        connection = RedisConnection(open_client(store_url, 5), 5)
        assert None is await RedisTokens(connection).standing("00" * 12)
        assert [] == await connection.client.keys("*")
        await connection.close()

    asyncio.run(work())


@pytest.mark.parametrize(
    ("state", "window"),
    [
        (None, (0, 160_000)),
        ("100001:3", (3, 100_001)),
        ("100000:3", (0, 160_000)),
        ("99999:3", (0, 160_000)),
        ("broken", (0, 160_000)),
        ("200000:", (0, 160_000)),
    ],
)
def test_a_counter_is_read_as_the_admission_does(state: str | None, window: tuple[int, int]) -> None:
    """Its window counts until its end; after it, and without one, the next request begins another."""
    used, resets_at = window
    assert Window(QUOTA, used, resets_at) == names.parse_counter(state, QUOTA, 100_000)
