"""No secret stands in the arguments of a process."""

from collections.abc import Iterator

import click
import pytest

from gateway.cli.main import commands
from gateway.core.errors import ConfigurationError
from tests.support.command_line import run_command

SECRET = "hunter2"
URLS = [
    f"redis://default:{SECRET}@127.0.0.1:1/0",
    f"rediss://:{SECRET}@127.0.0.1:1",
    f"unix:///run/redis.sock?password={SECRET}",
    f"rediss://127.0.0.1:1?db=1&ssl_password={SECRET}",
    f"redis://:{SECRET}/with@two@127.0.0.1:1",
]


def with_redis(group: click.Group = commands, *path: str) -> Iterator[tuple[str, ...]]:
    """The commands that have --redis."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from with_redis(command, *path, name)
        elif any("--redis" in option.opts for option in command.params):
            yield (*path, name)


def refusal_of(*arguments: str) -> str:
    result = run_command(*arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert SECRET not in result.output
    return str(result.exception)


@pytest.mark.parametrize("command", list(with_redis()), ids=" ".join)
def test_every_command_refuses_a_password_in_its_arguments(command: tuple[str, ...]) -> None:
    """The variable that is to be used is named, the password is not."""
    assert (
        "--redis: everybody on this machine can read the arguments of a process, so no secret may stand there: "
        "set the variable GATEWAY_REDIS_URL in its place"
    ) == refusal_of(*command, "--redis", URLS[0])


@pytest.mark.parametrize("command", ["serve", "cache purge --policy small --all"])
def test_a_password_of_the_exports_redis_is_refused_as_well(command: str) -> None:
    """It has a variable of its own."""
    said = refusal_of(*command.split(), "--exports-redis", URLS[0])
    assert said.startswith("--exports-redis: ")
    assert "GATEWAY_EXPORTS_REDIS_URL" in said


@pytest.mark.parametrize("url", URLS)
def test_a_password_is_seen_wherever_a_url_has_it(url: str) -> None:
    """Before the host, or as an option of redis-py, whether the URL is one or not."""
    assert "GATEWAY_REDIS_URL" in refusal_of("serve", "--redis", url)


@pytest.mark.parametrize("url", ["redis://[::1]:1/0", "redis://user@127.0.0.1:1", "unix:///run/redis.sock?db=1"])
def test_a_url_without_a_password_is_taken(url: str) -> None:
    """Colons of an address and names of users are no secrets."""
    assert "GATEWAY_REDIS_URL" not in str(run_command("token", "list", "--redis", url).exception)


def test_a_password_in_the_variable_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the process itself and its user can read its variables; the connection is tried."""
    monkeypatch.setenv("GATEWAY_REDIS_URL", URLS[0])
    assert "Redis did not answer" in str(run_command("token", "list").exception)


def test_other_secrets_are_refused_as_well() -> None:
    """A backend's password and the pepper have variables, too."""
    upstream = refusal_of("serve", "--upstream", "a=http://a", "--upstream", f"b=http://u:{SECRET}@b")
    assert upstream.startswith("--upstream: ")
    assert "GATEWAY_UPSTREAMS" in upstream
    pepper = refusal_of("token", "create", "--pepper", SECRET)
    assert pepper.startswith("--pepper: ")
    assert "GATEWAY_TOKEN_PEPPER" in pepper
