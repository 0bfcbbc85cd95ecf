"""uvicorn beside something else: in an event loop that others use too, or as a process of its own."""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import uvicorn

from gateway.admin import create_admin
from gateway.app import create_app
from gateway.settings import Settings, read_settings

RESTART_SECONDS = 1.0
"""Between the end of an admin process that nobody asked for and its successor."""
logger = logging.getLogger(__name__)


def build_logging(settings: Settings) -> dict[str, Any]:
    """Return what uvicorn sets up in every process: one log for all, on standard error."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"()": "gateway.adapters.error_log.ErrorLog", "form": settings.log_format}},
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        # It says on every change of a file that there was one; what came of it is said by the policies themselves.
        "loggers": {"watchfiles": {"level": "WARNING"}},
    }


class QuietServer(uvicorn.Server):
    """A server that does not take SIGINT and SIGTERM for itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    """Answers requests on the listener; at the end those under way are finished first."""
    server = QuietServer(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn tells it by an attribute only
            await asyncio.sleep(0.01)
        if task.done():
            task.result()
        yield
    finally:
        server.should_exit = True
        await task


class SharedServer(uvicorn.Server):
    """The public listener, and the admin listener in the same event loop: the embedded store is in it."""

    def __init__(self, config: uvicorn.Config, settings: Settings, admin: socket.socket, client: Any) -> None:
        config.app = partial(create_app, settings, client)
        super().__init__(config)
        self._admin = admin
        self._admin_config = build_admin_config(settings)
        self._admin_config.app = partial(create_admin, settings, client)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves both until it is stopped."""
        async with serving(self._admin_config, self._admin):
            await super().serve(sockets)


@contextmanager
def admin_beside(listener: socket.socket | None, settings: Settings) -> Iterator[None]:
    """The admin listener in a process of its own, started anew where it ends by itself; none without a listener."""
    if listener is None:
        yield
        return
    stopping = threading.Event()
    keeper = threading.Thread(target=_keep_running, args=(listener, stopping, settings.stop_timeout))
    keeper.start()
    try:
        yield
    finally:
        stopping.set()
        keeper.join()


def build_admin_config(settings: Settings) -> uvicorn.Config:
    """How uvicorn runs the admin listener: people and few programs, so all by the book."""
    return uvicorn.Config(
        "gateway.admin:create_admin",
        factory=True,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=build_logging(settings),
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=settings.stop_timeout,
    )


def _keep_running(listener: socket.socket, stopping: threading.Event, stop_timeout: int) -> None:
    context = multiprocessing.get_context("spawn")
    while not stopping.is_set():
        process = context.Process(target=_run_admin, args=(listener,), name="gateway-admin")
        process.start()
        while process.is_alive() and not stopping.wait(0.1):
            pass
        if process.exitcode is None:
            process.terminate()
            process.join(stop_timeout + 1)
            process.kill()
        elif process.exitcode == 0:  # it was told to stop, as all of us are by Ctrl+C
            return
        else:
            logger.error("the admin listener ended with %s; it is started anew", process.exitcode)
            stopping.wait(RESTART_SECONDS)


def _run_admin(listener: socket.socket) -> None:
    """The process. It ends with the one that started it, however that one ends."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # uvicorn raises again what stopped it, after a graceful stop
    uvicorn.Server(build_admin_config(read_settings())).run(sockets=[listener])


def _end_after(parent: Any) -> None:
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
