"""Access to the inside of redis-py's asyncio connections: the only file that uses a private name of redis-py.

Rule: nothing here is needed to answer a request. If redis-py no longer has a name, `take_over` returns None and
commands go through redis-py's public methods, which costs more CPU (docs/decisions/0018), and a reset is found by the
command that meets it.
"""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, cast

import hiredis
import redis.exceptions

TRIED_WITH = ("7.2.0", "7.4.0", "8.0.1", "8.1.0")
"""Versions of redis-py in which `take_over` was seen to work. pyproject.toml allows no other major version."""

TRANSPORT_METHODS = ("write", "abort", "get_protocol", "set_protocol")

logger = logging.getLogger(__name__)


class NetworkConnection:
    """The base of the connections that `over_network` makes. The embedded store's are never of this class.

    A connection that was opened in an earlier `era` of its client may lead to a server that is no master any more, or
    to nobody: it is opened again before it is used.
    """

    era = 0
    """The era of all connections of a client; `retire_connections` begins the next one."""
    opened_in = 0


def over_network(connection_class: type[Any]) -> type[Any]:
    """Return the same kind of connection, with cheaper packing and one exception for every broken transport.

    hiredis packs its commands; redis-py does it in Python, argument by argument. uvloop raises RuntimeError if a
    transport is used that it has closed, where asyncio raises OSError: here both are redis-py's ConnectionError. An
    idle connection that has failed meanwhile is opened again before it is used.
    """

    class Connection(NetworkConnection, connection_class):  # type: ignore[misc]  # the URL's scheme chooses it
        def pack_command(self, name: str, *arguments: bytes | str | float) -> list[bytes]:
            words = name.split()  # SCRIPT LOAD is two
            return [hiredis.pack_command((*words, *arguments))]  # type: ignore[arg-type]  # its stub says a tuple of one

        async def connect(self) -> None:
            if has_failed(self) or is_retired(self):
                await self.disconnect(nowait=True)
            self.opened_in = type(self).era
            with _translated():
                await super().connect()

        async def disconnect(self, *arguments: Any, **options: Any) -> None:
            with suppress(RuntimeError):  # uvloop: it is closed already, as intended
                await super().disconnect(*arguments, **options)

        async def send_packed_command(self, *arguments: Any, **options: Any) -> None:
            with _translated():
                await super().send_packed_command(*arguments, **options)

        async def read_response(self, *arguments: Any, **options: Any) -> Any:
            with _translated():
                return await super().read_response(*arguments, **options)

    return Connection


def retire_connections(client: Any) -> None:
    """Let none of the client's open connections run another command: each is opened again, which resolves the name."""
    connection_class = client.connection_pool.connection_class
    if isinstance(connection_class, type) and issubclass(connection_class, NetworkConnection):
        connection_class.era += 1


def is_retired(connection: Any) -> bool:
    """Return whether a connection is of an earlier era of its client."""
    return isinstance(connection, NetworkConnection) and connection.opened_in != type(connection).era


def has_failed(connection: Any) -> bool:
    """Return whether the other end has reset an idle connection. redis-py looks for an orderly end (EOF) only."""
    reader = getattr(connection, "_reader", None)
    return isinstance(reader, asyncio.StreamReader) and reader.exception() is not None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise redis.exceptions.ConnectionError(f"the connection is closed ({error})") from error


def take_over(connection: Any) -> asyncio.Transport | None:
    """Return the transport of an open connection, or None if it is not the network's or redis-py has changed."""
    if not isinstance(connection, NetworkConnection):
        return None
    transport = getattr(getattr(connection, "_writer", None), "transport", None)
    if all(callable(getattr(transport, method, None)) for method in TRANSPORT_METHODS):
        return cast(asyncio.Transport, transport)
    logger.warning(
        "redis: this version of redis-py keeps its transport elsewhere, so admissions cost more CPU; "
        "install one of %s, or report this",
        ", ".join(TRIED_WITH),
    )
    return None
