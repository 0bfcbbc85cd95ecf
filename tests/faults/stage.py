"""A gateway with two workers, a Redis behind a relay, and a backend: real processes that rows may kill."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import redis

from gateway.adapters.redis import keys
from tests.faults.load import POLICY
from tests.support.processes import GatewayServer, Process, RedisServer, free_port, is_listening, wait_until
from tests.support.programs import find_program
from tests.support.relay import Relay


class Stage:
    """What one run of the table has. Each row gets a Redis of its own, behind the same relay."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.options: tuple[str, ...] = ()
        self.relay: Relay
        self.redis: RedisServer
        self.gateway: GatewayServer
        self.backend_port = free_port()
        self._executable = find_program("redis-server")
        self._root = folder
        self._all: list[Process] = []

    async def open(self) -> None:
        """Start the backend and the relay."""
        import sys

        command = [sys.executable, "-m", "gateway.demo.backend.api", "--listen", f"127.0.0.1:{self.backend_port}"]
        self._all.append(Process(command, self._root / "backend.log"))
        await asyncio.to_thread(wait_until, lambda: is_listening(self.backend_port), "the backend listens")
        self.relay = await Relay(0).__aenter__()
        policies = self._root / "policies"
        policies.mkdir()
        (policies / "faults.toml").write_text(POLICY.format(backend=self.backend_port))

    async def close(self) -> None:
        """Stop everything that was started."""
        await self.relay.__aexit__(None, None, None)
        await asyncio.sleep(0.1)  # its tasks see the end of their connections
        for process in reversed(self._all):
            process.stop(signal.SIGKILL)

    def prepare(self, name: str, options: tuple[str, ...]) -> None:
        """Start the Redis of a row, in a folder of its own."""
        self.folder = self._root / name
        self.folder.mkdir()
        self.options = options
        self.start_redis(options)
        self.relay.break_off()  # what leads to the Redis of the row before
        self.command("SET", keys.marker(), "1")

    def start_redis(self, options: tuple[str, ...], *, is_replica: bool = False) -> None:
        """Start a Redis on the files of the row, and lead the relay to it."""
        folder = self.folder
        if is_replica:
            options = (*options, "--replicaof", "127.0.0.1", str(self.redis.port))
            folder = self.folder / "replica"
            folder.mkdir()
        self.redis = RedisServer(self._executable, folder, options=options)
        self._all.append(self.redis)
        self.relay.lead_to(self.redis.port)

    def start_gateway(self) -> None:
        """Start the gateway at the same port as before."""
        port = self.gateway.port if hasattr(self, "gateway") else None
        self.gateway = GatewayServer(
            self._root,
            *("--policies", str(self._root / "policies"), "--redis", f"redis://127.0.0.1:{self.relay.port}/0"),
            *("--workers", "2"),
            environment={"GATEWAY_REDIS_TIMEOUT": "0.25"},
            port=port,
        )
        self._all.append(self.gateway)
        self.gateway.wait()

    def end_one(self, workers: list[int]) -> None:
        """Kill one of the gateway's own workers."""
        os.kill(workers[0], signal.SIGKILL)

    def command(self, *words: str) -> Any:
        """Return Redis' answer to an operator's command, past the relay."""
        return self.command_at(self.redis.port, *words)

    def command_at(self, port: int, *words: str) -> Any:
        with redis.Redis(port=port) as client:
            return client.execute_command(*words)

    def await_replica(self, master: RedisServer) -> None:
        """Return when the replica has all that the master has."""

        def has_all() -> bool:
            with redis.Redis(port=master.port) as there, redis.Redis(port=self.redis.port) as here:
                info: Any = here.info("replication")
                return bool(info.get("master_link_status") == "up" and here.dbsize() == there.dbsize())

        wait_until(has_all, "the replica has all keys")
