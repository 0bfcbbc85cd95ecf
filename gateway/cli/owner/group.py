"""`gateway owner`, put together from the files beside this one."""

import click

from gateway.cli.owner.changing import remove, set_owner
from gateway.cli.owner.listing import list_owners, show


@click.group()
def owner() -> None:
    """Say what the owners of tokens may do, and block or remove them."""


for command in (set_owner, show, remove, list_owners):
    owner.add_command(command)
