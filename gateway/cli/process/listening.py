"""The sockets that `gateway serve` listens on: its own, or those that a service manager has passed to it."""

import errno
import logging
import os
import socket
from collections.abc import MutableMapping
from pathlib import Path

from gateway.adapters.logs.error_log import START
from gateway.core.errors import ConfigurationError
from gateway.settings import PREFIX, Settings, parse_listen

UNIX = "unix:"
"""The prefix of a socket's path."""
FIRST_PASSED = 3
"""The descriptor of the first passed socket (sd_listen_fds(3) of systemd)."""
ADMIN_NAME = "admin"
"""The name (FileDescriptorName=) of the passed socket of the admin listener."""
NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}
"""The errors of a system without IPv6."""

logger = logging.getLogger(START)


def open_listeners(
    settings: Settings, environment: MutableMapping[str, str]
) -> tuple[socket.socket, socket.socket | None]:
    """Return the public and the admin listener, shared by all workers; None if there is no admin listener.

    Passed sockets replace addresses. A port of 0 becomes the real one in the environment. Raise ConfigurationError if
    an address is in use or not ours.
    """
    passed, passed_admin = take_passed(environment)
    listener = passed or bind(settings.listen)
    is_asked_for = f"{PREFIX}ADMIN_LISTEN" in environment
    admin = passed_admin or bind_admin(settings.admin_listen, is_asked_for=is_asked_for)
    if passed or (settings.listen.endswith(":0") and not settings.listen.startswith(UNIX)):
        environment[f"{PREFIX}LISTEN"] = url_of(listener).removeprefix("http://")
    return listener, admin


def take_passed(environment: MutableMapping[str, str]) -> tuple[socket.socket | None, socket.socket | None]:
    """Return the sockets that a service manager has passed to this process: the public listener, the admin listener.

    The admin listener is the socket with its name, otherwise the second one. Raise ConfigurationError for an unusable
    one.
    """
    told = {name: environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if told["LISTEN_PID"] != str(os.getpid()):
        return None, None
    count = int(told["LISTEN_FDS"]) if told["LISTEN_FDS"].isdecimal() else 0
    if count not in (1, 2):
        raise ConfigurationError(
            f"listen: LISTEN_FDS is {told['LISTEN_FDS']!r}; the gateway takes one socket, or two with the admin's"
        )
    sockets = [_take(descriptor) for descriptor in range(FIRST_PASSED, FIRST_PASSED + count)]
    names = told["LISTEN_FDNAMES"].split(":")
    if count == 2 and names[0] == ADMIN_NAME:
        sockets.reverse()
    if count == 1 and names == [ADMIN_NAME]:
        return None, sockets[0]
    return sockets[0], sockets[1] if count == 2 else None


def _take(descriptor: int) -> socket.socket:
    try:
        passed = socket.socket(fileno=descriptor)
        if passed.type == socket.SOCK_STREAM and passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return passed
    except OSError as error:
        raise ConfigurationError(f"listen: descriptor {descriptor} was passed and is no socket: {error}") from error
    raise ConfigurationError(f"listen: the socket {descriptor} that was passed does not listen for connections")


def bind_admin(listen: str, *, is_asked_for: bool) -> socket.socket | None:
    """Return the admin listener's socket, or None without an address, or if the default address is in use."""
    if not listen:
        return None
    try:
        listener = bind(listen)
    except ConfigurationError as error:
        if is_asked_for:
            raise
        logger.warning("no developer page: %s; --admin-listen names another address", error)
        return None
    listener.listen()  # connections before its process is up wait for it, and are not refused
    return listener


def bind(listen: str) -> socket.socket:
    """Return a socket that is bound to HOST:PORT, to :PORT of both families, or to unix:/PATH.

    Raise ConfigurationError if this machine cannot listen there.
    """
    try:
        if listen.startswith(UNIX):
            listener = _bind_path(Path(listen.removeprefix(UNIX)))
        else:
            listener = _bind(*parse_listen(listen))
    except OSError as error:
        raise ConfigurationError(f"listen: cannot listen on {listen}: {error.strerror or error}") from error
    listener.set_inheritable(True)
    return listener


def url_of(listener: socket.socket) -> str:
    """Return the URL of the address that the socket is bound to, or unix: and its path."""
    if listener.family == socket.AF_UNIX:
        return f"{UNIX}{listener.getsockname()}"
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    if not host:
        try:
            return _bind_to(socket.AF_INET6, ("::", port))
        except OSError as error:
            if error.errno not in NO_IPV6:
                raise
    return _bind_to(socket.AF_INET6 if ":" in host else socket.AF_INET, (host or "0.0.0.0", port))  # noqa: S104 - `:8080` asks for all interfaces


def _bind_to(family: socket.AddressFamily, address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if address[0] == "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _bind_path(path: Path) -> socket.socket:
    """Bind to a path. The folder's permissions decide who may connect, as a proxy in front runs as another user."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_left_over(path):
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o666)
    except OSError:
        listener.close()
        raise
    return listener


def _is_left_over(path: Path) -> bool:
    """Return whether a socket exists that nothing listens on: a killed gateway leaves it."""
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED
