"""The bound of an admission: its time begins when its request comes, not when its call leaves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.adapters.redis.admissions import RedisAdmissions, _Lane
from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.core.admission.decision import AdmissionRequest
from gateway.core.errors import StoreUnavailable
from tests.support.policies import make_record, rule_for

TIMEOUT_SECONDS = 0.25
ASKED = AdmissionRequest(rule_for("GET /export"), make_record().digest)
NOBODY = [0, [b"", 0, 0, b"", b""]]
"""What the script answers for a token that is not there."""


class SlowRunner:
    """Answers a call only when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Callable[[Any], None]] = []

    def call(self, keys: list[str], arguments: list[Any], answered: Callable[[Any], None]) -> None:
        self.calls.append(answered)


async def turn(times: int = 30) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_waiting_for_the_call_before_is_part_of_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that waited 0.2 s for the call before its own is refused after 0.05 s more, and not after 0.25."""
    loop = asyncio.get_running_loop()
    real_time, passed = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: real_time() + passed)
    connection = RedisConnection(open_client(EMBEDDED, TIMEOUT_SECONDS), TIMEOUT_SECONDS)
    admissions, runner = RedisAdmissions(connection), SlowRunner()
    monkeypatch.setattr(admissions, "_idle", [_Lane(runner)])  # type: ignore[arg-type]  # one call at a time
    first = admissions.admit(ASKED)
    await turn()
    second = admissions.admit(ASKED)
    await turn()
    passed = 0.2
    runner.calls[0](NOBODY)
    await turn()
    assert 2 == len(runner.calls)
    assert (await first).record is None
    assert not second.done()
    passed = 0.26
    await turn(60)
    assert second.done()
    with pytest.raises(StoreUnavailable, match=r"within 0\.25 s"):
        await second
    runner.calls[1](NOBODY)
    await turn()
    third = admissions.admit(ASKED)
    await turn()
    runner.calls[2](NOBODY)
    assert (await third).record is None
    await connection.close()
