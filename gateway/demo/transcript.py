"""The output of the story on the terminal: numbered steps, the command that repeats each, the gateway's answer.

Rule: only a command begins in the fourth column, and it can be pasted as it stands there, without a prompt.
"""

import textwrap
from collections.abc import Iterable

import click

from gateway.demo.client import Reply

COMMAND_INDENT = "   "
INDENT = "     "
FIELD_NAME_WIDTH = 18
"""Room for WWW-Authenticate and two spaces."""
VALUE_WIDTH = 80 - len(INDENT) - 2 - FIELD_NAME_WIDTH
"""What a terminal of 80 columns leaves; longer values continue on the next line."""


def show_heading(text: str) -> None:
    """Print a line that begins a part, after an empty line."""
    click.echo(f"\n{click.style(text, bold=True)}")


def show_command(*lines: str) -> None:
    """Print a command to paste; a long one continues on further lines."""
    text = " \\\n".join([COMMAND_INDENT + lines[0], *(INDENT + line for line in lines[1:])])
    click.echo(click.style(text, fg="cyan"))


def show_lines(text: str) -> None:
    """Print sentences that belong to no step, after an empty line."""
    click.echo(f"\n{text}")


def show_line(text: str) -> None:
    """Print a line of a step that is not a command."""
    click.echo(f"{INDENT}{text}")


def show_pairs(pairs: Iterable[tuple[str, str]], name_width: int = 10) -> None:
    """Print names and their values in two columns."""
    for name, value in pairs:
        show_line(f"{name:<{name_width}}{value}")


def show_reply(reply: Reply, *names: str, note: str = "") -> None:
    """Print the status of a response, and the named fields that it has."""
    show_line(click.style(reply.status_line, bold=True) + note)
    for name in names:
        if value := reply.field(name):
            first, *rest = fold(value)
            show_line(f"  {name:<{FIELD_NAME_WIDTH}}{first}")
            for line in rest:
                show_line(" " * (FIELD_NAME_WIDTH + 2) + line)


def fold(value: str) -> list[str]:
    """Split a field's value into lines of at most VALUE_WIDTH: between two parts, or between words of a long one."""
    lines = [""]
    for part in value.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) + 1 > VALUE_WIDTH:
            lines.append("")
        lines[-1] += part + ", "
    lines[-1] = lines[-1].removesuffix(", ")
    return [piece for line in lines for piece in textwrap.wrap(line, VALUE_WIDTH) or [""]]
