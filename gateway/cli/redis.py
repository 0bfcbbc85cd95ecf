"""`gateway redis`: whether a Redis keeps what the gateway must not lose, and that an empty one is intended."""

import json
import sys

import click
import msgspec

from gateway.adapters.redis import keys
from gateway.adapters.redis.connection import RedisConnection
from gateway.adapters.redis.readiness import RedisReadiness, read_store_facts
from gateway.cli.common import json_option, redis_option
from gateway.cli.connecting import awaited, open_connection
from gateway.core.durability import StoreFacts, StoreReport, promise_of


@click.group()
def redis() -> None:
    """Check a Redis, or say that an empty one is meant."""


@redis.command()
@redis_option
@json_option
@awaited
async def check(redis_url: str | None, as_json: bool) -> None:
    """Say what Redis' settings mean for tokens, and what to set. Exit code 1 if the gateway could not serve on it."""
    async with open_connection(redis_url) as connection:
        report = await read_report(connection)
    click.echo(json.dumps(msgspec.to_builtins(report)) if as_json else "\n".join(report.lines()))
    sys.exit(1 if report.failures else 0)


@redis.command()
@redis_option
@awaited
async def init(redis_url: str | None) -> None:
    """Say that a Redis without tokens is meant to be empty: unknown tokens are 401 then, and no longer 503."""
    async with open_connection(redis_url) as connection:
        is_new = await mark(connection)
    click.echo("Marked: this store is meant to be empty." if is_new else "Nothing to do: this store has its marker.")


async def mark(connection: RedisConnection) -> bool:
    """Write the marker that a first token would write. Return False if it exists already."""
    return bool(await connection.run(lambda client: client.set(keys.marker(), "1", nx=True)))


async def read_report(connection: RedisConnection) -> StoreReport:
    """Return everything that is known of a Redis. Raise StoreUnavailable if it does not answer."""
    readiness = await RedisReadiness(connection).check()
    facts: StoreFacts | None = await read_store_facts(connection)
    return StoreReport(
        version=facts.version if facts else "unknown",
        promise=promise_of(facts) if facts else "This Redis does not tell its settings.",
        failures=readiness.failures,
        warnings=readiness.warnings,
    )
