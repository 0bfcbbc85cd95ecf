"""`gateway token`, put together from the files beside this one."""

import click

from gateway.cli.token.changing import update
from gateway.cli.token.creating import create, import_token
from gateway.cli.token.explaining import explain
from gateway.cli.token.listing import list_tokens, show
from gateway.cli.token.overriding import override
from gateway.cli.token.revoking import revoke
from gateway.cli.token.rotating import rotate


@click.group()
def token() -> None:
    """Mint, list, change, rotate and revoke tokens."""


for command in (create, import_token, list_tokens, show, update, override, rotate, revoke, explain):
    token.add_command(command)
