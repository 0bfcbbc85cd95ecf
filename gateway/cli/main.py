"""The `gateway` command line, put together from the groups beside this file."""

import logging
import sys

import click

from gateway import __version__
from gateway.cli.audit import audit
from gateway.cli.cache import cache
from gateway.cli.demo.story import demo
from gateway.cli.init import init
from gateway.cli.owner.group import owner
from gateway.cli.policy import policy
from gateway.cli.serve import serve
from gateway.cli.token.group import token
from gateway.core.errors import GatewayError


@click.group()
@click.version_option(__version__, prog_name="gateway")
def commands() -> None:
    """API tokens, quotas and cached exports in front of existing backends."""


for command in (init, serve, token, owner, policy, cache, audit, demo):
    commands.add_command(command)


def main() -> None:
    """The command line; what is wrong is said on standard error, one `place: message` a line, exit code 2."""
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # errors are said once, below; `serve` sets up more
    try:
        commands(standalone_mode=True)
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(2)
