"""The connection to Redis: bounded in time, behind a circuit breaker. Also the embedded store of `memory://`.

A Redis that refuses connections and one that is silent (a stopped process, a dropped packet) look the same to callers:
StoreUnavailable, within the timeout the first time and at once after that, until a probe has been answered.

This module also bounds how long a caller waits for an answer from outside, and has the connection for many concurrent
commands: exports that are read, stored and waited for, and changes of tokens. They do not block other connections.
"""

import asyncio
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
import redis.asyncio
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.adapters.descriptors import NO_DESCRIPTOR, lacks_descriptor
from gateway.adapters.redis import keys as redis_keys
from gateway.adapters.redis.private import over_network, retire_connections
from gateway.adapters.redis.topologies.sentinel import FollowingPool, open_following_client
from gateway.core.errors import ConfigurationError, StoreUnavailable
from gateway.core.store_url import SCHEMES, is_behind_sentinels, parse_sentinel_url
from gateway.core.usage import REFUSED

LAST_TURNS = 8
"""Iterations of the event loop: the first reads what has arrived, the next deliver it; long answers take several."""


class StallTolerantTimeout:
    """A timer that calls `expire` after some seconds, but only after reading what has arrived meanwhile.

    If this worker's own work delays its event loop, due timers and unread answers wait together. Without a last look,
    the timer would take the other end for silent, and refuse all requests for one delay.
    """

    def __init__(self, seconds: float, expire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._next_look: asyncio.Handle = self._loop.call_later(seconds, self._look, LAST_TURNS)

    def cancel(self) -> None:
        """Stop the timer: the answer has arrived."""
        self._next_look.cancel()

    def _look(self, turns: int) -> None:  # turns, not a time: the worker might be delayed again in that time
        if turns:
            self._next_look = self._loop.call_soon(self._look, turns - 1)
        else:
            self._expire()


URL_OPTIONS: dict[str, tuple[str, ...]] = {
    "redis": ("client_name", "db", "socket_keepalive"),
    "rediss": (
        *("client_name", "db", "socket_keepalive"),
        *("ssl_ca_certs", "ssl_ca_path", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_ciphers"),
        *("ssl_keyfile", "ssl_min_version", "ssl_password"),
    ),
    "unix": ("client_name", "db", "password", "username"),
}
"""The options that the query of a Redis URL may set, by scheme. The gateway sets all others."""
FLAGS = "#!lua flags=allow-oom"
"""The first line of a script (Redis 7): refused on a replica, run in a full Redis."""
EMBEDDED = "memory://"
"""The URL of a Redis inside this process (fakeredis): for one worker, without persistence."""
MAXIMUM_CONNECTIONS = 1000
"""Connections of one worker; Redis takes 10,000 by default. Callers that need many have lower limits of their own."""
PROBE_INTERVAL_SECONDS = 0.1
"""Seconds between two PINGs while Redis is away: it is used again that soon after its return."""

Client: TypeAlias = redis.asyncio.Redis
Answer = TypeVar("Answer")
NO_MASTER = {"READONLY", "MASTERDOWN"}
"""Error codes of a server that is a replica. Its data may be old, so nothing is decided on it."""
_CODES: dict[type[Exception], str] = {
    redis.exceptions.OutOfMemoryError: "OOM",
    redis.exceptions.ReadOnlyError: "READONLY",
    redis.exceptions.NoPermissionError: "NOPERM",
    redis.exceptions.AuthenticationError: "WRONGPASS",
    redis.exceptions.MovedError: "MOVED",
    redis.exceptions.MasterDownError: "MASTERDOWN",
    redis.exceptions.ClusterDownError: "CLUSTERDOWN",
}
"""Error codes that redis-py removes from messages; other errors, and hiredis' errors, begin with the code."""
_CODE = re.compile(r"[A-Z]+(?= )")
_NOPERM_IN_SCRIPT = ("The user executing the script can't run", "ACL failure in script")
"""How Redis 7.0, and later versions, report NOPERM of a command inside a script."""
LACK = "EMFILE"
"""Replaces an error code of Redis if this process could not open a connection."""
_UNREACHABLE = (RedisConnectionError, RedisTimeoutError, BusyLoadingError, OSError, TimeoutError)

logger = logging.getLogger(__name__)


def open_client(url: str, timeout_seconds: float, sentinel_password: str = "") -> Client:
    """Return a client of the Redis at `url`, which connects with its first command; Sentinels get their own password.

    Raise ConfigurationError if the URL is not a Redis URL.
    """
    if url == EMBEDDED:
        return EmbeddedStore().open_client()
    _check_options(url)
    try:
        if is_behind_sentinels(url):
            store = parse_sentinel_url(url)
            return open_following_client(store, timeout_seconds, MAXIMUM_CONNECTIONS, sentinel_password)
        client = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),  # `RedisConnection` decides on retries
            max_connections=MAXIMUM_CONNECTIONS,
            socket_connect_timeout=timeout_seconds,
            socket_timeout=None,  # the breaker bounds each call as a whole
        )
    except ValueError as error:
        raise ConfigurationError(f"redis: {error}") from error
    client.connection_pool.connection_class = over_network(client.connection_pool.connection_class)
    return client


def _check_options(url: str) -> None:
    """Raise ConfigurationError for an option that the URL may not set. redis-py would refuse it as it connects."""
    parts = urlsplit(url)
    options = URL_OPTIONS.get(SCHEMES.get(parts.scheme, parts.scheme), ())
    for option in parse_qs(parts.query, keep_blank_values=True) if options else ():
        if option not in options:
            near = get_close_matches(option, options, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(options)}"
            raise ConfigurationError(f"redis: unknown option {option!r} in the URL; {hint}")


def address_of(client: Client) -> str:
    """Return where the client's Redis is, without what the URL has of user and password."""
    if isinstance(client.connection_pool, FollowingPool):
        return client.connection_pool.describe()
    where = client.connection_pool.connection_kwargs
    return str(where["path"]) if "path" in where else f"{where.get('host')}:{where.get('port')}"


class EmbeddedStore:
    """Redis inside this process (fakeredis), for any number of clients.

    Raises ConfigurationError if it is not installed.
    """

    def __init__(self) -> None:
        try:
            import fakeredis  # noqa: PLC0415 - only the embedded store needs it
        except ImportError as error:
            raise ConfigurationError(
                "redis: memory:// needs the extra package: pip install token-gateway[embedded]"
            ) from error

        class Embedded(fakeredis.FakeAsyncRedis):
            def script_load(self, script: Any) -> Any:
                return super().script_load(without_flags(script))  # fakeredis runs scripts as Redis 6 does

        self._kind = Embedded
        self._server = fakeredis.FakeServer()
        self._direct = fakeredis.FakeRedis(server=self._server)
        self.clear()

    def clear(self) -> None:
        """Delete everything, and mark the empty store as intended."""
        self._direct.flushall()
        self._direct.set(redis_keys.marker(), "1")

    def open_client(self) -> Client:
        """Return a client of this store, for one event loop."""
        client: Client = self._kind(server=self._server)
        return client


class Meaning(msgspec.Struct, frozen=True):
    """The words of the log about a Redis that does not answer."""

    name: str = "Redis"
    absence: str = "refusing requests"


class RedisConnection:
    """A connection that runs commands within `timeout_seconds`, and stops asking a Redis that does not answer.

    `meaning` says in the log which Redis that is, and what its absence means. If it follows another connection
    (`follow`), it asks nothing while that one's circuit is open.
    """

    def __init__(
        self,
        client: Client,
        timeout_seconds: float,
        counts: Counter[str] | None = None,
        *,
        meaning: "Meaning | None" = None,
        follow: "RedisConnection | None" = None,
    ) -> None:
        self.client = client
        self._meaning = meaning or Meaning()
        self._follow = follow
        self._followers: list[RedisConnection] = []
        if follow is not None:
            follow._followers.append(self)
        self.timeout_seconds = timeout_seconds
        self._counts = Counter[str]() if counts is None else counts
        self.refusals: dict[object, str] = {}
        """Error codes of scripts and commands that Redis refuses now, so that each is logged as it begins and ends."""
        self._probing: asyncio.Task[None] | None = None
        self._open_for = ""
        """The error code for which the circuit was opened; empty if Redis did not answer."""
        self.era = 0
        """How often the circuit was opened: connections of before may lead to a server that is no master any more."""
        self.is_circuit_open: bool = follow is not None and follow.is_circuit_open
        """Whether the circuit is open: Redis did not answer and has not answered a probe since."""

    async def run(self, command: Callable[[Client], Awaitable[Answer]], more_seconds: float = 0) -> Answer:
        """Return the result of `command`. Raise StoreUnavailable if Redis does not answer in time or refuses.

        A command that makes Redis wait has `more_seconds` than others; one that has waited already has fewer.
        """
        return await self._run(command, lambda: self._run_on_live_connection(command), more_seconds)

    async def _run(self, caller: object, command: Callable[[], Awaitable[Answer]], more_seconds: float = 0) -> Answer:
        if self.is_circuit_open:
            raise StoreUnavailable("Redis has not answered yet", self._open_for)
        try:
            async with _bound(self.timeout_seconds + more_seconds):
                answer = await command()
        except redis.exceptions.MaxConnectionsError as error:  # too many concurrent commands here; Redis works
            raise StoreUnavailable(f"all {MAXIMUM_CONNECTIONS} connections to Redis are in use") from error
        except _UNREACHABLE as error:
            if lacks_descriptor(error):
                raise self._lack_descriptor(caller) from error
            raise self.open_circuit(error) from error
        except RedisError as error:
            raise self.record_refusal(error, caller) from error
        if self.refusals:
            self.record_success(caller)
        return answer

    async def run_script(self, script: "Script", keys: list[str], arguments: list[Any], more_seconds: float = 0) -> Any:
        """Run a script with one EVALSHA; if Redis does not know it (after a restart), send it in full."""
        return await self.run(partial(script.run, keys=keys, arguments=arguments), more_seconds)

    async def run_script_once(self, script: "Script", keys: list[str], arguments: list[Any]) -> Any:
        """Run a script that must not run twice. If the connection breaks, it is not retried: it may have run."""
        return await self._run(script, lambda: script.run(self.client, keys, arguments))

    async def close(self) -> None:
        """End the probe and close all connections."""
        if self._probing is not None:
            self._probing.cancel()
        await self.client.aclose()

    async def _run_on_live_connection(self, command: Callable[[Client], Awaitable[Answer]]) -> Answer:
        """Run a command, and retry it once on a new connection: Redis may have closed an idle one in a restart.

        If the connection broke just after a charge, that charge is made twice: a quota can end early by one request,
        but never admits one too many.
        """
        try:
            return await command(self.client)
        except RedisConnectionError:
            await self.client.connection_pool.disconnect(inuse_connections=False)
            return await command(self.client)

    def record_success(self, caller: object) -> None:
        """Note that Redis has run a script or command: if it was among the refusals, that has ended."""
        if code := self.refusals.pop(_identity(caller), ""):
            logger.warning("redis: %s has ended; commands are taken again", code)

    def record_refusal(self, error: Exception, caller: object) -> StoreUnavailable:
        """Return what to raise for an error reply, count it, and log it if it is new for this script or command.

        If the server is no master, open the circuit and leave it.
        """
        refusal = refused(error)
        self._counts[f"{REFUSED}{refusal.code}"] += 1
        if refusal.code in NO_MASTER:
            self._open_circuit(
                f"redis: this server is no master ({refusal.code}); connecting again until one answers", refusal.code
            )
        elif self.refusals.get(_identity(caller)) != refusal.code:
            self.refusals[_identity(caller)] = refusal.code
            logger.warning("redis: Redis refuses a command; requests that need it fail until this ends: %s", error)
        return refusal

    def _lack_descriptor(self, caller: object) -> StoreUnavailable:
        """Return what to raise if no connection can be opened. Those that are open go on: the circuit stays closed."""
        if self.refusals.get(_identity(caller)) != LACK:
            self.refusals[_identity(caller)] = LACK
            logger.warning("redis: %s", NO_DESCRIPTOR)
        return StoreUnavailable(f"Redis was not asked: {NO_DESCRIPTOR}", LACK)

    def open_circuit(self, error: BaseException) -> StoreUnavailable:
        """Stop asking Redis until it has answered a probe. Return what to raise for a caller that has timed out."""
        name, absence, address = self._meaning.name, self._meaning.absence, address_of(self.client)
        self._open_circuit(f"{name} does not answer at {address} ({_describe(error)}); {absence} until it does")
        return StoreUnavailable(f"Redis did not answer: {_describe(error)}")

    def _open_circuit(self, why: str, code: str = "") -> None:
        if self._probing is None:
            logger.warning(why)
            self._retire_connections()
            self._open_for = code
            self._probing = asyncio.create_task(self._probe())
            self._set_circuit()

    def _retire_connections(self) -> None:
        """Let no open connection be used again, also those in use: the next command must not meet the same server."""
        self.era += 1
        retire_connections(self.client)

    def _set_circuit(self) -> None:
        """Set whether the circuit is open, also of those that follow this connection."""
        self.is_circuit_open = self._probing is not None or (self._follow is not None and self._follow.is_circuit_open)
        for follower in self._followers:
            follower._set_circuit()

    async def _probe(self) -> None:
        while not await self._is_master():
            pass
        logger.warning("%s answers again", self._meaning.name)
        self._probing = None
        self._set_circuit()

    async def _is_master(self) -> bool:
        """Wait for the next probe, reconnect, which resolves the name again, and return whether a master answers."""
        await asyncio.sleep(PROBE_INTERVAL_SECONDS)
        try:
            async with asyncio.timeout(self.timeout_seconds):
                await self.client.connection_pool.disconnect(inuse_connections=False)
                await self.client.eval(FLAGS + "\nreturn 1", 0)
        except (RedisError, OSError, TimeoutError) as error:
            return isinstance(error, redis.exceptions.ResponseError) and refused(error).code not in NO_MASTER
        except Exception:  # whatever it is: a probe that stops would leave the circuit open for ever
            logger.warning("redis: a probe failed in an unexpected way; probing goes on", exc_info=True)
            return False
        return True


class Script:
    """A Lua script, run by its digest.

    Its flags make Redis 7 refuse it as a whole on a replica, whatever it would read or write: a master that was demoted
    decides nothing. `runs_when_full` is whether it also runs while Redis holds more than its maxmemory.
    """

    def __init__(self, source: str, *, runs_when_full: bool = True) -> None:
        self.sha = ""
        """The digest that names it in Redis; empty until it is sent there."""
        self.source = (FLAGS + "\n" if runs_when_full else "#!lua\n") + source
        """The source that is sent to Redis."""

    async def run(self, client: Client, keys: list[str], arguments: list[Any]) -> Any:
        """Return the script's answer."""
        if self.sha:
            try:
                return await self._call(client.connection_pool, keys, arguments)
            except redis.exceptions.NoScriptError:
                logger.info("Redis has lost its scripts; sending them again")
        self.sha = await self._load(client)
        return await self._call(client.connection_pool, keys, arguments)

    async def _load(self, client: Client) -> str:
        try:
            sha: str = await client.script_load(self.source)
        except redis.exceptions.ResponseError as error:
            if not _is_of_redis_6(error):
                raise
            sha = await client.script_load(without_flags(self.source))
        return sha

    async def _call(self, pool: ConnectionPool, keys: list[str], arguments: list[Any]) -> Any:
        """Run the script like `client.evalsha`, but without retries, statistics and callbacks, which cost too much.

        If a connection fails, or its caller stops waiting for the answer, the exception closes it.
        """
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        try:
            await connection.send_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
            return await connection.read_response()
        finally:
            await pool.release(connection)


@asynccontextmanager
async def _bound(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError in the block after some seconds; see StallTolerantTimeout."""
    loop, bound = asyncio.get_running_loop(), asyncio.timeout(None)
    timeout = StallTolerantTimeout(seconds, lambda: bound.reschedule(loop.time()))
    try:
        async with bound:
            yield
    finally:
        timeout.cancel()


def _identity(caller: object) -> object:
    """Return what is equal for all runs of a script, or of a command from one place in the code."""
    if isinstance(caller, partial):
        return getattr(caller.func, "__self__", caller.func)
    return getattr(caller, "__code__", caller)


def without_flags(source: str) -> str:
    """Return a script without its first line, which Redis 6 does not understand."""
    return source.partition("\n")[2]


def _is_of_redis_6(error: redis.exceptions.ResponseError) -> bool:
    """Return whether Redis took the flags of a script for Lua."""
    return "compiling script" in str(error)


def refused(error: Exception) -> StoreUnavailable:
    """Return what an error reply of Redis means to the gateway, with the reply's error code."""
    for error_class, code in _CODES.items():
        if isinstance(error, error_class):
            return StoreUnavailable(f"Redis refused: {code} {str(error).removeprefix(code).strip()}", code)
    found = _CODE.match(str(error))
    if any(text in str(error) for text in _NOPERM_IN_SCRIPT):
        return StoreUnavailable(f"Redis refused: NOPERM {error}", "NOPERM")
    return StoreUnavailable(f"Redis refused: {error}", found[0] if found else "ERR")


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


MAXIMUM_COMMANDS = 32
"""Concurrent commands. The client's pool has a maximum of connections, and exceeding it looks as if Redis were away."""


class BoundedConnection(RedisConnection):
    """A connection with a limit of concurrent commands.

    Others wait for their turn, and their timeout begins with it.
    """

    def __init__(
        self,
        client: Client,
        timeout_seconds: float,
        counts: Counter[str] | None = None,
        *,
        meaning: Meaning | None = None,
        follow: RedisConnection | None = None,
    ) -> None:
        super().__init__(client, timeout_seconds, counts, meaning=meaning, follow=follow)
        self._turns = asyncio.Semaphore(MAXIMUM_COMMANDS)

    async def run(self, command: Callable[[Client], Awaitable[Answer]], more_seconds: float = 0) -> Answer:
        """Run a command as RedisConnection.run does, when it is its turn."""
        async with self._turns:
            return await super().run(command, more_seconds)
