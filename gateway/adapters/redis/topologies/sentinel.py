"""A Redis behind Sentinels: the client follows a failover by itself.

Rule 1: a connection leads to the server that a majority of the Sentinels names as the master, and that says of itself
that it is one (ROLE). A Sentinel alone may be cut off together with a master that was replaced, and so may the client.
Rule 2: when a majority names another master, all connections to the old one are closed, also if it still answers.
Rule 3: Sentinels that are away change nothing for open connections. They are no part of a request.
"""

import asyncio
import logging
from collections import Counter
from typing import Any

import redis.asyncio
from redis.asyncio.connection import SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.adapters.redis.private import over_network
from gateway.core.store_url import SentinelStore

WATCH_SECONDS = 0.2
"""Seconds between two questions to the Sentinels while all is well: so long may a replaced master be asked at most."""

logger = logging.getLogger(__name__)


class Majority(Sentinel):
    """Sentinels that are asked at the same time: one that does not answer delays nobody."""

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address that a majority names. Raise MasterNotFoundError if there is none."""
        needed = len(self.sentinels) // 2 + 1
        votes: Counter[tuple[str, int]] = Counter()
        refusals: list[str] = []
        asked = [asyncio.ensure_future(self._ask(sentinel, service_name)) for sentinel in self.sentinels]
        try:
            for answer in asyncio.as_completed(asked):
                found = await answer
                if isinstance(found, str):
                    refusals.append(found)
                    continue
                votes[found] += 1
                if votes[found] == needed:
                    return found
        finally:
            for one in asked:
                one.cancel()
        named = [f"{count} of {len(self.sentinels)} name {host}:{port}" for (host, port), count in votes.items()]
        raise MasterNotFoundError(f"no majority of the Sentinels names a master: {'; '.join([*named, *refusals])}")

    async def _ask(self, sentinel: Any, service_name: str) -> tuple[str, int] | str:
        """Return the master's address, or why this Sentinel names none."""
        where = sentinel.connection_pool.connection_kwargs
        place = f"{where['host']}:{where['port']}"
        try:
            state = await sentinel.sentinel_master(service_name)
        except (RedisError, OSError, TimeoutError) as error:
            return f"{place}: {error or type(error).__name__}"
        if not self.check_master_state(state, service_name):
            return f"{place}: the master is down"
        return str(state["ip"]), int(state["port"])


class FollowingPool(SentinelConnectionPool):
    """Connections to the present master. From the first connection on, it asks the Sentinels who that is."""

    def __init__(self, store: SentinelStore, sentinels: Majority, **options: Any) -> None:
        super().__init__(store.service, sentinels, **options)  # type: ignore[no-untyped-call]  # redis-py's
        self.store = store
        self._watching: asyncio.Task[None] | None = None

    def describe(self) -> str:
        """Return where the master is, or who would know."""
        if self.master_address is None:
            return self.store.describe()
        host, port = self.master_address
        return f"{host}:{port}, the master of {self.store.describe()}"

    async def get_master_address(self) -> Any:
        """Return the present master's address. If it is another one than before, close all connections to that."""
        before, address = self.master_address, await self.sentinel_manager.discover_master(self.service_name)
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())
        if address != before:
            self.master_address = address
            if before is not None:
                logger.warning(
                    "redis: the master of %s is now %s:%d; connections to %s:%d are closed",
                    *(self.service_name, *address, *before),
                )
                await self.disconnect(inuse_connections=True)
        return address

    async def aclose(self) -> None:
        """Close all connections, those to the Sentinels too, and ask no more."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self.get_master_address()
            except (RedisError, OSError, TimeoutError):
                continue  # rule 3; whoever connects says what is wrong
            except Exception:  # whatever it is: a replaced master would not be noticed any more
                logger.warning("redis: asking the Sentinels failed in an unexpected way; it goes on", exc_info=True)


async def greet_master(connection: Any) -> None:
    """Open a session, and check that the server is a master. Raise ConnectionError if it says that it is not."""
    await connection.on_connect()
    await connection.send_command("ROLE")
    role = (await connection.read_response())[0]
    if role not in (b"master", "master"):
        await connection.disconnect()
        raise RedisConnectionError(f"the server at {connection.host}:{connection.port} is no master: {role!r}")


def open_following_client(
    store: SentinelStore, timeout_seconds: float, maximum_connections: int, sentinel_password: str = ""
) -> redis.asyncio.Redis:
    """Return a client of the store's master, which connects with its first command.

    Sentinels get `sentinel_password`, and the TLS options of the store. Raise ValueError for an invalid option.
    """
    options = dict(parse_url(store.url))
    for name in ("host", "port"):
        options.pop(name, None)
    is_tls = options.pop("connection_class", None) is SSLConnection
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    sentinels = Majority(  # type: ignore[no-untyped-call]  # redis-py's
        store.sentinels,
        sentinel_kwargs={
            **tls,
            "ssl": is_tls,
            "password": sentinel_password or None,
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),
            "socket_connect_timeout": timeout_seconds,
            "socket_timeout": timeout_seconds,
        },
    )
    pool = FollowingPool(
        store,
        sentinels,
        **options,
        connection_class=over_network(SentinelManagedSSLConnection if is_tls else SentinelManagedConnection),
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=greet_master,
        max_connections=maximum_connections,
        socket_connect_timeout=timeout_seconds,
        socket_timeout=None,
    )
    return redis.asyncio.Redis.from_pool(pool)
