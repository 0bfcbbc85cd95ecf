"""The demo's store: a redis-server of its own, or the embedded store, which no other process can reach."""

import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec

from gateway.adapters.redis.connection import EMBEDDED
from gateway.core.errors import ConfigurationError
from gateway.demo.extras import require
from gateway.demo.temporary_redis import run_redis


class Store(msgspec.Struct, frozen=True):
    """The store of the gateway's tokens."""

    url: str
    description: str
    """Its description for the person who reads the story."""

    @property
    def is_embedded(self) -> bool:
        """Whether other commands cannot reach it."""
        return self.url == EMBEDDED


async def open_store(stack: AsyncExitStack, choice: str, folder: Path) -> Store:
    """Return the store of choice (auto, redis or memory); what it started stops with the stack.

    `auto` takes the embedded store if redis-server is missing or does not start. Raise ConfigurationError if `redis`
    does not start, or if the embedded store is not installed.
    """
    executable = None if choice == "memory" else shutil.which("redis-server")
    reason = "" if choice == "memory" else ": redis-server is not on the PATH"
    if executable is None and choice == "redis":
        raise ConfigurationError("demo: redis-server is not on the PATH; install Redis, or use --store memory")
    if executable is not None:
        try:
            url = await stack.enter_async_context(run_redis(executable, folder))
            return Store(url, f"redis-server at {url}")
        except ConfigurationError as error:
            if choice == "redis":
                raise ConfigurationError(f"{error.mistakes[0]}; try --store memory", *error.mistakes[1:]) from error
            reason = f": {error.mistakes[0].removeprefix('redis: ')}"
    require("The embedded store", "fakeredis", "lupa")
    return Store(EMBEDDED, f"embedded in this process{reason}")
