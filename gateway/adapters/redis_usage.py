"""Usage as it is in Redis: what the workers have counted (redis_counting.py), read for people and for metrics."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from gateway.adapters import names
from gateway.adapters.redis_connection import Client, RedisConnection, refused
from gateway.core.errors import StoreUnavailable
from gateway.core.usage import (
    DAY_HOURS,
    BusyToken,
    Counted,
    PolicyUsage,
    StoreMemory,
    Totals,
    UsagePoint,
    by_day,
    by_hour,
    last_days,
    last_hours,
    read_counted,
)

_Command: TypeAlias = Sequence[str | int]


class RedisUsage:
    """See usage.Usage; `clock` gives Unix seconds."""

    def __init__(self, connection: RedisConnection, clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = clock

    async def token_usage(self, identity: str, hours: int) -> tuple[UsagePoint, ...]:
        """The requests of a token by the hour."""
        wanted = last_hours(self._clock(), hours)
        (counts,) = await self._read_tokens([identity], wanted)
        return by_hour(wanted, counts)

    async def tokens_usage(self, identities: Sequence[str], days: int) -> dict[str, tuple[UsagePoint, ...]]:
        """The requests of each of the tokens by the day."""
        wanted = last_days(self._clock(), days)
        found = await self._read_tokens(identities, range(wanted.start * DAY_HOURS, wanted.stop * DAY_HOURS))
        return {identity: by_day(wanted, counts) for identity, counts in zip(identities, found, strict=True)}

    async def policy_usage(self, policy: str, hours: int) -> PolicyUsage:
        """The requests of a policy, by the hour and by what they count as."""
        wanted = last_hours(self._clock(), hours)
        replies = await self._read([("HGETALL", names.policy_usage(policy, hour)) for hour in wanted])
        counts: Counter[Counted] = Counter()
        for reply in replies:
            counts.update(_read_counts(reply))
        numbers = {hour: sum(map(int, reply.values())) for hour, reply in zip(wanted, replies, strict=True)}
        return PolicyUsage(policy, by_hour(wanted, numbers), counts)

    async def busiest(self, limit: int, hours: int = 2) -> list[BusyToken]:
        """The tokens with the most requests."""
        wanted = last_hours(self._clock(), hours)
        commands = [("ZRANGE", names.busiest(hour), 0, -1, "WITHSCORES") for hour in wanted]
        found: Counter[str] = Counter()
        for reply in await self._read(commands, withscores=True):
            found.update({token.decode(): int(number) for token, number in reply})
        return [BusyToken(token, number) for token, number in found.most_common(limit)]

    async def totals(self) -> Totals:
        """All that was ever counted."""
        keys = (names.all_requests(), names.all_events())
        requests, events = await self._read([("HGETALL", key) for key in keys])
        return Totals(_read_counts(requests), {event.decode(): int(number) for event, number in events.items()})

    async def memory(self) -> StoreMemory | None:
        """How full Redis is; None also where it does not answer: `totals` says that."""
        try:
            (told,) = await self._read([("INFO", "memory")])
        except StoreUnavailable:
            return None
        return StoreMemory(int(told["used_memory"]), int(told["maxmemory"]))

    async def _read_tokens(self, identities: Sequence[str], hours: range) -> list[dict[int, int]]:
        """Each token's requests by the number of the hour, and some of hours before and after these.

        One trip, a hash for every five days of a token.
        """
        starts = sorted({hour - hour % names.USAGE_HOURS for hour in hours})
        keys = [names.token_usage(identity, start)[0] for identity in identities for start in starts]
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


def _read_counts(reply: Mapping[bytes, bytes]) -> dict[Counted, int]:
    return {read_counted(text.decode()): int(number) for text, number in reply.items()}


async def run_each(
    connection: RedisConnection, commands: Sequence[_Command], more_seconds: float = 0, **options: Any
) -> list[Any]:
    """The answers to commands of one key each, in one call; those that Redis refuses are answered by an exception.

    `options` are redis-py's, for reading the answers. If one of the commands makes Redis wait, it has `more_seconds`.
    """

    async def run(client: Client) -> list[Any]:
        async with client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command, **options)
            return await pipeline.execute(raise_on_error=False)

    return await connection.run(run, more_seconds)
