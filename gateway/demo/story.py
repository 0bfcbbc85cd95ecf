"""`gateway demo`: the gateway in front of an example backend, told as a short story; then it keeps running."""

import sys

import click
import uvloop

from gateway.demo.extras import require

INTERRUPTED = 130
"""The exit code of a command that was stopped before its end, by the convention of shells."""


@click.command()
@click.option("--once", is_flag=True, help="Stop after the story, with exit code 0 if every step worked, 1 otherwise.")
@click.option(
    "--listen",
    "address",
    envvar="GATEWAY_LISTEN",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the gateway listens. If the port is in use, the gateway takes a free one.",
)
@click.option(
    "--store",
    envvar="GATEWAY_DEMO_STORE",
    type=click.Choice(["auto", "redis", "memory"]),
    default="auto",
    show_default=True,
    help="redis: a redis-server of its own; memory: the embedded store; auto: redis if it starts, else memory.",
)
def demo(once: bool, address: str, store: str) -> None:
    """Show the gateway at work: mint a token, pull an export, reach a limit, revoke the token.

    Starts an example backend, a store and the gateway on this machine, and prints the command that repeats each step.
    Ctrl+C stops everything.
    """
    require("The example backend", "babel")
    # Imported here: the other commands need neither Babel nor a server, and this one checks for Babel first.
    from gateway.demo.performance import perform  # noqa: PLC0415 - after the check above
    from gateway.demo.steps import StepFailed  # noqa: PLC0415 - after the check above

    try:
        is_complete = uvloop.run(perform(address, store, once=once))
    except StepFailed as failure:
        click.echo(f"\ngateway: demo: {failure}", err=True)
        click.echo("The demo has stopped. This should not happen: please report it, with all of the above.", err=True)
        sys.exit(1)
    if once and not is_complete:
        sys.exit(INTERRUPTED)
