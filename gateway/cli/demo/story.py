"""`gateway demo`: the gateway in front of an example backend, told as a short story and then left to play with."""

import sys
from importlib.util import find_spec

import click
import uvloop

from gateway.core.errors import ConfigurationError

EXTRA = "pip install 'token-gateway[demo]'"
INTERRUPTED = 130
"""The exit code of a command that was stopped before its end, as shells have it."""


@click.command()
@click.option("--once", is_flag=True, help="End after the story: exit code 0 if every step went as told, 1 otherwise.")
@click.option(
    "--listen",
    "address",
    envvar="GATEWAY_LISTEN",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the gateway listens; on a free port where this one is taken.",
)
@click.option(
    "--store",
    envvar="GATEWAY_DEMO_STORE",
    type=click.Choice(["auto", "redis", "memory"]),
    default="auto",
    show_default=True,
    help="redis: a redis-server of its own; memory: the embedded store; auto: the first where it is installed.",
)
def demo(once: bool, address: str, store: str) -> None:
    """Show the gateway at work: a token, an export, a limit, a revocation, each with the curl line to repeat it.

    Starts an example backend, a store and the gateway on this machine, and ends them with Ctrl+C.
    """
    check_extra("babel", "the example backend's translations come from Babel")
    if store == "memory":
        check_extra("fakeredis", "the embedded store is fakeredis")
    # Imported here: the other commands need neither Babel nor a server, and this one checks for them first.
    from gateway.cli.demo.performance import perform  # noqa: PLC0415 - after the check above
    from gateway.cli.demo.steps import StepFailed  # noqa: PLC0415 - after the check above

    try:
        is_complete = uvloop.run(perform(address, store, once=once))
    except StepFailed as failure:
        click.echo(f"gateway: demo: {failure}", err=True)
        sys.exit(1)
    if once and not is_complete:
        sys.exit(INTERRUPTED)


def check_extra(module: str, what_for: str) -> None:
    """ConfigurationError, with the command that helps, where the module is not installed."""
    if find_spec(module) is None:
        raise ConfigurationError(f"demo: {what_for}, which is not installed here: {EXTRA}")
