"""One simulated run: workers of the gateway, clients, an operator and a Redis, under one seed.

The gateway is the real one, from the bytes of a request to the bytes of its answer, and to the bytes that Redis gets:
connections, recognition, exchange, admissions, breaker, leases, usage, management, redis-py. The Redis runs the
gateway's real scripts on a model of its data (database.py). Event loop, network, clocks and disk are simulated
(loop.py, store.py). So time costs nothing, and a seed gives the same history again.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable
from contextlib import suppress
from functools import cache
from types import SimpleNamespace
from typing import Any

from redis.exceptions import RedisError

from gateway.adapters.redis.audit import RedisAudit
from gateway.adapters.redis.connection import BoundedConnection, Client, open_client
from gateway.adapters.redis.tokens import RedisClaims, RedisTokens
from gateway.app import Gateway
from gateway.core.errors import ChangeRefused, NotKept, StoreUnavailable
from gateway.core.http.client_address import TrustedProxies
from gateway.core.http.messages import Response, ResponseHead
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import PolicySet
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenChange, TokenRequest, TokenState
from gateway.core.tokens.owners import OwnerChange, OwnerStatus
from gateway.management.management import Management
from gateway.server.connection import Connection
from gateway.server.listener import Capacity, Proxy, PublicListener
from gateway.server.requests import RequestAcceptor
from gateway.settings import Settings
from tests.simulation.loop import PROCESS, WORLD, Network, Process, SimulatedLoop
from tests.simulation.store import NAME, START, Durability, Store
from tests.simulation.store import Loss as StoreLoss
from tests.support.history import Call, Change, History, Loss, Outcome, Promise, Reading, What, Work

POLICY = """
name = "simulated"
upstream = "http://127.0.0.1:9"
[token]
prefixes = ["sim_"]
bound_to = "owner"
[scopes]
read = "Read"
[plans.fixed.quotas]
fixed = "5 per 10 seconds"
[plans.counter.quotas]
counter = { limit = "5 per 10 seconds", algorithm = "sliding-window-counter" }
[plans.moving.quotas]
moving = { limit = "5 per 10 seconds", algorithm = "moving-window" }
[plans.bucket.quotas]
bucket = { limit = "5 per 10 seconds", algorithm = "token-bucket", burst = 3 }
[plans.shared.quotas]
shared = { limit = "7 per 10 seconds", per = "owner" }
[plans.busy.quotas]
busy = { concurrent = 2 }
[plans.open]
[[rules]]
match = "GET /export/**"
scopes = ["read"]
cache = { fresh = "10m", shared_by = "token" }
[[rules]]
match = "GET /live/**"
scopes = ["read"]
"""
SPAN = 10.0
"""Seconds of every window."""
PROMISES = {
    "fixed": Promise(10, SPAN, 5),  # twice the limit around the end of a window
    "counter": Promise(10, SPAN),
    "moving": Promise(5, SPAN),
    "bucket": Promise(8, SPAN),  # the burst, and a window's worth
    "shared": Promise(14, SPAN, 7),
    "busy": Promise(2, 0),
}
PLANS = [*PROMISES, "open", "open"]
OWNERS = ("acme", "globex", "initech")
TIMEOUT = 0.25
SLACK_SECONDS = 0.06
"""What network and event loop may add to the timeout of Redis."""
PATIENCE_SECONDS = 8.0
"""How long a client waits."""
RECOVERY_SECONDS = 0.5
LEASES_SECONDS = 16.0
"""After this, nothing of a killed worker's is in flight."""
OPERATOR = Actor("ada", "operator")


@cache
def policies() -> PolicySet:
    return load_policies({"simulated.toml": POLICY})


class Token:
    """A token that the operator has created, or tried to."""

    def __init__(self, text: str, identity: str, owner: str, plan: str) -> None:
        self.text = text
        self.identity = identity
        self.owner = owner
        self.plan = plan
        self.is_revoked = False
        self.is_disabled = False

    @property
    def counters(self) -> tuple[str, ...]:
        """What an allowed request counts against."""
        if self.plan == "shared":
            return (f"shared:{self.owner}",)
        return () if self.plan in ("open", "busy") else (f"{self.plan}:{self.identity}",)


class Backend:
    """The backend of all workers: it takes its time, and tells of what is in flight."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def send(self, _: Any, __: str, target: str, *___: Any, **____: Any) -> Response:
        world, process = self._world, PROCESS.get(WORLD)
        token, begun = world.token_of_target(target), world.loop.time()
        seconds = world.rng.choice((0.001, 0.01, 0.3, 2.0)) if target.startswith("/live") else 0.005
        try:
            await asyncio.sleep(seconds)
        finally:
            if token is not None and token.plan == "busy" and target.startswith("/live") and not process.is_killed:
                ended = world.loop.time()
                world.history.add(Work(begun=begun, ended=ended, counter=f"busy:{token.identity}"))
        content = b"content of " + target.encode()
        return Response(ResponseHead(200, [(b"content-length", b"%d" % len(content))]), content)


class Answering(asyncio.Protocol):
    """A client's connection: one request after the other."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.is_lost = False
        self._received = b""
        self._whole: asyncio.Future[int] | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._whole is not None and not self._whole.done():
            self._whole.set_result(0)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, is_there, content = self._received.partition(b"\r\n\r\n")
        if is_there and self._whole is not None and not self._whole.done():
            lengths = [line[16:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: ")]
            if len(content) >= int(lengths[0]):
                self._received = b""
                self._whole.set_result(int(head[9:12]))

    async def ask(self, request: bytes) -> int:
        """Return the status of the answer, 0 if there is none."""
        self._whole = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await self._whole
        except TimeoutError:
            self.transport.close()
            self.is_lost = True
            return 0


class World:
    """All that is simulated. `seed` decides everything."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loop = SimulatedLoop()  # type: ignore[abstract]  # it has what is used here
        self.network = Network(self.loop, self._delay)
        self.history = History(PROMISES)
        self.durability = self.rng.choice(list(Durability))
        self.store = Store(self.loop, self.network, self.durability, self._note_loss)
        self.workers: dict[str, Process] = {}
        self.gateways: dict[str, Gateway] = {}
        self.tokens: list[Token] = []
        self.blocked_owners: set[str] = set()
        self.cut: set[str] = set()
        """Processes that cannot reach the Redis."""
        self.slow_seconds = 0.0
        """By how much the Redis answers later."""
        self.trace: list[str] = []
        """What happened, for people."""
        self.is_over = False
        self.is_changing = False
        """Whether the operator waits for the end of a change."""
        self._clients: list[Client] = []
        """All that were ever opened, of processes that were killed too."""
        self._numbers = itertools.count(1)
        self._connections: dict[tuple[str, str], Answering] = {}

    def tell(self, text: str) -> None:
        """Note what happens."""
        self.trace.append(f"{self.loop.time():9.4f} {text}")

    def clock(self) -> float:
        """Return Unix seconds by the workers' clocks."""
        return START / 1000 + self.loop.time()

    def token_of_target(self, target: str) -> Token | None:
        identity = target.rpartition("/")[2]
        return next((token for token in self.tokens if token.identity == identity), None)

    def _note_loss(self, loss: StoreLoss) -> None:
        self.history.add(Loss(loss.at, loss.kept_until, loss.spares_kept))

    def _delay(self, one: str, other: str) -> float | None:
        """Return the seconds for a packet, None if it does not arrive."""
        if not (one.startswith(NAME) or other.startswith(NAME)):
            return 0.0002
        if one in self.cut or other in self.cut:
            return None
        return self.rng.uniform(0.0001, 0.001) + (self.slow_seconds if one.startswith(NAME) else 0.0)

    # -- the gateway

    def start_worker(self) -> None:
        """Start a worker of the gateway, in a process of its own."""
        name = f"worker-{next(self._numbers)}"
        process = Process(name)
        self.workers[name] = process
        process.context().run(self._build_worker, name)

    def _build_worker(self, name: str) -> None:
        settings = Settings(redis_url=f"redis://{NAME}:6379/0", redis_timeout=TIMEOUT, workers=1)
        new_id = map(f"{name}-%04x".__mod__, itertools.count(1)).__next__
        source: Any = SimpleNamespace(current=policies())
        client = self._open_client(settings.redis_timeout)
        gateway = Gateway(settings, client, Backend(self), source, self.clock, new_id)  # type: ignore[arg-type]
        capacity = Capacity(settings.max_requests)
        recognition = gateway.build_recognition(new_id, capacity.may_take, verifies=False)
        acceptor = RequestAcceptor(source, self.clock, new_id, TrustedProxies())
        unused: Any = None
        proxy = Proxy(gateway.exchange, acceptor)
        listener = PublicListener(proxy, unused, unused, gateway.own, capacity, recognition)
        config: Any = SimpleNamespace(loaded_app=listener)
        server: Any = SimpleNamespace(connections=set(), tasks=set(), total_requests=0)
        self.gateways[name] = gateway
        self.network.names[name] = (self.workers[name], lambda: Connection(config, server, {}))

    def _open_client(self, timeout_seconds: float) -> Client:
        client = open_client(f"redis://{NAME}:6379/0", timeout_seconds)
        self._clients.append(client)
        return client

    async def close(self) -> None:
        """Close all connections: a killed process leaves none behind, and its objects are those of this one."""
        for client in self._clients:
            with suppress(RedisError):  # what a killed process has open is closed, and nobody hears of it
                await client.connection_pool.disconnect()
        for end in list(self.network.ends):
            end.close()

    def kill_worker(self, name: str) -> None:
        """Kill a worker: its connections are reset, and what it had not written is lost."""
        self.network.kill(self.workers.pop(name))
        del self.gateways[name]

    # -- clients

    async def ask(self, token: Token, path: str, client: str, worker: str = "") -> int:
        """Ask a worker, as a client that has a connection to each; return the status, 0 without an answer."""
        worker = worker or self.rng.choice(list(self.workers))
        key = (client, worker)
        connection = self._connections.get(key)
        begun, process = self.loop.time(), self.workers[worker]
        status, stops, was_stopped = 0, process.stops, process.is_stopped
        try:
            if connection is None or connection.is_lost:
                _, made = await self.network.connect(Answering, worker)
                assert isinstance(made, Answering)
                connection = self._connections[key] = made
            target = f"/{path}/{token.identity}"
            status = await connection.ask(
                f"GET {target} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token.text}\r\n\r\n".encode()
            )
        except ConnectionError:
            self._connections.pop(key, None)
        longest = 2.0 + TIMEOUT + SLACK_SECONDS
        if status == 503:
            longest = TIMEOUT + SLACK_SECONDS
        if was_stopped or process.stops > stops or status == 0 or path == "export":
            longest = PATIENCE_SECONDS + 1
        what = f"GET /{path} at {worker}"
        call = Call(
            begun=begun,
            ended=self.loop.time(),
            token=token.identity,
            status=status,
            owner=token.owner,
            counters=token.counters,
            longest=longest,
            what=what,
        )
        self.history.add(call)
        self.tell(f"{client}: {what} with {token.identity} of {token.owner}: {status} since {begun:.4f}")
        return status

    async def run_client(self, number: int) -> None:
        """Ask again and again, mostly for the same few things."""
        client = f"client-{number}"
        while not self.is_over:
            await asyncio.sleep(self.rng.choice((0.001, 0.01, 0.2, 0.6)))
            if self.tokens:
                token = self.rng.choice(self.tokens[-4:])
                await self.ask(token, self.rng.choice(("export", "live")), client)

    # -- the operator

    def open_management(self) -> Management:
        """Return the management as another process has it."""
        connection = BoundedConnection(self._open_client(2.0), 2.0)
        tokens = RedisTokens(connection)
        source: Any = SimpleNamespace(current=policies())
        claims, audit = RedisClaims(connection, tokens), RedisAudit(connection)
        return Management(source, tokens, tokens.owners, audit, claims, self.rng.randbytes, b"")

    async def change(self, subject: str, what: What, work: Awaitable[Any], is_kept: bool = True) -> Any:
        """Make a change, and record how it ended; return what it returned, or None."""
        begun, result = self.loop.time(), None
        self.is_changing = True
        try:
            result = await work
            kept = is_kept and self.durability.is_append_only
            outcome = Outcome.KEPT if kept else Outcome.DONE
        except NotKept:
            outcome = Outcome.DONE
        except ChangeRefused:
            outcome = Outcome.FAILED
        except StoreUnavailable:
            outcome = Outcome.UNKNOWN
        finally:
            self.is_changing = False
        self.history.add(Change(begun=begun, ended=self.loop.time(), subject=subject, what=what, outcome=outcome))
        self.tell(f"operator: {what} {subject}: {outcome} since {begun:.4f}")
        return result

    async def create(self, management: Management) -> None:
        """Create a token. Only one whose creation was answered is known to anybody."""
        owner, plan, begun = self.rng.choice(OWNERS), self.rng.choice(PLANS), self.loop.time()
        request = TokenRequest(name="CI", owner=owner, plan=plan)
        try:
            created = await management.create_token(OPERATOR, "simulated", request)
        except (StoreUnavailable, ChangeRefused) as error:
            self.tell(f"operator: create: {type(error).__name__}")
            return
        token = Token(created.text, created.view.record.identity, owner, plan)
        ended = self.loop.time()
        self.history.add(
            Change(begun=begun, ended=ended, subject=token.identity, what=What.CREATE, outcome=Outcome.DONE)
        )
        self.tell(f"operator: create {token.identity} of {owner}, {plan}")
        self.tokens.append(token)

    async def run_operator(self, management: Management) -> None:
        """Change tokens and owners, one after the other."""
        while not self.is_over:
            await asyncio.sleep(self.rng.uniform(0.1, 2.0))
            await self.change_something(management)

    async def change_something(self, management: Management) -> None:
        """Make one change that makes sense."""
        live = [token for token in self.tokens if not token.is_revoked][-4:]
        if len(live) < 2 or self.rng.random() < 0.25:
            await self.create(management)
            return
        token = self.rng.choice(live)
        match self.rng.choice(("revoke", "disable", "disable", "owner")):
            case "revoke":
                token.is_revoked = True
                await self.change(token.identity, What.REVOKE, management.revoke_token(OPERATOR, token.identity))
            case "disable":
                token.is_disabled = not token.is_disabled
                wanted = TokenChange(is_active=not token.is_disabled)
                what = What.DISABLE if token.is_disabled else What.ENABLE
                work = management.update_token(OPERATOR, token.identity, wanted)
                await self.change(token.identity, what, work)
            case "owner":
                is_blocked = token.owner not in self.blocked_owners
                self.blocked_owners ^= {token.owner}
                wanted_owner = OwnerChange(status=OwnerStatus.BLOCKED if is_blocked else OwnerStatus.ACTIVE)
                blocking = management.change_owner(OPERATOR, "simulated", token.owner, wanted_owner)
                await self.change(token.owner, What.DISABLE if is_blocked else What.ENABLE, blocking)

    async def read_all(self, management: Management) -> None:
        """Record what the management says of each token."""
        for token in self.tokens:
            begun = self.loop.time()
            view = await management.show_token(token.identity)
            state = None if view is None else view.state
            self.history.add(
                Reading(
                    begun=begun,
                    ended=self.loop.time(),
                    token=token.identity,
                    exists=view is not None,
                    is_revoked=state is TokenState.REVOKED,
                    is_active=view is not None and view.record.is_active,
                )
            )
