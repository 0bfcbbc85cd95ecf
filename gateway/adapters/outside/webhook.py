"""The operators' webhook: alerts are sent one after the other, signed, and tried again (Standard Webhooks 1.0).

Rule: nobody waits for a receiver. Alerts wait in a queue of MAXIMUM_WAITING; what finds no room, and what is not taken
for long, is counted and logged.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus

import msgspec

from gateway.adapters.outside.documents import address_of
from gateway.adapters.ports import Upstreams
from gateway.adapters.streams import close_unread
from gateway.core.alerts import Alert, sign
from gateway.core.errors import UpstreamError
from gateway.core.http.messages import Field
from gateway.core.usage import ALERTS

MAXIMUM_WAITING = 1000
DELAYS_SECONDS = (1, 5, 30, 120, 300, 600, 1800)
"""Before each further attempt: they take about 48 minutes altogether."""
SENT, DROPPED, FAILED = f"{ALERTS}sent", f"{ALERTS}dropped", f"{ALERTS}failed"
_RETRIED = frozenset({408, 409, 425, 429})

logger = logging.getLogger(__name__)


class Webhook:
    """The webhook at `url`. `clock` gives Unix seconds, `wait` waits so many seconds."""

    def __init__(
        self,
        url: str,
        key: bytes,
        upstreams: Upstreams,
        counts: "Counter[str]",
        clock: Callable[[], float],
        wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._address, self._target = address_of(url)
        self._key = key
        self._upstreams = upstreams
        self._counts = counts
        self._clock = clock
        self._wait = wait
        self._waiting: asyncio.Queue[Alert] = asyncio.Queue(MAXIMUM_WAITING)

    def __repr__(self) -> str:
        return f"Webhook({self._address.targets[0]!r})"

    def send_alert(self, alert: Alert) -> None:
        """Queue an alert; never block and never raise."""
        try:
            self._waiting.put_nowait(alert)
        except asyncio.QueueFull:
            if not self._counts[DROPPED]:
                logger.warning("alerts: %d wait for the receiver, more are dropped and counted", MAXIMUM_WAITING)
            self._counts[DROPPED] += 1

    async def deliver_alerts(self) -> None:
        """Send what is queued, until cancelled."""
        while True:
            alert = await self._waiting.get()
            try:
                await self._deliver(alert)
            except Exception:  # the others still have to be sent
                self._counts[FAILED] += 1
                logger.exception("alerts: internal error; %s %s is not sent", alert.type, alert.id)

    async def _deliver(self, alert: Alert) -> None:
        why = ""
        for delay in (0, *DELAYS_SECONDS):
            if delay:
                await self._wait(delay)
            why, may_retry = await self._attempt(alert)
            if not why:
                self._counts[SENT] += 1
                return
            if not may_retry:
                break
        self._counts[FAILED] += 1
        logger.error("alerts: %s %s was not taken by %s: %s", alert.type, alert.id, self._address.targets[0], why)

    async def _attempt(self, alert: Alert) -> tuple[str, bool]:
        """Send an alert once. Return why it was not taken, empty if it was, and whether to try again."""
        content = msgspec.json.encode({"type": alert.type, "timestamp": alert.timestamp, "data": alert.data})
        now = int(self._clock())
        fields: list[Field] = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
            (b"user-agent", b"token-gateway"),
            (b"webhook-id", alert.id.encode()),
            (b"webhook-timestamp", b"%d" % now),
            (b"webhook-signature", sign(self._key, alert.id, now, content).encode()),
        ]
        try:
            response = await self._upstreams.send(self._address, "POST", self._target, fields, _content_of(content))
            await close_unread(response.content)
        except UpstreamError as error:
            return str(error), True
        status = response.head.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return "", False
        return f"the answer has the status {status}", status >= 500 or status in _RETRIED


async def _content_of(content: bytes) -> AsyncIterator[bytes]:
    yield content
