"""The Redis that a command works on, and who calls the command.

Tokens, owners and policies, as a command's options name them.
"""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from gateway.adapters.redis.connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis.tokens import RedisTokens
from gateway.core.errors import ConfigurationError
from gateway.core.policies.model import PolicySet
from gateway.core.tokens.audit import Actor
from gateway.management import Management
from gateway.management.building import build_management
from gateway.settings import NO_REDIS

COMMAND_TIMEOUT_SECONDS = 5.0
"""A person waits longer for Redis than a request may."""

Answer = TypeVar("Answer")


def operator() -> Actor:
    """Return who calls the command: the login name, or the user's number if it has none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return Actor(name, "operator")


def with_connection(redis_url: str | None, work: Callable[[RedisConnection], Awaitable[Answer]]) -> Answer:
    """Run `work` on the Redis at the URL, and close the connection."""
    if not redis_url:
        raise ConfigurationError(NO_REDIS)
    if redis_url == EMBEDDED:
        raise ConfigurationError("redis: the embedded store lives inside `gateway serve`; name a real Redis here")

    async def run() -> Answer:
        connection = RedisConnection(open_client(redis_url, COMMAND_TIMEOUT_SECONDS), COMMAND_TIMEOUT_SECONDS)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


def load_policies(folder: str) -> PolicySet:
    """Return the policies in the folder; ConfigurationError has all mistakes."""
    from gateway.adapters.policy_files import read_policies  # noqa: PLC0415 - most commands read no policies

    return read_policies(Path(folder), {})


class PolicyFolder:
    """The policies in a folder, read when they are first asked for: most commands ask for none."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @cached_property
    def current(self) -> PolicySet:
        """All of them; ConfigurationError has all mistakes."""
        return load_policies(self._folder)


class NamesInFolder(PolicyFolder):
    """The same for commands that only need to know which policies there are, and work without the files."""

    @cached_property
    def current(self) -> PolicySet:
        """All of them; none where they cannot be read."""
        try:
            return load_policies(self._folder)
        except ConfigurationError:
            return PolicySet({}, {})


class NoPolicies(PolicyFolder):
    """For commands that change nothing which a policy has a say in."""

    current = PolicySet({}, {})


def with_management(
    redis_url: str | None, work: Callable[[Management], Awaitable[Answer]], policies: str = "", pepper: str = ""
) -> Answer:
    """Run `work` on tokens and owners in the Redis at the URL, under the policies of a folder."""
    return with_policies(redis_url, work, PolicyFolder(policies) if policies else NoPolicies(""), pepper)


def with_policies(
    redis_url: str | None, work: Callable[[Management], Awaitable[Answer]], policies: PolicyFolder, pepper: str = ""
) -> Answer:
    """Run `work` on tokens and owners in the Redis at the URL, under these policies."""

    def build(connection: RedisConnection) -> Management:
        return build_management(connection, policies, pepper)

    return with_connection(redis_url, lambda connection: work(build(connection)))


def with_tokens(redis_url: str | None, work: Callable[[RedisTokens], Awaitable[Answer]]) -> Answer:
    """Run `work` on the token records of the Redis at the URL."""
    return with_connection(redis_url, lambda connection: work(RedisTokens(connection)))
