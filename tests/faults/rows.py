"""The rows of the table of faults: how each begins, and how it ends."""

import asyncio
import signal
import subprocess
from collections.abc import Awaitable, Callable

import msgspec
import redis

from gateway.adapters.redis import keys
from tests.faults.stage import Stage
from tests.support.processes import wait_until

Act = Callable[[Stage], Awaitable[None]]
APPEND_ONLY = ("--appendonly", "yes", "--appendfsync", "everysec")


class Row(msgspec.Struct, frozen=True):
    """A fault: what happens, and when it is over. `keeps` is whether Redis promises to keep what it acknowledged."""

    name: str
    begin: Act
    end: Act
    seconds: float = 1.0
    options: tuple[str, ...] = APPEND_ONLY
    keeps: bool = True
    delay_seconds: float = 0.0
    """What the fault itself adds to each answer of Redis."""


async def nothing(stage: Stage) -> None:
    """The fault is over by itself."""


async def kill(stage: Stage) -> None:
    stage.redis.stop(signal.SIGKILL)


async def start_again(stage: Stage) -> None:
    stage.start_redis(stage.options)


async def start_empty(stage: Stage) -> None:
    for file in stage.folder.rglob("*.rdb"):
        file.unlink()
    for file in stage.folder.rglob("*.aof"):
        file.unlink()
    stage.start_redis(stage.options)
    stage.command("SET", keys.marker(), "1")  # `gateway redis init`: else unknown tokens are 503, as they should be


async def save_and_kill(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "SAVE")
    stage.redis.stop(signal.SIGKILL)


async def start_slowly(stage: Stage) -> None:
    """Start a Redis that takes its time to load: each of its keys is a millisecond. It is back when all are."""
    stage.start_redis((*stage.options, "--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"))

    def is_loaded() -> bool:
        return not stage.command("INFO", "persistence")["loading"]

    await asyncio.to_thread(wait_until, is_loaded, "Redis has loaded its data")


async def fill_save_and_kill(stage: Stage) -> None:
    with redis.Redis.from_url(stage.redis.url) as client:
        client.mset({f"filler:{number}": "x" * 100 for number in range(1500)})
    await save_and_kill(stage)


async def stop(stage: Stage) -> None:
    stage.redis.send(signal.SIGSTOP)


async def go_on(stage: Stage) -> None:
    stage.redis.send(signal.SIGCONT)


async def reset(stage: Stage) -> None:
    for _ in range(10):
        stage.relay.reset()
        await asyncio.sleep(0.1)


async def drop(stage: Stage) -> None:
    stage.relay.passes.clear()


async def pass_on(stage: Stage) -> None:
    stage.relay.passes.set()


async def forget(stage: Stage) -> None:
    stage.relay.forget()


async def demote(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "REPLICAOF", "127.0.0.1", "1")


async def promote(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "REPLICAOF", "NO", "ONE")


async def fill(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "CONFIG", "SET", "maxmemory", "1mb")


async def make_room(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "CONFIG", "SET", "maxmemory", "0")


async def lock(stage: Stage) -> None:
    """Change the password: Redis lets nobody in who connects with the old one."""
    await asyncio.to_thread(stage.command, "CONFIG", "SET", "requirepass", "another")
    stage.relay.break_off()


async def unlock(stage: Stage) -> None:
    def set_back() -> None:
        with redis.Redis(port=stage.redis.port, password="another") as client:
            client.config_set("requirepass", "")

    await asyncio.to_thread(set_back)


async def take_rights(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "ACL", "SETUSER", "default", "-evalsha", "-eval")


async def give_rights(stage: Stage) -> None:
    await asyncio.to_thread(stage.command, "ACL", "SETUSER", "default", "+evalsha", "+eval")


async def change_name(stage: Stage) -> None:
    """A replica takes over with all that there is, and the name leads to it; the old master is demoted."""
    before = stage.redis
    stage.start_redis(stage.options, is_replica=True)
    await asyncio.to_thread(stage.await_replica, before)
    await asyncio.to_thread(stage.command_at, before.port, "REPLICAOF", "127.0.0.1", "1")
    await asyncio.to_thread(stage.command, "REPLICAOF", "NO", "ONE")


async def kill_worker(stage: Stage) -> None:
    found = subprocess.run(
        ["pgrep", "-P", str(stage.gateway.popen.pid), "-f", "spawn_main"],
        capture_output=True,
        text=True,
        check=True,
    )
    workers = [int(line) for line in found.stdout.split()]
    stage.end_one(workers)


async def kill_gateway(stage: Stage) -> None:
    stage.gateway.stop(signal.SIGKILL)


async def start_gateway(stage: Stage) -> None:
    await asyncio.to_thread(stage.start_gateway)


def slow(milliseconds: int) -> Row:
    """Return the row of a Redis whose answers come so much later."""

    async def begin(stage: Stage) -> None:
        stage.relay.delay_seconds = milliseconds / 1000

    async def end(stage: Stage) -> None:
        stage.relay.delay_seconds = 0.0

    return Row(f"answers {milliseconds} ms late", begin, end, delay_seconds=milliseconds / 1000)


NO_FILES = ("--appendonly", "no")
ROWS = (
    Row("nothing fails", nothing, nothing),
    Row("Redis killed (kill -9), restarted with its append-only file", kill, start_again),
    Row("Redis killed, restarted with a snapshot", save_and_kill, start_again, options=NO_FILES, keeps=False),
    Row("Redis killed, restarted empty, and said to be meant so", kill, start_empty, options=NO_FILES, keeps=False),
    Row("Redis loads its data (LOADING)", fill_save_and_kill, start_slowly, options=NO_FILES, keeps=False),
    Row("Redis stopped (SIGSTOP)", stop, go_on),
    slow(50),
    slow(200),
    slow(1000),
    Row("connections reset, ten times", reset, nothing, 0.0),
    Row("packets dropped", drop, pass_on),
    Row("connections half-open", forget, nothing, 0.0),
    Row("Redis demoted (READONLY)", demote, promote),
    Row("Redis full (OOM)", fill, make_room),
    Row("password changed", lock, unlock),
    Row("rights taken (NOPERM)", take_rights, give_rights),
    Row("the name leads to another server", change_name, nothing, 0.0),
    Row("a worker of the gateway killed", kill_worker, nothing, 0.0),
    Row("the gateway killed, and started", kill_gateway, start_gateway, 0.2),
)
LEFT_OUT = {
    "Redis evicts": "`gateway serve` does not start on one, and `/-/ready` is 503: tests/system/test_store_settings.py",
    "TLS restart": "not run yet",
    "clock jumps": "they need root's tools here; the simulation has them",
    "Sentinel and Cluster": "not run yet",
}
"""What has no row, and why."""
