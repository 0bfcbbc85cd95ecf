"""`gateway cache purge`: what it ends, and what it says where it cannot."""

import getpass

import pytest
from msgspec.structs import replace

from gateway.adapters import names
from gateway.adapters.redis_exports import RedisExports
from gateway.core.caching.fetching import Storing
from tests.support.command_line import run_command, run_json
from tests.support.connections import open_connection
from tests.support.processes import free_port

pytestmark = pytest.mark.redis

NOW = 1_700_000_000_000
STORED = Storing(
    policy="shop",
    name=names.export("project", "website", "k"),
    variant="v",
    raw_head=b"%013d" % NOW,
    digest=b"d",
    content=b"",
    is_content_new=True,
    groups=("all", "project:website", "uri:app.example/export?lang=de", "group:set-1"),
    began_at=2**52,
    keep_milliseconds=600_000,
    lead=None,
)


@pytest.fixture
async def filled_url(redis_url: str) -> str:
    """A Redis with one export of the project `website`, and one of `other`; they share nothing but the policy."""
    other = replace(STORED, name=names.export("project", "other", "k"), groups=("all", "project:other"))
    async with open_connection(redis_url) as connection:
        for one in (STORED, other):
            assert "stored" == await RedisExports(connection, 0).write(one)
    return redis_url


@pytest.mark.parametrize(
    ("options", "purged"),
    [
        (("--url", "http://app.example/export?lang=de"), 1),
        (("--url", "https://App.Example:8080/export?lang=de"), 1),
        (("--url", "http://app.example/export"), 0),
        (("--group", "set-1"), 1),
        (("--project", "website"), 1),
        (("--project", "web"), 0),
        (("--owner", "website"), 0),
        (("--token", "website"), 0),
        (("--all",), 2),
    ],
)
def test_what_is_named_is_ended(filled_url: str, options: tuple[str, ...], purged: int) -> None:
    """A URL, a group, a project, an owner, a token, or all of a policy; of other policies nothing."""
    common = ("cache", "purge", "--redis", filled_url, *options)
    assert {"purged": 0} == run_json(*common, "--policy", "other")
    assert {"purged": purged} == run_json(*common, "--policy", "shop")
    assert "Purged 0 stored export(s) of shop.\n" == run_command(*common, "--policy", "shop").stdout


def test_a_purge_is_in_the_history(filled_url: str) -> None:
    """Under the login name, with what was named and how many exports ended; what was not purged is not there."""
    common = ("--policy", "shop", "--redis", filled_url)
    run_command("cache", "purge", "--project", "website", *common)
    run_command("cache", "purge", "--all", *common)
    run_command("cache", "purge", "--url", "/export", *common)
    history = ("--action", "export.purge", "--redis", filled_url)
    everything, website = run_json("audit", "search", *history)
    assert getpass.getuser() == website["actor"]
    assert "operator" == website["actor_kind"]
    assert "shop" == website["policy"]
    assert {"project": [None, "website"], "ended": [None, 1]} == website["changes"]
    assert {"everything": [None, True], "ended": [None, 1]} == everything["changes"]
    assert [website] == run_json("audit", "search", "--project", "website", *history)
    assert 2 == len(run_command("audit", "export", *history).stdout.splitlines())
    printed = run_command("audit", "tail", *history).stdout.splitlines()
    assert f"{website['time']}  {getpass.getuser()}  export.purge  shop  project: website, ended: 1" == printed[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "name exactly one of --url"),
        (("--all", "--project", "x"), "name exactly one of --url"),
        (("--url", "/export"), "'/export' is no URL of an export"),
        (("--url", "http://app.example"), "is no URL of an export"),
    ],
)
def test_what_is_unclear_is_refused(redis_url: str, options: tuple[str, ...], message: str) -> None:
    """Nothing is ended by mistake."""
    result = run_command("cache", "purge", "--policy", "shop", "--redis", redis_url, *options)
    assert 2 == result.exit_code
    assert message in " ".join(result.output.split())


def test_a_purge_that_redis_did_not_acknowledge_is_no_purge() -> None:
    """A Redis that is away is an error of the command."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    result = run_command("cache", "purge", "--policy", "shop", "--all", "--redis", url)
    assert 1 == result.exit_code
    assert "Redis did not answer" in str(result.exception)
