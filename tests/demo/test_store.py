"""Which store the demo takes, and what it says if it cannot have it."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.adapters.redis.connection import EMBEDDED
from gateway.core.errors import ConfigurationError
from gateway.demo.extras import INSTALL
from gateway.demo.store import Store, open_store


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder on the PATH, empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def broken(path: Path) -> Path:
    """A redis-server on the PATH that does not start."""
    program = path / "redis-server"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    return program


async def choose(choice: str, folder: Path) -> Store:
    async with AsyncExitStack() as stack:
        return await open_store(stack, choice, folder)


@pytest.mark.redis
async def test_auto_takes_redis_if_it_starts(redis_executable: str, tmp_path: Path) -> None:
    """The description has its URL, which other commands can use."""
    store = await choose("auto", tmp_path)

    assert f"redis-server at {store.url}" == store.description
    assert not store.is_embedded


async def test_auto_without_redis_says_so(path: Path) -> None:
    """The embedded store takes its place, and the story says why."""
    store = await choose("auto", path)
    assert Store(EMBEDDED, "embedded in this process: redis-server is not on the PATH") == store


async def test_auto_with_a_redis_that_does_not_start_says_so(broken: Path) -> None:
    """The embedded store takes its place, and the story says which program failed, and how."""
    store = await choose("auto", broken.parent)
    assert Store(EMBEDDED, f"embedded in this process: {broken} did not start: it exited with 3") == store


async def test_memory_does_not_look_for_redis(broken: Path) -> None:
    """What was chosen needs no reason."""
    assert Store(EMBEDDED, "embedded in this process") == await choose("memory", broken.parent)


async def test_redis_that_is_missing_is_an_error(path: Path) -> None:
    """`--store redis` never falls back to the embedded store; the error says what to do."""
    with pytest.raises(ConfigurationError, match="redis-server is not on the PATH; install Redis, or use --store mem"):
        await choose("redis", path)


async def test_redis_that_does_not_start_is_an_error(broken: Path) -> None:
    """The same for a program that fails."""
    with pytest.raises(ConfigurationError, match="did not start: it exited with 3; try --store memory"):
        await choose("redis", broken.parent)


@pytest.mark.parametrize("choice", ["auto", "memory"])
@pytest.mark.parametrize("module", ["fakeredis", "lupa"])
async def test_an_embedded_store_that_is_not_installed_is_an_error(
    module: str, choice: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the command that installs it: fakeredis alone, without Lua, is not enough."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError) as raised:
        await choose(choice, path)

    assert f"demo: not installed: {module}. The embedded store needs it; run: {INSTALL}" == str(raised.value)
