"""`gateway token`, put together from the files beside this one."""

import click

from gateway.cli.token.changing import update
from gateway.cli.token.creating import create
from gateway.cli.token.listing import list_tokens, show
from gateway.cli.token.revoking import revoke


@click.group()
def token() -> None:
    """Mint, list, change and revoke tokens."""


for command in (create, list_tokens, show, update, revoke):
    token.add_command(command)
