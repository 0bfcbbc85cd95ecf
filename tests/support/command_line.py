"""The `gateway` command, called as its user would but without a new process each time."""

import json
from typing import Any

from click.testing import CliRunner, Result

from gateway.cli.main import commands

CREATE = ("token", "create", "--policy", "small", "--project", "website", "--name", "CI")
"""Mints a token of the small policy."""


def run_command(*arguments: str, stdin: bytes = b"") -> Result:
    """What the command printed and how it ended; exceptions are kept in the result."""
    return CliRunner().invoke(commands, list(arguments), input=stdin)


def run_json(*arguments: str, stdin: bytes = b"") -> Any:
    """What the command printed with --json; an error of the command is an error of the test."""
    result = run_command(*arguments, "--json", stdin=stdin)
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return json.loads(result.stdout)


def read_lines(*arguments: str) -> dict[str, str]:
    """What the command printed for people, a name and a text in each line; an error of it is an error of the test."""
    result = run_command(*arguments)
    assert result.exit_code == 0, f"{result.output}{result.exception!r}"
    return {name: text for name, _, text in (line.strip().partition("  ") for line in result.stdout.splitlines())}
