"""Options that several commands share, each also a variable of the environment."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import click

from gateway.adapters.policy_files import read_policies
from gateway.adapters.redis_connection import EMBEDDED, RedisConnection, open_client
from gateway.adapters.redis_tokens import RedisTokens
from gateway.core.errors import ConfigurationError
from gateway.core.policies.rules import PolicySet
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
