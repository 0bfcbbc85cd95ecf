"""A redis-server of the demo's own: on a free port of this machine, with nothing kept, stopped with the demo."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from redis.exceptions import RedisError

from gateway.adapters.redis.connection import open_client
from gateway.core.errors import ConfigurationError

START_SECONDS = 10.0
"""redis-server starts in a few milliseconds; a busy machine gets more time."""
STOP_SECONDS = 5.0
LOG_LINES = 10
"""How much of its log an error shows: the reason is at the end."""


@asynccontextmanager
async def run_redis(executable: str, folder: Path, start_seconds: float = START_SECONDS) -> AsyncIterator[str]:
    """Start a redis-server and yield its URL once it answers.

    Raise ConfigurationError if it does not start: the first of its mistakes says why, the others are lines of its log.
    """
    port, log = free_port(), folder / "redis.log"
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "logfile": log, "save": "", "appendonly": "no"}
    try:
        process = await asyncio.create_subprocess_exec(
            executable,
            *(str(word) for name, value in options.items() for word in (f"--{name}", value)),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C reaches the whole terminal: Redis stops after the gateway, not with it
        )
    except OSError as error:
        raise ConfigurationError(f"redis: {executable} did not start: {error.strerror}") from error
    try:
        url = f"redis://127.0.0.1:{port}/0"
        if not await _answers(process, url, start_seconds):
            reason = "it does not answer" if process.returncode is None else f"it exited with {process.returncode}"
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
            raise ConfigurationError(f"redis: {executable} did not start: {reason}", *lines)
        yield url
    finally:
        await _stop(process)


def free_port() -> int:
    """Return a port of this machine on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _answers(process: asyncio.subprocess.Process, url: str, seconds: float) -> bool:
    """Wait until Redis answers a PING; return False if it exits, or is silent for so long."""
    client = open_client(url, seconds)
    try:
        async with asyncio.timeout(seconds):
            while process.returncode is None:
                with suppress(RedisError, OSError):
                    await client.ping()
                    return True
                await asyncio.sleep(0.02)
    except TimeoutError:
        pass
    finally:
        await client.aclose()
    return False


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
