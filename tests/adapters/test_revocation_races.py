"""Revocation while others change, rotate, create and use the same tokens, over several connections to a real Redis."""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
import pytest

from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest, Authorized, decide
from gateway.core.errors import ChangeRefused
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.text import token_id
from tests.support.connections import open_connection
from tests.support.policies import make_record, rule_for

pytestmark = pytest.mark.redis

GROUPS = 12
GROUP_SIZE = 30


class Worker:
    """Tokens and admissions over one connection, as each process of the gateway has them."""

    def __init__(self, connection: RedisConnection) -> None:
        self.tokens = RedisTokens(connection)
        self.admissions = RedisAdmissions(connection)


class Arena:
    """Hundreds of tokens, everybody who works on them, and what was promised of them so far."""

    def __init__(self, url: str, seed: int) -> None:
        self.url = url
        self.random = Random(seed)
        self.rule = rule_for("GET /export")
        self.known: list[TokenRecord] = []
        self.promised: set[str] = set()
        """Ids, lineages, projects and owners whose revocation was acknowledged."""
        self.is_over = False
        self.done = dict.fromkeys(("updates", "rotations", "creations", "refusals", "admissions", "late"), 0)

    def pick(self) -> TokenRecord:
        return self.random.choice(self.known)

    def is_promised(self, record: TokenRecord) -> bool:
        """Whether a revocation that covers the token was acknowledged."""
        marks = (f"token {token_id(record.digest)}", f"lineage {record.lineage}")
        return not self.promised.isdisjoint((*marks, f"project {record.project}", f"owner {record.owner}"))

    async def repeat(self, step: Callable[[Worker], Awaitable[None]]) -> None:
        """Repeat `step` with a worker of its own, until all is revoked."""
        async with open_connection(self.url) as connection:
            worker = Worker(connection)
            while not self.is_over:
                await step(worker)

    async def update(self, worker: Worker) -> None:
        record = await worker.tokens.find(token_id(self.pick().digest))
        assert record is not None
        was_promised = self.is_promised(record)
        changed = msgspec.structs.replace(record, name=f"name {self.done['updates']}", is_active=True, expires_at=None)
        is_done = await worker.tokens.replace(record, changed)
        assert not (is_done and was_promised), "a revoked token was changed"
        self.done["updates"] += is_done

    async def rotate(self, worker: Worker) -> None:
        record = await worker.tokens.find(token_id(self.pick().digest))
        assert record is not None
        if record.successor:
            return
        token_digest = record.digest[:2] + make_record(f"sml_{self.random.random()}").digest[2:]
        old = msgspec.structs.replace(record, successor=token_id(token_digest))
        successor = msgspec.structs.replace(record, digest=token_digest, predecessor=token_id(record.digest))
        was_promised = self.is_promised(record)
        is_done = await worker.tokens.rotate(record, old, successor)
        assert not (is_done and was_promised), "a revoked token was rotated"
        if is_done:
            self.known.append(successor)
        self.done["rotations"] += is_done

    async def create(self, worker: Worker) -> None:
        with pytest.raises(ChangeRefused):
            await worker.tokens.create(msgspec.structs.replace(self.pick(), name="of the same text"))
        self.done["creations"] += 1

    async def admit(self, worker: Worker) -> None:
        picked = [self.pick() for _ in range(20)]
        promised = [self.is_promised(record) for record in picked]
        found = await asyncio.gather(
            *(worker.admissions.admit(AdmissionRequest(self.rule, one.digest)) for one in picked)
        )
        for was_promised, facts in zip(promised, found, strict=True):
            may_pass = facts.is_charged or isinstance(decide(facts), Authorized)
            assert not (was_promised and may_pass), "a revoked token was let in"
            self.done["late"] += was_promised
            self.done["refusals"] += not may_pass
            self.done["admissions"] += may_pass

    async def revoke(self) -> None:
        """Revokes every group, each in one of the four ways, and promises what was acknowledged."""
        async with open_connection(self.url) as connection:
            tokens = RedisTokens(connection)
            for group in range(GROUPS):
                way = ("project", "owner", "lineage", "token")[group % 4]
                if way == "project":
                    await tokens.revoke_all("small", f"project-{group}", None)
                    self.promised.add(f"project project-{group}")
                elif way == "owner":
                    await tokens.revoke_all("small", None, f"owner-{group}")
                    self.promised.add(f"owner owner-{group}")
                for member in self.members(group) if way in ("lineage", "token") else ():
                    identity = token_id(member.digest)
                    await (tokens.revoke_lineage(identity) if way == "lineage" else tokens.revoke(identity))
                    self.promised.add(f"lineage {member.lineage}" if way == "lineage" else f"token {identity}")
                while self.done["late"] < 40 * (group + 1):  # until the others have met what was revoked
                    await connection.run(lambda client: client.ping())
        self.is_over = True

    def members(self, group: int) -> list[TokenRecord]:
        return [record for record in self.known if record.project == f"project-{group}"]


async def _fill(arena: Arena) -> None:
    async with open_connection(arena.url) as connection:
        for number in range(GROUPS * GROUP_SIZE):
            group = number % GROUPS
            binding = {"project": f"project-{group}", "owner": f"owner-{group}", "plan": "open"}
            arena.known.append(make_record(f"sml_{number}", **binding))
            await RedisTokens(connection).create(arena.known[-1])


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_what_is_revoked_is_over_whatever_others_do(redis_url: str, seed: int) -> None:
    """From the acknowledgement on no admission passes, no write succeeds, and no successor appears."""
    arena = Arena(redis_url, seed)
    await _fill(arena)
    steps = [arena.update, arena.update, arena.rotate, arena.rotate, arena.create, arena.admit, arena.admit]
    async with asyncio.timeout(180), asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(arena.repeat(step))
        group.create_task(arena.revoke())
    assert all(arena.done.values()), arena.done
    async with open_connection(redis_url) as connection:
        admissions, stored = RedisAdmissions(connection), await RedisTokens(connection).find_all(None, None, None)
        assert {one.digest for one in arena.known} == {one.digest for one in stored}
        for record in stored:
            facts = await admissions.admit(AdmissionRequest(arena.rule, record.digest))
            assert arena.is_promised(record) == facts.is_revoked == (not facts.is_charged)


async def test_a_listing_that_is_wrong_revokes_nobody_else(redis_url: str) -> None:
    """A refused creation leaves an entry behind in the list of its project: the token of that id stays its owner's."""
    async with open_connection(redis_url) as connection:
        tokens, record = RedisTokens(connection), make_record(plan="open")
        await tokens.create(record)
        with pytest.raises(ChangeRefused):
            await tokens.create(msgspec.structs.replace(record, project="other"))
        identity = token_id(record.digest)
        assert await connection.run(lambda client: client.hexists(keys.project_tokens("small", "other"), identity))
        assert [] == await tokens.revoke_all("small", "other", None)
        assert [False] == await tokens.are_revoked([identity])
        assert [identity] == await tokens.revoke_all("small", "website", None)
