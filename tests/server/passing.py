"""Gateways that pass requests on to a backend which says any bytes: what they exchange, with recognition and without.

Two runs of the same requests begin with the same Redis, ids and time, so everything that they exchange has to be equal.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import pytest
import redis.asyncio

from gateway.core.usage import RECOGNITION
from tests.adapters.raw_backend import Peer, RawBackend, settle
from tests.server.recognising import NOW, POLICY, Client, KnownGateway, open_known

DATES = ("Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 08:00:01 GMT", "Fri, 15 Jan 2027 08:00:02 GMT")
CLOSE, RESET, WAIT = "close", "reset", "wait"
"""Steps of a backend: it ends the connection, resets it, or waits until the test lets it go on."""
Step: TypeAlias = bytes | str
Mode: TypeAlias = Literal["on", "off", "verify"]


def answer(content: bytes = b"hello", *lines: str, status: str = "200 OK", date: str = DATES[0]) -> bytes:
    """A whole answer with Content-Length."""
    dated = [f"Date: {date}"] if date else []
    head = [f"HTTP/1.1 {status}", *dated, *lines, f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(head).encode("latin-1") + content


class ScriptedBackend:
    """Answers with `answers` in their order, and with `usual` when none is left; writes down what it is sent.

    A request's content is read before it is answered, unless the test `answers_early`.
    """

    def __init__(self) -> None:
        self.answers: deque[tuple[Step, ...]] = deque()
        self.usual: tuple[Step, ...] = (answer(),)
        self.heads: list[tuple[int, bytes]] = []
        """The heads of requests, with their content, and the number of the connection on which each came."""
        self.answers_early = False
        self.may_go_on = asyncio.Event()
        self.raw = RawBackend(self._script)
        self.before = 0
        """Connections of runs before."""

    def reset(self) -> None:
        """Begin a new run."""
        self.before = len(self.raw.peers)
        self.answers.clear()
        self.usual = (answer(),)
        self.heads = []
        self.answers_early = False
        self.may_go_on = asyncio.Event()

    async def _script(self, peer: Peer) -> None:
        while True:
            head = await peer.read_head()
            if not self.answers_early:
                head += await _read_content(peer, head)
            self.heads.append((peer.number - self.before, head))
            for step in self.answers.popleft() if self.answers else self.usual:
                if step == CLOSE:
                    await peer.close()
                elif step == RESET:
                    peer.reset()
                elif step == WAIT:
                    await self.may_go_on.wait()
                else:
                    assert isinstance(step, bytes)
                    peer.writer.write(step.replace(b"$ID", _id_of(head)))
                    await peer.writer.drain()
                    await settle()


async def _read_content(peer: Peer, head: bytes) -> bytes:
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        return await peer.reader.readuntil(b"0\r\n\r\n")
    length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
    return await peer.reader.readexactly(int(length or 0))


def _id_of(head: bytes) -> bytes:
    return head.partition(b"\r\nx-request-id: ")[2].partition(b"\r\n")[0]


class Exchanged(msgspec.Struct):
    """All that a run has exchanged, and what is left of it."""

    clients: list[bytes] = []
    """What each connection was sent, and how it ended."""
    backend: list[tuple[int, bytes]] = []
    log: list[dict[str, Any]] = []
    store: dict[str, Any] = {}
    counts: dict[str, int] = {}
    """What became of requests whose bytes were seen before: the one thing that may differ."""


class PassingRun:
    """One gateway, its connections and its backend."""

    def __init__(self, known: KnownGateway, backend: ScriptedBackend, tokens: list[tuple[str, str]]) -> None:
        self.known = known
        self.backend = backend
        self.tokens = tokens
        self.now = NOW
        self.clients: list[Client] = []
        self.current: dict[int, Client] = {}

    @property
    def text(self) -> str:
        return self.tokens[0][0]

    def client(self, number: int = 0) -> Client:
        """The connection of this number; a new one, if that has ended."""
        found = self.current.get(number)
        if found is None or found.transport.end or found.connection._is_lost:
            found = self.current[number] = self.known.connect()
            self.clients.append(found)
        return found

    def begin(self, data: bytes, client: Client | None = None) -> Client:
        """Send a request whose answer may be long in coming."""
        client = client or self.client()
        client.connection.data_received(data)
        return client

    async def ask(self, data: bytes, client: Client | None = None) -> bytes:
        """What comes back for a request until the connection is idle, or has ended."""
        client = client or self.client()
        before = len(client.transport.sent)
        self.begin(data, client)
        await client.until(lambda: is_idle(client))
        await settle()  # the backend notices what became of its connection
        await self.known.gateway.refunds.drain()
        return client.transport.sent[before:]

    def pass_time(self, milliseconds: int) -> None:
        self.now += milliseconds
        self.known.gateway.set_time(self.now)

    def count(self, event: str) -> int:
        return self.known.count(event)


def is_idle(client: Client) -> bool:
    """Whether a connection has nothing in progress."""
    return bool(client.transport.end) or (client.connection._task is None and client.connection._asking is None)


Scenario: TypeAlias = Callable[[PassingRun], Awaitable[object]]


class Passing:
    """Runs the same scenario with recognition and without."""

    def __init__(self, redis_url: str, folder: Path, patch: pytest.MonkeyPatch, backend: ScriptedBackend) -> None:
        self.policy = POLICY.replace("http://127.0.0.1:9", backend.raw.url())
        self.backend = backend
        self._redis_url = redis_url
        self._folder = folder
        self._patch = patch
        self._start: dict[bytes, bytes] = {}
        self._tokens: list[tuple[str, str]] = []

    async def mint(self, **request: Any) -> None:
        """Mint a token for all runs."""
        async with open_known(self._redis_url, self._folder, "off", self.policy) as known:
            self._tokens.append(await known.mint(**{"plan": "plain", **request}))
        async with redis.asyncio.Redis.from_url(self._redis_url) as store:
            self._start = {key: await store.dump(key) for key in await store.keys()}  # type: ignore[misc]

    @asynccontextmanager
    async def open(self, mode: Mode, **settings: Any) -> AsyncIterator[PassingRun]:
        """Open a run with the Redis of the beginning."""
        if not self._tokens:
            await self.mint()
        async with redis.asyncio.Redis.from_url(self._redis_url) as store:
            await store.flushall()
            for key, value in self._start.items():
                await store.restore(key, 0, value)
        self.backend.reset()
        with self._patch.context() as patch:
            patch.setattr("gateway.app.request_ids", _ids)
            async with open_known(
                self._redis_url, self._folder, mode, self.policy, has_backends=True, instance="i", **settings
            ) as known:
                run = PassingRun(known, self.backend, self._tokens)
                known.gateway.usage_counter._clock = lambda: run.now / 1000
                for part in (known.gateway.exchange, known.listener._proxy._exchange):  # type: ignore[attr-defined]
                    part._clock = lambda: run.now / 1000
                known.listener._proxy._acceptor.clock = lambda: run.now / 1000  # type: ignore[attr-defined]
                if known.listener.recognition is not None:
                    known.listener.recognition._clock = lambda: run.now / 1000
                    known.listener.recognition._teacher._clock = lambda: run.now / 1000
                yield run

    async def run(self, mode: Mode, scenario: Scenario, **settings: Any) -> Exchanged:
        """Return what a run of the scenario has exchanged."""
        log = self._folder / "access.log"
        log.unlink(missing_ok=True)
        async with self.open(mode, **settings) as run:
            await scenario(run)
            await settle()
            it = Exchanged()
            it.clients = [one.transport.sent + f"[{one.transport.end}]".encode() for one in run.clients]
            it.backend = list(self.backend.heads)
            it.counts = {
                event.removeprefix(RECOGNITION): number
                for event, number in run.known.gateway.cache_counts.items()
                if event.startswith(RECOGNITION)
            }
        it.log = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()] if log.exists() else []
        async with redis.asyncio.Redis.from_url(self._redis_url) as store:
            names: list[bytes] = await store.keys()  # type: ignore[assignment]
            it.store = {
                name.decode(): await _read(store, name) for name in names if b":fetch:" not in name
            }  # real time
        return it

    async def compare(self, scenario: Scenario, **settings: Any) -> Exchanged:
        """Run the scenario with recognition and without; all has to be equal. Return what was exchanged with it."""
        off = await self.run("off", scenario, **settings)
        on = await self.run("on", scenario, **settings)
        differences = find_differences(off, on)
        assert not differences, "\n".join(differences)
        return on


def _ids() -> Iterator[str]:
    return map("0123456789abcdef%08x".__mod__, itertools.count(1))


async def _read(store: Any, key: bytes) -> Any:
    kind = await store.type(key)
    if kind == b"hash":
        found = await store.hgetall(key)
        return {name: value for name, value in found.items() if not name.startswith(RECOGNITION.encode())} or None
    if kind == b"zset":
        return await store.zrange(key, 0, -1, withscores=b":group:" not in key)  # those of groups are real time
    if kind == b"stream":
        return [entry for _, entry in await store.xrange(key)]
    if kind == b"set":
        return await store.smembers(key)
    if kind == b"list":
        return await store.lrange(key, 0, -1)
    return await store.get(key)


def find_differences(off: "Exchanged", on: "Exchanged") -> list[str]:
    """What two runs have not in common, in words: the whole of both would be pages."""
    found = []
    for name in ("backend", "clients", "log"):
        pairs = itertools.zip_longest(getattr(off, name), getattr(on, name))
        found += [
            f"{name}[{number}]: {one!r} != {other!r}" for number, (one, other) in enumerate(pairs) if one != other
        ]
    for key in sorted(off.store.keys() | on.store.keys()):
        one, other = off.store.get(key), on.store.get(key)
        found += [f"{key}: {one!r} != {other!r}"] if one != other else []
    return found
