"""From the first line of the demo to its end, or to the signal that ends it."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

import click

from gateway.cli.demo.stage import Stage, open_stage
from gateway.cli.demo.steps import BEARER, EXPORT, OWNER, Story
from gateway.cli.demo.transcript import show_command, show_line, show_pairs
from gateway.core.administration import TokenRequest
from gateway.core.records import TokenRecord
from gateway.core.tokens import token_id

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def perform(address: str, store: str, *, once: bool) -> bool:
    """Tells the story, then ends (`once`) or stays up until a signal. Whether the story came to its end.

    StepFailed where it went otherwise, ConfigurationError where the stage cannot be opened.
    """
    stopped = asyncio.Event()
    for number in ENDING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_stage(address, store) as stage:
        show_stage(stage)
        story = Story(stage)
        is_complete = await finishes(story.tell(), stopped)
        if is_complete and once:
            show_once_ending(stage)
        elif is_complete:
            await show_ending(stage, story.record)
            await stopped.wait()
    if not once:
        click.echo("\nThe demo has ended; nothing of it is left running.")
    return is_complete


async def finishes(work: Coroutine[Any, Any, None], stopped: asyncio.Event) -> bool:
    """Whether `work` came to its end before the demo was stopped; its exceptions are raised here."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    is_finished = working.done()
    for task in (working, stopping):
        task.cancel()
    await asyncio.wait({working, stopping})
    if is_finished:
        working.result()
    return is_finished


def show_stage(stage: Stage) -> None:
    """What is running, where, and the shell variable that the commands use."""
    store = f"redis-server, {stage.redis_url}" if stage.has_redis else "embedded: in this process, nothing kept"
    click.echo(click.style("The token gateway, in front of an example backend that knows no tokens", bold=True) + "\n")
    show_pairs([("gateway", stage.gateway_url), ("backend", stage.backend_url), ("store", store)])
    if stage.moved_from:
        show_line(f"{stage.moved_from} is taken, so the gateway is on another port.")
    show_line(f"EXPORT={stage.gateway_url}{EXPORT}")


def show_once_ending(stage: Stage) -> None:
    """What to do next, after a story that ends."""
    click.echo("\nEvery step went as told. Without --once the demo stays up, to be looked at and played with.")
    if stage.has_redis:
        show_command(f"gateway token list --redis {stage.redis_url}")


async def show_ending(stage: Stage, told: TokenRecord) -> None:
    """A second token to go on with, the state of both, and how to look around from another terminal."""
    text, record = await stage.mint(TokenRequest(name="yours", owner=OWNER, scopes=("write",)))
    click.echo(
        "\n" + click.style("Every step went as told. Here is a token for you, with the scope `write`", bold=True)
    )
    show_line(f"TOKEN={text}")
    show_line(f"EXPORT={stage.gateway_url}{EXPORT}")
    show_command(f"curl -i {BEARER} $EXPORT")
    click.echo("")
    for each in (told, record):
        show_line(f"{each.name:<8}{token_id(each.digest)}  {await stage.state(each)}")
    if stage.has_redis:
        show_command(f"gateway token list --redis {stage.redis_url}")
        show_command(f"gateway token revoke {token_id(record.digest)} --redis {stage.redis_url}")
    click.echo("")
    show_pairs(
        [
            ("gateway", stage.gateway_url),
            ("backend", stage.backend_url),
            ("page", f"{stage.page_url} (sign in with {await stage.mint_admin()})"),
            ("policy", f"{stage.policies / 'policy.toml'} (edit it: the gateway follows)"),
        ]
    )
    click.echo("\nCtrl+C ends all of it.")
