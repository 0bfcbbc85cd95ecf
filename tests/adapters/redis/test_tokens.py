"""Administration of token records, in the embedded store and in Redis."""

import asyncio
import json

import msgspec
import pytest

from gateway.adapters.redis import keys
from gateway.adapters.redis import tokens as redis_tokens
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import ChangeRefused
from gateway.core.tokens.audit import Action, Actor, AuditEntry
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.records import TokenRecord, decode_record
from gateway.core.tokens.text import token_id
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for

USED = 1_800_000_000
ADA = Actor("ada", "operator")


@pytest.fixture
def tokens(connection: RedisConnection) -> RedisTokens:
    """Token records, in an empty store of each kind."""
    return RedisTokens(connection)


async def test_a_created_token_is_found_and_listed(tokens: RedisTokens) -> None:
    """By id, by project, by owner, by policy, and among all; not under another name."""
    first = make_record("a", owner="ada", created_at=1)
    second = make_record("b", project="other", created_at=2)
    for record in (first, second):
        await tokens.create(record)
    assert first == await tokens.find(token_id(first.digest))
    assert None is await tokens.find("00")
    assert [first] == await tokens.find_all("small", "website", None)
    assert [first] == await tokens.find_all("small", None, "ada")
    assert [first] == await tokens.find_all(None, "website", None)
    assert [second, first] == await tokens.find_all(None, None, None)
    assert [] == await tokens.find_all("another", None, None)
    assert [] == await tokens.find_all("small", "nobody", None)


async def test_a_token_is_created_once(tokens: RedisTokens) -> None:
    """The second creation of the same token is refused, and the first record stays."""
    record = make_record()
    await tokens.create(record)
    with pytest.raises(ChangeRefused, match="exists already"):
        await tokens.create(msgspec.structs.replace(record, name="another"))
    assert record == await tokens.find(token_id(record.digest))


async def test_nothing_resurrects_a_revoked_token(tokens: RedisTokens) -> None:
    """Neither a change nor a new creation of the same text; and it says so."""
    record = make_record()
    identity = token_id(record.digest)
    await tokens.create(record)
    await tokens.revoke(identity)
    await tokens.revoke(identity)
    assert [True, False] == await tokens.are_revoked([identity, "00"])
    assert not await tokens.replace(record, msgspec.structs.replace(record, name="another"))
    with pytest.raises(ChangeRefused, match="revoked, for good"):
        await tokens.create(record)
    assert record == await tokens.find(identity)


async def test_of_two_changes_at_once_one_wins(tokens: RedisTokens) -> None:
    """A change made from an outdated record is not written over the newer one."""
    record = make_record()
    await tokens.create(record)
    changed = [msgspec.structs.replace(record, name=name) for name in ("one", "two")]
    outcomes = await asyncio.gather(*(tokens.replace(record, one) for one in changed))
    assert [False, True] == sorted(outcomes)
    assert changed[outcomes.index(True)] == await tokens.find(token_id(record.digest))


async def use(tokens: RedisTokens, record: TokenRecord) -> int:
    """Uses the token, ten minutes after it was last used; when that was, in Unix seconds."""
    found = await tokens.find(token_id(record.digest))
    assert found is not None
    admissions = RedisAdmissions(tokens._connection)
    admissions.now = ((found.last_use or USED) + 600) * 1000
    await admissions.admit(AdmissionRequest(rule_for("GET /export"), record.digest))
    return admissions.now // 1000


async def test_a_use_in_between_is_no_change(tokens: RedisTokens) -> None:
    """A change made from what was read before the token was used is made, and the newest use stays."""
    record = make_record(plan="open")
    identity = token_id(record.digest)
    await tokens.create(record)
    await use(tokens, record)
    read = await tokens.find(identity)
    assert read is not None
    last_use = await use(tokens, record)
    changed = msgspec.structs.replace(read, name="changed", description="longer than it was")
    assert await tokens.replace(read, changed)
    assert msgspec.structs.replace(changed, last_use=last_use) == await tokens.find(identity)
    assert read.last_use < last_use


async def test_an_older_record_brings_no_older_use_back(tokens: RedisTokens) -> None:
    """What is put back as it once was still says when the token was last used."""
    record = make_record(plan="open")
    identity = token_id(record.digest)
    await tokens.create(record)
    assert await tokens.replace(record, msgspec.structs.replace(record, name="another"))
    last_use = await use(tokens, record)
    found = await tokens.find(identity)
    assert found is not None
    assert await tokens.replace(found, record)
    assert msgspec.structs.replace(record, last_use=last_use) == await tokens.find(identity)
    with pytest.raises(ChangeRefused, match="exists already"):
        await tokens.create(msgspec.structs.replace(record, name="another"))
    assert msgspec.structs.replace(record, last_use=last_use) == await tokens.find(identity)


async def test_a_change_that_is_sent_again_was_made_though_the_token_was_used_meanwhile(tokens: RedisTokens) -> None:
    """Its answer was lost, the token was used, and it says once more that it is done; there is one entry of it."""
    record = make_record(plan="open")
    identity = token_id(record.digest)
    await tokens.create(record)
    changed, entry = msgspec.structs.replace(record, name="changed"), AuditEntry(actor=ADA, action=Action.UPDATE)
    assert await tokens.replace(record, changed, entry)
    last_use = await use(tokens, record)
    assert await tokens.replace(record, changed, entry)
    assert not await tokens.replace(record, msgspec.structs.replace(record, name="another"), entry)
    assert msgspec.structs.replace(changed, last_use=last_use) == await tokens.find(identity)
    assert 1 == await tokens._connection.client.xlen(keys.audit(identity))


async def test_a_use_in_between_does_not_stop_a_rotation(tokens: RedisTokens) -> None:
    """Both records are written and the token keeps its newest use; so it is when all of it is sent again."""
    record = make_record(plan="open")
    await tokens.create(record)
    old, successor = successor_of(record)
    last_use = await use(tokens, record)
    assert await tokens.rotate(record, old, successor)
    assert msgspec.structs.replace(old, last_use=last_use) == await tokens.find(token_id(record.digest))
    assert successor == await tokens.find(token_id(successor.digest))
    uses = [await use(tokens, one) for one in (record, successor)]
    assert await tokens.rotate(record, old, successor)
    found = [await tokens.find(token_id(one.digest)) for one in (record, successor)]
    assert uses == [one.last_use for one in found if one]


def successor_of(record: TokenRecord, name: str = "b") -> tuple[TokenRecord, TokenRecord]:
    """The record after its rotation, and a successor in its bucket."""
    token_digest = record.digest[:2] + make_record(name).digest[2:]
    changes = {"digest": token_digest, "lineage": record.lineage, "predecessor": token_id(record.digest)}
    return msgspec.structs.replace(record, successor=token_id(token_digest)), make_record(name, **changes)


async def test_a_rotation_changes_both_records_or_none(tokens: RedisTokens) -> None:
    """Both are there afterwards and listed; from an outdated record, neither is changed."""
    record = make_record()
    await tokens.create(record)
    old, successor = successor_of(record)
    assert not await tokens.rotate(msgspec.structs.replace(record, name="outdated"), old, successor)
    assert record == await tokens.find(token_id(record.digest))
    assert None is await tokens.find(old.successor)
    assert await tokens.rotate(record, old, successor)
    assert await tokens.rotate(record, old, successor), "sent again after its answer was lost, it was done"
    assert old == await tokens.find(token_id(record.digest))
    assert successor == await tokens.find(old.successor)
    assert {old.digest, successor.digest} == {one.digest for one in await tokens.find_all("small", "website", None)}


async def test_of_two_rotations_at_once_one_wins(tokens: RedisTokens) -> None:
    """Exactly one successor is stored, the one that the old record names."""
    record = make_record()
    await tokens.create(record)
    rotations = [successor_of(record, f"sml_{number}") for number in range(20)]
    outcomes = await asyncio.gather(*(tokens.rotate(record, *rotation) for rotation in rotations))
    assert 1 == outcomes.count(True)
    old, successor = rotations[outcomes.index(True)]
    assert old == await tokens.find(token_id(record.digest))
    found = [await tokens.find(token_id(one.digest)) for _, one in rotations]
    assert [successor] == [one for one in found if one]


@pytest.mark.parametrize("which", ["the token", "its successor"])
async def test_a_rotation_resurrects_nothing(tokens: RedisTokens, which: str) -> None:
    """A revoked token gets no successor, and a revoked successor no record."""
    record = make_record()
    await tokens.create(record)
    old, successor = successor_of(record)
    await tokens.revoke(token_id(record.digest) if which == "the token" else old.successor)
    assert not await tokens.rotate(record, old, successor)
    assert record == await tokens.find(token_id(record.digest))
    assert None is await tokens.find(old.successor)


async def test_a_successor_of_another_bucket_is_never_written(tokens: RedisTokens) -> None:
    """It would count in another slot: the caller has made a mistake."""
    record, other = make_record(), make_record("c")
    await tokens.create(record)
    with pytest.raises(ValueError, match="bucket"):
        await tokens.rotate(record, record, other)


async def test_a_record_of_an_earlier_version_can_be_changed(tokens: RedisTokens) -> None:
    """A record that lacks the fields appended since is found, changed and rotated like any other."""
    record = make_record()
    await tokens.create(record)
    raw = await tokens._connection.client.get(keys.token(token_id(record.digest)))
    assert raw is not None
    assert 14 == len(json.loads(raw))
    found = await tokens.find(token_id(record.digest))
    assert found is not None
    changed = msgspec.structs.replace(found, name="changed")
    assert await tokens.replace(found, changed)
    assert await tokens.rotate(changed, *successor_of(changed))


async def test_many_tokens_are_read_in_pieces(tokens: RedisTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have their turn in between; the list is as it is in one go: by creation, by name, and by id."""
    for number in range(24):
        await tokens.create(make_record(f"sml_{number}", name=f"n{number % 2}", created_at=number // 8))
    whole = await tokens.find_all(None, None, None)
    assert sorted(whole, key=lambda one: (-one.created_at, one.name, one.identity)) == whole
    assert 24 == len(whole)
    read: list[int] = [0]

    def decode(identity: str, raw: bytes) -> TokenRecord:
        read[-1] += 1
        return decode_record(identity, raw)

    async def take_turns() -> None:
        while True:
            read.append(0)
            await asyncio.sleep(0)

    monkeypatch.setattr(redis_tokens, "AT_ONCE", 5)
    monkeypatch.setattr(redis_tokens, "decode_record", decode)
    others = asyncio.create_task(take_turns())
    assert whole == await tokens.find_all(None, None, None) == await tokens.find_all("small", "website", None)
    others.cancel()
    assert 48 == sum(read)
    assert 5 == max(read)
    assert [False] * 24 == await tokens.are_revoked([one.identity for one in whole])


@pytest.mark.redis
async def test_a_project_is_listed_without_a_scan(redis_url: str) -> None:
    """Its index, then its buckets, one command each, however many other tokens there are; only a list of all scans."""
    async with open_connection(redis_url) as connection:
        tokens, client = RedisTokens(connection), connection.client
        for number in range(600):
            await tokens.create(make_record(f"sml_{number}", project="mine" if number % 2 else "other"))
        for project, scans in (("mine", False), (None, True)):
            await client.config_resetstat()
            records = await tokens.find_all("small", project, None)
            identities = [token_id(record.digest) for record in records]
            assert [False] * len(records) == await tokens.are_revoked(identities)
            stats = await client.info("commandstats")
            called = {name.removeprefix("cmdstat_"): numbers["calls"] for name, numbers in stats.items()}
            assert scans == ("scan" in called)
            assert called["mget"] == called["smismember"] == len({identity[:2] for identity in identities})
            assert (300 if project else 600) == len(records)


async def test_what_was_ever_seen_is_told(connection: RedisConnection) -> None:
    """A policy, a project, an owner: by their tokens, revoked ones too, or an owner's record; ids are no patterns."""
    tokens = RedisTokens(connection)
    odd = "a*b?[c]\\:%"
    record = make_record(project=odd, owner="ada")
    await tokens.create(record)
    await tokens.revoke(record.identity)
    await tokens.owners.replace("other", odd, None, OwnerRecord(OwnerStatus.ACTIVE, {}, 1))
    for policy in ("small", None):
        assert await tokens.is_seen(policy, project=odd)
        assert await tokens.is_seen(policy, owner="ada")
        assert not await tokens.is_seen(policy, project="a-b")
        assert not await tokens.is_seen(policy, project="a*")
        assert not await tokens.is_seen(policy, owner="ad")
    assert await tokens.is_seen("other", owner=odd)
    assert await tokens.is_seen(None, owner=odd)
    assert [True, True, False] == [await tokens.is_seen(policy) for policy in ("small", "other", "sma*")]
