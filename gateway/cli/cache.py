"""`gateway cache`: it purges stored exports, on every worker and node with the next request."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import click

from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import RedisConnection, open_client
from gateway.adapters.redis.exports import RedisExports
from gateway.cli.common import exports_redis_option, json_option, policies_option, redis_option
from gateway.cli.connecting import COMMAND_TIMEOUT_SECONDS, NamesInFolder, awaited, open_connection, operator
from gateway.core.cache.invalidation import Purge, find_groups
from gateway.core.errors import ChangeRefused
from gateway.management.building import build_management
from gateway.management.purging import purge as end_exports
from gateway.settings import read_sentinel_password


@click.group()
def cache() -> None:
    """Work with stored exports."""


@cache.command()
@click.option("--policy", "policy_name", required=True, metavar="NAME", help="The policy whose exports are meant.")
@click.option("--url", help="Everything that is stored for a URL, such as http://app.example/api/export?lang=de.")
@click.option("--group", help="A group that a rule or the backend has named, such as tokenset-17.")
@click.option("--project", metavar="ID", help="All that is shared by a project.")
@click.option("--owner", metavar="ID", help="All that is shared by an owner.")
@click.option("--token", metavar="ID", help="All that is stored for one token alone.")
@click.option("--all", "everything", is_flag=True, help="Everything of the policy.")
@policies_option
@redis_option
@exports_redis_option
@json_option
@awaited
async def purge(
    policy_name: str,
    url: str | None,
    group: str | None,
    project: str | None,
    owner: str | None,
    token: str | None,
    everything: bool,
    policies: str,
    redis_url: str | None,
    exports_redis_url: str,
    as_json: bool,
) -> None:
    """End stored exports: the next request for one asks the backend.

    Name one of --url, --group, --project, --owner, --token, --all. What is being fetched meanwhile is not stored. The
    history has who purged what, and how many exports have ended. What was never seen, and no rule could store, is an
    error.
    """
    named = {"url": url, "group": group, "project": project, "owner": owner, "token": token}
    if sum(map(bool, named.values())) + everything != 1:
        raise click.UsageError("name exactly one of --url, --group, --project, --owner, --token, --all")
    meant = Purge(everything=everything, **{name: text or "" for name, text in named.items()})
    try:
        find_groups(meant)
    except ChangeRefused as error:
        raise click.UsageError(str(error)) from error

    async with open_connection(redis_url) as connection:
        management = build_management(connection, NamesInFolder(policies), "")
        async with open_exports(connection, exports_redis_url) as exports:
            purged = await end_exports(management, exports, operator(), policy_name, meant)
    click.echo(json.dumps({"purged": purged}) if as_json else f"Purged {purged} stored export(s) of {policy_name}.")


@asynccontextmanager
async def open_exports(connection: RedisConnection, exports_url: str) -> AsyncIterator[RedisExports]:
    """Yield the exports in the open Redis, or in their own if a URL is given."""
    if not exports_url:
        yield RedisExports(connection, 0)
        return
    own = RedisConnection(
        open_client(exports_url, COMMAND_TIMEOUT_SECONDS, read_sentinel_password()), COMMAND_TIMEOUT_SECONDS
    )
    try:
        yield RedisExports(own, 0, history=RedisAudit(connection))
    finally:
        await own.close()
