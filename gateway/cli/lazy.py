"""Groups that import a command when it is used: a list of commands, a help text and a completion import none.

Most of the time of a command was the import of a server that it does not use. The table of gateway/cli/main.py has the
place of each command and the first line of its help. While a command is imported, the garbage collector pauses: it took
a quarter of what was left.
"""

import gc
from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click


class Listed(NamedTuple):
    """A command that is not imported yet."""

    place: str
    """`module:attribute`."""
    help: str
    """The first line of the command's own help."""


def load(place: str) -> Any:
    """Import the object at `module:attribute`.

    The garbage collector pauses meanwhile: it would take a fifth of the time, and an import leaves no garbage.
    """
    module, _, attribute = place.partition(":")
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return getattr(import_module(module), attribute)
    finally:
        if was_enabled:
            gc.enable()


class LazyCommands(UserDict[str, Any]):
    """Commands by their names. One is imported when it is looked up; iterating over the names imports none."""

    def __getitem__(self, name: str) -> click.Command:
        found = self.data[name]
        if isinstance(found, Listed):
            found = self.data[name] = load(found.place)
        command: click.Command = found
        return command


class LazyGroup(click.Group):
    """A group whose commands are in a table, for `click.group(cls=LazyGroup, table=...)`."""

    def __init__(self, name: str | None = None, *, table: Mapping[str, Listed], **settings: Any) -> None:
        super().__init__(name, **settings)
        self.table = table
        self.commands = LazyCommands(table)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with the table's lines, as click lays them out."""
        commands = [click.Command(name, help=listed.help) for name, listed in self.table.items()]
        click.Group(commands=commands).format_commands(ctx, formatter)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Return the matching commands with the table's lines, and then the group's options."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - a shell that completes is the only user

        named = sorted(name for name in self.table if name.startswith(incomplete))
        items = [CompletionItem(name, help=self.table[name].help) for name in named]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]
