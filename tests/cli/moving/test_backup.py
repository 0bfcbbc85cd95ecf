"""Backups: what comes back, and that an old one resurrects nothing."""

from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.adapters.redis import keys
from gateway.core.errors import ConfigurationError
from gateway.core.moving.backups import InvalidBackup
from tests.support.command_line import run_command, run_json

pytestmark = pytest.mark.redis
POLICY = """
name = "small"
upstream = "http://127.0.0.1:9"
[token]
prefixes = ["sml_"]
bound_to = "owner"
unique_names = true
numbers = true
[scopes]
read = "Read"
[plans.free.quotas]
minute = "5/minute"
[[rules]]
match = "* /**"
scopes = ["read"]
"""


def run(*arguments: str) -> Any:
    """What a command printed; an error of it is an error of the test."""
    result = run_command(*arguments)
    assert 0 == result.exit_code, f"{result.output}{result.exception!r}"
    return result


def refusal(*arguments: str) -> str:
    """What a command says that ends with exit code 2."""
    error = run_command(*arguments).exception
    assert isinstance(error, InvalidBackup | ConfigurationError)
    return str(error)


class Product:
    """A policy, and commands on one Redis."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        (folder / "small.toml").write_text(POLICY)

    def run(self, *arguments: str) -> Any:
        needs_policies = arguments[0] not in ("backup", "restore")
        where = ("--policies", str(self.folder)) if needs_policies else ()
        return run(*arguments, *where, "--redis", self.url)

    def json(self, *arguments: str) -> Any:
        return run_json(*arguments, "--policies", str(self.folder), "--redis", self.url)

    def mint(self, name: str, owner: str = "acme") -> str:
        created = self.json("token", "create", "--policy", "small", "--name", name, "--owner", owner)
        identity: str = created["id"]
        return identity

    def state(self, identity: str) -> str:
        state: str = self.json("token", "show", identity)["state"]
        return state

    def dump(self) -> dict[str, Any]:
        """All that is in Redis, to be compared."""
        with redis.Redis.from_url(self.url, decode_responses=True) as client:
            readers: dict[str, Any] = {
                "string": client.get,
                "set": lambda name: sorted(client.smembers(name)),
                "hash": client.hgetall,
                "stream": client.xrange,
            }
            return {name: readers[client.type(name)](name) for name in client.keys(f"{keys.VERSION}:*")}

    def clear(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


@pytest.fixture
def product(tmp_path: Path, redis_url: str) -> Product:
    folder = tmp_path / "policies"
    folder.mkdir()
    return Product(folder, redis_url)


def test_all_comes_back(product: Product, tmp_path: Path) -> None:
    """Tokens, revocations, owners, overrides, names, numbers and history are as they were; nothing is secret in it."""
    file = tmp_path / "backup"
    first, second = product.mint("one"), product.mint("two")
    product.run("token", "override", first, "minute", "50", "--until", "1d", "--reason", "a migration")
    product.run("token", "revoke", second)
    product.run("owner", "set", "acme", "--policy", "small", "--status", "blocked")
    product.run("backup", str(file))
    before = product.dump()
    product.clear()
    product.run("restore", str(file), "--as-it-was")
    assert before == product.dump()
    assert "sml_" not in file.read_text().replace(product.json("token", "show", first)["shown"], "").replace(
        product.json("token", "show", second)["shown"], ""
    )


def test_an_old_backup_resurrects_nothing(product: Product, tmp_path: Path) -> None:
    """What was revoked, disabled or blocked since is so after a restore, by the history that was exported."""
    file, history = tmp_path / "backup", tmp_path / "history"
    revoked, disabled, kept = product.mint("one"), product.mint("two"), product.mint("three", "globex")
    product.run("owner", "set", "globex", "--policy", "small", "--status", "active")
    product.run("backup", str(file))
    product.run("token", "revoke", revoked)
    product.run("token", "update", disabled, "--disable")
    product.run("owner", "set", "globex", "--policy", "small", "--status", "blocked")
    product.mint("four")
    history.write_text(product.run("audit", "export").output)
    product.clear()
    result = product.run("restore", str(file), "--since", str(history))
    assert "1 tokens revoked" in result.output
    assert "1 tokens were created since" in result.stderr
    assert ["revoked", "disabled", "active"] == [product.state(one) for one in (revoked, disabled, kept)]
    with redis.Redis.from_url(product.url, decode_responses=True) as client:
        of_bucket = keys.owner_copy(kept, "small", "globex")
        assert "blocked" == client.hget(keys.owner("small", "globex"), "status") == client.hget(of_bucket, "status")


def test_revocations_of_the_redis_itself_stay(product: Product, tmp_path: Path) -> None:
    """A backup that is brought back into a Redis which goes on takes nothing back, and adds what is missing."""
    file = tmp_path / "backup"
    revoked, lost = product.mint("one"), product.mint("two")
    product.run("backup", str(file))
    product.run("token", "revoke", revoked)
    with redis.Redis.from_url(product.url) as client:
        client.delete(keys.token(lost))
    product.run("restore", str(file))
    assert ["revoked", "active"] == [product.state(one) for one in (revoked, lost)]


def test_an_empty_redis_needs_a_history(product: Product, tmp_path: Path) -> None:
    """Without one, nobody could tell what an old backup would resurrect: nothing is written."""
    file, ids = tmp_path / "backup", tmp_path / "ids"
    identity = product.mint("one")
    product.run("backup", str(file))
    product.clear()
    assert "--since FILE" in refusal("restore", str(file), "--redis", product.url)
    assert {} == product.dump()
    ids.write_text(identity + "\n")
    product.run("restore", str(file), "--since", str(ids))
    assert "revoked" == product.state(identity)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda lines: lines[:-1], "not whole"),
        (lambda lines: lines[1:], "line 1 is not at its place"),
        (lambda lines: [lines[0], *lines[2:]], "damaged"),
        (lambda lines: [*lines[:2], b"{}\n", *lines[2:]], "line 3 is no line of a backup"),
        (lambda lines: [lines[0].replace(b"gw1", b"gw9"), *lines[1:]], "layout gw9"),
    ],
)
def test_a_damaged_backup_restores_nothing(product: Product, tmp_path: Path, spoil: Any, expected: str) -> None:
    """The whole file is checked before the first key is written."""
    file = tmp_path / "backup"
    product.mint("one")
    product.run("backup", str(file))
    file.write_bytes(b"".join(spoil(file.read_bytes().splitlines(keepends=True))))
    product.clear()
    assert expected in refusal("restore", str(file), "--as-it-was", "--redis", product.url)
    assert {} == product.dump()
