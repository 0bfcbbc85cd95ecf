"""A direct connection to Redis for one call after the other, and the calls of one script on it.

redis-py opens the connection (address, TLS, user, database). What it does for each command after that, through a pool,
a stream and a parser in Python, costs a batch of admissions more than all the kernel does for it (measured:
docs/decisions/0018). So the direct connection takes the open one over, and returns it at the first unexpected event:
redis-py knows what to do then.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Self, TypeAlias

import hiredis

from gateway.adapters.redis.connection import Client, RedisConnection, Script, StallTolerantTimeout
from gateway.adapters.redis.private import is_retired, take_over
from gateway.core.errors import StoreUnavailable

NOTHING_WAS_RUN = ("NOSCRIPT", "LOADING")
"""Refusals after which the same call may be repeated."""

Answered: TypeAlias = Callable[[Any], None]

logger = logging.getLogger(__name__)


class DirectConnection(asyncio.Protocol):
    """One connection, taken over from redis-py, with at most one command under way. Its answer may be an exception.

    That is hiredis.ReplyError for an error of Redis, ConnectionError if the connection closes before the answer, and
    TimeoutError if no answer comes in time.
    """

    def __init__(self, client: Client, connection: Any, transport: asyncio.Transport, timeout_seconds: float) -> None:
        self.is_open = True
        self._client = client
        self._connection = connection
        self._transport = transport
        self._stream = self._transport.get_protocol()
        """It is told of the connection's end too: closing the connection waits for that."""
        self._timeout_seconds = timeout_seconds
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader()
        self._answered: Answered | None = None
        self._late_at = 0.0
        self._timeout: StallTolerantTimeout | None = None
        self._transport.set_protocol(self)

    @classmethod
    async def open(cls, client: Client, timeout_seconds: float) -> Self | None:
        """Return a connection taken over from the client's pool, or None if none can be (the embedded store)."""
        connection: Any = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
        try:
            transport = take_over(connection)
            if transport is not None:
                return cls(client, connection, transport, timeout_seconds)
        except Exception:
            await connection.disconnect(nowait=True)  # its state is unknown: the pool opens another
            await client.connection_pool.release(connection)
            raise
        await client.connection_pool.release(connection)
        return None

    def ask(self, command: tuple[bytes | str | int, ...], answered: Answered) -> None:
        """Send a command; `answered` is called with its answer."""
        packed = hiredis.pack_command(command)  # type: ignore[arg-type]  # its stub says a tuple of one
        self._answered = answered
        try:
            self._transport.write(packed)
        except RuntimeError as error:  # uvloop has closed the transport and will say so in a moment
            self._end(ConnectionError(str(error)))
            return
        self._late_at = self._loop.time() + self._timeout_seconds
        if self._timeout is None:
            self._watch(answered)

    @property
    def is_usable(self) -> bool:
        """Whether a command may be sent: it is open, and the circuit was not opened since it was."""
        return self.is_open and not is_retired(self._connection)

    @property
    def waited_seconds(self) -> float:
        """The seconds that the last command has waited so far."""
        return self._loop.time() - self._late_at + self._timeout_seconds

    async def return_to_pool(self) -> None:
        """Close the connection and return its place to the pool."""
        await self._connection.disconnect(nowait=True)
        await self._client.connection_pool.release(self._connection)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            answer = self._reader.gets()
        except hiredis.ProtocolError as error:
            self._end(ConnectionError(str(error)))
            return
        answered = self._answered
        if answer is not False and answered is not None:  # False: it is incomplete; no script returns that
            self._answered = None
            answered(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.connection_lost(exc)
        self._end(ConnectionError("Redis has closed the connection"))

    def _watch(self, watched: Answered) -> None:
        """Start the timer, which is one for many commands: one for each would cost as much as sending it."""
        left = max(0.0, self._late_at - self._loop.time())
        self._timeout = StallTolerantTimeout(left, partial(self._expire, watched))

    def _expire(self, watched: Answered) -> None:
        """Fail the command only if it was pending for the timer's full duration."""
        self._timeout = None
        if self._answered is watched:
            self._end(TimeoutError())
        elif self._answered is not None:
            self._watch(self._answered)

    def _end(self, error: Exception) -> None:
        self.is_open = False
        self._transport.abort()
        answered, self._answered = self._answered, None
        if answered is not None:
            answered(error)


class ScriptRunner:
    """The caller of one script, one call after the other, at the lowest cost."""

    def __init__(self, connection: RedisConnection, script: Script) -> None:
        self._connection = connection
        self._script = script
        self._direct: DirectConnection | None = None
        self._task: asyncio.Task[None] | None = None

    def call(self, keys: list[str], arguments: list[Any], answered: Answered) -> None:
        """Call the script; `answered` gets the answer, StoreUnavailable, or the error of an unsendable argument."""
        direct = self._direct
        if direct is None or not direct.is_usable or self._connection.is_circuit_open:
            self._call_slowly(keys, arguments, answered)
            return
        command = ("EVALSHA", self._script.sha, len(keys), *keys, *arguments)
        try:
            direct.ask(command, partial(self._take, direct, keys, arguments, answered))
        except Exception as error:
            answered(error)

    def _take(
        self, direct: DirectConnection, keys: list[str], arguments: list[Any], answered: Answered, answer: Any
    ) -> None:
        if not isinstance(answer, Exception):
            if self._connection.refusals:
                self._connection.record_success(self._script)
            answered(answer)
        elif isinstance(answer, TimeoutError):
            answered(self._connection.open_circuit(answer))
        elif isinstance(answer, ConnectionError) or str(answer).startswith(NOTHING_WAS_RUN):
            self._call_slowly(keys, arguments, answered, direct.waited_seconds)
        else:
            answered(self._connection.record_refusal(answer, self._script))

    def _call_slowly(
        self, keys: list[str], arguments: list[Any], answered: Answered, waited_seconds: float = 0
    ) -> None:
        self._task = asyncio.create_task(self._call(keys, arguments, answered, waited_seconds))

    async def _call(self, keys: list[str], arguments: list[Any], answered: Answered, waited_seconds: float) -> None:
        """Run the script through redis-py, which reconnects if it must; then connect directly for the next.

        A call that has waited for another connection already has the rest of its timeout.
        """
        lost, self._direct = self._direct, None
        try:
            if lost is not None:
                await lost.return_to_pool()
            answer = await self._connection.run_script(self._script, keys, arguments, -waited_seconds)
            self._direct = await self._open()
        except Exception as error:
            answer = error
        answered(answer)

    async def _open(self) -> DirectConnection | None:
        """Return a new direct connection, or None if it cannot be opened.

        That fails no request: the answer has arrived.
        """
        try:
            return await self._connection.run(
                lambda client: DirectConnection.open(client, self._connection.timeout_seconds)
            )
        except StoreUnavailable:
            return None
        except Exception:
            logger.warning("redis: a connection could not be taken over; admissions go through redis-py", exc_info=True)
            return None
