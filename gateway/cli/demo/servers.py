"""The demo's listening sockets."""

import errno
import socket

from gateway.cli.serve import bind
from gateway.core.errors import ConfigurationError
from gateway.settings import parse_listen

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - an address to recognise, not to listen on


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
