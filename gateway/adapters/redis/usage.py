"""Usage in Redis: what the workers have counted, read for people and for metrics.

The counter has usage in this worker's memory, and adds it to Redis' counters off the path of requests.

A request costs one increment of a dict. Once a second, and at the end, the increments leave in one call (a second,
small one ranks the busiest). What Redis does not take is kept for the next second. So a killed worker loses what it
counted in its last second, and a connection that breaks between a call and its answer may count that call twice.
"""

import asyncio
import heapq
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, TypeAlias

import msgspec

from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.connection import Client, RedisConnection, refused
from gateway.adapters.redis.scripts import read_script
from gateway.core.errors import StoreUnavailable
from gateway.core.tokens.text import token_id
from gateway.core.usage import (
    DAY_HOURS,
    HOUR_SECONDS,
    LOST,
    MAXIMUM_HOURS,
    BusyToken,
    PolicyUsage,
    StoreMemory,
    Totals,
    UsageKey,
    UsageLabels,
    UsagePoint,
    by_day,
    by_hour,
    format_usage_labels,
    last_days,
    last_hours,
    parse_usage_labels,
    read_usage_key,
)

_Command: TypeAlias = Sequence[str | int]


class RedisUsage:
    """The implementation of admin_ports.Usage; `clock` gives Unix seconds."""

    def __init__(self, connection: RedisConnection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    async def token_usage(self, identity: str, hours: int) -> tuple[UsagePoint, ...]:
        """Return the requests of a token by the hour."""
        period = last_hours(self._clock(), hours)
        (counts,) = await self._read_tokens([identity], period)
        return by_hour(period, counts)

    async def tokens_usage(self, identities: Sequence[str], days: int) -> dict[str, tuple[UsagePoint, ...]]:
        """Return the requests of each of the tokens by the day."""
        period = last_days(self._clock(), days)
        found = await self._read_tokens(identities, range(period.start * DAY_HOURS, period.stop * DAY_HOURS))
        return {identity: by_day(period, counts) for identity, counts in zip(identities, found, strict=True)}

    async def policy_usage(self, policy: str, hours: int) -> PolicyUsage:
        """Return the requests of a policy, by the hour and by outcome."""
        period = last_hours(self._clock(), hours)
        replies = await self._read([("HGETALL", redis_keys.policy_usage(policy, hour)) for hour in period])
        counts: Counter[UsageLabels] = Counter()
        for reply in replies:
            counts.update(_read_counts(reply))
        numbers = {hour: sum(map(int, reply.values())) for hour, reply in zip(period, replies, strict=True)}
        return PolicyUsage(policy, by_hour(period, numbers), counts)

    async def busiest(self, limit: int, hours: int = 2) -> list[BusyToken]:
        """Return the tokens with the most requests."""
        period = last_hours(self._clock(), hours)
        commands = [("ZRANGE", redis_keys.busiest(hour), 0, -1, "WITHSCORES") for hour in period]
        found: Counter[str] = Counter()
        for reply in await self._read(commands, withscores=True):
            found.update({token.decode(): int(number) for token, number in reply})
        return [BusyToken(token, number) for token, number in found.most_common(limit)]

    async def totals(self) -> Totals:
        """Return the totals of everything counted."""
        keys = (redis_keys.all_requests(), redis_keys.all_events())
        requests, events = await self._read([("HGETALL", key) for key in keys])
        return Totals(_read_counts(requests), {event.decode(): int(number) for event, number in events.items()})

    async def memory(self) -> StoreMemory | None:
        """Return how full Redis is, or None if it does not answer: `totals` reports that."""
        try:
            (told,) = await self._read([("INFO", "memory")])
        except StoreUnavailable:
            return None
        return StoreMemory(int(told["used_memory"]), int(told["maxmemory"]))

    async def _read_tokens(self, identities: Sequence[str], hours: range) -> list[dict[int, int]]:
        """Return each token's requests by hour number; hours before and after the wanted ones may be included.

        It takes one round trip, with a hash for every five days of a token.
        """
        starts = sorted({hour - hour % redis_keys.USAGE_HOURS for hour in hours})
        keys = [redis_keys.token_usage(identity, start)[0] for identity in identities for start in starts]
        replies = await self._read([("HGETALL", key) for key in keys])
        found: list[dict[int, int]] = [{} for _ in identities]
        for number, reply in enumerate(replies):
            which, part = divmod(number, len(starts))
            found[which].update({starts[part] + int(hour): int(requests) for hour, requests in reply.items()})
        return found

    async def _read(self, commands: Sequence[_Command], **options: Any) -> list[Any]:
        replies = await run_each(self._connection, commands, **options)
        for reply in replies:
            if isinstance(reply, Exception):
                raise refused(reply) from reply
        return replies


def _read_counts(reply: Mapping[bytes, bytes]) -> dict[UsageLabels, int]:
    return {parse_usage_labels(text.decode()): int(number) for text, number in reply.items()}


async def run_each(
    connection: RedisConnection, commands: Sequence[_Command], more_seconds: float = 0, **options: Any
) -> list[Any]:
    """Return the answers to commands of one key each, in one call; a refused one is answered by an exception.

    `options` are redis-py's, for reading the answers. If one of the commands makes Redis wait, it has `more_seconds`.
    """

    async def run(client: Client) -> list[Any]:
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command, **options)
            return await pipeline.execute(raise_on_error=False)

    return await connection.run(run, more_seconds)


FLUSH_SECONDS = 1.0
KEEP_SECONDS = MAXIMUM_HOURS * HOUR_SECONDS
MAXIMUM_BATCH = 512
"""Increments in one call: they block this worker for some two milliseconds, and Redis for less."""
MAXIMUM_KEPT = 10_000
"""Increments kept while Redis does not take them: a few megabytes.

Tokens beyond that are lost, and counted as lost; there are few policies.
"""
MAXIMUM_BUSIEST = 100
"""Tokens remembered as the busiest of an hour.

A token that is ranked late, because so many had more requests then, is missing as long as they have more.
"""

logger = logging.getLogger(__name__)


class _Counter(msgspec.Struct, frozen=True):
    """A counter in Redis: a field of a hash."""

    key: str
    field: str
    hour: int | None = None
    """The hour that it counts; None if it counts all hours together."""
    token: str = ""
    """The token whose requests it counts, if any."""


class RedisUsageCounter:
    """The implementation of admin_ports.UsageCounter; `clock` gives Unix seconds.

    `events` are counted elsewhere, and only grow. It has a connection of its own: slowness here must not open the
    circuit of admissions.
    """

    def __init__(self, connection: RedisConnection, events: Mapping[str, int], clock: Callable[[], float]) -> None:
        self._connection = connection
        self._events = events
        self._clock = clock
        self._script = read_script("count.lua")
        self._counts: defaultdict[UsageKey, int] = defaultdict(int)
        self._hour = 0
        """The hour in which the first of these requests was answered."""
        self._told: Counter[str] = Counter()
        """Counts of the events that are in Redis, or kept for it."""
        self._kept: dict[_Counter, int] = {}
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()
        self._is_refused = False

    def count_request(self, key: UsageKey) -> None:
        """Count a request; see admin_ports.UsageCounter. This is on the path of every request."""
        if not self._counts:
            self._hour = int(self._clock()) // HOUR_SECONDS
            self._schedule()
        self._counts[key] += 1

    async def flush(self) -> None:
        """Add what was counted to Redis, as far as Redis takes it; the rest is kept."""
        async with self._turn:
            counts, self._counts = self._counts, defaultdict(int)
            hour = self._hour
            self._keep_requests(counts, hour)
            self._keep_events()
            tokens: Counter[str] = Counter()
            for (*_, digest), number in counts.items():
                tokens[digest] += number
            digests = [digest for digest in tokens if digest]
            for start in range(0, max(1, len(digests)), MAXIMUM_BATCH):
                self._keep_tokens(digests[start : start + MAXIMUM_BATCH], tokens, hour)
                await self._send_kept()
        if self._kept:
            self._schedule()

    async def close(self) -> None:
        """Write what is left; nothing may be counted after it."""
        await self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._kept:
            logger.warning("%d usage counters could not be written before the end", len(self._kept))

    def _schedule(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._start)

    def _start(self) -> None:
        self._timer = None
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self.flush())
        else:
            self._schedule()

    def _keep_requests(self, counts: Mapping[UsageKey, int], hour: int) -> None:
        alike: Counter[tuple[str, str, int, bytes]] = Counter()
        for (policy, reason, status, cache_status, _), number in counts.items():
            alike[policy, reason, status, cache_status] += number
        for one, number in alike.items():
            labels = read_usage_key(*one)
            text = format_usage_labels(labels)
            self._keep(_Counter(redis_keys.policy_usage(labels.policy, hour), text, hour), number)
            self._keep(_Counter(redis_keys.all_requests(), text), number)

    def _keep_events(self) -> None:
        for event, number in {**self._events, LOST: self._lost}.items():
            if event and number > self._told[event]:
                self._keep(_Counter(redis_keys.all_events(), event), number - self._told[event])
                self._told[event] = number

    def _keep_tokens(self, digests: Sequence[str], tokens: Mapping[str, int], hour: int) -> None:
        for digest in digests:
            identity = token_id(digest)
            counter = _Counter(*redis_keys.token_usage(identity, hour), hour, identity)
            if counter in self._kept or len(self._kept) < MAXIMUM_KEPT:
                self._keep(counter, tokens[digest])
            else:
                self._lost += tokens[digest]

    def _keep(self, counter: _Counter, number: int) -> None:
        self._kept[counter] = self._kept.get(counter, 0) + number

    async def _send_kept(self) -> None:
        is_taken = True
        while is_taken and self._kept:
            is_taken = await self._send(list(islice(self._kept, MAXIMUM_BATCH)))

    async def _send(self, counters: Sequence[_Counter]) -> bool:
        """Return whether Redis took all counters; those that it took are kept no longer."""
        arguments: list[str | int] = [KEEP_SECONDS]
        for counter in counters:
            arguments += (counter.field, self._kept[counter], int(counter.hour is not None))
        keys = [counter.key for counter in counters]
        try:
            reached = await self._connection.run_script(self._script, keys, arguments)
        except StoreUnavailable as error:
            return self._is_all(len(counters)) if error.code else False
        taken = {one: number for one, number in zip(counters, reached, strict=True) if number is not None}
        for counter in taken:
            del self._kept[counter]
        await self._rank(taken)
        return self._is_all(len(counters) - len(taken))

    def _is_all(self, refused: int) -> bool:
        if refused and not self._is_refused:
            logger.warning("Redis refuses to count usage; it is kept in memory until it does not")
        self._is_refused = refused > 0
        return not refused

    async def _rank(self, numbers: Mapping[_Counter, int]) -> None:
        """Rank the tokens with the most requests of each hour; if that fails, their next requests do it."""
        hours: defaultdict[int, dict[str, int]] = defaultdict(dict)
        for counter, number in numbers.items():
            if counter.token and counter.hour is not None:
                hours[counter.hour][counter.token] = number
        commands: list[tuple[str | int, ...]] = []
        for hour, tokens in hours.items():
            key, most = redis_keys.busiest(hour), heapq.nlargest(MAXIMUM_BUSIEST, tokens.items(), key=itemgetter(1))
            scores = [part for token, number in most for part in (number, token)]
            commands += [
                ("ZADD", key, "GT", *scores),
                ("ZREMRANGEBYRANK", key, 0, -MAXIMUM_BUSIEST - 1),
                ("EXPIRE", key, KEEP_SECONDS),
            ]
        if commands:
            try:
                await run_each(self._connection, commands)
            except StoreUnavailable:
                return  # logged by the connection
