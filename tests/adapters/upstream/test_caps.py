"""A cap on the connections to each target: who waits, for how long, and what makes room."""

import asyncio

import pytest

from gateway.adapters.upstream.wire import without_times
from gateway.core.errors import UpstreamBroken, UpstreamBusy, UpstreamUnreachable
from tests.adapters.raw_backend import OK, ManualClock, Peer, fetch, http_upstreams, on_both_loops, settle, until
from tests.adapters.several_targets import Held, backends, hang_up, upstream_of


@on_both_loops
async def test_no_more_connections_than_the_policy_allows() -> None:
    """The rest wait for their turn, in their order, and share the connections."""
    open_at_once = most = 0

    async def script(peer: Peer) -> None:
        nonlocal open_at_once, most
        open_at_once += 1
        most = max(most, open_at_once)
        try:
            while True:
                await peer.answer(OK)
        finally:
            open_at_once -= 1

    async with backends(script) as (one,), http_upstreams() as upstreams:
        address = upstream_of(one, max_connections=3)
        order: list[int] = []

        async def client(number: int) -> None:
            await fetch(upstreams, address)
            order.append(number)

        await asyncio.gather(*(client(number) for number in range(30)))
        assert 3 == most
        assert 3 == len(one.peers)
        assert [number // 3 for number in range(30)] == [number // 3 for number in order]


@on_both_loops
async def test_beyond_those_who_wait_nobody_waits() -> None:
    """One request has the connection, one waits, the third is told at once to come back."""
    held = Held()
    async with backends(held) as one, http_upstreams() as upstreams:
        address = upstream_of(*one, max_connections=1, max_waiting=1)
        first = asyncio.create_task(fetch(upstreams, address))
        await until(lambda: held.asked == 1)
        second = asyncio.create_task(fetch(upstreams, address))
        await settle()
        with pytest.raises(UpstreamBusy, match="1 requests wait"):
            await fetch(upstreams, address)
        for _ in range(2):
            held.may_answer.release()
        assert [b"ok", b"ok"] == [(await first)[1], (await second)[1]]
        assert 1 == len(one[0].peers)


@on_both_loops
async def test_nobody_waits_longer_than_for_a_connection() -> None:
    """Who waits longer than connect_timeout is told to come back; the target is not blamed."""
    clock, held = ManualClock(), Held()
    async with backends(held) as one, http_upstreams(clock) as upstreams:
        address = upstream_of(*one, max_connections=1, connect_timeout_seconds=2)
        first = asyncio.create_task(fetch(upstreams, address))
        await until(lambda: held.asked == 1)
        second = asyncio.create_task(fetch(upstreams, address))
        await settle()
        clock.advance(2)
        with pytest.raises(UpstreamBusy, match="in time"):
            await second
        held.may_answer.release()
        await first
        assert 0 == upstreams._targets[without_times(address)].outstanding


@on_both_loops
@pytest.mark.parametrize("is_given", [False, True])
async def test_who_leaves_while_waiting_gives_up_the_place(is_given: bool) -> None:
    """Before it was given a connection, and also just as it is: no connection and no right to one is lost."""
    held = Held()
    async with backends(held) as one, http_upstreams() as upstreams:
        address = upstream_of(*one, max_connections=1)
        first = asyncio.create_task(fetch(upstreams, address))
        await until(lambda: held.asked == 1)
        leaving, staying = (asyncio.create_task(fetch(upstreams, address)) for _ in range(2))
        await settle()
        for _ in range(3):
            held.may_answer.release()
        if is_given:
            target = upstreams._targets[without_times(address)]
            await until(lambda: len(target._waiting) == 1)  # the first of them has its place, and does not know it yet
        leaving.cancel()
        await asyncio.gather(first, staying)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert 0 == upstreams._targets[without_times(address)].outstanding
        assert 1 == len(one[0].peers)


@on_both_loops
async def test_broken_connections_make_room() -> None:
    """A connection that breaks, or never comes about, holds nobody's place."""
    async with backends(hang_up) as one, http_upstreams() as upstreams:
        for address in (upstream_of(*one, max_connections=1), upstream_of(nobody=1, max_connections=1)):
            requests = [fetch(upstreams, address, "POST") for _ in range(5)]
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert all(isinstance(result, UpstreamBroken | UpstreamUnreachable) for result in results)
            assert 0 == upstreams._targets[without_times(address)].outstanding
