"""Several targets, those that fail, those that are checked, and a cap on what each gets at once."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.adapters.upstreams import HttpUpstreams
from gateway.core.errors import UpstreamBroken, UpstreamBusy, UpstreamTimeout, UpstreamUnreachable
from gateway.core.policies.upstream import FieldEdits, HealthCheck, Rewrite, Upstream
from tests.adapters.raw_backend import (
    OK,
    ManualClock,
    Peer,
    RawBackend,
    Script,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    settle,
    until,
)
from tests.support.processes import free_port

HEALTH = HealthCheck("/health", 10, 5)


def naming(name: bytes) -> Script:
    """Answers with the target's name."""
    return always(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name) + name)


@asynccontextmanager
async def backends(*scripts: Script) -> AsyncIterator[list[RawBackend]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(RawBackend(script)) for script in scripts]


def upstream_of(*backends: RawBackend, nobody: int = 0, **settings: object) -> Upstream:
    """One upstream with the backends as its targets, and `nobody` before them at whom nobody listens."""
    urls = [f"http://127.0.0.1:{free_port()}" for _ in range(nobody)] + [backend.url() for backend in backends]
    return replace(Upstream(tuple(urls), response_timeout_seconds=5, idle_timeout_seconds=5), **settings)


async def names(upstreams: HttpUpstreams, address: Upstream, count: int, method: str = "GET") -> list[bytes]:
    return [(await fetch(upstreams, address, method))[1] for _ in range(count)]


def test_a_policy_without_a_backend_has_none() -> None:
    """What is asked of it all the same is as if nobody listened."""

    async def work() -> None:
        with pytest.raises(UpstreamUnreachable, match="the policy has no backend"):
            await HttpUpstreams().send(Upstream(()), "GET", "/", [], None)

    asyncio.run(work())


class Held:
    """A backend that answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, peer: Peer) -> None:
        while True:
            await peer.read_head()
            self.asked += 1
            await self.may_answer.acquire()
            peer.writer.write(OK)


# -- choice


@on_both_loops
async def test_requests_take_turns() -> None:
    """With nothing under way, each target gets its share."""
    async with backends(naming(b"a"), naming(b"b"), naming(b"c")) as three, http_upstreams() as upstreams:
        answers = await names(upstreams, upstream_of(*three), 9)
        assert {b"a": 3, b"b": 3, b"c": 3} == {name: answers.count(name) for name in (b"a", b"b", b"c")}


@on_both_loops
async def test_a_slow_target_gets_less() -> None:
    """The target with the fewest requests under way is next: one that hangs is not sent more than the others have."""
    held = Held()
    async with backends(held, naming(b"b")) as both, http_upstreams() as upstreams:
        address = upstream_of(*both)
        slow = []
        while not held.asked:
            slow.append(asyncio.create_task(fetch(upstreams, address)))
            await settle()
        assert [b"b"] * 10 == await names(upstreams, address, 10)
        held.may_answer.release()
        await asyncio.gather(*slow)


# -- failures


@on_both_loops
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_target_at_whom_nobody_listens_fails_no_request(method: str) -> None:
    """Nothing was sent to it, so any request goes on to the next, and it is left alone; then it is tried again."""
    clock = ManualClock()
    async with backends(naming(b"b")) as one, http_upstreams(clock) as upstreams:
        address = upstream_of(*one, nobody=1)
        assert [b"b"] * 6 == await names(upstreams, address, 6, method)
        dead = upstreams._targets[replace(address, targets=address.targets[:1])]
        assert not dead.is_available()
        clock.advance(1)
        assert dead.is_available()
        assert [b"b"] * 6 == await names(upstreams, address, 6, method)
        assert 2 == dead.health.ejections


@on_both_loops
async def test_upload_goes_whole_to_the_target_that_can_be_reached() -> None:
    """Content is not touched before there is a connection."""
    received = []

    async def script(peer: Peer) -> None:
        await peer.read_head()
        received.append(await peer.reader.readexactly(5))
        peer.writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")

    async def content() -> AsyncIterator[bytes]:
        yield b"he"
        yield b"llo"

    async with backends(script) as one, http_upstreams() as upstreams:
        address = upstream_of(*one, nobody=1)
        for _ in range(2):
            fields = [(b"content-length", b"5")]
            assert (await fetch(upstreams, address, "POST", "/", fields, content()))[1] == b"ok"
    assert [b"hello"] * 2 == received


@on_both_loops
async def test_as_many_retries_as_the_policy_says() -> None:
    """Then the last target's failure is the answer; with none, the first one's."""
    async with backends(naming(b"c")) as one, http_upstreams() as upstreams:
        assert [b"c"] == await names(upstreams, upstream_of(*one, nobody=2, retries=2), 1)
        with pytest.raises(UpstreamUnreachable):
            await names(upstreams, upstream_of(*one, nobody=3, retries=0), 4)


@on_both_loops
async def test_where_none_is_left_all_are_tried(caplog: pytest.LogCaptureFixture) -> None:
    """Targets that all failed are not given up: the first that can be reached again answers, and the log says so."""
    clock = ManualClock()
    async with http_upstreams(clock) as upstreams:
        address = upstream_of(nobody=2)
        for _ in range(3):
            with pytest.raises(UpstreamUnreachable):
                await fetch(upstreams, address)
        assert not any(target.is_available() for target in upstreams._targets.values())
        port = int(address.targets[1].rpartition(":")[2])
        server = await asyncio.start_server(answer_ok, "127.0.0.1", port)
        async with server:
            assert [b"ok"] * 3 == await names(upstreams, address, 3)
        assert [f"{address.targets[1]} is well again"] == [m for m in caplog.messages if "well again" in m]
        assert 2 == len([message for message in caplog.messages if "is avoided: 1 failure(s)" in message])


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


async def hang_up(peer: Peer) -> None:
    await peer.read_head()


@on_both_loops
async def test_a_target_that_hangs_up_without_an_answer() -> None:
    """An idempotent request goes to another one; any other is answered 502, for it may have been acted upon."""
    async with backends(hang_up, naming(b"b")) as (broken, well), http_upstreams() as upstreams:
        address = upstream_of(broken, well)
        assert [b"b"] * 4 == await names(upstreams, address, 4)
        assert broken.heads
    async with backends(hang_up, hang_up) as both, http_upstreams() as upstreams:
        with pytest.raises(UpstreamBroken):
            await fetch(upstreams, upstream_of(*both), "POST")
        assert 1 == sum(len(backend.heads) for backend in both)


@on_both_loops
async def test_a_target_that_is_silent_is_ejected_in_the_end() -> None:
    """A time-out is not repeated elsewhere; after three in a row the target is left alone."""
    clock, held = ManualClock(), Held()
    async with backends(held, naming(b"b")) as both, http_upstreams(clock) as upstreams:
        address = upstream_of(*both)
        failures = 0
        while failures < 3:
            request = asyncio.create_task(fetch(upstreams, address))
            await until(lambda request=request, failures=failures: request.done() or held.asked > failures)  # type: ignore[misc]
            if not request.done():
                clock.advance(5)
                with pytest.raises(UpstreamTimeout):
                    await request
                failures += 1
        assert [b"b"] * 4 == await names(upstreams, address, 4)
        assert 3 == held.asked


@on_both_loops
async def test_a_target_killed_under_load_fails_no_idempotent_request() -> None:
    """Requests under way on it are sent to the other; a hundred clients notice nothing."""
    async with backends(naming(b"b")) as (well,), http_upstreams() as upstreams, RawBackend(naming(b"a")) as dying:
        address = upstream_of(dying, well)
        answers: list[bytes] = []

        async def client() -> None:
            for _ in range(20):
                answers.append((await fetch(upstreams, address))[1])

        clients = [asyncio.create_task(client()) for _ in range(50)]
        await until(lambda: len(answers) > 100)
        dying._server.close()
        for peer in dying.peers:
            peer.reset()
        await asyncio.gather(*clients)
        assert 1000 == len(answers)
        assert {b"a", b"b"} == set(answers)


# -- health checks


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
    url = both[0].url()
    assert [f"{url} is avoided: its health checks fail", f"{url} is well again"] == caplog.messages


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
        assert [alone] == list(upstreams._targets)
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


# -- caps


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
        assert (3, 3) == (most, len(one.peers))
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
        assert 0 == upstreams._targets[address].outstanding


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
            target = upstreams._targets[address]
            await until(lambda: len(target._waiting) == 1)  # the first of them has its place, and does not know it yet
        leaving.cancel()
        await asyncio.gather(first, staying)
        with pytest.raises(asyncio.CancelledError):
            await leaving
        assert (0, 1) == (upstreams._targets[address].outstanding, len(one[0].peers))


@on_both_loops
async def test_broken_connections_make_room() -> None:
    """A connection that breaks, or never comes about, holds nobody's place."""
    async with backends(hang_up) as one, http_upstreams() as upstreams:
        for address in (upstream_of(*one, max_connections=1), upstream_of(nobody=1, max_connections=1)):
            requests = [fetch(upstreams, address, "POST") for _ in range(5)]
            results = await asyncio.gather(*requests, return_exceptions=True)
            assert all(isinstance(result, UpstreamBroken | UpstreamUnreachable) for result in results)
            assert 0 == upstreams._targets[address].outstanding


# -- where and how


@on_both_loops
async def test_a_unix_socket(tmp_path: Path) -> None:
    """A target can be the path of a socket; Host is localhost, or what the policy says."""
    heads: list[bytes] = []

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            heads.append(head)
            writer.write(OK)
            if b"/last" in head:
                break
        writer.close()

    path = tmp_path / "app.sock"
    server = await asyncio.start_unix_server(converse, path)
    async with server, http_upstreams() as upstreams:
        await fetch(upstreams, Upstream((f"unix:{path}",)), target="/a?b")
        await fetch(upstreams, Upstream((f"unix:{path}",)), target="/last")
        await fetch(upstreams, Upstream((f"unix:{path}",), host="app.example"), target="/last")
        with pytest.raises(UpstreamUnreachable, match=r"none\.sock"):
            await fetch(upstreams, Upstream((f"unix:{path.with_name('none.sock')}",)))
        await settle()
    assert [
        b"GET /a?b HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /last HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /last HTTP/1.1\r\nhost: app.example\r\n\r\n",
    ] == heads


@on_both_loops
async def test_rewritten_and_edited() -> None:
    """The path is rewritten before the target's own prefix; fields are changed in both directions."""
    answer = b"HTTP/1.1 200 OK\r\nServer: x\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n"
    async with RawBackend(always(answer)) as backend, http_upstreams() as upstreams:
        address = replace(
            backend.address("/base"),
            rewrite=Rewrite(("api",), "/v2"),
            request_edits=FieldEdits(frozenset({b"cookie", b"x-env"}), ((b"x-env", b"prod"),)),
            response_edits=FieldEdits(frozenset({b"server"}), ((b"x-from", b"base"),)),
        )
        fields = [(b"cookie", b"a"), (b"x-env", b"forged"), (b"accept", b"*/*")]
        head, _ = await fetch(upstreams, address, target="/api/items?q", fields=fields)
        assert [(b"x-kept", b"1"), (b"content-length", b"0"), (b"x-from", b"base")] == head.fields
        lines = b"host: 127.0.0.1:%d\r\naccept: */*\r\nx-env: prod" % backend.port
        assert [b"GET /base/v2/items?q HTTP/1.1\r\n" + lines + b"\r\n\r\n"] == backend.heads


# -- times


@on_both_loops
async def test_the_whole_answer_in_time() -> None:
    """total_timeout ends an answer that keeps coming; before the head it is a time-out like any other."""
    clock = ManualClock()

    async def trickle(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.read_to_end()

    async with RawBackend(trickle) as backend, http_upstreams(clock) as upstreams:
        address = replace(backend.address(), total_timeout_seconds=12)
        response = await upstreams.send(address, "GET", "/", [], None)
        assert not isinstance(response.content, bytes)
        content, writer = aiter(response.content), (await backend.peer()).writer
        for _ in range(2):
            clock.advance(4)
            writer.write(b"1\r\na\r\n")
            assert b"a" == await anext(content)
        clock.advance(4)
        with pytest.raises(UpstreamTimeout, match="longer than 12 s"):
            await anext(content)


@on_both_loops
async def test_silence_between_pieces_has_its_own_limit() -> None:
    """idle_timeout may be longer than the time for the head, as for events that come now and then, or shorter."""
    clock = ManualClock()

    async def events(peer: Peer) -> None:
        await peer.answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.read_to_end()

    async with RawBackend(events) as backend, http_upstreams(clock) as upstreams:
        for idle, quiet in ((60.0, 55.0), (2.0, 1.0)):
            address = replace(backend.address(), idle_timeout_seconds=idle)
            response = await upstreams.send(address, "GET", "/", [], None)
            assert not isinstance(response.content, bytes)
            content, writer = aiter(response.content), backend.peers[-1].writer
            for _ in range(12):
                clock.advance(quiet / 12)
            writer.write(b"1\r\na\r\n")
            assert b"a" == await anext(content)
            for _ in range(12):
                clock.advance(idle / 12)
            with pytest.raises(UpstreamTimeout, match=f"silent for {idle:g} s"):
                await anext(content)
