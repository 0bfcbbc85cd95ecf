"""Health checks: each target is asked for a page in turn, on a connection of its own."""

import asyncio

from gateway.adapters.clock import Clock, Timer
from gateway.adapters.content import give_up
from gateway.adapters.upstream_connection import UpstreamConnection
from gateway.adapters.upstream_request import Framing, Limits, OutgoingRequest
from gateway.adapters.upstream_target import Target, build_head
from gateway.core.errors import UpstreamError
from gateway.core.policies.upstream import HealthCheck

_FIELDS = ((b"user-agent", b"token-gateway health check"), (b"accept", b"*/*"), (b"connection", b"close"))


class HealthChecks:
    """Asks one target again and again, at once and then with `interval_seconds` between, until closed."""

    def __init__(self, target: Target, check: HealthCheck, clock: Clock) -> None:
        self._target = target
        self._check = check
        self._clock = clock
        self._limits = Limits(
            check.timeout_seconds, check.timeout_seconds, check.timeout_seconds, check.timeout_seconds
        )
        self._timer: Timer | None = None
        self._asking: asyncio.Task[None] | None = None
        self._begin()

    def close(self) -> None:
        """Asks no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._asking is not None:
            self._asking.cancel()

    def _begin(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        self._target.note_check(await self._find_failure())
        self._timer = self._clock.call_at(self._clock.time() + self._check.interval_seconds, self._begin)

    async def _find_failure(self) -> str:
        """Why the target is not well, in a few words; nothing if it is."""
        fields = ((b"host", self._target.authority.encode("ascii")), *_FIELDS)
        head = build_head("GET", self._check.path, fields, Framing.LENGTH)
        connection: UpstreamConnection | None = None
        try:
            connection = await self._target.connect(lambda _: None)
            answer = await connection.send(OutgoingRequest("GET", head, None, Framing.LENGTH, self._limits))
            await give_up(answer.content)
        except UpstreamError as error:
            return f"{error.cause}: {error}"
        finally:
            if connection is not None:
                connection.close()
        return f"status {answer.head.status}" if answer.head.status >= 400 else ""
