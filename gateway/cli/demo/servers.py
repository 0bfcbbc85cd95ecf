"""uvicorn inside the demo: real sockets, one event loop for all, signals left to the demo."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn

from gateway.cli.serve import bind
from gateway.core.errors import ConfigurationError
from gateway.settings import parse_listen

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to recognise, not to listen on


class _Server(uvicorn.Server):
    """A server that does not take SIGINT and SIGTERM for itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serving(config: uvicorn.Config, listener: socket.socket) -> AsyncIterator[None]:
    """Answers requests on the listener; at the end those under way are finished first."""
    server = _Server(config)
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


def listen(address: str) -> tuple[socket.socket, bool]:
    """A listening socket, and whether the port was taken, so that it is on a free one of the same host.

    ConfigurationError where the host is not this machine's.
    """
    try:
        return _listen(address), False
    except ConfigurationError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.EADDRINUSE:
            raise
    host, _ = parse_listen(address)
    return _listen(f"[{host}]:0"), True


def url_of(listener: socket.socket) -> str:
    """Where a client on this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    host = WILDCARDS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(address: str) -> socket.socket:
    """Listens at once: between binding and listening another demo could take the port too."""
    listener = bind(address)
    try:
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"listen: cannot listen on {address}: {error.strerror}") from error
    return listener
