"""Changes and their history, in a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import ChangedMeanwhile, ChangeRefused, NotFound, NotGrantable, TokenEnded
from gateway.core.tokens.audit import Action, Actor, AuditEntry, AuditQuery
from gateway.core.tokens.changes import TokenChange, TokenRequest, TokenState
from gateway.core.tokens.lifecycle import ByText
from gateway.core.tokens.overrides import OverrideRequest
from gateway.core.tokens.owners import OwnerChange, OwnerStatus
from gateway.core.tokens.text import build_checksum
from gateway.management import Management
from tests.support.connections import open_connection
from tests.support.policies import rule_for

pytestmark = pytest.mark.redis

ADA = Actor("ada", "operator")
ROBOT = Actor("nightly", "token", token="0" * 24, address="192.0.2.7")
WEBSITE = TokenRequest(name="CI", project="website", owner="acme", scopes=("read",))
EVERYTHING = AuditQuery()
ELSEWHERE = (_BODY := "sml_" + "e" * 34) + build_checksum(_BODY)
SECRET = "sml_" + "T0psecret" * 4 + "aaaa"


async def newest(management: Management) -> AuditEntry:
    (entry, *_) = await management.search_audit(EVERYTHING)
    return entry


async def test_creation_and_change_are_told_with_who_and_what(management: Management) -> None:
    """Whose doing it was, which token, and what each field said before and after; a token is no person."""
    identity = (await management.create_token(ADA, "small", WEBSITE)).view.identity
    made = await newest(management)
    assert ADA == made.actor
    assert Action.CREATE == made.action
    assert "small" == made.policy
    assert identity == made.target
    assert "CI" == made.name
    assert "website" == made.project
    assert "acme" == made.owner
    assert "done" == made.outcome
    assert {"scopes": (None, "read"), "plan": (None, "free"), "name": (None, "CI")}.items() <= made.changes.items()
    await management.update_token(ROBOT, identity, TokenChange(name="Nightly", expires_at=4_000_000_000))
    changed = await newest(management)
    assert ROBOT == changed.actor
    assert "API key nightly" == changed.actor.title
    assert Action.UPDATE == changed.action
    assert {"name": ("CI", "Nightly"), "expires_at": (None, 4_000_000_000)} == changed.changes
    assert made.time <= changed.time


async def test_each_kind_of_change_is_one_entry(management: Management) -> None:
    """Override, rotation, child, import, revocation of one and of many, owner: one entry for each that is changed."""
    identity = (await management.create_token(ADA, "small", WEBSITE)).view.identity
    limit = OverrideRequest(limit="9", burst=None, until=4_000_000_000, reason="launch", author="ada")
    await management.override_quota(ADA, identity, "minute", limit)
    entry = await newest(management)
    assert Action.OVERRIDE == entry.action
    assert ["overrides"] == list(entry.changes)
    successor = (await management.rotate_token(ADA, identity, 60)).view.identity
    entry = await newest(management)
    assert Action.ROTATE == entry.action
    assert ("", successor) == entry.changes["successor"]
    child = (await management.create_child(ADA, successor, TokenRequest(name="part"))).view.identity
    entry = await newest(management)
    assert child == entry.target
    assert (None, successor) == entry.changes["parent"]
    await management.revoke_token(ADA, child)
    entry = await newest(management)
    assert Action.REVOKE == entry.action
    assert child == entry.target
    assert "part" == entry.name
    assert "website" == entry.project
    taken = await management.import_token(ADA, "small", WEBSITE, ByText(ELSEWHERE))
    entry = await newest(management)
    assert Action.IMPORT == entry.action
    assert taken.identity == entry.target
    before = len(await management.search_audit(EVERYTHING))
    revoked = await management.revoke_all(ADA, "small", project="website")
    assert {identity, successor, taken.identity} == set(revoked)
    assert before + 3 == len(await management.search_audit(EVERYTHING))
    await management.change_owner(ADA, "small", "acme", OwnerChange(permissions={"website": ("read",)}))
    await management.change_owner(ADA, "small", "acme", OwnerChange(status=OwnerStatus.BLOCKED))
    assert {"status": ("active", "blocked")} == (await newest(management)).changes
    second = (await management.search_audit(EVERYTHING))[1]
    assert {"status": (None, "active"), "in:website": (None, "read")} == second.changes


async def test_what_changes_nothing_is_no_change(management: Management) -> None:
    """Saying again what is so, or revoking twice, adds no entry and leaves the version."""
    created = (await management.create_token(ADA, "small", WEBSITE)).view
    same = await management.update_token(ADA, created.identity, TokenChange(name="CI", scopes=("read",)))
    assert created.version == same.version
    assert None is same.record.updated_at
    await management.revoke_token(ADA, created.identity)
    await management.revoke_token(ADA, created.identity)
    await management.revoke_lineage(ADA, created.identity)
    assert [Action.REVOKE, Action.CREATE] == [e.action for e in await management.search_audit(EVERYTHING)]


async def test_using_a_token_is_in_no_history(management: Management, redis_url: str) -> None:
    """A use adds no entry, leaves the version, and is in no change's from what to what; the views have it."""
    created = (await management.create_token(ADA, "small", WEBSITE)).view
    async with open_connection(redis_url) as connection:
        await RedisAdmissions(connection).admit(AdmissionRequest(rule_for("GET /export"), created.record.digest))
    used = await management.get_token(created.identity)
    assert None is created.last_use
    assert (used.last_use or 0) > 0
    assert created.version == used.version
    same = await management.update_token(ADA, created.identity, TokenChange(name="CI"), created.version)
    assert [Action.CREATE] == [e.action for e in await management.search_audit(EVERYTHING)]
    renamed = await management.update_token(ADA, created.identity, TokenChange(name="Nightly"), created.version)
    assert {"name": ("CI", "Nightly")} == (await newest(management)).changes
    rotated = await management.rotate_token(ADA, created.identity, 60, expected=renamed.version)
    assert {"expires_at", "successor"} == set((await newest(management)).changes)
    ending = await management.get_token(created.identity)
    assert [used.last_use] * 3 == [same.last_use, renamed.last_use, ending.last_use]
    assert rotated.view.last_use is None


GONE = OwnerChange(status=OwnerStatus.REMOVED)
REFUSED: list[tuple[type[ChangeRefused], str, Callable[[Management, str], Awaitable[Any]]]] = [
    (ChangeRefused, "invalid", lambda m, one: m.create_token(ADA, "small", TokenRequest(name="", project="website"))),
    (ChangeRefused, "invalid", lambda m, one: m.create_token(ADA, "small", TokenRequest(name=SECRET + "\n"))),
    (NotFound, "not_found", lambda m, one: m.create_token(ADA, SECRET, WEBSITE)),
    (ChangeRefused, "invalid", lambda m, one: m.update_token(ADA, one, TokenChange(scopes=(SECRET,)))),
    (NotFound, "not_found", lambda m, one: m.update_token(ADA, "f" * 24, TokenChange(name="x"))),
    (NotFound, "not_found", lambda m, one: m.revoke_token(ADA, SECRET)),
    (ChangedMeanwhile, "changed_meanwhile", lambda m, one: m.update_token(ADA, one, TokenChange(name="x"), "old")),
    (NotGrantable, "not_grantable", lambda m, one: m.create_child(ADA, one, TokenRequest(name="x", scopes=("write",)))),
    (NotFound, "not_found", lambda m, one: m.change_owner(ADA, "small", SECRET, GONE)),
]


@pytest.mark.parametrize("case", REFUSED)
async def test_what_is_refused_is_told_too_and_changes_nothing(
    management: Management, dump: Callable[[], str], case: Any
) -> None:
    """The entry has the code of the refusal and none of the texts that were asked for: one may be a token."""
    refusal, code, attempt = case
    identity = (await management.create_token(ADA, "small", WEBSITE)).view.identity
    before = dump()
    with pytest.raises(refusal):
        await attempt(management, identity)
    (entry, *others) = await management.search_audit(EVERYTHING)
    assert code == entry.outcome
    assert ADA == entry.actor
    assert {} == entry.changes
    assert [entry] == await management.search_audit(AuditQuery(is_refused=True))
    assert [Action.CREATE] == [other.action for other in others]
    after = dump()
    assert SECRET not in after
    assert sorted(before.splitlines()) == sorted(line for line in after.splitlines() if "audit:refused" not in line)


async def test_a_revoked_token_takes_no_change(management: Management) -> None:
    """Neither its settings nor a rotation; both are refused as ended, and told."""
    identity = (await management.create_token(ADA, "small", WEBSITE)).view.identity
    assert TokenState.REVOKED is (await management.revoke_token(ADA, identity)).state
    with pytest.raises(TokenEnded):
        await management.update_token(ADA, identity, TokenChange(name="x"))
    with pytest.raises(TokenEnded):
        await management.rotate_token(ADA, identity, 0)
    assert ["ended", "ended"] == [e.outcome for e in await management.search_audit(AuditQuery(is_refused=True))]


async def test_of_many_changes_at_once_each_that_was_made_is_told(management: Management) -> None:
    """Twenty rename one token at the same moment: there are as many entries as changes, and they make a chain."""
    identity = (await management.create_token(ADA, "small", WEBSITE)).view.identity
    attempts = [management.update_token(ADA, identity, TokenChange(name=f"name {number}")) for number in range(20)]
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    done = sum(not isinstance(outcome, BaseException) for outcome in outcomes)
    assert all(isinstance(outcome, ChangedMeanwhile) for outcome in outcomes if isinstance(outcome, BaseException))
    entries = await management.search_audit(AuditQuery(action=Action.UPDATE))
    made = [entry.changes["name"] for entry in reversed(entries) if entry.outcome == "done"]
    assert done == len(made)
    assert ["CI", *(after for _, after in made)][:-1] == [before for before, _ in made]


async def test_nothing_secret_is_kept_of_anything(management: Management, dump: Callable[[], str]) -> None:
    """No text of a token is anywhere in Redis, and none in what is printed of a created one."""
    created = await management.create_token(ADA, "small", WEBSITE)
    rotated = await management.rotate_token(ADA, created.view.identity, 60)
    admin = await management.create_token(ADA, "", TokenRequest(name="ops"))
    texts = (created.text, rotated.text, admin.text)
    assert not any(text in repr((created, rotated, admin)) for text in texts)
    assert not any(text[14:] in dump() for text in texts)


async def test_the_history_is_read_in_pieces_and_by_what_is_meant(management: Management) -> None:
    """Newest first, piece by piece without gap or repetition; by token, project, owner, actor, action and time."""
    requests = [TokenRequest(name=f"n{i}", project=f"p{i % 3}", owner=f"o{i % 2}") for i in range(12)]
    views = [(await management.create_token(ADA, "small", one)).view for one in requests]
    await management.change_owner(ROBOT, "small", "o1", OwnerChange(permissions={"*": ("read",)}))
    everything = await management.search_audit(EVERYTHING)
    pieces: list[AuditEntry] = []
    while piece := await management.search_audit(EVERYTHING, 5, pieces[-1].id if pieces else ""):
        pieces += piece
    assert everything == pieces
    assert 13 == len(everything)
    assert ["n11", "n8", "n5", "n2"] == [e.name for e in await management.search_audit(AuditQuery(project="p2"))]
    assert 7 == len(await management.search_audit(AuditQuery(owner="o1")))
    assert [Action.CHANGE_OWNER] == [e.action for e in await management.search_audit(AuditQuery(actor=ROBOT.token))]
    assert [Action.CHANGE_OWNER] == [e.action for e in await management.search_audit(AuditQuery(action="owner"))]
    assert ["n3"] == [e.name for e in await management.search_audit(AuditQuery(target=views[3].identity))]
    assert [] == await management.search_audit(AuditQuery(policy="another"))
    now = await management.now()
    assert [] == await management.search_audit(AuditQuery(since=now + 60))
    assert [] == await management.search_audit(AuditQuery(until=now - 60))
    assert everything == await management.search_audit(AuditQuery(since=now - 600, until=now + 60))


async def test_a_history_longer_than_a_piece_is_read_whole(management: Management) -> None:
    """What is meant is found however much stands before it, and paged in order."""
    identity = (await management.create_token(ADA, "small", WEBSITE)).view.identity
    for number in range(450):
        await management.update_token(ADA, identity, TokenChange(name=f"name {number}"))
    assert [Action.CREATE] == [e.action for e in await management.search_audit(AuditQuery(action=Action.CREATE))]
    names = [e.changes["name"][1] for e in await management.search_audit(AuditQuery(action=Action.UPDATE), 1000)]
    assert [f"name {number}" for number in reversed(range(450))] == names
