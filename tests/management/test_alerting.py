"""What operators are alerted of, over a real Redis: once, by one of several workers, and nothing is lost meanwhile."""

from collections.abc import AsyncIterator

import pytest

from gateway.adapters.redis.audit import RedisAlertMarks
from gateway.core.admission.decision import AdmissionFacts, AdmissionRequest, Authorized, Refused
from gateway.core.alerts import NOTICE_SECONDS, Alert
from gateway.core.errors import StoreUnavailable
from gateway.core.http.reasons import Reason
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest
from gateway.core.tokens.records import TokenRecord
from gateway.core.tokens.whoami import identity_rule
from gateway.management import Management
from gateway.management.alerting import FORGET_SECONDS, LATE_SECONDS, LOOK_SECONDS, Alerting
from tests.management.conftest import build
from tests.management.policies import FixedPolicies
from tests.support.connections import open_connection

ADA = Actor("ada", "operator")


class Sender:
    def __init__(self) -> None:
        self.sent: list[Alert] = []

    def send_alert(self, alert: Alert) -> None:
        self.sent.append(alert)

    def kinds(self) -> list[str]:
        return [str(alert.type) for alert in self.sent]


class Marks(RedisAlertMarks):
    """Marks in Redis whose window moves as a test says, and which Redis refuses when a test says so."""

    is_away = False
    window: tuple[int, int] | None = None

    async def claim_alert(self, identity: str) -> bool:
        if self.is_away:
            raise StoreUnavailable("away")
        return await super().claim_alert(identity)

    async def take_window(self, now: int, least: int) -> tuple[int, int] | None:
        window, self.window = self.window, None
        return window


class Worker:
    """One worker's alerting."""

    def __init__(self, management: Management, marks: Marks) -> None:
        self.management, self.marks, self.sender = management, marks, Sender()
        self.mistakes: tuple[str, ...] = ()
        self.now = 1_800_000_000.0
        self.alerting = Alerting(
            management, FixedPolicies(), marks, self.sender, lambda: self.mistakes, lambda: self.now
        )

    async def mint(self, **request: object) -> TokenRecord:
        asked = TokenRequest(**{"name": "CI", "project": "website", **request})  # type: ignore[arg-type]
        return (await self.management.create_token(ADA, "small", asked)).view.record


@pytest.fixture
async def workers(redis_url: str) -> AsyncIterator[tuple[Worker, Worker]]:
    """Two workers on one Redis."""
    async with open_connection(redis_url) as connection:
        first, second = (Worker(build(connection), Marks(connection)) for _ in range(2))
        yield first, second


def used(record: TokenRecord, now: int) -> Authorized:
    rule = identity_rule(FixedPolicies().current.policies["small"])
    facts = AdmissionFacts(
        AdmissionRequest(rule, record.digest),
        now * 1000,
        record,
        is_revoked=False,
        is_charged=True,
        windows=(),
        stored_heads=(),
    )
    return Authorized(rule, facts)


async def test_of_two_workers_one_sends(workers: tuple[Worker, Worker]) -> None:
    """Both see a reload that fails, and a token that ends soon."""
    now = 1_800_000_000
    first, second = workers
    record = await first.mint(expires_at=now + 365 * 86400)
    for worker in workers:
        worker.mistakes = ("$.name: missing",)
        worker.alerting.note_outcome(used(record, now + 365 * 86400 - NOTICE_SECONDS), "192.0.2.1")
        worker.alerting.note_outcome(used(record, now), "192.0.2.1")
        await worker.alerting.look()
        await worker.alerting.look()
    assert ["policies.reload_failed", "token.expiring"] == sorted(first.sender.kinds())
    assert [] == second.sender.kinds()


async def test_only_a_leaked_token_raises_an_alert_when_it_is_used(workers: tuple[Worker, Worker]) -> None:
    """A revoked one that was not reported is an old secret; one that is disabled or expired is none at all."""
    first, _ = workers
    old, leaked = await first.mint(), await first.mint()
    await first.marks.mark_leaked(leaked.identity)
    for record in (old, leaked):
        first.alerting.note_outcome(Refused(Reason.REVOKED_TOKEN, presented=record), "192.0.2.1")
        first.alerting.note_outcome(Refused(Reason.EXPIRED_TOKEN, presented=record), "192.0.2.1")
    first.alerting.note_outcome(Refused(Reason.UNKNOWN_TOKEN), "192.0.2.1")
    await first.alerting.look()
    assert [("token.leaked_use", leaked.identity, "192.0.2.1")] == [
        (alert.type, alert.data.token, alert.data.client) for alert in first.sender.sent
    ]
    first.now += FORGET_SECONDS + 86400
    first.alerting.note_outcome(Refused(Reason.REVOKED_TOKEN, presented=leaked), "192.0.2.1")
    await first.alerting.look()
    assert 2 == len(first.sender.sent)


async def test_what_redis_did_not_take_is_told_later(workers: tuple[Worker, Worker]) -> None:
    """Notes and the window of the history stay until Redis is back; each is told once."""
    first, _ = workers
    record = await first.mint()
    await first.marks.mark_leaked(record.identity)
    await first.management.revoke_token(ADA, record.identity)
    store_now = await first.management.now()
    first.marks.window = (store_now - 60, store_now + 60)
    first.alerting.note_outcome(Refused(Reason.REVOKED_TOKEN, presented=record), "192.0.2.1")
    first.marks.is_away = True
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await first.alerting.look()
    first.marks.is_away = False
    await first.alerting.look()
    await first.alerting.look()
    assert ["token.leaked_use", "token.revoked"] == sorted(first.sender.kinds())
    other = await first.mint()
    await first.management.revoke_token(ADA, other.identity)
    first.marks.window, first.marks.is_away = (store_now, await first.management.now() + 60), True
    with pytest.raises(StoreUnavailable):
        await first.alerting.look()
    assert first.marks.window is None
    first.marks.is_away = False
    await first.alerting.look()
    assert other.identity in first.sender.sent[-1].data.tokens


async def test_a_window_of_the_history_is_taken_once(redis_url: str) -> None:
    """By one of several processes, without a gap and without an overlap."""
    async with open_connection(redis_url) as connection:
        marks = [RedisAlertMarks(connection) for _ in range(3)]
        assert [None] * 3 == [await one.take_window(1000, LOOK_SECONDS) for one in marks]
        assert [None] * 3 == [await one.take_window(1004, LOOK_SECONDS) for one in marks]
        assert [(1000, 1005), None, None] == [await one.take_window(1005, LOOK_SECONDS) for one in marks]
        assert (1005, 1100) == await marks[2].take_window(1100, LOOK_SECONDS)
    assert LATE_SECONDS > 1
