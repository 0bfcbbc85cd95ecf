"""What the gateway changes inside redis-py's asyncio connections: the only file that uses a private name of redis-py.

Rule: nothing here is needed to answer a request. If redis-py no longer has the name, `take_over` returns None and
commands go through redis-py's public methods, which costs more CPU (measured: ARCHITECTURE.md) and nothing else.
"""

import asyncio
import logging
from typing import Any, cast

import hiredis

TRIED_WITH = ("7.0.0", "7.1.1", "7.4.0", "8.0.1", "8.1.0")
"""Versions of redis-py in which `take_over` was seen to work. pyproject.toml allows no other major version."""

TRANSPORT_METHODS = ("write", "abort", "get_protocol", "set_protocol")

logger = logging.getLogger(__name__)


class NetworkConnection:
    """Marks the connections that `packing` makes. The embedded store's are never of this class."""


def packing(connection_class: type[Any]) -> type[Any]:
    """Return the same kind of connection, whose commands hiredis packs: redis-py packs each argument in Python."""

    class PackingConnection(NetworkConnection, connection_class):  # type: ignore[misc]  # the URL's scheme chooses it
        def pack_command(self, name: str, *arguments: bytes | str | float) -> list[bytes]:
            words = name.split()  # SCRIPT LOAD is two
            return [hiredis.pack_command((*words, *arguments))]  # type: ignore[arg-type]  # its stub says a tuple of one

    return PackingConnection


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
