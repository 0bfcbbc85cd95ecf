"""An entry of the history and its change, in the embedded store and in Redis: neither is there without the other."""

import pytest
from msgspec.structs import replace

from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.errors import ChangeRefused
from gateway.core.tokens.audit import Action, Actor, AuditEntry, AuditQuery
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from tests.support.policies import make_record

ENTRY = AuditEntry(actor=Actor("ada", "operator"), action=Action.UPDATE, changes={"name": ("a", "b")})
ACTIVE = OwnerRecord(OwnerStatus.ACTIVE, {"*": "read"}, 1)


@pytest.fixture
def tokens(connection: RedisConnection) -> RedisTokens:
    """Token records, in a store of each kind."""
    return RedisTokens(connection)


@pytest.fixture
def audit(connection: RedisConnection) -> RedisAudit:
    """The history in the same store."""
    return RedisAudit(connection)


async def count(audit: RedisAudit) -> int:
    return len(await audit.search(AuditQuery(), 1000))


async def test_a_change_that_is_made_is_noted_once(tokens: RedisTokens, audit: RedisAudit) -> None:
    """Also where it is sent again because the connection went before its answer came."""
    record = make_record()
    renamed = replace(record, name="b")
    for _ in range(2):
        await tokens.create(record, ENTRY)
    assert 1 == await count(audit)
    for _ in range(2):
        assert await tokens.replace(record, renamed, ENTRY)
    assert 2 == await count(audit)
    other = make_record("b", digest=record.digest[:2] + make_record("b").digest[2:])
    for _ in range(2):
        assert await tokens.rotate(renamed, replace(renamed, successor=other.identity), other, ENTRY)
    assert 3 == await count(audit)
    for _ in range(2):
        await tokens.revoke(record.identity, ENTRY)
    assert 4 == await count(audit)
    for _ in range(2):
        await tokens.owners.replace("small", "ada", None, ACTIVE, ENTRY)
    assert 5 == await count(audit)
    found = (await audit.search(AuditQuery(), 1))[0]
    assert replace(ENTRY, id=found.id, time=found.time) == found


async def test_a_change_that_is_not_made_is_not_noted(tokens: RedisTokens, audit: RedisAudit) -> None:
    """From an outdated record, of a revoked token, of a token that is there already."""
    record = make_record()
    await tokens.create(record)
    with pytest.raises(ChangeRefused):
        await tokens.create(replace(record, name="b"), ENTRY)
    assert not await tokens.replace(replace(record, name="x"), replace(record, name="b"), ENTRY)
    other = make_record("b", digest=record.digest[:2] + make_record("b").digest[2:])
    assert not await tokens.rotate(replace(record, name="x"), replace(record, name="b"), other, ENTRY)
    await tokens.revoke(record.identity)
    assert not await tokens.replace(record, replace(record, name="b"), ENTRY)
    assert [] == await tokens.revoke_all("small", "website", None, ENTRY)
    await tokens.owners.replace("small", "ada", None, ACTIVE)
    assert not await tokens.owners.replace("small", "ada", None, replace(ACTIVE, version=9), ENTRY)
    assert 0 == await count(audit)


async def test_a_revocation_of_many_says_of_each_what_it_was(tokens: RedisTokens, audit: RedisAudit) -> None:
    """The script finds whose they are: id, name, policy, project and owner are those of the records."""
    records = [make_record(f"t{number}", name=f"n{number}", owner="ada") for number in range(5)]
    for record in records:
        await tokens.create(record)
    await tokens.create(make_record("other", project="other"))
    assert {one.identity for one in records} == set(await tokens.revoke_all("small", "website", None, ENTRY))
    told = {(e.target, e.name, e.policy, e.project, e.owner) for e in await audit.search(AuditQuery(), 100)}
    assert {(one.identity, one.name, "small", "website", "ada") for one in records} == told
