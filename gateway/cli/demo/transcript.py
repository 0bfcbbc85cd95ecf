"""How the story looks on the terminal: numbered steps, the command that repeats each, what came back."""

from collections.abc import Iterable

import click

from gateway.cli.demo.client import Reply

INDENT = "   "
FIELD_NAME_WIDTH = 18
"""Holds WWW-Authenticate and two spaces."""
VALUE_WIDTH = 76
"""Longer values go on in the next line."""


def show_step(number: int, title: str) -> None:
    """The heading of a step."""
    click.echo(f"\n{click.style(f'{number}. {title}', bold=True)}")


def show_line(text: str = "") -> None:
    """A line that belongs to the step."""
    click.echo(f"{INDENT}{text}".rstrip())


def show_command(*lines: str) -> None:
    """A command to type, over several lines where it is long."""
    first, *rest = lines
    for line in (f"$ {first}", *(f"      {line}" for line in rest)):
        show_line(click.style(line, fg="cyan"))


def show_pairs(pairs: Iterable[tuple[str, str]], name_width: int = 10) -> None:
    """Names and what they stand for, in two columns."""
    for name, value in pairs:
        show_line(f"{name:<{name_width}}{value}")


def show_reply(reply: Reply, *names: str, note: str = "") -> None:
    """The status of an answer, and those of the fields that it has."""
    show_line(click.style(reply.status_line, bold=True) + note)
    for name in names:
        if value := reply.field(name):
            first, *rest = fold(value)
            show_line(f"  {name:<{FIELD_NAME_WIDTH}}{first}")
            for line in rest:
                show_line(" " * (FIELD_NAME_WIDTH + 2) + line)


def fold(value: str) -> list[str]:
    """A field's value in lines that end behind the commas between its parts."""
    lines = [""]
    for part in value.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) > VALUE_WIDTH:
            lines.append("")
        lines[-1] += part + ", "
    lines[-1] = lines[-1].removesuffix(", ")
    return [line.rstrip() for line in lines]
