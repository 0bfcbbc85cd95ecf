"""What the gateway needs of uvicorn: when a server counts as up, and what becomes of a start that fails."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from gateway.cli.process.server import TRIED_WITH, AnnouncedServer, QuietServer, has_started, serving, until_started
from gateway.cli.process.workers import beat
from gateway.core.errors import StartFailed
from tests.adapters.raw_backend import settle

TOLD = f"uvicorn {uvicorn.__version__} differs from what was tried: {', '.join(TRIED_WITH)}"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A socket that nobody listens on yet."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


def build(app: Any) -> uvicorn.Config:
    return uvicorn.Config(app, lifespan="on", log_config=None, ws="none", timeout_graceful_shutdown=1)


async def start_well(scope: Any, receive: Any, send: Any) -> None:
    """An application that starts and stops."""
    for event in ("startup", "shutdown"):
        assert f"lifespan.{event}" == (await receive())["type"]
        await send({"type": f"lifespan.{event}.complete"})


async def fail_to_start(scope: Any, receive: Any, send: Any) -> None:
    """An application that does not start."""
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no"})


def fail_to_load() -> None:
    raise RuntimeError("no application")


@pytest.mark.parametrize("name", ["started", "should_exit", "capture_signals", "serve", "run"])
def test_the_installed_server_has_what_is_used(name: str) -> None:
    """The names on uvicorn's server that cli/process/server.py uses."""
    assert hasattr(uvicorn.Server(build(start_well)), name), TOLD


@pytest.mark.parametrize("name", ["connections", "tasks", "total_requests"])
def test_the_installed_state_has_what_is_used(name: str) -> None:
    """The names on what uvicorn's server knows of its connections, which server/connection.py uses."""
    assert hasattr(ServerState(), name), TOLD


async def test_a_server_is_up_when_it_answers(listener: socket.socket) -> None:
    """Then its announcement is made, beside its work, and ends with it."""
    calls: list[str] = []

    async def announce() -> None:
        _, writer = await asyncio.open_connection(*listener.getsockname())
        writer.close()
        calls.append("answers")
        try:
            server.should_exit = True
            await asyncio.Event().wait()
        finally:
            calls.append("has stopped")

    server = AnnouncedServer(build(start_well), announce)
    await server.serve([listener])
    await settle()
    assert ["answers", "has stopped"] == calls


@pytest.mark.parametrize("kind", [AnnouncedServer, QuietServer])
async def test_a_start_that_fails_is_an_error(listener: socket.socket, kind: type[uvicorn.Server]) -> None:
    """However the version of uvicorn ends it: by SystemExit or without a word."""
    announced: list[str] = []

    async def announce() -> None:
        announced.append("up")

    server = kind(build(fail_to_start), *([announce] if kind is AnnouncedServer else []))
    with pytest.raises(StartFailed, match="the server did not start"):
        await server.serve([listener])
    assert [] == announced


async def test_a_start_that_fails_beside_others_is_an_error(listener: socket.socket) -> None:
    """`serving` does not begin its context then."""
    with pytest.raises(StartFailed, match="the server did not start"):
        async with serving(build(fail_to_start), listener):
            pytest.fail("it is served")


async def test_an_application_that_cannot_be_built_is_an_error(listener: socket.socket) -> None:
    """What it raises comes out of `serve` as it is."""
    config = uvicorn.Config(fail_to_load, factory=True, log_config=None, ws="none")
    with pytest.raises(RuntimeError, match="no application"):
        await QuietServer(config).serve([listener])


async def test_a_server_that_does_not_say_so_counts_as_up() -> None:
    """Of a uvicorn without `started` the gateway says too early that it is ready, and does all else as before."""
    nameless: Any = object()
    assert has_started(nameless)
    await until_started(nameless)


async def test_a_process_says_again_and_again_that_it_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its event loop turns."""
    monkeypatch.setattr("gateway.cli.process.workers.BEAT_SECONDS", 0)
    ear, mouth = socket.socketpair()
    with ear, mouth:
        beating = asyncio.create_task(beat(mouth))
        for _ in range(3):
            await settle()
            assert b"." == ear.recv(1)
        beating.cancel()


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_parent_that_does_not_listen_holds_nobody_up(monkeypatch: pytest.MonkeyPatch, is_gone: bool) -> None:
    """A process goes on if what it says is not read for hours, and if nobody is there to read it."""
    monkeypatch.setattr("gateway.cli.process.workers.BEAT_SECONDS", 0)
    ear, mouth = socket.socketpair()
    with ear, mouth:
        mouth.setblocking(False)
        with suppress(BlockingIOError):
            while not is_gone:
                mouth.send(bytes(4096))
        if is_gone:
            ear.close()
        beating = asyncio.create_task(beat(mouth))
        await settle()
        assert not beating.done()
        beating.cancel()
