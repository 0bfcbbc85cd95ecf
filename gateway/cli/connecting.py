"""The Redis, the actor, the tokens, owners and policies of a command, as its options name them."""

import asyncio
import getpass
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.core.errors import ConfigurationError
from gateway.core.policies.model import PolicySet
from gateway.core.tokens.audit import Actor
from gateway.management import Management
from gateway.management.building import build_management
from gateway.settings import NO_REDIS, read_sentinel_password

COMMAND_TIMEOUT_SECONDS = 5.0
"""The timeout of a command: a person waits longer for Redis than a request may."""

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


def operator() -> Actor:
    """Return the actor of the command: the login name, or the user's number if it has none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return Actor(name, "operator")


def awaited(work: Callable[Parameters, Coroutine[Any, Any, Answer]]) -> Callable[Parameters, Answer]:
    """Return a function that runs the coroutine to its end, as click calls a command: the innermost decorator."""

    @wraps(work)
    def run(*arguments: Parameters.args, **options: Parameters.kwargs) -> Answer:
        return asyncio.run(work(*arguments, **options))

    return run


@asynccontextmanager
async def open_connection(redis_url: str | None) -> AsyncIterator[RedisConnection]:
    """Yield a connection to the Redis at the URL, closed at the end. Raise ConfigurationError for an invalid URL."""
    if not redis_url:
        raise ConfigurationError(NO_REDIS)
    if redis_url == EMBEDDED:
        raise ConfigurationError("redis: the embedded store lives inside `gateway serve`; name a real Redis here")
    client = open_client(redis_url, COMMAND_TIMEOUT_SECONDS, read_sentinel_password())
    connection = RedisConnection(client, COMMAND_TIMEOUT_SECONDS)
    try:
        yield connection
    finally:
        await connection.close()


def load_policies(folder: str) -> PolicySet:
    """Return the policies in the folder. Raise ConfigurationError with all mistakes."""
    from gateway.adapters.policy_files import read_policies  # noqa: PLC0415 - most commands read no policies

    return read_policies(Path(folder), {})


class PolicyFolder:
    """The policies in a folder, read at their first use: most commands need none.

    Without a folder there are none: this is for commands that change nothing which a policy decides.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @cached_property
    def current(self) -> PolicySet:
        """All policies; raises ConfigurationError with all mistakes."""
        return load_policies(self._folder) if self._folder else PolicySet({}, {})


class NamesInFolder(PolicyFolder):
    """The policies for commands that only need their names, and work without the files."""

    @cached_property
    def current(self) -> PolicySet:
        """All policies; none if they cannot be read."""
        try:
            return load_policies(self._folder)
        except ConfigurationError:
            return PolicySet({}, {})


@asynccontextmanager
async def open_management(redis_url: str | None, policies: PolicyFolder, pepper: str = "") -> AsyncIterator[Management]:
    """Yield the Management of the Redis at the URL, under these policies."""
    async with open_connection(redis_url) as connection:
        yield build_management(connection, policies, pepper)
