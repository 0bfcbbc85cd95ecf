"""The `gateway` command line. A command is imported when it is used: see lazy.py."""

import gc
import logging
import sys

import click

from gateway import __version__
from gateway.cli.common import mask_errors
from gateway.cli.lazy import LazyGroup, Listed
from gateway.core.errors import ChangeRefused, GatewayError

COMMANDS = {
    "init": Listed(
        "gateway.cli.init:init", "Write a small policy, explained line by line, into FOLDER (default: policies)."
    ),
    "serve": Listed(
        "gateway.cli.serve:serve",
        "Serve requests until stopped (SIGTERM, Ctrl+C), then let those under way end.",
    ),
    "token": Listed("gateway.cli.token:token", "Mint, list, change, rotate and revoke tokens."),
    "owner": Listed("gateway.cli.owner:owner", "Say what the owners of tokens may do, and block or remove them."),
    "policy": Listed("gateway.cli.policy:policy", "Work with policy files."),
    "cache": Listed("gateway.cli.cache:cache", "Work with stored exports."),
    "audit": Listed("gateway.cli.audit:audit", "See the history of changes."),
    "redis": Listed("gateway.cli.redis:redis", "Check a Redis, or say that an empty one is meant."),
    "demo": Listed(
        "gateway.demo.story:demo",
        "Show the gateway at work: mint a token, pull an export, reach a limit, revoke the token.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS)
@click.version_option(__version__, prog_name="gateway")
def commands() -> None:
    """API tokens, quotas and cached exports in front of existing backends."""


def main() -> None:
    """Run the command line. What is wrong is printed to standard error, one `place: message` a line, without tokens.

    The exit code is 1 if the command was refused: there is no such thing, or it may not be done. Else it is 2.
    """
    mask_errors()
    logging.getLogger("gateway").addHandler(logging.NullHandler())  # errors are said once, below; `serve` sets up more
    try:
        commands(standalone_mode=True)
    except GatewayError as error:
        print(f"gateway: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, ChangeRefused) else 2)
    finally:
        gc.freeze()  # Python would search all modules for garbage before it exits: a fifth of a short command's time
