"""The webhook: what is tried again, what is not, and that nobody waits for it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from gateway.adapters.outside.webhook import DELAYS_SECONDS, DROPPED, FAILED, MAXIMUM_WAITING, SENT, Webhook
from gateway.core.alerts import Alert, AlertData, AlertType, parse_secret, sign
from gateway.core.errors import UpstreamTimeout
from gateway.core.http.messages import Field, Response, ResponseHead, field_value
from gateway.core.policies.model import Upstream

KEY = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
NOW = 1_800_000_000
ALERT = Alert(AlertType.REVOKED, "msg_1", "2027-01-15T08:00:00Z", AlertData(policy="shop", count=1))


class Receiver:
    """Answers with these statuses in turn, the last one for all others; an exception is raised."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers = answers
        self.got: list[tuple[str, str, str, Sequence[Field], bytes]] = []

    async def send(
        self,
        address: Upstream,
        method: str,
        target: str,
        fields: Sequence[Field],
        content: AsyncIterator[bytes] | None,
        inform: Any = None,
        lesson: Any = None,
    ) -> Response:
        assert content is not None
        sent = b"".join([piece async for piece in content])
        self.got.append((address.targets[0], method, target, fields, sent))
        answer = self.answers[min(len(self.got), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return Response(ResponseHead(answer, []), b"")


async def deliver(receiver: Receiver, *alerts: Alert) -> tuple[Counter[str], list[float]]:
    """Send alerts until each was taken or given up; return the counts, and how long it waited between attempts."""
    counts, waited = Counter[str](), list[float]()

    async def wait(seconds: float) -> None:
        waited.append(seconds)

    webhook = Webhook("https://ops.example:8443/hook?x=1", KEY, receiver, counts, lambda: NOW, wait)
    for alert in alerts:
        webhook.send_alert(alert)
    task = asyncio.create_task(webhook.deliver_alerts())
    while counts[SENT] + counts[FAILED] < len(alerts):
        await asyncio.sleep(0)
    task.cancel()
    assert "whsec" not in repr(webhook)
    return counts, waited


async def test_an_alert_is_signed_and_sent_once() -> None:
    """To the address, with the three fields of Standard Webhooks over the very bytes."""
    receiver = Receiver(204)
    counts, waited = await deliver(receiver, ALERT)
    ((origin, method, target, fields, content),) = receiver.got
    assert ("https://ops.example:8443", "POST", "/hook?x=1") == (origin, method, target)
    assert {"type": "token.revoked", "timestamp": ALERT.timestamp, "data": {"policy": "shop", "count": 1}} == (
        msgspec.json.decode(content)
    )
    assert b"msg_1" == field_value(fields, b"webhook-id")
    assert sign(KEY, "msg_1", NOW, content).encode() == field_value(fields, b"webhook-signature")
    assert ([], 1) == (waited, counts[SENT])


async def test_what_may_pass_by_itself_is_tried_again() -> None:
    """A time-out, 5xx, 429: with growing pauses, the same id, and a new time."""
    receiver = Receiver(UpstreamTimeout("slow"), 503, 429, 200)
    counts, waited = await deliver(receiver, ALERT)
    assert (list(DELAYS_SECONDS[:3]), 1) == (waited, counts[SENT])
    assert {b"msg_1"} == {field_value(fields, b"webhook-id") for _, _, _, fields, _ in receiver.got}


async def test_what_nobody_takes_is_given_up() -> None:
    """After about 48 minutes; the next alert has its own attempts."""
    counts, waited = await deliver(Receiver(500), ALERT, ALERT)
    assert (list(DELAYS_SECONDS) * 2, 2) == (waited, counts[FAILED])


async def test_what_is_refused_is_not_tried_again() -> None:
    """A 4xx is a mistake of the configuration, and a redirect is not followed."""
    for status in (301, 400, 401, 404, 410):
        counts, waited = await deliver(Receiver(status), ALERT)
        assert ([], 1) == (waited, counts[FAILED])


async def test_a_receiver_that_hangs_holds_up_nobody() -> None:
    """Alerts beyond a thousand are dropped and counted; to queue one takes no time."""
    counts = Counter[str]()
    webhook = Webhook("https://ops.example", KEY, Receiver(200), counts, lambda: NOW)
    for _ in range(MAXIMUM_WAITING + 7):
        webhook.send_alert(ALERT)
    assert 7 == counts[DROPPED]
