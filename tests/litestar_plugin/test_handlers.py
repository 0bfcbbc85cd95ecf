"""One run of a handler, from its messages to an answer."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from gateway.core.errors import ClientGone, UpstreamBroken
from gateway.core.http.messages import Response
from gateway.litestar_plugin.handlers import AHEAD, CALL, AppUpstreams, Call, HandlerRun

Send = Callable[[Any], Awaitable[None]]
Handler = Callable[[Any, Any, Send], Awaitable[None]]

START = {"type": "http.response.start", "status": 200, "headers": [(b"X-Name", b"a")]}


def body(piece: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": piece, "more_body": more}


def messages(*sent: dict[str, Any], then: Exception | None = None) -> Handler:
    """A handler that sends these without a pause."""

    async def handle(scope: Any, receive: Any, send: Send) -> None:
        for message in sent:
            await send(message)
        if then is not None:
            raise then

    return handle


@asynccontextmanager
async def running(handler: Handler) -> AsyncIterator[tuple[Response, HandlerRun, "asyncio.Task[None]"]]:
    """The answer of the handler, its run and the task of it."""
    async with asyncio.timeout(20):
        one = HandlerRun()
        task = asyncio.create_task(one.do(cast(Any, handler), cast(Any, {}), cast(Any, None)))
        yield await one.read_response(task), one, task


async def test_an_answer_that_is_all_there_is_whole() -> None:
    """Names of fields are in lower case; nothing is left to be streamed."""
    async with running(messages(START, body(b"all", more=False))) as (response, _, task):
        assert 200 == response.head.status
        assert [(b"x-name", b"a")] == response.head.fields
        assert b"all" == response.content
        await task


async def test_an_answer_that_comes_bit_by_bit_is_a_stream() -> None:
    """Its head is there before its content; a handler that is ahead of its reader waits."""
    sent: list[int] = []

    async def handle(scope: Any, receive: Any, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0)
        for number in range(9):
            await send(body(b"%d" % number))
            sent.append(number)
        await send(body(b"", more=False))

    async with running(handle) as (response, one, _):
        assert response.content is one
        for _round in range(20):
            await asyncio.sleep(0)
        assert len(sent) <= AHEAD
        assert b"012345678" == b"".join([piece async for piece in one])


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (messages(), UpstreamBroken),
        (messages(body(b"", more=False)), UpstreamBroken),
        (messages(START, START), UpstreamBroken),
        (messages(START, body(b"a"), START), UpstreamBroken),
        (messages(START, body(b"a"), then=ValueError("mistake")), UpstreamBroken),
        (messages(START, body(b"a")), ClientGone),
        (messages(then=ValueError("mistake")), ValueError),
        (messages(START, then=ValueError("mistake")), ValueError),
    ],
)
async def test_what_is_no_answer_never_looks_whole(handler: Handler, error: type[Exception]) -> None:
    """A handler's own error comes out before its content has begun; after that the content breaks off."""
    with pytest.raises(error):
        async with running(handler) as (response, one, _):
            assert response.content is one
            async for _piece in one:
                pass


async def test_a_stream_that_is_given_up_ends_its_handler_and_its_reader() -> None:
    """Also where the handler has more to send than its reader has taken, and one that waits for more."""
    ended: list[bool] = []

    async def handle(scope: Any, receive: Any, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0)
        try:
            while True:
                await send(body(b"x"))
        finally:
            ended.append(True)

    async with running(handle) as (_, one, task):
        assert b"x" == await anext(one)
        await one.aclose()
        with pytest.raises(ClientGone):
            await anext(one)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [True] == ended


async def test_what_a_handler_does_after_its_answer_is_left_to_it() -> None:
    """Giving up an answer that is complete does not end work in the background."""
    done: list[bool] = []

    async def handle(scope: Any, receive: Any, send: Send) -> None:
        await send(START)
        await send(body(b"all", more=False))
        await asyncio.sleep(0)
        done.append(True)

    async with running(handle) as (_, one, task):
        await one.aclose()
        await task
        assert [True] == done


async def test_a_handler_gets_the_request_as_the_exchange_sends_it() -> None:
    """Its path as it was routed, its fields with Host, nothing of what Litestar or the gate keep for themselves."""
    seen: list[dict[str, Any]] = []

    async def handle(scope: Any, receive: Any, send: Send) -> None:
        seen.append(scope | {"received": await receive()})
        await send(START)
        await send(body(b"", more=False))

    scope: dict[str, Any] = {
        "type": "http",
        "root_path": "/api",
        "headers": [(b"host", b"OWN.example:80"), (b"authorization", b"Bearer secret")],
        "state": {"_ls_connection_state": object(), "database": 1},
        "path": "/items/b",
        "route_handler": object(),
        "path_template": "/items/{x}",
        "path_params": {},
        "extensions": {"http.response.pathsend": {}, "tls": {}},
    }
    by = object()
    fields = [
        (b"host", b"own.example"),
        (b"accept", b"*/*"),
        (b"via", b"1.1 gateway"),
        (b"x-gateway-token-id", b"ab"),
        (b"x-gateway-scopes", b"a b"),
    ]

    CALL.set(Call(by, cast(Any, handle), cast(Any, scope), "/items/%62", ("a",)))
    await AppUpstreams().send(cast(Any, None), "GET", "/items/%62?q=1", fields, None)
    (got,) = seen
    assert "GET" == got["method"]
    assert "/items/b" == got["path"]
    assert b"/api/items/%62" == got["raw_path"]
    assert b"q=1" == got["query_string"]
    assert [*fields[:2], *fields[3:]] == got["headers"]
    assert {"type": "http.request", "body": b"", "more_body": False} == got["received"]
    assert {"tls": {}} == got["extensions"]
    assert {"database", "gateway_admitted"} == got["state"].keys()
    admitted = got["state"]["gateway_admitted"]
    assert by == admitted.by
    assert ("a",) == admitted.scopes
    assert "ab" == admitted.principal.token_id
    assert {"a", "b"} == admitted.principal.scopes
    assert scope["route_handler"] is got["route_handler"]
    assert admitted.principal is got["user"]
