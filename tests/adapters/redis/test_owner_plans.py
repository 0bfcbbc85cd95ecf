"""The plan of an account, as admissions find it: for the next request of each of its tokens, in one round trip."""

from itertools import count

from msgspec.structs import replace

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest, Refused, decide
from gateway.core.http.reasons import Reason
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import Rule
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import bucket_of
from tests.support.policies import SMALL, make_record, rule_for

OWN = load_policies({"small.toml": SMALL.replace("[token]\n", "[token]\nown_plans = true\n")})
EXPORT, WRITE = rule_for("GET /export"), rule_for("POST /content")
ADA = OwnerRecord(OwnerStatus.ACTIVE, {"*": "read write"}, 1)


def of_ada(text: str, **changes: object) -> TokenRecord:
    return make_record(text, **{"owner": "ada", "plan": "free", **changes})


async def ask(connection: RedisConnection, record: TokenRecord, rule: Rule) -> tuple[Reason | None, str, list[int]]:
    """The reason of a refusal, the plan that counts, and the limits of the quotas that were charged or not."""
    facts = await RedisAdmissions(connection).admit(AdmissionRequest(rule, record.digest))
    verdict = decide(facts)
    assert facts.record is not None
    reason = verdict.reason if isinstance(verdict, Refused) else None
    return reason, facts.record.plan, [window.quota.limit for window in facts.windows]


async def test_a_change_of_the_account_acts_on_the_next_request(connection: RedisConnection) -> None:
    """Scopes and quotas are those of the account's plan, whatever the records of its tokens say."""
    tokens, old = RedisTokens(connection), None
    records = [of_ada(f"sml_{number}") for number in range(20)]
    for record in records[:-1]:
        await tokens.create(record)
    for version, (plan, expected) in enumerate(
        (
            ("", (Reason.INSUFFICIENT_PLAN, "free", [2, 5])),
            ("pro", (None, "pro", [51])),
            ("open", (None, "open", [])),
            ("free", (Reason.INSUFFICIENT_PLAN, "free", [2, 5])),
            ("gone", (Reason.INSUFFICIENT_PLAN, "gone", [])),
        ),
        start=1,
    ):
        new = replace(ADA, plan=plan, version=version)
        assert await tokens.owners.replace("small", "ada", old, new)
        if old is None:
            await tokens.create(records[-1])
        for record in records:
            assert expected == await ask(connection, record, WRITE), plan
        old = new
    other = make_record("sml_other", owner="grace", plan="free")
    await tokens.create(other)
    assert (Reason.INSUFFICIENT_PLAN, "free", [2, 5]) == await ask(connection, other, WRITE)


async def test_a_tokens_own_plan_overrides_it_where_the_policy_says_so(connection: RedisConnection) -> None:
    """One without a plan of its own has the account's, and the first where the account has none."""
    tokens = RedisTokens(connection)
    own, without = of_ada("sml_own", plan="open"), of_ada("sml_without", plan="")
    for record in (own, without):
        await tokens.create(record)
    write = rule_for("POST /content", OWN)
    assert (Reason.INSUFFICIENT_PLAN, "free", [2, 5]) == await ask(connection, without, write)
    await tokens.owners.replace("small", "ada", None, replace(ADA, plan="pro"))
    assert (None, "pro", [51]) == await ask(connection, without, write)
    assert (None, "open", []) == await ask(connection, own, write)
    assert (None, "pro", [51]) == await ask(connection, own, WRITE), "without the key the account's counts"


async def test_a_child_has_the_plan_that_counts_for_its_parent(connection: RedisConnection) -> None:
    """The account's where that counts, else the parent's own."""
    tokens = RedisTokens(connection)
    parent = of_ada("sml_parent", plan="open")
    children = (of_ada(f"sml_{number}", parent=parent.identity, plan="free") for number in count())
    child = next(one for one in children if bucket_of(one.digest) == bucket_of(parent.digest))
    for record in (parent, child):
        await tokens.create(record)
    assert (None, "open", []) == await ask(connection, child, WRITE)
    await tokens.owners.replace("small", "ada", None, replace(ADA, plan="pro"))
    assert (None, "pro", [51]) == await ask(connection, child, WRITE)
    assert (None, "open", []) == await ask(connection, child, rule_for("POST /content", OWN))


async def test_what_is_looked_at_without_a_charge_has_the_plan_too(connection: RedisConnection) -> None:
    """What explains a token, and what watches an open stream, see what the next request would."""
    tokens, record = RedisTokens(connection), of_ada("sml_a", plan="open")
    await tokens.create(record)
    await tokens.owners.replace("small", "ada", None, replace(ADA, plan="free"))
    inspection = await tokens.inspect(record.identity, WRITE, "")
    assert inspection is not None
    assert ("free", [2, 5]) == (inspection.record.plan, [window.quota.limit for window in inspection.windows])
    (facts,) = await tokens.find_facts([AdmissionRequest(WRITE, record.digest)])
    verdict = decide(facts)
    assert isinstance(verdict, Refused)
    assert Reason.INSUFFICIENT_PLAN is verdict.reason
    unruled = await tokens.inspect(record.identity, None, "")
    assert unruled is not None
    assert "free" == unruled.record.plan


async def test_the_plans_of_owners_are_found_at_once(connection: RedisConnection) -> None:
    """Of those that have one."""
    owners = RedisTokens(connection).owners
    await owners.replace("small", "ada", None, replace(ADA, plan="pro"))
    await owners.replace("small", "bob", None, ADA)
    asked = [("small", "ada"), ("small", "bob"), ("small", "nobody"), ("other", "ada")]
    assert {("small", "ada"): "pro"} == await owners.plans(asked)
    assert {} == await owners.plans([])
