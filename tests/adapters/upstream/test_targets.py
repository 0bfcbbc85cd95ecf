"""Several targets: which one a request goes to, where each is, and those that fail."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.adapters.upstream.pool import HttpUpstreams
from gateway.adapters.upstream.wire import without_times
from gateway.core.errors import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from gateway.core.policies.model import FieldEdits, Rewrite, Upstream
from tests.adapters.raw_backend import (
    OK,
    ManualClock,
    Peer,
    RawBackend,
    always,
    fetch,
    http_upstreams,
    on_both_loops,
    settle,
    until,
)
from tests.adapters.several_targets import Held, backends, hang_up, names, naming, upstream_of


async def test_a_policy_without_a_backend_has_none() -> None:
    """What is asked of it all the same is as if nobody listened."""
    with pytest.raises(UpstreamUnreachable, match="the policy has no backend"):
        await HttpUpstreams().send(Upstream(()), "GET", "/", [], None)


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
        dead = upstreams._targets[without_times(replace(address, targets=address.targets[:1]))]
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
async def test_a_lone_target_that_refuses_is_given_a_rest() -> None:
    """After three refusals in a row requests are answered at once, with when to come back; one a second tries again."""
    clock = ManualClock()
    async with http_upstreams(clock) as upstreams:
        address = upstream_of(nobody=1)
        errors = []
        for seconds in (0, 0, 0, 0, 1, 0, 0.5, 0.5):
            clock.advance(seconds)
            with pytest.raises(UpstreamUnreachable) as caught:
                await fetch(upstreams, address)
            errors.append(caught.value)
        assert [1] * 8 == [error.retry_after for error in errors]
        tried = [not str(error).endswith("a moment ago") for error in errors]
        assert [True, True, True, False, True, False, False, True] == tried


@on_both_loops
async def test_a_lone_target_that_is_back_is_used_within_a_second() -> None:
    """The request that finds it back opens the way for all; two refusals are no reason for a rest."""
    clock = ManualClock()
    address = upstream_of(nobody=1)
    port = int(address.targets[0].rpartition(":")[2])
    async with http_upstreams(clock) as upstreams:
        for refusals in (2, 3):
            for _ in range(refusals):
                with pytest.raises(UpstreamUnreachable):
                    await fetch(upstreams, address)
            clock.advance(1 if refusals == 3 else 0)
            server = await asyncio.start_server(answer_ok, "127.0.0.1", port)
            async with server:
                for _ in range(3):
                    assert b"ok" == (await fetch(upstreams, address))[1]
            upstreams.keep([])
            upstreams.keep([address])


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
        ends = f"backend {address.targets[1]}: answers again; 3 requests failed"
        assert [ends] == [message for message in caplog.messages if "again" in message]
        assert 2 == len([message for message in caplog.messages if ": refused: " in message])


async def answer_ok(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
    writer.close()


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


# -- where and how


@on_both_loops
async def test_a_unix_socket(tmp_path: Path) -> None:
    """A target can be the path of a socket; its own Host is localhost, where none is given."""
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
        named = [(b"host", b"app.example")]
        await fetch(upstreams, Upstream((f"unix:{path}",), host="app.example"), target="/last", fields=named)
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
            request_edits=FieldEdits(frozenset({b"cookie", b"xenv"}), ((b"x-env", b"prod"),)),
            response_edits=FieldEdits(frozenset({b"server"}), ((b"x-from", b"base"),)),
        )
        fields = [(b"cookie", b"a"), (b"x-env", b"forged"), (b"accept", b"*/*")]
        head, _ = await fetch(upstreams, address, target="/api/items?q", fields=fields)
        assert [(b"x-kept", b"1"), (b"content-length", b"0"), (b"x-from", b"base")] == head.fields
        lines = b"host: 127.0.0.1:%d\r\naccept: */*\r\nx-env: prod" % backend.port
        assert [b"GET /base/v2/items?q HTTP/1.1\r\n" + lines + b"\r\n\r\n"] == backend.heads
