"""Clients and an operator that go on while something fails, and record what they were answered."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from gateway.adapters.redis.connection import BoundedConnection, open_client
from gateway.core.errors import ChangeRefused, NotKept, StoreUnavailable
from gateway.core.policies.loading import load_policies
from gateway.core.policies.model import PolicySet
from gateway.core.tokens.audit import Actor
from gateway.core.tokens.changes import TokenRequest, TokenState
from gateway.core.tokens.views import TokenView
from gateway.management.building import build_management
from gateway.management.management import Management
from tests.simulation.world import Answering
from tests.support.history import Call, Change, History, Outcome, Promise, Reading, What

POLICY = """
name = "faults"
upstream = "http://127.0.0.1:{backend}"
[token]
prefixes = ["flt_"]
bound_to = "none"
[scopes]
read = "Read"
[plans.open]
[plans.limited.quotas]
limited = {{ limit = "20 per 10 seconds", algorithm = "moving-window" }}
[[rules]]
match = "GET /**"
scopes = ["read"]
"""
PROMISES = {"limited": Promise(20, 10.0)}
CLIENTS = 6
PAUSE_SECONDS = 0.01
OPERATOR = Actor("ada", "operator")
OPERATOR_SECONDS = 2.0
"""The timeout of the operator's commands."""


async def _show(identity: str, management: Management) -> TokenView | None:
    return await management.show_token(identity)


class Policies:
    """The policy of the operator."""

    def __init__(self, backend_port: int) -> None:
        self.current: PolicySet = load_policies({"faults.toml": POLICY.format(backend=backend_port)})


class Load:
    """Clients of the gateway at a port, and the operator of the Redis at a URL."""

    def __init__(self, backend_port: int, redis_url: Callable[[], str]) -> None:
        self.policies = Policies(backend_port)
        self.history = History(PROMISES)
        self.tokens: dict[str, tuple[str, tuple[str, ...]]] = {}
        """The text and the counters of each token."""
        self.port = 0
        self.is_over = False
        self._redis_url = redis_url
        self._random = random.Random(0)
        self._names = itertools.count()

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def with_management(self, work: Callable[[Management], Awaitable[Any]]) -> Any:
        """Return what the management of the Redis gives, over a connection of its own."""
        connection = BoundedConnection(open_client(self._redis_url(), OPERATOR_SECONDS), OPERATOR_SECONDS)
        try:
            return await work(build_management(connection, self.policies, ""))
        finally:
            await connection.close()

    async def create(self, plan: str) -> str:
        """Create a token and return its id."""
        begun = self.now()
        request = TokenRequest(name=f"CI {next(self._names)}", plan=plan)
        made = await self.with_management(lambda one: one.create_token(OPERATOR, "faults", request))
        identity: str = made.view.record.identity
        counters = (f"limited:{identity}",) if plan == "limited" else ()
        self.tokens[identity] = made.text, counters
        self._note(begun, identity, What.CREATE, Outcome.KEPT)
        return identity

    async def revoke(self, identity: str) -> None:
        """Revoke a token, and record how that ended."""
        begun = self.now()
        try:
            await self.with_management(lambda one: one.revoke_token(OPERATOR, identity))
            outcome = Outcome.KEPT
        except NotKept:
            outcome = Outcome.DONE
        except ChangeRefused:
            outcome = Outcome.FAILED
        except StoreUnavailable:
            outcome = Outcome.UNKNOWN
        self._note(begun, identity, What.REVOKE, outcome)

    async def run_operator(self, identities: list[str]) -> None:
        """Revoke one token after the other until all are, or it is over."""
        for identity in identities:
            if self.is_over:
                return
            await self.revoke(identity)
            await asyncio.sleep(0.3)

    async def run_client(self) -> None:
        """Ask until it is over; a connection that breaks is opened again."""
        connection: Answering | None = None
        while not self.is_over:
            identity, (text, counters) = self._random.choice(list(self.tokens.items()))
            begun, status = self.now(), 0
            try:
                if connection is None or connection.is_lost:
                    loop = asyncio.get_running_loop()
                    _, connection = await loop.create_connection(Answering, "127.0.0.1", self.port)
                request = f"GET /health HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {text}\r\n\r\n"
                status = await connection.ask(request.encode())
            except OSError:
                connection = None
            ended = self.now()
            self.history.add(
                Call(begun=begun, ended=ended, token=identity, status=status, counters=counters, what="GET /health")
            )
            await asyncio.sleep(PAUSE_SECONDS)
        if connection is not None:
            connection.transport.close()

    async def read_all(self) -> None:
        """Record what the management says of each token."""
        for identity in self.tokens:
            begun = self.now()
            view = await self.with_management(partial(_show, identity))
            is_revoked = view is not None and view.state is TokenState.REVOKED
            self.history.add(
                Reading(begun=begun, ended=self.now(), token=identity, exists=view is not None, is_revoked=is_revoked)
            )

    def _note(self, begun: float, subject: str, what: What, outcome: Outcome) -> None:
        self.history.add(Change(begun=begun, ended=self.now(), subject=subject, what=what, outcome=outcome))
