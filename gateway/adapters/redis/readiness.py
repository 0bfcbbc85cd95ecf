"""Readiness: whether Redis does what the next request and the next revocation need, and what settings it reports."""

import asyncio
import logging
from typing import Any

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import Client, RedisConnection, Script
from gateway.adapters.redis.scripts import EMPTY_STORE, read_script
from gateway.adapters.redis.usage import run_each
from gateway.core.durability import Finding, Readiness, StoreFacts, check_store
from gateway.core.errors import StoreUnavailable
from gateway.core.quotas.algorithms import ALGORITHMS
from gateway.core.quotas.model import CONCURRENT
from gateway.core.tokens.text import ID_LENGTH


async def read_store_facts(connection: RedisConnection) -> StoreFacts | None:
    """Return the settings that matter to tokens, or None if the store does not report them (the embedded one, a proxy).

    Raise StoreUnavailable if Redis does not answer.
    """
    try:
        told: dict[str, Any] = await connection.run(_read_info)
    except StoreUnavailable as error:
        if not error.code:
            raise
        return None
    fsync, save = await _read_settings(connection, "appendfsync", "save")
    return StoreFacts(
        version=str(told["redis_version"]),
        is_append_only=bool(told["aof_enabled"]),
        fsync=fsync,
        has_snapshots=None if save is None else save != "",
        eviction=str(told["maxmemory_policy"]),
        maximum_bytes=int(told["maxmemory"]),
    )


async def _read_settings(connection: RedisConnection, *names: str) -> list[str | None]:
    """Return the values of Redis' settings, None where it does not tell one: managed servers refuse CONFIG."""
    found = await run_each(connection, [("CONFIG GET", name) for name in names])
    return [None if isinstance(told, Exception) else told.get(name) for name, told in zip(names, found, strict=True)]


async def _read_info(client: Client) -> dict[str, Any]:
    return await client.info()


COMMANDS = (
    *("DEL", "EVALSHA", "EXISTS", "EXPIRE", "GET", "HDEL", "HGET", "HGETALL", "HINCRBY"),
    *("HKEYS", "HLEN", "HMGET", "HSET", "HSETNX", "HSTRLEN", "HVALS", "INFO", "LINDEX"),
    *("LSET", "LTRIM", "MGET", "PEXPIRE", "PING", "PTTL", "RENAME", "RPUSH", "SADD"),
    *("SCAN", "SET", "SETRANGE", "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SRANDMEMBER"),
    *("TIME", "UNLINK", "XADD", "XDEL", "XREVRANGE", "ZADD", "ZCOUNT", "ZRANGE", "ZRANGEBYSCORE", "ZREM"),
    *("ZREMRANGEBYRANK", "ZREMRANGEBYSCORE"),
)
"""The commands that the gateway's Redis user must be allowed to run, besides SCRIPT LOAD and EVAL."""
COMMANDS_OF_SOME = ("WAITAOF",)
"""The commands that it needs where Redis has them: before 7.2, a rule that grants one would be a mistake."""
NO_TOKEN = "0" * ID_LENGTH
"""The id of no token: its admission reads what any admission reads, and charges nothing."""

logger = logging.getLogger(__name__)


class RedisReadiness:
    """The readiness check: it runs the admission script, and a write like that of a revocation."""

    def __init__(self, connection: RedisConnection, *, allows_eviction: bool = False) -> None:
        self._connection = connection
        self._allows_eviction = allows_eviction
        self._admit = read_script("quotas.lua", "charging.lua", "tokens.lua", "admit.lua")
        self._write = read_script("audit.lua", "ready.lua")
        self._missing = read_script("missing_commands.lua")
        self._unknown = read_script("quotas.lua", "unknown_algorithms.lua")
        self._check: asyncio.Task[Readiness] | None = None
        self._failing: dict[str, str] = {}

    async def check(self) -> Readiness:
        """Return what fails and what should be changed. Concurrent callers share a check."""
        if self._check is None or self._check.done() or self._check.get_loop() is not asyncio.get_running_loop():
            self._check = asyncio.create_task(self._run())
        return await asyncio.shield(self._check)

    async def warn_of_missing_commands(self) -> None:
        """Log the commands that the Redis user lacks, with what grants them.

        If Redis is away, its connection logs that.
        """
        try:
            found = await self._connection.run_script(self._missing, [], [*COMMANDS, *COMMANDS_OF_SOME])
        except StoreUnavailable as error:
            logger.warning("redis: what the user may run could not be checked: %s", error)
            return
        if found:
            names_ = " ".join(f"+{command.decode().lower()}" for command in found)
            logger.warning("redis: the user may not run all that the gateway needs; grant: ACL SETUSER USER %s", names_)

    async def _run(self) -> Readiness:
        script_rule = msgspec.json.encode({"is_public": False})
        keys = [redis_keys.token(NO_TOKEN)]
        failures = {
            "admission": await self._try(self._admit, keys, ["", 0, 1, script_rule, "", 1, "", "", "", ""]),
            "revocation": await self._try(self._write, redis_keys.ready(), []),
        }
        failures["data"] = await self._data()
        failures["quotas"] = await self._quotas()
        findings = await self._findings()
        if not self._allows_eviction:
            failures["eviction"] = "; ".join(str(one) for one in findings if one.kind == "eviction")
        failing = {name: why for name, why in failures.items() if why}
        if failing != self._failing:
            self._failing = failing
            logger.warning("redis: %s", "; ".join(f"{name}: {why}" for name, why in failing.items()) or "ready again")
        return Readiness(failing, tuple(str(one) for one in findings if str(one) not in failing.values()))

    async def _data(self) -> str:
        try:
            is_there = await self._connection.run(lambda client: client.exists(redis_keys.marker()))
        except StoreUnavailable:
            return ""  # the two checks before report it
        return "" if is_there else EMPTY_STORE

    async def _quotas(self) -> str:
        try:
            found = await self._connection.run_script(self._unknown, [], [*ALGORITHMS, CONCURRENT])
        except StoreUnavailable:
            return ""  # the two checks before report it
        names = ", ".join(name.decode() for name in found)
        return f"the scripts of this version cannot count by {names}: install the gateway again" if names else ""

    async def _findings(self) -> tuple[Finding, ...]:
        try:
            facts = await read_store_facts(self._connection)
        except StoreUnavailable:
            return ()  # the two checks before report it
        return check_store(facts) if facts else ()

    async def _try(self, script: Script, keys: list[str], arguments: list[str | int | bytes]) -> str:
        """Return why the script fails, in words that are safe to show; empty if it works."""
        try:
            await self._connection.run_script(script, keys, arguments)
        except StoreUnavailable as error:
            return f"Redis refuses: {error.code}" if error.code else "Redis does not answer"
        return ""
