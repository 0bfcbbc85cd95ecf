"""uvicorn, in the main process, in a worker, or in a shared event loop.

Everything that the gateway needs of uvicorn is here, and in server/connection.py, which is its `http`. Most of it is
public: Config, and Server with `run`, `serve` and `should_exit`. Undocumented are `Server.started` and
`Server.capture_signals`, and how a server treats its protocol class; without `started`, a server counts as up at once.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import uvicorn

from gateway.cli.lazy import load
from gateway.cli.process.workers import beat, build_logging
from gateway.core.errors import StartFailed
from gateway.settings import Settings, read_settings

TRIED_WITH = ("0.40", "0.43", "0.46", "0.50", "0.51", "0.53", "0.54")
"""Versions of uvicorn that were seen to start, stop, fail and restart under the gateway, with one worker and more.

0.40 logs a traceback, and nothing worse, if it is stopped during its start.
"""

CONNECTION, ARRIVAL = "gateway.server.connection:Connection", "gateway.server.arrival:Arrival"
"""The protocol class of a connection: of one that begins with HTTP, and of one that has TLS or a header before it."""

BACKLOG = 2048
"""Connections that wait while all workers are busy: the kernel's default limit, and half as much again."""


class Server(uvicorn.Server):
    """uvicorn's server. `serve` raises StartFailed if the application does not start."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is stopped."""
        try:
            await super().serve(sockets)
        except SystemExit as end:  # so uvicorn 0.50 ends a start that failed; older ones return
            if has_started(self) or not end.code:
                raise
        if not has_started(self):
            raise StartFailed("serve: the server did not start; the lines above say why")


class QuietServer(Server):
    """A server that does not handle SIGINT and SIGTERM."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class AnnouncedServer(Server):
    """A server that awaits `when_up()` in the background, from its first answer until it has stopped."""

    def __init__(self, config: uvicorn.Config, when_up: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._when_up = when_up

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is stopped."""
        announcing = asyncio.create_task(self._announce())
        try:
            await super().serve(sockets)
        finally:
            announcing.cancel()

    async def _announce(self) -> None:
        await until_started(self)
        await self._when_up()


class SharedServer(AnnouncedServer):
    """The public listener, and the admin listener in the same event loop, which has the embedded store."""

    def __init__(
        self, settings: Settings, admin: socket.socket, client: Any, when_up: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(build_config(settings, client), when_up)
        self._admin_config = build_admin_config(settings, client)
        self._admin = admin

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve both until it is stopped."""
        async with serving(self._admin_config, self._admin):
            await super().serve(sockets)


def has_started(server: uvicorn.Server) -> bool:
    """Return whether the server has ever answered requests."""
    return bool(getattr(server, "started", True))


async def until_started(server: uvicorn.Server) -> None:
    """Wait until the server answers requests, which uvicorn shows only by an attribute."""
    while not has_started(server):  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    """Answer requests on the listener in the context; its end waits for requests in progress."""
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    starting = asyncio.create_task(until_started(server))
    try:
        await asyncio.wait((task, starting), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield
    finally:
        starting.cancel()
        server.should_exit = True
        await task


def run_worker(listener: socket.socket, mouth: socket.socket) -> None:
    """Serve the public listener in a process of its own, which sends signs of life over `mouth`."""
    AnnouncedServer(build_config(read_settings()), partial(beat, mouth)).run(sockets=[listener])


def run_admin(listener: socket.socket, mouth: socket.socket) -> None:
    """Serve the admin listener in a process of its own, which sends signs of life over `mouth`."""
    AnnouncedServer(build_admin_config(read_settings()), partial(beat, mouth)).run(sockets=[listener])


def build_config(settings: Settings, client: Any = None) -> uvicorn.Config:
    """Build uvicorn's configuration for the application of gateway/app.py, which gets the `client` of a store."""
    arrives = bool(settings.tls_cert or settings.proxy_protocol_from)
    create = partial(load("gateway.app:create_app"), settings, client)
    return _build_config(create, settings, ARRIVAL if arrives else CONNECTION)


def _build_config(create: Callable[[], Any], settings: Settings, protocol: str) -> uvicorn.Config:
    return uvicorn.Config(
        create,
        factory=True,
        http=protocol,
        ws="none",
        loop="uvloop",
        lifespan="on",
        access_log=False,
        log_config=build_logging(settings.log_format, settings.log_level),
        server_header=False,
        date_header=False,  # a stored answer carries the Date of its backend; pipeline/exchange.py dates all others
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=settings.stop_timeout,
    )


def build_admin_config(settings: Settings, client: Any = None) -> uvicorn.Config:
    """Build uvicorn's configuration for the admin listener: the same server, so the same limits."""
    return _build_config(
        partial(load("gateway.admin_app:create_admin_listener"), settings, client), settings, CONNECTION
    )
