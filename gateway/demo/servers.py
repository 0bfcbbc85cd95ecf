"""The demo's listening sockets."""

import errno
import socket

from gateway.cli.process.listening import bind
from gateway.core.errors import ConfigurationError
from gateway.settings import parse_listen

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "127.0.0.1"}  # noqa: S104 - an address to recognise, not to listen on


def listen(address: str) -> tuple[socket.socket, bool]:
    """Return a listening socket, and whether the port was in use, so that the socket has a free port of the same host.

    Raise ConfigurationError if this machine cannot listen on the address for another reason.
    """
    try:
        return _listen(address), False
    except ConfigurationError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        if error.__cause__.errno != errno.EADDRINUSE:
            raise ConfigurationError(f"{error}; choose another address with --listen HOST:PORT") from error
    host, _ = parse_listen(address)
    return _listen(f"[{host}]:0"), True


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a client on this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    host = WILDCARDS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(address: str) -> socket.socket:
    """Bind and listen at once: between the two, another demo could take the port."""
    listener = bind(address)
    try:
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"listen: cannot listen on {address}: {error.strerror}") from error
    return listener
