"""`gateway cache purge`: what it ends, and what it says where it cannot."""

import getpass
from pathlib import Path

import pytest
from msgspec.structs import replace

from gateway.adapters.redis import keys
from gateway.adapters.redis.exports import RedisExports
from gateway.core.cache.fetch import Storing
from tests.support.command_line import run_command, run_json
from tests.support.connections import open_connection
from tests.support.processes import free_port

pytestmark = pytest.mark.redis

NOW = 1_700_000_000_000
STORED = Storing(
    policy="shop",
    name=keys.export("project", "website", "k"),
    variant="v",
    raw_head=b"%013d" % NOW,
    digest=b"d",
    content=b"",
    is_content_new=True,
    groups=("all", "project:website", "uri:app.example/export?lang=de", "group:set-1"),
    began_at=2**52,
    keep_milliseconds=600_000,
    leader=None,
)


POLICY = """
name = "shop"
hosts = ["app.example"]
upstream = "none"
[token]
prefixes = ["shop_"]
[[rules]]
match = "GET /export"
cache = { fresh = "1h" }
[[rules]]
match = "GET /sets/{set}"
cache = { fresh = "1h", groups = ["set-of-{set}"] }
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """A folder with the policy of the shop."""
    (tmp_path / "shop.toml").write_text(POLICY)
    return tmp_path


@pytest.fixture
async def filled_url(redis_url: str) -> str:
    """A Redis with one export of the project `website`, and one of `other`; they share nothing but the policy."""
    other = replace(STORED, name=keys.export("project", "other", "k"), groups=("all", "project:other"))
    async with open_connection(redis_url) as connection:
        for one in (STORED, other):
            assert "stored" == await RedisExports(connection, 0).write(one)
    return redis_url


@pytest.mark.parametrize(
    ("options", "purged"),
    [
        (("--url", "http://app.example/export?lang=de"), 1),
        (("--url", "https://App.Example:8080/export?lang=de"), 1),
        (("--group", "set-1"), 1),
        (("--project", "website"), 1),
        (("--all",), 2),
    ],
)
def test_what_is_named_is_ended(filled_url: str, options: tuple[str, ...], purged: int) -> None:
    """A URL, a group, a project, or all of a policy. A second time there is nothing left, which is no mistake."""
    common = ("cache", "purge", "--redis", filled_url, "--policy", "shop", *options)
    assert {"purged": purged} == run_json(*common)
    assert "Purged 0 stored export(s) of shop.\n" == run_command(*common).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--policy", "other", "--all"), "unknown policy 'other': known are shop; no token of it was ever made"),
        (("--policy", "shpo", "--project", "website"), "unknown policy 'shpo': did you mean 'shop'?"),
        (("--policy", "shop", "--project", "web"), "no token of the policy shop was ever made for the project 'web'"),
        (
            ("--policy", "shop", "--owner", "website"),
            "no token of the policy shop was ever made for the owner 'website'",
        ),
        (("--policy", "shop", "--token", "website"), "there is no token of this id"),
        (("--policy", "shop", "--token", "0" * 24), "there is no token of this id"),
        (("--policy", "shop", "--group", "set1"), "nothing is stored under the group 'set1', and no rule of shop"),
        (("--policy", "shop", "--url", "http://app.example/exprot"), "nothing is stored under the URL http://app.exam"),
        (("--policy", "shop", "--url", "http://ap.example/export"), "nothing is stored under the URL http://ap.exampl"),
    ],
)
def test_a_misspelled_name_is_no_success(
    filled_url: str, policies: Path, options: tuple[str, ...], message: str
) -> None:
    """What was never seen, and no rule could store, is an error, and nothing is ended; the history has the refusal."""
    where = ("--redis", filled_url, "--policies", str(policies))
    refused = run_command("cache", "purge", *options, *where)
    assert 1 == refused.exit_code
    assert message in str(refused.exception)
    (entry,) = run_json("audit", "search", "--refused", *where)
    assert ("export.purge", "not_found") == (entry["action"], entry["outcome"])
    assert {"purged": 2} == run_json("cache", "purge", "--policy", "shop", "--all", *where)


@pytest.mark.parametrize(
    "options", [("--group", "set-of-2027"), ("--url", "http://app.example/export?lang=fr"), ("--owner", "ada")]
)
def test_what_may_be_stored_at_any_time_is_ended(redis_url: str, policies: Path, options: tuple[str, ...]) -> None:
    """What a rule can store, or an owner that has a record: there is nothing yet, and what is fetched is not stored."""
    where = ("--redis", redis_url, "--policies", str(policies))
    run_json("owner", "set", "ada", "--policy", "shop", *where)
    assert {"purged": 0} == run_json("cache", "purge", "--policy", "shop", *options, *where)


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
