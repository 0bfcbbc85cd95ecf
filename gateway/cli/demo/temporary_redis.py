"""A redis-server of the demo's own: on a free port of this machine, nothing kept, ended with the demo."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from redis.exceptions import RedisError

from gateway.adapters.redis_connection import open_client
from gateway.core.errors import ConfigurationError

START_SECONDS = 10.0
"""redis-server is up in a few milliseconds; a busy machine may take longer."""
STOP_SECONDS = 5.0


@asynccontextmanager
async def run_redis(executable: str, folder: Path) -> AsyncIterator[str]:
    """The URL of a redis-server that answers. ConfigurationError, with its log, where it does not start."""
    port, log = free_port(), folder / "redis.log"
    options = {"port": port, "bind": "127.0.0.1", "dir": folder, "logfile": log, "save": "", "appendonly": "no"}
    process = await asyncio.create_subprocess_exec(
        executable,
        *(str(word) for name, value in options.items() for word in (f"--{name}", value)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl+C reaches the whole terminal: Redis goes after the gateway, not with it
    )
    try:
        url = f"redis://127.0.0.1:{port}/0"
        if not await _is_up(process, url):
            said = log.read_text(errors="replace").strip() if log.exists() else "it wrote no log"
            raise ConfigurationError(f"redis: {executable} did not start:\n{said}")
        yield url
    finally:
        await _end(process)


def free_port() -> int:
    """A port of this machine that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _is_up(process: asyncio.subprocess.Process, url: str) -> bool:
    """Waits until it answers; False where it ended or is silent for too long."""
    client = open_client(url, START_SECONDS)
    deadline = asyncio.get_running_loop().time() + START_SECONDS
    try:
        while process.returncode is None and asyncio.get_running_loop().time() < deadline:
            with suppress(RedisError, OSError):
                await client.ping()
                return True
            await asyncio.sleep(0.02)
    finally:
        await client.aclose()
    return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
