"""What is found of a token without a trace is what an admission finds."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import LOOKED_AT_ONCE, RedisTokens
from gateway.core.admission.decision import AdmissionRequest, Authorized, Refused, decide
from gateway.core.admission.explanation import explain_decision, first_failure, project_of
from gateway.core.errors import StoreUnavailable
from gateway.core.http.reasons import Reason
from gateway.core.policies.loading import load_policies
from gateway.core.quotas.model import Quota
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from tests.support.connections import open_connection
from tests.support.policies import SMALL, make_record, rule_for
from tests.support.redis_keys import ALL_BUT_MARKER

QUOTA = Quota("minute", 5, 60)

_changes: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "is_active": st.sampled_from([True, True, True, False]),
        "not_before": st.sampled_from([None, None, 1, 4_000_000_000]),
        "expires_at": st.sampled_from([None, None, 1, 4_000_000_000]),
        "scopes": st.sampled_from(["", "read", "write", "read write"]),
        "plan": st.sampled_from(["free", "pro", "open", "gone"]),
        "policy": st.sampled_from(["small", "small", "small", "another"]),
        "owner": st.sampled_from(["", "ada"]),
    }
)
_kin: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "parent": st.none() | _changes,
        "is_parent_revoked": st.sampled_from([False, False, True]),
        "status": st.sampled_from([None, "active", "active", "blocked"]),
        "permissions": st.dictionaries(st.sampled_from(["website", "*", ""]), st.sampled_from(["read", "write", ""])),
    }
)


async def create_family(tokens: RedisTokens, changes: dict[str, Any], restrictions: dict[str, Any]) -> TokenRecord:
    """A token with the owner and the parent that `restrictions` describes."""
    record = make_record(**changes)
    if restrictions["parent"] is not None:
        parent = make_record("sml_parent", **restrictions["parent"])
        identity = token_id(parent.digest)
        moved = {"digest": identity[:2] + record.digest[2:], "lineage": identity, "parent": identity}
        record = make_record(**{**changes, **moved})
        await tokens.create(parent)
        if restrictions["is_parent_revoked"]:
            await tokens.revoke(identity)
    await tokens.create(record)
    if restrictions["status"] is not None:
        owner = OwnerRecord(OwnerStatus(restrictions["status"]), restrictions["permissions"], 1)
        assert await tokens.owners.replace(record.policy, "ada", None, owner)
    return record


def reason_of(verdict: Authorized | Refused) -> Reason | None:
    return verdict.reason if isinstance(verdict, Refused) else None


_requests = st.sampled_from(["GET /export", "GET /costly", "POST /any", "GET /projects/other/content"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(_changes, _kin, st.booleans(), st.integers(0, 6), _requests)
async def test_an_explanation_is_what_the_next_admission_says(
    store_url: str,
    changes: dict[str, Any],
    restrictions: dict[str, Any],
    is_revoked: bool,
    used: int,
    request_line: str,
) -> None:
    """For any token in any state, however much of its quotas is used: the same reason, or none on all sides.

    Of open streams it is asked without the quotas: these are charged once.
    """
    async with open_connection(store_url) as connection:
        tokens, admissions, rule = RedisTokens(connection), RedisAdmissions(connection), rule_for(request_line)
        await connection.client.flushall()
        record = await create_family(tokens, changes, restrictions)
        identity = token_id(record.digest)
        project = project_of(rule, request_line.partition(" ")[2])
        if used:
            key = f"{keys.bucket(identity)}quota:{record.lineage}"
            await connection.client.hset(key, QUOTA.counter, f"4000000000000:{used}")
        if is_revoked:
            await tokens.revoke(identity)
        before = await _everything(connection)
        inspection = await tokens.inspect(identity, rule, project)
        assert inspection is not None
        asked = AdmissionRequest(rule, record.digest, project=project)
        (facts,) = await tokens.find_facts([asked])
        assert before == await _everything(connection)
        explained = first_failure(explain_decision(asked, inspection))
        reason = reason_of(decide(await admissions.admit(asked)))
        assert reason == explained
        assert (None if reason is Reason.QUOTA_EXCEEDED else reason) == reason_of(decide(facts))


async def test_many_are_looked_at_at_once(connection: RedisConnection) -> None:
    """In the order in which they are asked for, the same ones twice, however they fall into buckets."""
    tokens, rule = RedisTokens(connection), rule_for("GET /projects/website/content")
    spread = [make_record(f"sml_{number}") for number in range(20)]
    identities = [f"ab{number:022x}" for number in range(LOOKED_AT_ONCE + 1)]
    crowded = [make_record(digest=identity + 40 * "0", lineage=identity) for identity in identities]
    records = [*spread, *crowded]
    for record in records[1:]:
        await tokens.create(record)
    await tokens.revoke(token_id(crowded[-1].digest))
    asked = [
        AdmissionRequest(rule, record.digest, project=about) for record in records for about in ("website", "other")
    ]
    found = [reason_of(decide(facts)) for facts in await tokens.find_facts(asked)]
    ended = Reason.REVOKED_TOKEN
    expected = [Reason.UNKNOWN_TOKEN] * 2 + [None, Reason.OTHER_PROJECT] * (len(records) - 2) + [ended] * 2
    assert expected == found


async def test_nothing_is_told_of_tokens_by_a_store_that_has_lost_its_data(connection: RedisConnection) -> None:
    """What is open stays open, as nobody is told 401 either: an admission is 503."""
    tokens, record = RedisTokens(connection), make_record()
    await tokens.create(record)
    await connection.client.flushall()
    with pytest.raises(StoreUnavailable, match="has lost its data"):
        await tokens.find_facts([AdmissionRequest(rule_for("GET /export"), record.digest)])


async def test_a_token_that_is_not_there_cannot_be_inspected(connection: RedisConnection) -> None:
    """None, and nothing is left behind."""
    assert None is await RedisTokens(connection).inspect("00" * 12, rule_for("GET /export"), "")
    assert [] == await connection.client.keys(ALL_BUT_MARKER)


async def test_every_algorithm_is_looked_at_without_being_charged(connection: RedisConnection) -> None:
    """Used and left are those of the last admission, for each of the four, and a look changes none of them."""
    tokens, admissions = RedisTokens(connection), RedisAdmissions(connection)
    rule = rule_for("GET /export", load_policies({"small.toml": SMALL.replace(MINUTE, EVERY)}))
    record = make_record(plan="pro")
    await tokens.create(record)
    for _ in range(3):
        await admissions.admit(AdmissionRequest(rule, record.digest))
    before = await _everything(connection)
    for _ in range(2):
        inspection = await tokens.inspect(token_id(record.digest), rule, "")
        assert inspection is not None
        assert [("fixed", 3), ("log", 3), ("bucket", 3)] == [(w.quota.name, w.used) for w in inspection.windows[:3]]
        assert 0 < inspection.windows[3].used <= 3
    assert before == await _everything(connection)


MINUTE = 'quotas = { minute = "51/minute" }'
EVERY = """[plans.pro.quotas]
fixed = "9/hour"
log = { limit = "9/hour", algorithm = "moving-window" }
bucket = { limit = "9/day", algorithm = "token-bucket" }
sliding = { limit = "9/hour", algorithm = "sliding-window-counter" }"""


async def _everything(connection: RedisConnection) -> dict[str, object]:
    """All that the store holds, times to live left out."""
    readers = {"string": "get", "hash": "hgetall", "set": "smembers", "zset": "zscan", "list": "lrange"}
    held: dict[str, object] = {}
    for key in await connection.client.keys(ALL_BUT_MARKER):
        kind: Any = await connection.client.type(key)
        reader = readers[kind.decode()]
        bounds = (0, -1) if reader == "lrange" else ()
        held[repr(key)] = await getattr(connection.client, reader)(key, *bounds)
    return held
