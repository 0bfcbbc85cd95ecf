"""A Redis of the simulation: a server with its disk, a replica that lags, and a name that leads to the master.

What a failure keeps follows from the setting (`Durability`): a prefix of the log of writes, which the model of the data
(database.py) replays. `lost` says after each failure what it may have undone.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import hiredis
import msgspec

from gateway.adapters.redis.keys import marker
from tests.simulation.database import Database, Reply, ReplyError
from tests.simulation.loop import Network, Process, SimulatedLoop, Transport

SERVICE_SECONDS = 0.00005
"""What a command takes."""
FSYNC_SECONDS = 1.0
SNAPSHOT_SECONDS = 7.0
NAME = "store"
START = 1_800_000_000_000
"""Unix milliseconds at the beginning of a simulation."""


class Durability(StrEnum):
    """How the Redis is set up: appendfsync of its append-only file, or snapshots only, or nothing."""

    ALWAYS = "always"
    EVERYSEC = "everysec"
    SNAPSHOTS = "snapshots"
    NOTHING = "nothing"

    @property
    def is_append_only(self) -> bool:
        return self in (Durability.ALWAYS, Durability.EVERYSEC)


class Loss(msgspec.Struct, frozen=True):
    """A failure of the store: what was written since `kept_until` is undone."""

    at: float
    kept_until: float
    spares_kept: bool
    """Whether what Redis had confirmed to be on its disk is not undone."""


class Server(asyncio.Protocol):
    """One connection of a client to a server."""

    def __init__(self, node: "Node") -> None:
        self.node = node
        self._reader = hiredis.Reader()
        self._transport: Transport
        self._pending: deque[list[bytes]] = deque()
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        pass

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (words := self._reader.gets()) is not False:
            self._pending.append(words)
        self._go_on()

    def _go_on(self) -> None:
        """Run what has arrived, but for what stands behind a command that waits."""
        while self._pending and not self._is_waiting:
            words = self._pending.popleft()
            if words[0].upper() == b"WAITAOF":
                self._is_waiting = True
                self._wait_for_disk(len(self.node.times), self.node.store.loop.time() + int(words[3]) / 1000)
            else:
                self.node.take(words, self._transport)

    def _wait_for_disk(self, length: int, until: float) -> None:
        """Answer when so much of the log is on the disk, or it is too late; each look is a twentieth of a second."""
        node, now = self.node, self.node.store.loop.time()
        if not node.store.durability.is_append_only:
            answer: Reply = ReplyError("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.")
        elif node.synced >= length or now >= until:
            answer = [int(node.synced >= length), 0]
        else:
            self._transport.call(now + 0.05, self._wait_for_disk, length, until)
            return
        node.send(self._transport, answer)
        self._is_waiting = False
        self._go_on()


class Node:
    """A redis-server. `log` is what its disk or its master has given it."""

    def __init__(self, store: "Store", name: str, log: list[Any], times: list[float]) -> None:
        self.store = store
        self.process = Process(name)
        self.database = Database(self.clock, log)
        self.times = times
        """When each entry of the log was first written."""
        self.synced = len(log)
        """Entries of the log that are on the disk."""
        self.refusal = ""
        """What is answered to all commands, or nothing: LOADING, or READONLY for writes."""
        self.answers_lost = 0
        """The next answers that do not arrive: the connection breaks behind the command."""
        self._scripts: dict[bytes, bytes] = {}

    def clock(self) -> int:
        """Return this machine's Unix milliseconds."""
        return START + self.store.skew + int(self.store.loop.time() * 1000)

    def take(self, words: list[bytes], transport: Transport) -> None:
        """Run a command of a connection, and answer it."""
        name = words[0].upper()
        answer = self._answer(name, words)
        now = self.store.loop.time()
        self.times += [now] * (len(self.database.log) - len(self.times))
        if self.store.durability is Durability.ALWAYS:
            self.synced = len(self.times)
        if self.answers_lost and name in (b"EVALSHA", b"EVAL"):
            self.answers_lost -= 1
            self.store.network.reset(transport)
            return
        self.send(transport, answer)

    def sync(self) -> None:
        """Write the log, or a snapshot, to the disk."""
        self.synced = len(self.times)

    def send(self, transport: Transport, answer: Reply) -> None:
        """Send an answer after the time that a command takes."""
        transport.call(self.store.loop.time() + SERVICE_SECONDS, transport.write, encode(answer))

    def _answer(self, name: bytes, words: list[bytes]) -> Reply:
        try:
            if self.refusal.startswith("LOADING") and name not in (b"CLIENT", b"SELECT"):
                return ReplyError(self.refusal)
            return self._run(name, words)
        except ReplyError as error:
            return error

    def _run(self, name: bytes, words: list[bytes]) -> Reply:
        if name in (b"CLIENT", b"SELECT", b"HELLO", b"AUTH"):
            return b"OK"
        if name == b"CONFIG":
            return [b"appendfsync", str(self.store.durability).encode()]
        if name == b"INFO" and words[1:] == [b"server"]:
            return b"redis_version:7.2.0\r\nrun_id:%b\r\n" % self.process.name.encode()
        if name == b"SCRIPT":
            sha = hashlib.sha1(words[2]).hexdigest().encode()
            self._scripts[sha] = words[2]
            return sha
        if name in (b"EVAL", b"EVALSHA"):
            if self.refusal:
                raise ReplyError(self.refusal)
            source = self._scripts.get(words[1]) if name == b"EVALSHA" else words[1]
            if source is None:
                raise ReplyError("NOSCRIPT No matching script. Please use EVAL.")
            number = int(words[2])
            return self.database.run_script(source, words[3 : 3 + number], words[3 + number :])
        return self.database.run(*words)


class Store:
    """The Redis that the gateway knows by a name."""

    def __init__(
        self, loop: SimulatedLoop, network: Network, durability: Durability, note: Callable[[Any], None]
    ) -> None:
        self.loop = loop
        self.network = network
        self.durability = durability
        self.skew = 0
        """By how many milliseconds its clock was set forward."""
        self.set_back = 0
        """By how many milliseconds it was set back in all: what expires by it lasts so much longer."""
        self._note = note
        self._number = 0
        self.master: Node
        self._replicated = 0
        """Entries of the log that the replica has."""
        self._start([], [])
        self._tick()

    @property
    def is_empty(self) -> bool:
        """Whether it has no marker: it has lost its data, or is new."""
        return not self.master.database.exists(marker().encode())

    def restart(self, *, is_machine: bool, loading_seconds: float) -> None:
        """Kill the server, or its whole machine, and start it again with what its disk has."""
        old = self.master
        self.network.kill(old.process)
        if not self.durability.is_append_only:
            kept = old.synced if self.durability is Durability.SNAPSHOTS else 0
        else:
            kept = old.synced if is_machine else len(old.times)
        self._lose(old, kept, spares_kept=self.durability.is_append_only)
        self._start(old.database.log[:kept], old.times[:kept])
        if loading_seconds:
            started = self.master
            started.refusal = "LOADING Redis is loading the dataset in memory"
            self.loop.call_later(loading_seconds, setattr, started, "refusal", "")

    def fail_over(self, *, is_planned: bool) -> None:
        """Let the replica take over: planned, with all writes; or after a crash, with those that it has."""
        old = self.master
        kept = len(old.times) if is_planned else min(self._replicated, len(old.times))
        if is_planned:
            old.refusal = "READONLY You can't write against a read only replica."
        else:
            self.network.kill(old.process)
        self._lose(old, kept, spares_kept=False)
        self._start(old.database.log[:kept], old.times[:kept])

    def stop(self) -> None:
        """Stop the server as SIGSTOP does."""
        self.master.process.stop()

    def go_on(self) -> None:
        """Let a stopped server go on."""
        self.loop.resume(self.master.process)

    def jump(self, milliseconds: int) -> None:
        """Set the clock."""
        self.skew += milliseconds
        self.set_back += max(0, -milliseconds)

    def _lose(self, old: Node, kept: int, *, spares_kept: bool) -> None:
        now = self.loop.time()
        kept_until = old.times[kept] if kept < len(old.times) else now
        self._note(Loss(now, kept_until, spares_kept))

    def _start(self, log: list[Any], times: list[float]) -> None:
        self._number += 1
        node = self.master = Node(self, f"{NAME}-{self._number}", log, times)
        self._replicated = len(log)
        self.network.names[NAME] = (node.process, lambda: Server(node))

    def _tick(self) -> None:
        """Let the disk and the replica follow."""
        node = self.master
        if self.durability is Durability.EVERYSEC or (
            self.durability is Durability.SNAPSHOTS and int(self.loop.time()) % int(SNAPSHOT_SECONDS) == 0
        ):
            node.sync()
        self._replicated = len(node.times)
        self.loop.call_later(FSYNC_SECONDS, self._tick)


def encode(reply: Reply) -> bytes:
    """Return a reply as RESP 2."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, ReplyError):
        return b"-%b\r\n" % str(reply).replace("\n", " ").encode()
    if isinstance(reply, bytes):
        return b"+OK\r\n" if reply == b"OK" else b"$%d\r\n%b\r\n" % (len(reply), reply)
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encode, reply)))
