"""`gateway policy`: it checks policy files with the server's own loader, and prints their schema."""

import json
import sys
from pathlib import Path

import click
import msgspec

from gateway.adapters.policy_files import read_policies
from gateway.cli.common import json_option, policies_option, redis_option
from gateway.core.errors import ConfigurationError
from gateway.core.own_addresses import DEFAULT_PREFIX, parse_prefix
from gateway.core.policies.compile_variants import SCHEMAS
from gateway.core.policies.schema import PolicyDocument
from gateway.core.variants.model import DocumentKind


@click.command()
@click.argument("path", required=False)
@policies_option
@click.option(
    "--own-prefix",
    envvar="GATEWAY_OWN_PREFIX",
    default=DEFAULT_PREFIX,
    show_default=True,
    help="Path of the gateway's own addresses.",
)
def check(path: str | None, policies: str, own_prefix: str) -> None:
    """Find every mistake of the policy files, and run their tests.

    PATH is a file or a folder; without it the folder of --policies is checked. Exit code 1 if there is a mistake.
    """
    try:
        own = parse_prefix(own_prefix)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--own-prefix") from error
    try:
        found = read_policies(Path(path or policies), {}, own=own)
    except ConfigurationError as error:
        for mistake in error.mistakes:
            click.echo(mistake, err=True)
        click.echo(f"{len(error.mistakes)} mistake(s)", err=True)
        sys.exit(1)
    for name, checked in sorted(found.policies.items()):
        click.echo(f"{name}: {checked.rule_count} rules, {checked.test_count} tests passed")


@click.command()
@redis_option
@json_option
def versions(redis_url: str | None, as_json: bool) -> None:
    """Show which versions of each policy are served, and by whom. Exit code 1 if a policy has more than one."""
    from gateway.adapters.policy_versions import RedisVersions  # noqa: PLC0415 - checking files needs no Redis
    from gateway.cli.connecting import awaited, open_connection  # noqa: PLC0415

    @awaited
    async def find() -> dict[str, dict[str, list[str]]]:
        async with open_connection(redis_url) as connection:
            return await RedisVersions(connection).find()

    served = find()
    if as_json:
        click.echo(json.dumps(served, indent=2))
    for name, processes in served.items() if not as_json else ():
        for version, those in processes.items():
            click.echo(f"{name}  {version}  {', '.join(those)}")
    if not served:
        click.echo("no gateway runs on this Redis", err=True)
    sys.exit(1 if any(len(processes) > 1 for processes in served.values()) else 0)


@click.command()
@click.option("--document", type=click.Choice(list(SCHEMAS)), help="Of the documents that variants are made of.")
def schema(document: DocumentKind | None) -> None:
    """Print the JSON Schema of policy files, for editors; or that of a kind of document, for backends."""
    click.echo(json.dumps(build_schema(document), indent=2))


def build_schema(document: DocumentKind | None = None) -> dict[str, object]:
    """Build the JSON Schema (2020-12) of a policy file, or of a document by our own names of its fields."""
    described = PolicyDocument if document is None else SCHEMAS[document]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policy of the token gateway" if document is None else f"Document of {document}",
        **msgspec.json.schema(described),
    }
