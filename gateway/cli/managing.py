"""Tokens, owners and policies, as a command's options name them."""

from collections.abc import Awaitable, Callable
from functools import cached_property
from pathlib import Path

from gateway.adapters.redis_connection import RedisConnection
from gateway.adapters.redis_tokens import RedisTokens
from gateway.cli.connecting import Answer, with_connection
from gateway.core.errors import ConfigurationError
from gateway.core.policies.rules import PolicySet
from gateway.management import Management
from gateway.management.building import build_management


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
