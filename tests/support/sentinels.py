"""A master, a replica and Sentinels, as real processes that a test may kill."""

import signal
from collections.abc import Sequence
from pathlib import Path

import redis

from gateway.adapters.redis import keys
from tests.support.processes import Process, RedisServer, free_port, is_listening, wait_until

SERVICE = "tokens"
REDIS_PASSWORD, SENTINEL_PASSWORD = "redis-s3cret", "sentinel-s3cret"
CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
requirepass {sentinel_password}
sentinel sentinel-pass {sentinel_password}
sentinel monitor {service} 127.0.0.1 {master} {quorum}
sentinel auth-pass {service} {redis_password}
sentinel down-after-milliseconds {service} 500
sentinel failover-timeout {service} 3000
"""


class SentinelProcess(Process):
    """A Sentinel that watches a master."""

    def __init__(self, executable: str, folder: Path, master: int, quorum: int = 2) -> None:
        self.port = free_port()
        own = folder / f"sentinel-{self.port}"
        own.mkdir()
        file = own / "sentinel.conf"
        file.write_text(
            CONFIGURATION.format(
                port=self.port,
                folder=own,
                service=SERVICE,
                master=master,
                quorum=quorum,
                redis_password=REDIS_PASSWORD,
                sentinel_password=SENTINEL_PASSWORD,
            )
        )
        super().__init__([executable, str(file), "--sentinel"], own / "sentinel.log")
        wait_until(lambda: is_listening(self.port), f"the Sentinel listens on {self.port}")

    def ask(self, *command: str | int) -> object:
        """What the Sentinel answers."""
        with redis.Redis(port=self.port, password=SENTINEL_PASSWORD) as client:
            return client.execute_command(*command)

    def master(self) -> int:
        """The port of the master that it names."""
        found = self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        assert isinstance(found, list)
        return int(found[1])


def url_of(sentinels: Sequence[SentinelProcess], scheme: str = "redis+sentinel") -> str:
    hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
    return f"{scheme}://:{REDIS_PASSWORD}@{hosts}/{SERVICE}/0"


def start_redis(executable: str, folder: Path, *options: str) -> RedisServer:
    """A redis-server with a password, meant to be empty."""
    own = folder / f"redis-{free_port()}"
    own.mkdir()
    server = RedisServer(
        executable, own, options=("--requirepass", REDIS_PASSWORD, "--masterauth", REDIS_PASSWORD, *options)
    )
    server.url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{server.port}/0"
    return server


class Failing:
    """A master, a replica that has all of it, and three Sentinels that know of each other."""

    def __init__(self, executable: str, folder: Path) -> None:
        self.master = start_redis(executable, folder)
        with redis.Redis.from_url(self.master.url) as client:
            client.set(keys.marker(), "1")
        follow = ("--replicaof", "127.0.0.1", str(self.master.port), "--repl-diskless-sync-delay", "0")
        self.replica = start_redis(executable, folder, *follow)
        with redis.Redis.from_url(self.replica.url) as client:
            wait_until(lambda: client.get(keys.marker()) == b"1", "the replica has the data")
        self.sentinels = [SentinelProcess(executable, folder, self.master.port) for _ in range(3)]
        self.url = url_of(self.sentinels)
        for sentinel in self.sentinels:
            wait_until(lambda one=sentinel: self._knows_all(one), "the Sentinels know of each other")  # type: ignore[misc]

    def wait_for_failover(self) -> None:
        """Return when all Sentinels name the replica."""
        for sentinel in self.sentinels:
            wait_until(lambda one=sentinel: one.master() == self.replica.port, "the replica is the master", 40)  # type: ignore[misc]

    def stop(self) -> None:
        for process in (*self.sentinels, self.master, self.replica):
            process.stop(signal.SIGKILL)

    @staticmethod
    def _knows_all(sentinel: SentinelProcess) -> bool:
        state = sentinel.ask("SENTINEL", "MASTER", SERVICE)
        assert isinstance(state, list | dict)
        told = state if isinstance(state, dict) else dict(zip(state[::2], state[1::2], strict=True))
        told = {key if isinstance(key, str) else key.decode(): value for key, value in told.items()}
        return int(told["num-other-sentinels"]) == 2 and int(told["num-slaves"]) == 1
