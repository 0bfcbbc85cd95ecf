"""Options that several commands share, each also a variable of the environment."""

import asyncio
import getpass
import os
from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import click

from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis_connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from gateway.app import build_management
from gateway.core.audit import Actor
from gateway.core.errors import ConfigurationError
from gateway.core.policies.rules import PolicySet
from gateway.management import Management
from gateway.settings import NO_REDIS

COMMAND_TIMEOUT_SECONDS = 5.0
"""A person waits longer for Redis than a request may."""

Answer = TypeVar("Answer")

redis_option = click.option("--redis", "redis_url", envvar="GATEWAY_REDIS_URL", help="URL of the store.")
policies_option = click.option(
    "--policies", envvar="GATEWAY_POLICIES", default="policies", show_default=True, help="Folder of the policy files."
)
pepper_option = click.option("--pepper", envvar="GATEWAY_TOKEN_PEPPER", default="", hidden=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load_policies(folder: str) -> PolicySet:
    """The policies in the folder; ConfigurationError with all mistakes."""
    return read_policies(Path(folder), {})


class PolicyFolder:
    """The policies in a folder, read when they are first asked for: most commands ask for none."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    @cached_property
    def current(self) -> PolicySet:
        """All of them; ConfigurationError with all mistakes."""
        return load_policies(self._folder)


def operator() -> Actor:
    """Who calls the command: the login name, or the user's number where it has none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return Actor(name, "operator")


def with_management(
    redis_url: str | None, work: Callable[[Management], Awaitable[Answer]], policies: str = "", pepper: str = ""
) -> Answer:
    """Runs `work` on tokens and owners in the Redis at the URL, under the policies of a folder, and closes it."""

    def build(connection: RedisConnection) -> Management:
        return build_management(connection, RedisTokens(connection), PolicyFolder(policies), pepper)

    return with_connection(redis_url, lambda connection: work(build(connection)))


def with_tokens(redis_url: str | None, work: Callable[[RedisTokens], Awaitable[Answer]]) -> Answer:
    """Runs `work` on the token records of the Redis at the URL, and closes it."""
    return with_connection(redis_url, lambda connection: work(RedisTokens(connection)))


def with_connection(redis_url: str | None, work: Callable[[RedisConnection], Awaitable[Answer]]) -> Answer:
    """Runs `work` on the Redis at the URL, and closes it."""
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
