"""Commands to Redis packed in C: redis-py's asyncio connections do it in Python, argument by argument."""

from typing import Any

import hiredis


def packing(connection_class: type[Any]) -> type[Any]:
    """The same kind of connection, whose commands hiredis packs: their arguments are texts, bytes and numbers."""

    class PackingConnection(connection_class):  # type: ignore[misc]  # its base is what the URL's scheme asks for
        def pack_command(self, name: str, *arguments: bytes | str | float) -> list[bytes]:
            words = name.split()  # SCRIPT LOAD is two
            return [hiredis.pack_command((*words, *arguments))]  # type: ignore[arg-type]  # its stub says a tuple of one

    return PackingConnection
