"""The course of the demo, from its first line to its last."""

import asyncio
import shlex
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from gateway.demo.stage import POLICY, Stage, open_stage
from gateway.demo.steps import EXPORT, MANAGEMENT, Story
from gateway.demo.transcript import show_command, show_heading, show_line, show_lines, show_pairs

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTRODUCTION = """\
Each step shows a command and the gateway's answer. You can repeat the steps in
another terminal while the demo runs. Paste these lines there first:"""
INTRODUCTION_ONCE = """\
Each step shows a command and the gateway's answer. With --once, the demo stops
after the last step. Without --once, it keeps running, and prints what EXPORT,
API and ADMIN are, so that you can repeat the steps in another terminal."""
REPEAT = """\
Repeat the steps: paste their commands into another terminal, in order. The
export is stored already, so step 3 may get it from the cache."""
ENDING_ONCE = """\
All steps worked. The demo has stopped; its servers and tokens are gone. To
repeat the steps yourself, run `make demo` or `gateway demo`: both run until
you press Ctrl+C."""
ENDING = "The demo has stopped. Nothing that it started is still running."


async def perform(address: str, store: str, *, once: bool) -> bool:
    """Tell the story, then stop (`once`) or keep running until a signal; return whether the story was told completely.

    Raise StepFailed if a step has another outcome, ConfigurationError if the stage cannot be opened.
    """
    stopped = asyncio.Event()
    for number in ENDING_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with open_stage(address, store) as stage:
        show_stage(stage, once=once)
        is_complete = await finishes(Story(stage).tell(), stopped)
        if is_complete and not once:
            show_what_next(stage)
            await stopped.wait()
    show_lines(ENDING_ONCE if is_complete and once else ENDING)
    return is_complete


async def finishes(work: Coroutine[Any, Any, None], stopped: asyncio.Event) -> bool:
    """Return whether `work` finished before the demo was stopped; raise what `work` raises."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stopped.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    is_finished = working.done()
    for task in (working, stopping):
        task.cancel()
    await asyncio.wait({working, stopping})
    if is_finished:
        working.result()
    return is_finished


def show_stage(stage: Stage, *, once: bool) -> None:
    """Print what is running, where, and the shell variables that the commands use while the demo runs."""
    click.echo(click.style("The token gateway, in front of a backend that knows no tokens", bold=True) + "\n")
    urls = {"gateway": stage.gateway_url, "admin": stage.admin_url, "backend": stage.backend_url}
    notes = {url: f" ({wanted} is in use)" for url, wanted in stage.in_use.items()}
    show_pairs([(name, url + notes.get(url, "")) for name, url in urls.items()])
    show_pairs([("store", stage.store.description)])
    if once:
        show_lines(INTRODUCTION_ONCE)
        return
    show_lines(INTRODUCTION)
    show_command(f"EXPORT={shlex.quote(stage.gateway_url + EXPORT)}")
    show_command(f"API={shlex.quote(stage.admin_url + MANAGEMENT)}")
    show_command(f"ADMIN={stage.admin_token}")


def show_what_next(stage: Stage) -> None:
    """Print what one can do while the demo runs."""
    show_heading("All steps worked. What you can do now:")
    show_lines(REPEAT)
    show_lines("Open the developer page, and sign in with the admin token:")
    show_line(stage.admin_url)
    show_line(stage.admin_token)
    show_lines("Edit the policy file. The gateway reloads it:")
    show_line(str(stage.policies / POLICY.name))
    if not stage.store.is_embedded:
        show_lines("Use the command line, on the demo's Redis:")
        show_command(f"export GATEWAY_REDIS_URL={shlex.quote(stage.store.url)}")
        show_command(f"export GATEWAY_POLICIES={shlex.quote(str(stage.policies))}")
        show_command(f"{find_program()} token list")
    show_lines("Press Ctrl+C to stop the demo.")


def find_program() -> str:
    """Return how to start this command line from any folder: another terminal may have another PATH."""
    program = Path(sys.argv[0])
    if program.name == "gateway":
        return shlex.quote(str(program.absolute()))
    return f"{shlex.quote(sys.executable)} -m gateway"
