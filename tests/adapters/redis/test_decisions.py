"""The admission script charges what core's decision allows, whatever token, owner and parent hold, and nothing else."""

import asyncio
from collections.abc import Sequence
from itertools import product
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.admission.decision import AdmissionRequest, Authorized, decide
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus, standing_in
from gateway.core.tokens.text import token_id
from tests.adapters.bench import START, Bench, open_bench
from tests.support.policies import make_family, make_record, rule_for

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


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(records=_records, revoked=st.sets(st.integers(0, 30), max_size=3), request=_requests, owner=st.none() | _owners)
async def test_the_script_charges_exactly_what_the_decision_allows(
    store_url: str,
    records: Sequence[dict[str, Any]],
    revoked: set[int],
    request: tuple[str, str],
    owner: OwnerRecord | None,
) -> None:
    """For any tokens, owners and parents, alone or in a batch: a quota is charged if and only if the request passes."""
    async with open_bench(store_url) as bench:
        await bench.connection.client.flushall()
        rule = rule_for(request[0])
        made = make_family(records)
        for number, record in enumerate(made):
            await bench.tokens.create(record)
            if number in revoked:
                await bench.tokens.revoke(token_id(record.digest))
        if owner is not None:
            assert await bench.tokens.owners.replace("small", "ada", None, owner)
        asked = [AdmissionRequest(rule, record.digest, project=request[1]) for record in made]
        for record, facts in zip(made, await asyncio.gather(*map(bench.admissions.admit, asked)), strict=True):
            assert facts.is_charged == isinstance(decide(facts), Authorized)
            if owner is not None and record.owner == "ada" and facts.record is not None and not facts.is_revoked:
                assert standing_in(owner, request[1] or record.project) == facts.restrictions.owner


async def test_every_side_bounds_a_token_in_the_script_as_in_the_decision(bench: Bench) -> None:
    """Every combination of what token, owner and parent hold, in whichever project: charged exactly where allowed."""
    scopes = ("read", "write", "")
    active, blocked = OwnerStatus.ACTIVE, OwnerStatus.BLOCKED
    permissions: list[dict[str, str]] = [{}, *({name: held} for name in ("website", "*", "") for held in scopes)]
    owners = (None, OwnerRecord(blocked, {"*": "write"}, 1), *(OwnerRecord(active, held, 1) for held in permissions))
    projects = (("website", ""), ("website", "website"), ("website", "other"), ("", "website"), ("", ""))
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
                    asked += [AdmissionRequest(rule, record.digest, project=about) for about in named]
    for one, facts in zip(asked, await asyncio.gather(*map(bench.admissions.admit, asked)), strict=True):
        is_allowed = isinstance(decide(facts), Authorized)
        assert is_allowed == facts.is_charged, (facts, one.rule.pattern.text)
        allowed += is_allowed
    assert 0 < allowed < len(asked) / 2
