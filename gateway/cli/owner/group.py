"""`gateway owner`: its commands stand in the files beside this one."""

import click

from gateway.cli.lazy import LazyGroup, Listed

COMMANDS = {
    "set": Listed(
        "gateway.cli.owner.changing:set_owner",
        "Say what an owner may do, and its plan; it acts on the next request of each of its tokens.",
    ),
    "show": Listed("gateway.cli.owner.listing:show", "Show what an owner may do, and how many tokens it has."),
    "remove": Listed(
        "gateway.cli.owner.changing:remove",
        "Refuse all tokens of an owner until it is set again; `token revoke --owner` ends them for good.",
    ),
    "list": Listed(
        "gateway.cli.owner.listing:list_owners",
        "List a policy's owners that have a record. Those without one are names only, and bound nothing.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
def owner() -> None:
    """Say what the owners of tokens may do, and block or remove them."""
