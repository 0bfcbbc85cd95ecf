"""`python -m benchmarks.scale`: what many tokens cost Redis, in bytes and in time. Nothing is asserted.

Records are the gateway's own, written as its commands write them, only many at once. Times of the script are what Redis
says of itself (INFO commandstats), so neither this client nor the machine's other work is in them; whole requests are
in scale_requests.py.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count as numbers
from itertools import islice
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import msgspec
import redis

from benchmarks.scale_requests import Case, compare
from benchmarks.usage import divide_cores, pinned
from gateway.adapters.redis import keys
from gateway.adapters.redis.admissions import RedisAdmissions
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import Rule
from gateway.core.tokens.owners import OwnerRecord, OwnerStatus
from gateway.core.tokens.records import TokenRecord, encode_record
from gateway.core.tokens.text import digest, token_id
from tests.support.processes import RedisServer, wait_until

POLICY = """
name = "tokencraft"
upstream = "http://127.0.0.1:9001"
token = { prefixes = ["dtk_"], checksum = false }
[scopes]
read = "Read"
write = { description = "Write", implies = ["read"] }
[plans.pro]
scopes = ["write"]
quotas = { minute = "1000000000/minute" }
[[rules]]
match = "GET /export"
scopes = ["read"]
"""
CREATED = 1_795_000_000
BATCH = 32
"""Admissions in one script call: as many connections as the tables of MEASURED.md are measured with."""
FEW, MANY = 1000, 100_000
"""Tokens in use."""
ADMISSIONS = 20_000
ROUNDS = 5
OWNED = 10_000
"""Tokens of the one owner that is changed."""
TIMEOUT_SECONDS = 60.0
SETTLING_SECONDS = 600.0
DEBUGGING = ("--enable-debug-command", "local")
"""What Redis needs since 7.0 to say whether one of its tables is growing."""


class Usage(msgspec.Struct, frozen=True):
    """What Redis has done since its start."""

    calls: dict[str, int]
    usec: dict[str, float]


def main() -> None:
    """Measure and print."""
    options, cores = _parse(sys.argv[1:]), divide_cores()
    executable = shutil.which("redis-server")
    if executable is None:
        raise SystemExit("this needs redis-server on the PATH")
    with ExitStack() as ending:
        stores = []
        for _ in range(2):
            folder = ending.enter_context(tempfile.TemporaryDirectory(prefix="gateway-scale-"))
            with pinned(cores.rest):
                stores.append(Store(RedisServer(executable, Path(folder), options=DEBUGGING)))
            ending.callback(stores[-1].server.stop)
        asyncio.run(_measure(stores[0], stores[1], options.tokens, options.share))
        if shutil.which("wrk") is None:
            _say("no wrk on the PATH: whole requests are not measured")
            return
        os.sched_setaffinity(0, cores.rest)  # load generators inherit it
        cases = [
            Case(store.server.url, stored, [_text(one) for one in sorted(Random(7).sample(range(stored), used))])
            for store, used, stored in _cases(stores[0], stores[1], options.tokens)
        ]
        for line in compare(cases, POLICY, Path(folder), cores):
            _say(line)


class Store:
    """A redis-server of its own, and what is asked of it."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.client = redis.Redis.from_url(server.url)

    async def admit(self, rule: Rule, digests: list[str]) -> float:
        """Admit each digest once; return the microseconds that Redis spent in the script for one admission."""
        self.settle()
        connection = RedisConnection(open_client(self.server.url, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
        admissions, before = RedisAdmissions(connection), usage(self.client)
        for start in range(0, ADMISSIONS, BATCH):
            asked = [AdmissionRequest(rule, one) for one in digests[start : start + BATCH]]
            for facts in await asyncio.gather(*map(admissions.admit, asked)):
                if facts.record is None:
                    raise SystemExit("a token that was written is not there")
        await connection.close()
        return since(self.client, before).usec["evalsha"] / ADMISSIONS

    def settle(self) -> None:
        """Wait until no table of Redis is growing.

        While one is, each command moves a part of it on the way, which is the cost of having written a million keys a
        moment ago and not of the command. MEMORY STATS does not tell: it counts both tables from the first move to the
        last, a quarter of a minute during which its figure stands still.
        """
        tell: Callable[..., bytes] = self.client.execute_command
        wait_until(lambda: b"rehashing" not in tell("DEBUG", "HTSTATS", 0), "no table grows", SETTLING_SECONDS)


async def _measure(small: Store, large: Store, count: int, share: int) -> None:
    info = large.client.info()
    _say(f"Redis {info['redis_version']}, {info['mem_allocator']}; {share} tokens to each project and to each owner")
    for store, tokens in ((small, FEW), (large, count)):
        spent = _fill(store.client, islice(make_records(share), tokens))
    for kind, size in spent.items():
        _say(f"{kind}: {size:.0f} bytes a token")
    _say(f"all in: {sum(spent.values()):.0f} bytes a token")
    await _compare_admissions(small, large, count)
    connection = RedisConnection(open_client(large.server.url, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
    await _list_project(large.client, RedisTokens(connection))
    await _change_owner(large.client, RedisTokens(connection))
    await connection.close()


async def _compare_admissions(small: Store, large: Store, count: int) -> None:
    """Compare admissions of as many tokens in use among few and among very many, and with all of those in use."""
    random, rule = Random(7), _rule()
    cases = _cases(small, large, count)
    digests = [[_digest(one) for one in random.sample(range(stored), used)] for _, used, stored in cases]
    asked = [random.choices(of_case, k=ADMISSIONS) for of_case in digests]
    rounds = []
    for _ in range(ROUNDS + 1):  # the first one makes the counters
        rounds.append([await store.admit(rule, of_case) for (store, _, _), of_case in zip(cases, asked, strict=True)])
    for (_, used, stored), spent in zip(cases, zip(*rounds[1:], strict=True), strict=True):
        told = f"{median(spent):.1f} us ({min(spent):.1f} to {max(spent):.1f})"
        _say(f"an admission of one of {used:,} tokens in use, among {stored:,}: {told}")


def _cases(small: Store, large: Store, count: int) -> tuple[tuple[Store, int, int], ...]:
    """Return for each case the store, how many tokens are in use, and how many are stored."""
    return (small, FEW, FEW), (large, FEW, count), (large, min(count, MANY), count)


async def _list_project(client: "redis.Redis", tokens: RedisTokens) -> None:
    before = usage(client)
    listed = await tokens.find_all("tokencraft", "project-1", None)
    spent = since(client, before)
    commands = ", ".join(f"{calls} {name.upper()}" for name, calls in sorted(spent.calls.items()))
    _say(f"listing the {len(listed)} tokens of a project: {sum(spent.usec.values()):.0f} us in {commands}")


async def _change_owner(client: "redis.Redis", tokens: RedisTokens) -> None:
    """Print what it costs to change the owner of very many tokens."""
    _fill(client, (msgspec.structs.replace(one, owner="one") for one in islice(make_records(1), OWNED)))
    old = None
    for version in (1, 2, 3):
        new, before = OwnerRecord(OwnerStatus.ACTIVE, {"*": "read write"}, version), usage(client)
        if not await tokens.owners.replace("tokencraft", "one", old, new):
            raise SystemExit("the owner was not changed")
        spent, old = since(client, before), new
        _say(f"changing an owner of {OWNED:,} tokens: {sum(spent.usec.values()) / 1000:.2f} ms of Redis' time")
    copies = [client.memory_usage(keys.owner_copy(f"{bucket:02x}", "tokencraft", "one")) for bucket in range(256)]
    _say(
        f"its copies: {sum(filter(None, copies)) / 256:.0f} bytes in each of {len(list(filter(None, copies)))} buckets"
    )


def make_records(share: int) -> Iterator[TokenRecord]:
    """Yield tokens without end, `share` of them to each project and to each owner."""
    for number in numbers():
        token_digest = _digest(number)
        yield TokenRecord(
            last_use=CREATED,
            digest=token_digest,
            policy="tokencraft",
            is_active=True,
            not_before=None,
            expires_at=CREATED + 31_536_000,
            scopes="read write",
            plan="pro",
            lineage=token_id(token_digest),
            project=f"project-{number // share}",
            owner=f"owner-{number // share}",
            name=f"CI pull {number}",
            shown="dtk_AbCdEfGh",
            created_at=CREATED,
        )


def _fill(client: "redis.Redis", records: Iterator[TokenRecord]) -> dict[str, float]:
    """Write what Redis keeps of tokens in use, one kind after the other; return the bytes for each token by kind."""
    made, spent = list(records), {}
    kinds: dict[str, Callable[[Any, TokenRecord], Any]] = {
        "record": lambda pipe, one: pipe.set(keys.token(token_id(one.digest)), encode_record(one)),
        "index of projects": lambda pipe, one: pipe.hset(
            keys.project_tokens(one.policy, one.project), token_id(one.digest), ""
        ),
        "index of owners": lambda pipe, one: pipe.hset(
            keys.owner_tokens(one.policy, one.owner), token_id(one.digest), ""
        ),
    }
    for kind, write in kinds.items():
        before = client.info("memory")["used_memory"]
        for start in range(0, len(made), 5000):
            with client.pipeline(transaction=False) as pipe:
                for one in made[start : start + 5000]:
                    write(pipe, one)
                pipe.execute()
        spent[kind] = (client.info("memory")["used_memory"] - before) / len(made)
    return spent


def usage(client: "redis.Redis") -> Usage:
    """Return calls and microseconds by command; the time of commands inside a script counts as the script's."""
    stats = client.info("commandstats")
    own = {name.removeprefix("cmdstat_"): numbers for name, numbers in stats.items()}
    return Usage({name: one["calls"] for name, one in own.items()}, {name: one["usec"] for name, one in own.items()})


def since(client: "redis.Redis", before: Usage) -> Usage:
    """Return what Redis has done since `before`, without this look at it."""
    now = usage(client)
    used = {name for name in now.calls if now.calls[name] > before.calls.get(name, 0)} - {"info"}
    return Usage(
        {name: now.calls[name] - before.calls.get(name, 0) for name in used},
        {name: now.usec[name] - before.usec.get(name, 0) for name in used},
    )


def _text(number: int) -> str:
    return f"dtk_{number}"


def _digest(number: int) -> str:
    return digest(_text(number), b"")


def _rule() -> Rule:
    rule = load_policies({"scale.toml": POLICY}).match("", "GET", ("export",))
    if rule is None:
        raise SystemExit("the policy has no rule")
    return rule


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--tokens", type=int, default=200_000, metavar="N", help="default: 200,000")
    parser.add_argument("--share", type=int, default=20, metavar="N", help="tokens to a project and owner; default: 20")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
