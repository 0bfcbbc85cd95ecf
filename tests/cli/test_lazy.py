"""What the command line lists before it imports anything, and what a command does not import."""

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.lazy import LazyGroup
from gateway.cli.main import commands
from tests.support.policies import SMALL

PROGRAM = """
import json, sys
from gateway.cli.main import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""
"""The `gateway` command, which says at its end what it has imported."""

SERVER = {
    "gateway.admin_app",
    "gateway.app",
    "gateway.pipeline.exchange",
    "gateway.plugin",
    "gateway.web",
    "litestar",
    "uvicorn",
}
BACKENDS = {"brotli", "gateway.adapters.encodings", "gateway.pipeline.fetch", "httptools", "uvloop"}
OTHERS = {"cryptography.hazmat", "fakeredis", "jinja2", "jwt", "watchfiles"}
STORE = {"asyncio", "gateway.adapters.redis.connection", "gateway.management", "limits", "redis"}


def lazy_groups(group: LazyGroup = commands) -> Iterator[LazyGroup]:
    """The group with all groups below it."""
    yield group
    for command in group.commands.values():
        if isinstance(command, LazyGroup):
            yield from lazy_groups(command)


def imported_by(*arguments: str) -> set[str]:
    """The modules and packages that a command has imported by its end; it must have ended well."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "_GATEWAY"))}
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False, env=environment
    )
    assert 0 == ended.returncode, ended.stderr
    return set(json.loads(ended.stderr.splitlines()[-1]))


@pytest.mark.parametrize("group", list(lazy_groups()), ids=lambda group: str(group.name))
def test_a_listed_command_is_what_the_list_says(group: LazyGroup) -> None:
    """Each entry of a table has the name of its command and the first line of the command's help."""
    own = {command.name: inspect.cleandoc(command.help or "").splitlines()[0] for command in group.commands.values()}
    assert {name: listed.help for name, listed in group.table.items()} == own


@pytest.mark.system
def test_the_help_imports_no_command() -> None:
    """`gateway --help` is printed from the table: neither a command nor a library of any is imported."""
    imported = imported_by("--help")
    known = {
        "",
        ".cli",
        ".cli.lazy",
        ".cli.main",
        ".cli.process",
        ".cli.process.masked",
        ".core",
        ".core.errors",
        ".core.upstream",
        ".core.upstream.causes",
    }
    assert {f"gateway{name}" for name in known} == {name for name in imported if name.split(".")[0] == "gateway"}
    assert set() == imported & {*STORE, *SERVER, *BACKENDS, *OTHERS, "msgspec"}


@pytest.mark.system
@pytest.mark.parametrize("group", ["token", "owner"])
def test_the_help_of_a_group_imports_none_of_its_commands(group: str) -> None:
    """`gateway token --help` is printed from the table of the group."""
    assert set() == imported_by(group, "--help") & {*STORE, *SERVER, *BACKENDS, *OTHERS, "msgspec"}


@pytest.mark.system
@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "create", "--policy", "small", "--name", "CI", "--project", "website"),
        ("token", "list"),
        ("owner", "list", "--policy", "small"),
        ("cache", "purge", "--policy", "small", "--all"),
        ("audit", "tail"),
    ],
    ids=" ".join,
)
def test_a_command_imports_no_server(redis_url: str, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A command that works on Redis imports neither a server, nor the web layer, nor what talks to backends."""
    (tmp_path / "small.toml").write_text(SMALL)
    imported = imported_by(*arguments, "--redis", redis_url, "--policies", str(tmp_path))
    assert "redis" in imported
    assert set() == imported & {*SERVER, *BACKENDS, *OTHERS}
    assert [] == [name for name in sorted(imported) if name.startswith(("gateway.adapters.upstream", "gateway.web"))]


@pytest.mark.system
def test_a_check_of_policies_imports_no_store(tmp_path: Path) -> None:
    """`gateway policy check` imports neither a server nor Redis."""
    (tmp_path / "small.toml").write_text(SMALL)
    imported = imported_by("policy", "check", str(tmp_path))
    assert set() == imported & {*SERVER, *BACKENDS, *OTHERS, "redis", "gateway.management"}


@pytest.mark.system
def test_the_keeper_of_workers_imports_no_server() -> None:
    """`gateway serve` is imported without what its workers need, and the one that keeps them needs no more."""
    assert set() == imported_by("serve", "--help") & {*SERVER, "gateway.adapters.upstream.pool", "httptools", "uvloop"}


@pytest.mark.system
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        (
            "gateway ",
            [
                "audit",
                "backup",
                "cache",
                "demo",
                "export",
                "init",
                "owner",
                "policy",
                "pull",
                "redis",
                "restore",
                "serve",
                "token",
                "verify-backend",
            ],
        ),
        ("gateway to", ["token"]),
        ("gateway token re", ["revoke"]),
        ("gateway token ro", ["rotate"]),
        ("gateway policy ", ["check", "diff", "schema", "simulate", "versions"]),
        ("gateway --ver", ["--version"]),
        ("gateway token create --exp", ["--expires"]),
    ],
)
def test_a_shell_completes_commands_and_options(line: str, completed: list[str]) -> None:
    """Bash gets the commands and options that begin as typed, at each level."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_GATEWAY_COMPLETE": "bash_complete"}
    run = [sys.executable, "-c", "from gateway.cli.main import commands; commands(prog_name='gateway')"]
    ended = subprocess.run(run, capture_output=True, text=True, check=True, env={**os.environ, **words})
    assert completed == [offer.removeprefix("plain,") for offer in ended.stdout.splitlines()]


@pytest.mark.system
def test_a_shell_shows_what_commands_do() -> None:
    """Zsh shows the line of the table beside each command."""
    words = {"COMP_WORDS": "gateway ca", "COMP_CWORD": "1", "_GATEWAY_COMPLETE": "zsh_complete"}
    run = [sys.executable, "-c", "from gateway.cli.main import commands; commands(prog_name='gateway')"]
    ended = subprocess.run(run, capture_output=True, text=True, check=True, env={**os.environ, **words})
    assert ["plain", "cache", commands.table["cache"].help] == ended.stdout.splitlines()


@pytest.mark.system
def test_a_wrong_command_is_answered_with_the_nearest() -> None:
    """A misspelled command imports no other: the names are in the table."""
    run = [sys.executable, "-m", "gateway", "tokn"]
    ended = subprocess.run(run, capture_output=True, text=True, check=False)
    assert 2 == ended.returncode
    assert "No such command 'tokn'" in ended.stderr
