"""Targets that are checked, and what becomes of targets and checks with a reload."""

import asyncio
import logging

import pytest
from msgspec.structs import replace

from gateway.adapters.upstream.wire import without_times
from gateway.core.policies.model import HealthCheck
from tests.adapters.raw_backend import ManualClock, Peer, fetch, http_upstreams, on_both_loops, settle, until
from tests.adapters.several_targets import Held, backends, names, upstream_of

HEALTH = HealthCheck("/health", 10, 5)


class Sick:
    """A backend whose health page answers with `status`."""

    def __init__(self, name: bytes) -> None:
        self.name = name
        self.status = 200
        self.checks: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        while True:
            head = await peer.read_head()
            if head.startswith(b"GET /health "):
                self.checks.append(head)
                peer.writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % self.status)
            else:
                peer.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.name) + self.name)


@on_both_loops
async def test_a_target_that_fails_its_checks_gets_no_requests(caplog: pytest.LogCaptureFixture) -> None:
    """Two failed checks take it out, one good one brings it back; both are said in the log."""
    caplog.set_level(logging.WARNING)
    clock, a, b = ManualClock(), Sick(b"a"), Sick(b"b")
    async with backends(a, b) as both, http_upstreams(clock) as upstreams:
        address = upstream_of(*both, health=HEALTH)
        upstreams.keep([address])
        a.status = 503
        for count in range(1, 4):
            await until(lambda count=count: len(a.checks) == len(b.checks) == count)  # type: ignore[misc]
            await settle()
            clock.advance(10)
        assert [b"b"] * 4 == await names(upstreams, address, 4)
        a.status = 204
        await until(lambda: len(a.checks) == 4)
        await settle()
        clock.advance(10)
        await until(lambda: len(a.checks) == 5)
        await settle()
        assert {b"a", b"b"} == set(await names(upstreams, address, 4))
        assert b"host: 127.0.0.1" in a.checks[0]
    begins, ends = caplog.messages
    assert f"backend {both[0].url()}: no requests go there, its health checks fail: status 503" == begins
    assert f"backend {both[0].url()}: its health checks are good again" == ends


@on_both_loops
async def test_a_check_that_gets_no_answer_fails() -> None:
    """Neither a target that refuses nor one that is silent is well."""
    clock, held = ManualClock(), Held()
    async with backends(held) as one, http_upstreams(clock) as upstreams:
        address = upstream_of(*one, nobody=1, health=HEALTH)
        upstreams.keep([address])
        targets = list(upstreams._targets.values())
        for count in (1, 2):
            await until(lambda count=count: held.asked == count)  # type: ignore[misc]
            clock.advance(5)
            await until(lambda count=count: all(t.health.failed_checks == count for t in targets))  # type: ignore[misc]
            clock.advance(10)
        assert not any(target.is_available() for target in targets)


# -- reload


@on_both_loops
async def test_a_reload_keeps_what_stays_and_ends_what_goes() -> None:
    """A target that stays keeps its connections; one that goes answers what it has, is checked no more, then closes."""
    clock, held, sick = ManualClock(), Held(), Sick(b"b")
    async with backends(held, sick) as (going, staying), http_upstreams(clock) as upstreams:
        before = upstream_of(going, staying)
        alone = replace(before, targets=before.targets[1:])
        upstreams.keep([before])
        request = asyncio.create_task(fetch(upstreams, replace(before, targets=before.targets[:1])))
        await until(lambda: held.asked == 1)
        await names(upstreams, alone, 1)
        upstreams.keep([alone])
        assert [without_times(alone)] == list(upstreams._targets)
        await names(upstreams, alone, 2)
        assert 1 == len(staying.peers)
        held.may_answer.release()
        assert b"ok" == (await request)[1]
        await until(going.peers[0].reader.at_eof)


@on_both_loops
async def test_checks_end_with_their_target() -> None:
    """What is in no policy any more is asked nothing more; what comes back is asked at once."""
    clock, sick = ManualClock(), Sick(b"a")
    async with backends(sick) as one, http_upstreams(clock) as upstreams:
        address = upstream_of(*one, health=HEALTH)
        for count in (1, 2):
            upstreams.keep([address])
            await until(lambda count=count: len(sick.checks) == count)  # type: ignore[misc]
            await settle()
            upstreams.keep([])
            clock.advance(100)
            await settle()
        assert 2 == len(sick.checks)


@on_both_loops
async def test_a_check_has_the_targets_host() -> None:
    """No client asks: Host is that of the target's URL, or the name that the policy gives its backend."""
    sick = Sick(b"a")
    async with backends(sick) as one, http_upstreams(ManualClock()) as upstreams:
        for host in ("client", "target", "inner.example:81"):
            upstreams.keep([replace(upstream_of(*one, health=HEALTH), host=host)])
            await until(lambda: bool(sick.checks))
            own = upstream_of(*one).targets[0].removeprefix("http://")
            expected = own if host in ("client", "target") else host
            assert f"host: {expected}".encode() in sick.checks.pop().split(b"\r\n")
