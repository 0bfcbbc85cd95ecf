"""Owners in the embedded store and in Redis: a change is true for the next request of each of their tokens."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisOwners, RedisTokens
from gateway.core.admission.decision import AdmissionRequest, Refused, decide
from gateway.core.http.reasons import Reason
from gateway.core.tokens.owners import OwnerRecord, OwnerStanding, OwnerStatus
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import bucket_of, token_id
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for
from tests.support.redis_keys import ALL_BUT_MARKER

ADA = OwnerRecord(OwnerStatus.ACTIVE, {"website": "read"}, 1)
EXPORT = rule_for("GET /export")


def of_ada(text: str, **changes: object) -> TokenRecord:
    return make_record(text, **{"owner": "ada", "plan": "open", **changes})


async def reason_for(admissions: RedisAdmissions, record: TokenRecord, project: str = "") -> Reason | None:
    verdict = decide(await admissions.admit(AdmissionRequest(EXPORT, record.digest, project=project)))
    return verdict.reason if isinstance(verdict, Refused) else None


async def test_an_owner_is_stored_once_and_changed_by_version(connection: RedisConnection) -> None:
    """It is found and listed by its policy; a change made from an outdated record is not written."""
    owners = RedisOwners(connection)
    assert None is await owners.find("small", "ada")
    assert {} == await owners.find_all("small")
    assert await owners.replace("small", "ada", None, ADA)
    assert await owners.replace("small", "ada", None, ADA), "sent again after its answer was lost, it was done"
    assert not await owners.replace("small", "ada", None, replace(ADA, permissions={}))
    second = replace(ADA, permissions={"*": "write"}, version=2)
    assert await owners.replace("small", "ada", ADA, second)
    assert not await owners.replace("small", "ada", ADA, replace(ADA, permissions={}, version=2))
    assert {"ada": second} == await owners.find_all("small")
    assert {} == await owners.find_all("another")


async def test_a_name_without_a_record_bounds_nothing(connection: RedisConnection) -> None:
    """A policy can use owners as plain names: its tokens do what they hold."""
    admissions = RedisAdmissions(connection)
    record = of_ada("a")
    await RedisTokens(connection).create(record)
    assert None is await reason_for(admissions, record)


async def test_every_change_acts_on_the_next_request(connection: RedisConnection) -> None:
    """Of tokens that were there before, in many buckets, and of one that comes after."""
    admissions = RedisAdmissions(connection)
    tokens, owners = RedisTokens(connection), RedisOwners(connection)
    records = [of_ada(f"sml_{number}") for number in range(20)]
    for record in records[:-1]:
        await tokens.create(record)
    old = None
    for status, permissions, project, expected in (
        ("active", {"website": "read"}, "", None),
        ("active", {"website": "write"}, "", None),
        ("active", {"website": ""}, "", Reason.INSUFFICIENT_SCOPE),
        ("active", {"other": "read"}, "", Reason.OTHER_PROJECT),
        ("active", {"other": "read", "*": "read"}, "website", None),
        ("blocked", {"website": "read"}, "", Reason.OWNER_BLOCKED),
        ("removed", {"website": "read"}, "", Reason.OWNER_BLOCKED),
        ("active", {"website": "read"}, "website", None),
    ):
        new = OwnerRecord(OwnerStatus(status), permissions, old.version + 1 if old else 1)
        assert await owners.replace("small", "ada", old, new)
        if old is None:
            await tokens.create(records[-1])
        assert {expected} == {await reason_for(admissions, record, project) for record in records}
        old = new


async def test_a_change_writes_a_copy_a_bucket_and_no_token(connection: RedisConnection) -> None:
    """However many tokens: one key in each bucket that has some, and every record is as it was."""
    tokens = RedisTokens(connection)
    records = [of_ada(f"sml_{number}") for number in range(60)]
    for record in records:
        await tokens.create(record)
    before = {str(key) for key in await connection.client.keys(ALL_BUT_MARKER)}
    await tokens.owners.replace("small", "ada", None, ADA)
    buckets = {bucket_of(record.digest) for record in records}
    copies = {keys.owner_copy(bucket, "small", "ada") for bucket in buckets}
    made = {str(key.encode()) for key in (*copies, keys.owner("small", "ada"), keys.owners("small"))}
    assert made == {str(key) for key in await connection.client.keys(ALL_BUT_MARKER)} - before
    assert records == [await tokens.find(token_id(record.digest)) for record in records]


async def test_a_copy_is_never_written_over_a_newer_one(connection: RedisConnection) -> None:
    """Who read the record before it was changed, and writes his copy after, does no harm."""
    admissions = RedisAdmissions(connection)
    tokens, record = RedisTokens(connection), of_ada("a")
    await tokens.create(record)
    await tokens.owners.replace("small", "ada", None, ADA)
    blocked = replace(ADA, status=OwnerStatus.BLOCKED, version=2)
    await tokens.owners.replace("small", "ada", ADA, blocked)
    copy = keys.owner_copy(token_id(record.digest), "small", "ada")
    assert 0 == await tokens.owners._write([copy], "", ADA)
    assert Reason.OWNER_BLOCKED is await reason_for(admissions, record)


async def test_owners_of_other_policies_and_ids_like_names_are_others(connection: RedisConnection) -> None:
    """An id with a colon, or one that looks like the end of a name, blocks nobody else."""
    admissions = RedisAdmissions(connection)
    tokens, record = RedisTokens(connection), of_ada("a")
    await tokens.create(record)
    blocked = OwnerRecord(OwnerStatus.BLOCKED, {}, 1)
    for policy, owner in (("another", "ada"), ("small", "ada:tokens"), ("small", "ada%3Atokens"), ("small", "ad")):
        assert await tokens.owners.replace(policy, owner, None, blocked)
    assert [record] == await tokens.find_all("small", None, "ada")
    assert None is await reason_for(admissions, record)


async def test_an_owner_of_many_projects_is_read_back(connection: RedisConnection) -> None:
    """Thousands of projects are stored in every bucket, a few at once, and a request finds the one that it is about."""
    admissions = RedisAdmissions(connection)
    tokens, record = RedisTokens(connection), of_ada("a", project="")
    others = [of_ada(f"sml_{number}", project="") for number in range(9)]
    for one in (record, *others):
        await tokens.create(one)
    many = replace(ADA, permissions={f"p{number}": "read" for number in range(5000)} | {"last": "write"})
    await tokens.owners.replace("small", "ada", None, many)
    assert many == await tokens.owners.find("small", "ada")
    for one in (record, *others):
        facts = await admissions.admit(AdmissionRequest(EXPORT, one.digest, project="last"))
        assert OwnerStanding("active", "write") == facts.restrictions.owner


class InTurns:
    """A connection for several to share, on which each question waits until its asker has the turn."""

    def __init__(self, connection: RedisConnection, order: Sequence[str]) -> None:
        self._connection = connection
        self._order = list(order)
        self._changed = asyncio.Condition()

    def of(self, asker: str) -> Any:
        """The connection as one of them sees it."""
        return SimpleNamespace(
            run=lambda command: self._ask(asker, self._connection.run, command),
            run_script=lambda *arguments: self._ask(asker, self._connection.run_script, *arguments),
        )

    async def leave(self, asker: str) -> None:
        """Gives up what turns are left."""
        async with self._changed:
            self._order = [one for one in self._order if one != asker]
            self._changed.notify_all()

    async def _ask(self, asker: str, question: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._order or self._order[0] == asker)
            answer = await question(*arguments)
            del self._order[:1]
            self._changed.notify_all()
            return answer


async def test_in_whatever_order_they_ask_a_new_token_goes_by_the_change(connection: RedisConnection) -> None:
    """A token is made while its owner is blocked: every order of their questions to the store ends with a refusal."""
    admissions = RedisAdmissions(connection)
    tokens, outcomes = RedisTokens(connection), []
    for number, positions in enumerate(combinations(range(8), 4)):
        owner = f"owner-{number}"
        await tokens.owners.replace("small", owner, None, replace(ADA, permissions={"*": "read"}))
        turns = InTurns(connection, ["make" if turn in positions else "block" for turn in range(8)])
        record = of_ada(f"sml_{number}", owner=owner)

        async def make(turns: InTurns = turns, record: TokenRecord = record) -> None:
            await RedisTokens(turns.of("make")).create(record)
            await turns.leave("make")

        async def block(turns: InTurns = turns, owner: str = owner) -> None:
            old = replace(ADA, permissions={"*": "read"})
            new = replace(old, status=OwnerStatus.BLOCKED, version=2)
            assert await RedisOwners(turns.of("block")).replace("small", owner, old, new)
            await turns.leave("block")

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(make())
            group.create_task(block())
        outcomes.append(await reason_for(admissions, record))
    assert [Reason.OWNER_BLOCKED] * 70 == outcomes


@pytest.mark.redis
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_whoever_comes_second_sees_the_other(redis_url: str, seed: int) -> None:
    """Tokens are made and their owner is changed over many connections at once: every token goes by the last change.

    From its acknowledgement on: what is admitted after a block is refused, also tokens made meanwhile.
    """
    async with open_connection(redis_url) as connection:
        random, made, is_over = Random(seed), list[TokenRecord](), asyncio.Event()
        admissions = RedisAdmissions(connection)

        async def create(number: int) -> None:
            async with open_connection(redis_url) as own:
                count = 0
                while not is_over.is_set():
                    record = of_ada(f"sml_{seed}_{number}_{count}")
                    await RedisTokens(own).create(record)
                    made.append(record)
                    count += 1

        async def change() -> None:
            async with open_connection(redis_url) as own:
                owners, admissions, old = RedisOwners(own), RedisAdmissions(own), None
                for version in range(1, 16):
                    status = random.choice([OwnerStatus.ACTIVE, OwnerStatus.BLOCKED, OwnerStatus.REMOVED])
                    new = OwnerRecord(status, {"*": "read"}, version)
                    assert await owners.replace("small", "ada", old, new)
                    known, old = list(made), new
                    expected = None if status is OwnerStatus.ACTIVE else Reason.OWNER_BLOCKED
                    for record in random.sample(known, min(20, len(known))):
                        assert expected == await reason_for(admissions, record)
                is_over.set()

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(create(number))
            group.create_task(change())
        last = await RedisOwners(connection).find("small", "ada")
        assert last is not None
        assert 40 < len(made)
        expected = None if last.status is OwnerStatus.ACTIVE else Reason.OWNER_BLOCKED
        assert {expected} == {await reason_for(admissions, record) for record in made}
